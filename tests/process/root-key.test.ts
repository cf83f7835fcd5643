/** Where the root key may come from, what is said when it does not, and its change under a server that is killed. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, chown, copyFile, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { KMS } from '@aws-sdk/client-kms'
import { GetParameterCommand, PutParameterCommand } from '@aws-sdk/client-ssm'
import { connectDatabase, createAuthority, type DatabaseAddress, issueServerCertificate } from '@musterbook/server'
import { eventually, freshDatabase, startTestbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { fromCommand } from '../../packages/cli/src/root-key.ts'
import { createSealer, rootKeyName, sealPrefix } from '../../packages/server/src/platform/seal.ts'
import {
  descendants,
  newPlace,
  type Place,
  processes,
  type RunningServer,
  run,
  startMusterbook,
} from './musterbook-process.ts'

const newKey = () => randomBytes(32).toString('base64')
const at = (place: Place) => ['--data', place.folder, '--port', String(place.port), '--tls-port', String(place.tlsPort)]

function urlOf(address: DatabaseAddress): string {
  if (address.url) return address.url
  const { socketFolder = '', port, user, database } = address
  return `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(socketFolder)}`
}

/** The one line that a start ends with. */
async function complaint(place: Place, args: string[], env: Record<string, string>): Promise<string> {
  await using running = run(['serve', ...at(place), ...args], env)
  expect(await running.ended).toBe(1)
  const lines = running
    .err()
    .split('\n')
    .filter((line) => line && !line.startsWith('{'))
  expect(lines, running.err()).toHaveLength(1)
  return lines[0] ?? ''
}

async function stop(server: RunningServer) {
  server.ssm.destroy()
  await server.kill('SIGTERM')
}

const write = ({ ssm }: RunningServer) =>
  ssm.send(new PutParameterCommand({ Name: 'a', Value: 'secret', Type: 'SecureString', Overwrite: true }))
const read = async ({ ssm }: RunningServer) =>
  (await ssm.send(new GetParameterCommand({ Name: 'a', WithDecryption: true }))).Parameter?.Value

describe('the root key', () => {
  it('from the environment lies in no file, and no child of the server inherits it', async () => {
    await using place = await newPlace()
    const key = newKey()
    const env = { MUSTERBOOK_ROOT_KEY: key }
    const server = await startMusterbook(place, 'up', { env })
    await write(server)
    const children = descendants(server.child.pid)
    expect(children.length).toBeGreaterThan(2) // PostgreSQL and the agent
    for (const { pid, args } of children) {
      const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
      expect(environment.includes(key), args).toBe(false)
      expect(environment.includes('MUSTERBOOK_ROOT_KEY'), args).toBe(false)
    }
    expect(processes().some(({ args }) => args.includes(key))).toBe(false)
    expect(existsSync(join(place.folder, 'root.key'))).toBe(false)
    await stop(server)
    await using again = await startMusterbook(place, 'serve', { env })
    expect(await read(again)).toBe('secret')
  })

  it('that is wrong, broken, or told twice is one line at the start, without the key', async () => {
    await using place = await newPlace()
    await using database = await freshDatabase()
    const env = { DATABASE_URL: urlOf(database.address) }
    await stop(await startMusterbook(place, 'serve', { env: { ...env, MUSTERBOOK_ROOT_KEY: newKey() } }))
    const other = newKey()
    const wrong = await complaint(place, [], { ...env, MUSTERBOOK_ROOT_KEY: other })
    expect(wrong).toMatch(/another root key \(it wants [0-9a-f]{8}, MUSTERBOOK_ROOT_KEY holds [0-9a-f]{8}\)/)
    expect(wrong).not.toContain(other)
    const broken = await complaint(place, [], { ...env, MUSTERBOOK_ROOT_KEY: other.slice(0, 30) })
    expect(broken).toContain('MUSTERBOOK_ROOT_KEY must hold 32 bytes in base 64')
    expect(broken).not.toContain(other.slice(0, 30))
    const twice = await complaint(place, ['--root-key-command', 'true'], { ...env, MUSTERBOOK_ROOT_KEY: other })
    expect(twice).toContain('MUSTERBOOK_ROOT_KEY and MUSTERBOOK_ROOT_KEY_COMMAND exclude each other')
  })

  it('from a command is what the command prints, and what went wrong with it is told', async () => {
    await using place = await newPlace()
    await using database = await freshDatabase()
    const env = { DATABASE_URL: urlOf(database.address) }
    const file = join(place.folder, 'elsewhere')
    await writeFile(file, newKey(), { mode: 0o600 })
    const server = await startMusterbook(place, 'serve', { env, args: ['--root-key-command', `cat ${file}`] })
    await write(server)
    expect(await read(server)).toBe('secret')
    await stop(server)
    const told = (command: string) => complaint(place, [], { ...env, MUSTERBOOK_ROOT_KEY_COMMAND: command })
    expect(await told('echo the safe is shut >&2; exit 3')).toContain('failed with exit code 3: the safe is shut')
    expect(await told('echo nonsense')).toMatch(/must hold 32 bytes in base 64/)
    expect(await told('head -c 9000 /dev/zero')).toContain('prints more than a root key')
  })

  it('from a command that does not end is not waited for, and nothing of the command stays', async () => {
    const mark = `sleep 7${randomBytes(3).readUIntBE(0, 3)}`
    await expect(fromCommand(`${mark} & ${mark}`, 300)).rejects.toThrow('has not ended after 0.3 seconds')
    await eventually('the command is gone', () => !processes().some(({ args }) => args.includes(mark)) || undefined)
  })

  it('file of another user is refused, as it is when others can read it', async () => {
    await using place = await newPlace()
    await using database = await freshDatabase()
    const env = { DATABASE_URL: urlOf(database.address) }
    const file = join(place.folder, 'my.key')
    await writeFile(file, newKey(), { mode: 0o600 })
    await chmod(file, 0o604)
    expect(await complaint(place, ['--root-key-file', file], env)).toContain(`${file} can be read by others`)
    await chmod(file, 0o600)
    if (process.getuid?.() === 0) {
      await chown(file, 12345, 0)
      expect(await complaint(place, ['--root-key-file', file], env)).toContain('belongs to another user (uid 12345)')
    }
  })

  it('wrapped by an external KMS is unwrapped at every start, and not when that KMS refuses', async () => {
    await using bed = await startTestbed()
    const { config } = await bed.account()
    const kms = new KMS(config)
    const { KeyMetadata } = await kms.createKey({})
    const { Arn = '', KeyId = '' } = KeyMetadata ?? {}
    await using place = await newPlace()
    await using database = await freshDatabase()
    const { accessKeyId, secretAccessKey } = config.credentials
    const credentials = join(place.folder, 'root.key.credentials')
    const text = `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`
    await writeFile(credentials, text, { mode: 0o600 })
    const env = {
      DATABASE_URL: urlOf(database.address),
      MUSTERBOOK_ROOT_KEY_KMS: Arn,
      MUSTERBOOK_ROOT_KEY_KMS_ENDPOINT: bed.endpoint,
    }
    const server = await startMusterbook(place, 'serve', { env })
    await write(server)
    const path = join(place.folder, 'root.key.wrapped')
    expect(existsSync(join(place.folder, 'root.key'))).toBe(false)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const first = await readFile(path, 'utf8')
    expect(first).toMatch(/^kms:[A-Za-z0-9+/=]+\n$/)

    // Its change puts another wrapped key in the place of this one.
    await using rotating = run(['keys', 'rotate-root', '--now', '--data', place.folder])
    expect(await rotating.ended).toBe(0)
    expect(rotating.out()).toContain('the old key opens nothing')
    expect(await readFile(path, 'utf8')).not.toBe(first)
    expect((await readFile(path, 'utf8')).trim().split('\n')).toHaveLength(1)
    expect(await read(server)).toBe('secret')
    await stop(server)

    await kms.disableKey({ KeyId })
    expect(await complaint(place, [], env)).toMatch(
      /the KMS at .* refused to wrap or unwrap the root key: DisabledException/,
    )
    await kms.enableKey({ KeyId })
    await writeFile(credentials, text.replace(secretAccessKey, 'x'.repeat(40)))
    const refused = await complaint(place, [], env)
    expect(refused).toContain('InvalidSignatureException')
    expect(refused).not.toContain('x'.repeat(40))
    await writeFile(credentials, text)
    const changed = (await readFile(path, 'utf8')).replace(/.{8}\n$/, (end) =>
      end === 'AAAAAAAA\n' ? 'BBBBBBBB\n' : 'AAAAAAAA\n',
    )
    await copyFile(path, `${path}.good`)
    await writeFile(path, changed)
    expect(await complaint(place, [], env)).toContain('InvalidCiphertextException')
    await copyFile(`${path}.good`, path)
    await using again = await startMusterbook(place, 'serve', { env })
    expect(await read(again)).toBe('secret')
  })

  it('wrapped by the transit engine of Vault is unwrapped over TLS with the token from a file', async () => {
    const authority = await createAuthority('Vault test', new Date())
    const tls = await issueServerCertificate(authority, ['localhost', '127.0.0.1'], new Date())
    const vaultKey = randomBytes(32)
    const asked: string[] = []
    // What Vault's HTTP interface does: POST <mount>/encrypt|decrypt/<key>, X-Vault-Token, base 64 inside JSON.
    const vault = createServer(tls, async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk)
      const body = JSON.parse(Buffer.concat(chunks).toString())
      asked.push(request.url ?? '')
      const answer = (status: number, value: unknown) => response.writeHead(status).end(JSON.stringify(value))
      if (request.headers['x-vault-token'] !== 's.token') return answer(403, { errors: ['permission denied'] })
      const aad = Buffer.from(body.associated_data ?? '', 'base64')
      if (request.url === '/v1/transit/encrypt/musterbook') {
        const nonce = randomBytes(12)
        const cipher = createCipheriv('aes-256-gcm', vaultKey, nonce).setAAD(aad)
        const bytes = [nonce, cipher.update(Buffer.from(body.plaintext, 'base64')), cipher.final(), cipher.getAuthTag()]
        return answer(200, { data: { ciphertext: `vault:v1:${Buffer.concat(bytes).toString('base64')}` } })
      }
      if (request.url !== '/v1/transit/decrypt/musterbook') return answer(404, { errors: [] })
      const bytes = Buffer.from(body.ciphertext.replace(/^vault:v1:/, ''), 'base64')
      const decipher = createDecipheriv('aes-256-gcm', vaultKey, bytes.subarray(0, 12)).setAAD(aad)
      decipher.setAuthTag(bytes.subarray(-16))
      const plaintext = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
      return answer(200, { data: { plaintext: plaintext.toString('base64') } })
    })
    await new Promise<void>((resolve) => vault.listen(0, '127.0.0.1', resolve))
    try {
      await using place = await newPlace()
      await using database = await freshDatabase()
      const token = join(place.folder, 'root.key.token')
      await writeFile(token, 's.token\n', { mode: 0o600 })
      const ca = join(place.folder, 'vault-ca.pem')
      await writeFile(ca, authority.cert)
      const { port } = vault.address() as AddressInfo
      const env = {
        DATABASE_URL: urlOf(database.address),
        MUSTERBOOK_ROOT_KEY_VAULT: `https://localhost:${port}/v1/transit/keys/musterbook`,
        MUSTERBOOK_ROOT_KEY_CA: ca,
      }
      const server = await startMusterbook(place, 'serve', { env })
      await write(server)
      await stop(server)
      const again = await startMusterbook(place, 'serve', { env })
      expect(await read(again)).toBe('secret')
      await stop(again)
      expect(asked).toEqual(['/v1/transit/encrypt/musterbook', ...Array(2).fill('/v1/transit/decrypt/musterbook')])
      await writeFile(token, 's.wrong\n')
      expect(await complaint(place, [], env)).toMatch(/Vault at localhost:\d+ refused .*: permission denied/)
      const { MUSTERBOOK_ROOT_KEY_CA: _, ...untrusting } = env
      expect(await complaint(place, [], untrusting)).toMatch(/does not answer \((UNABLE_TO|SELF_SIGNED)/)
    } finally {
      vault.close()
    }
  })
})

describe('a change of the root key', () => {
  it('that is killed in the middle goes on at the next start, until the old key file opens nothing', async () => {
    await using place = await newPlace()
    await using fresh = await freshDatabase()
    const env = { DATABASE_URL: urlOf(fresh.address) }
    let server = await startMusterbook(place, 'serve', { env })
    await write(server)
    const file = join(place.folder, 'root.key')
    const oldText = await readFile(file, 'utf8')
    const oldKey = Buffer.from(oldText, 'base64')
    await writeFile(join(place.folder, 'old.key'), oldText, { mode: 0o600 })
    const sql = connectDatabase(fresh.address, 'test', 2)
    try {
      const sealer = createSealer(oldKey)
      const ids = Array.from({ length: 30_000 }, (_, index) => `AKIATEST${String(index).padStart(12, '0')}`)
      const sealed = ids.map((id) => sealer.seal('access key', Buffer.from(`secret of ${id}`), id).toString('hex'))
      const [row] = await sql<{ account: string }[]>`select account from installation`
      await sql`
        insert into access_keys (access_key_id, account, owner, secret_sealed, created_at)
        select id, ${row!.account}, 'user', decode(sealed, 'hex'), now()
        from unnest(${ids}::text[], ${sealed}::text[]) as t (id, sealed)`
      const old = sealPrefix(rootKeyName(oldKey))
      const left = async () => {
        const [found] = await sql<{ left: number }[]>`
          select count(*)::int as left from access_keys where substring(secret_sealed from 1 for 5) = ${old}`
        return found?.left ?? 0
      }
      await using asking = run(['keys', 'rotate-root', '--now', '--data', place.folder])
      await eventually('a part has been sealed again', async () => (await left()) < 29_000 || undefined)
      server.ssm.destroy()
      await server.kill('SIGKILL')
      await asking.ended
      const remaining = await left()
      expect(remaining).toBeGreaterThan(0)

      server = await startMusterbook(place, 'serve', { env })
      expect(await read(server)).toBe('secret')
      await using going = run(['keys', 'rotate-root', '--data', place.folder]) // the same change, watched again
      expect(await going.ended).toBe(0)
      expect(going.out()).toContain('the old key opens nothing')
      expect(await left()).toBe(0)
      const current = Buffer.from(await readFile(file, 'utf8'), 'base64')
      expect(current).toHaveLength(32)
      const opened = createSealer(current)
      const [some] = await sql<{ id: string; sealed: Buffer }[]>`
        select access_key_id as id, secret_sealed as sealed from access_keys where access_key_id = ${ids[17]!}`
      expect(opened.unseal('access key', some!.sealed, some!.id)?.toString()).toBe(`secret of ${ids[17]}`)
      await stop(server)
      const refused = await complaint(place, ['--root-key-file', join(place.folder, 'old.key')], env)
      expect(refused).toContain('another root key')
      server = await startMusterbook(place, 'serve', { env })
      expect(await read(server)).toBe('secret')
      await using status = run(['keys', 'status', '--data', place.folder])
      expect(await status.ended).toBe(0)
      expect(status.out()).toContain(`In use: ${rootKeyName(current)}`)
      await stop(server)
    } finally {
      await server.kill('SIGKILL')
      await sql.end()
    }
  })
})
