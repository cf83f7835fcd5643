/**
 * The way to KMS for the official plugin, which takes no endpoint for it and dials kms.<region>.amazonaws.com: an HTTPS
 * proxy that leads this one name to the testbed, under a certificate that the plugin is told to trust.
 */
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { createAuthority, issueServerCertificate } from '@musterbook/server'
import { REGION, type Testbed } from '@musterbook/testbed'

const HOST = `kms.${REGION}.amazonaws.com`

export interface KmsProxy extends AsyncDisposable {
  /** What the plugin's environment needs. */
  environment: { HTTPS_PROXY: string; SSL_CERT_FILE: string }
}

export async function kmsProxy(testbed: Testbed): Promise<KmsProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'musterbook-kms-'))
  const authority = await createAuthority('Musterbook test of KMS', new Date())
  const { key, cert } = await issueServerCertificate(authority, [HOST], new Date())
  const caFile = join(folder, 'ca.pem')
  await writeFile(caFile, `${await readFile(testbed.caFile, 'utf8')}\n${authority.cert}`)
  const open = new Set<Socket>()
  const keep = (socket: Socket) => {
    open.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => open.delete(socket))
  }
  const server = createServer((asking) => {
    keep(asking)
    asking.once('data', (head: Buffer) => {
      if (!head.toString().startsWith(`CONNECT ${HOST}:443 `)) return asking.destroy()
      asking.write('HTTP/1.1 200 OK\r\n\r\n')
      const secure = new TLSSocket(asking, { isServer: true, key, cert })
      const far = connect(Number(new URL(testbed.endpoint).port), '127.0.0.1')
      keep(far)
      secure.on('error', () => far.destroy())
      secure.pipe(far).pipe(secure)
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  return {
    environment: { HTTPS_PROXY: `http://127.0.0.1:${port}`, SSL_CERT_FILE: caFile },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      server.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
