/** The server's certificate changes under its open connections, and nobody restarts anything. */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { createAuthority, createLog, issueServerCertificate } from '@musterbook/server'
import { eventually, startTestbed } from '@musterbook/testbed'
import { expect, it } from 'vitest'
import { keepCertificate } from '../../packages/cli/src/certificate-renewal.ts'
import { ownCertificate, serverCertificate } from '../../packages/cli/src/data-folder.ts'

const NAMES = ['127.0.0.1']
const DAY_MS = 86_400_000

it('a new certificate is good on a machine whose clock is more than a day behind, and lives for no more than 398 days', async () => {
  const authority = await createAuthority('Musterbook', new Date())
  const [server = '', issuer = ''] = (await issueServerCertificate(authority, NAMES, new Date())).cert.match(PEM) ?? []
  for (const cert of [server, issuer])
    expect(Date.parse(new X509Certificate(cert).validFrom)).toBeLessThan(Date.now() - 1.5 * DAY_MS)
  const { validFrom, validTo } = new X509Certificate(server)
  expect((Date.parse(validTo) - Date.parse(validFrom)) / DAY_MS).toBeLessThanOrEqual(398)
})

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

it('a certificate whose files change, or that nears its end, is replaced while the server runs', async () => {
  await using bed = await startTestbed()
  const folder = await mkdtemp(join(tmpdir(), 'musterbook-certificate-'))
  try {
    const first = await serverCertificate(folder, NAMES)
    const { listener } = bed.server
    listener.useCertificate(first)
    const ca = await readFile(join(folder, 'ca.pem'), 'utf8')
    const serialOf = (cert: string) => new X509Certificate(cert).serialNumber
    const open = async (): Promise<TLSSocket> => {
      const socket = connect({ host: '127.0.0.1', port: listener.tlsPort ?? 0, ca })
      await once(socket, 'secureConnect')
      return socket
    }
    const presented = async () => {
      const socket = await open()
      const { serialNumber } = socket.getPeerCertificate()
      socket.destroy()
      return serialNumber
    }
    await using _kept = keepCertificate({
      read: () => serverCertificate(folder, NAMES),
      current: first,
      use: (certificate) => listener.useCertificate(certificate),
      log: createLog('silent'),
      everyMs: 20,
    })
    expect(await presented()).toBe(serialOf(first.cert))
    const before = await open() // a connection that stays

    const authority = { cert: ca, key: await readFile(join(folder, 'ca.key'), 'utf8') }
    const all = [...new X509Certificate(first.cert).subjectAltName!.matchAll(/(?:DNS|IP Address):([^,]+)/g)].map(
      ([, name = '']) => (name === '0:0:0:0:0:0:0:1' ? '::1' : name),
    )
    const put = async (at: Date) => {
      const issued = await issueServerCertificate(authority, all, at)
      await writeFile(join(folder, 'server.key'), issued.key, { mode: 0o600 })
      await writeFile(join(folder, 'server.pem'), issued.cert)
      return serialOf(issued.cert)
    }
    await put(new Date())
    const second = await eventually('the new files are served', async () => {
      const serial = await presented()
      return serial === serialOf(first.cert) ? undefined : serial
    })

    const old = await put(new Date(Date.now() - 380 * DAY_MS)) // 16 days are left to it
    await eventually('one that nears its end is renewed', async () => {
      const serial = await presented()
      const file = new X509Certificate(await readFile(join(folder, 'server.pem')))
      const isLong = new Date(file.validTo).getTime() > Date.now() + 300 * DAY_MS
      return isLong && serial === file.serialNumber && serial !== second && serial !== old ? true : undefined
    })
    before.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')
    const [answer] = await once(before, 'data')
    expect(String(answer)).toMatch(/^HTTP\/1\.1 200/)
    before.destroy()
  } finally {
    await rm(folder, { recursive: true })
  }
})

it('a certificate of its own is read anew, and refused with a key that others can read or that is not its', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'musterbook-certificate-'))
  try {
    const files = { cert: join(folder, 'own.pem'), key: join(folder, 'own.key') }
    const authority = await createAuthority('an authority elsewhere', new Date())
    const put = async (names: string[]) => {
      const issued = await issueServerCertificate(authority, names, new Date())
      await writeFile(files.key, issued.key, { mode: 0o600 })
      await writeFile(files.cert, issued.cert)
      return issued
    }
    const first = await put(['127.0.0.1'])
    expect(await ownCertificate(files)).toEqual({ key: first.key, cert: first.cert })
    await using bed = await startTestbed()
    const { listener } = bed.server
    listener.useCertificate(first)
    const presented = async () => {
      const socket = connect({ host: '127.0.0.1', port: listener.tlsPort ?? 0, ca: authority.cert })
      await once(socket, 'secureConnect')
      const { serialNumber } = socket.getPeerCertificate()
      socket.destroy()
      return serialNumber
    }
    await using _kept = keepCertificate({
      read: () => ownCertificate(files),
      current: first,
      use: (certificate) => listener.useCertificate(certificate),
      log: createLog('silent'),
      everyMs: 20,
    })
    expect(await presented()).toBe(new X509Certificate(first.cert).serialNumber)
    const second = await put(['127.0.0.1', 'harbour.example'])
    const serial = new X509Certificate(second.cert).serialNumber
    await eventually('the new one is served', async () => (await presented()) === serial)

    await chmod(files.key, 0o640)
    await expect(ownCertificate(files)).rejects.toThrow(`${files.key} can be read by others`)
    await chmod(files.key, 0o600)
    await writeFile(files.key, first.key)
    await expect(ownCertificate(files)).rejects.toThrow('is not that of the certificate')
    await writeFile(files.key, 'no key')
    await expect(ownCertificate(files)).rejects.toThrow('in PEM')
    // What is in use stays in use.
    expect(await presented()).toBe(serial)
  } finally {
    await rm(folder, { recursive: true })
  }
})
