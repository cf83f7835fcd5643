/** Changing the root key while everything runs: nothing fails meanwhile, and the old key opens nothing afterwards. */
import { randomBytes, randomUUID } from 'node:crypto'
import { CreateVirtualMFADeviceCommand, IAMClient } from '@aws-sdk/client-iam'
import { KMS } from '@aws-sdk/client-kms'
import { GetParameterCommand, PutParameterCommand } from '@aws-sdk/client-ssm'
import { GetSessionTokenCommand, STSClient } from '@aws-sdk/client-sts'
import { startServer } from '@musterbook/server'
import { eventually, startTestbed, type Testbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'
import { deleteHolder, writeHolder } from '../../packages/server/src/capabilities/root-key/store.ts'
import { rootKeyName, sealPrefix } from '../../packages/server/src/platform/seal.ts'
import { send, signed } from './signed-request.ts'

const HOURS_MS = 3_600_000

/** A place for root keys that a process can write to, as a file is. */
function place(...keys: Buffer[]) {
  const kept = { keys, writes: 0 }
  const source = () => ({
    keys: kept.keys,
    origin: 'a test',
    async keep(wanted: Uint8Array[]) {
      kept.keys = wanted.map((key) => Buffer.from(key))
      kept.writes++
    },
  })
  return { kept, source }
}

interface Status {
  InUse: string
  Rotation?: { Phase: string; To: string; From: string; Rewrapped: number; Problem?: string }
}

async function rootKey(bed: Testbed, method: 'GET' | 'POST', body = '{}', credentials = bed.server.root) {
  const host = new URL(bed.endpoint).host
  const signing = { credentials, host, method, path: '/v1/root-key', body: method === 'GET' ? '' : body }
  const answer = await send(bed.endpoint, signed({ ...signing, at: bed.clock.now() }))
  return { ...answer, status: answer.status, read: () => JSON.parse(answer.text) as Status }
}

const reached = (bed: Testbed, phase: string, alsoSettle: { work: { settle(): Promise<void> } }[] = []) =>
  eventually(`the change of the root key is ${phase}`, async () => {
    bed.clock.advance(1_000)
    for (const server of [bed.server, ...alsoSettle]) await server.work.settle()
    const { Rotation } = (await rootKey(bed, 'GET')).read()
    return Rotation?.Phase === phase ? Rotation : undefined
  })

/** Columns of the database in which something lies under this root key. */
async function under(bed: Testbed, key: Buffer): Promise<string[]> {
  const sql = bed.server.database
  const columns = await sql<{ t: string; c: string }[]>`
    select table_name as t, column_name as c from information_schema.columns
    where table_schema = 'public' and data_type = 'bytea'`
  const found: string[] = []
  for (const { t, c } of columns) {
    const [row] = await sql`
      select count(*)::int as n from ${sql(t)} where substring(${sql(c)} from 1 for 5) = ${sealPrefix(rootKeyName(key))}`
    if (row?.n > 0) found.push(`${t}.${c}`)
  }
  return found.sort()
}

describe('a change of the root key', () => {
  it('fails no read on any of two servers, and leaves nothing that the old key opens', async () => {
    const old = randomBytes(32)
    const [here, there] = [place(old), place(old)]
    await using bed = await startTestbed({ options: { rootKey: here.source() } })
    await using second = await startServer({
      database: bed.database.address,
      rootKey: there.source(),
      region: 'us-east-1',
      host: '127.0.0.1',
      port: 0,
      maxConnections: 100,
      log: bed.server.ground.log,
      clock: bed.clock,
      strict: true,
    })
    const { config, ssm, client } = await bed.account()
    const other = client({ endpoint: `http://127.0.0.1:${second.listener.port}` })
    const kms = new KMS(config)
    const { KeyMetadata } = await kms.createKey({})
    const KeyId = KeyMetadata?.KeyId
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('x') })
    await new IAMClient(config).send(new CreateVirtualMFADeviceCommand({ VirtualMFADeviceName: 'phone' }))
    await ssm.send(new PutParameterCommand({ Name: 'a', Value: 'secret', Type: 'SecureString' }))
    const { Credentials } = await new STSClient(config).send(new GetSessionTokenCommand({}))
    const session = {
      accessKeyId: Credentials?.AccessKeyId ?? '',
      secretAccessKey: Credentials?.SecretAccessKey ?? '',
      sessionToken: Credentials?.SessionToken ?? '',
    }
    const bySession = new KMS({ ...config, credentials: session })

    const reading = { on: true, reads: 0 }
    const read = async (reader: typeof ssm) => {
      while (reading.on) {
        const { Parameter } = await reader.send(new GetParameterCommand({ Name: 'a', WithDecryption: true }))
        expect(Parameter?.Value).toBe('secret')
        await kms.createKey({}) // seals meanwhile
        reading.reads++
      }
    }
    const readers = [read(ssm), read(other)]
    const fresh = (async () => {
      while (reading.on) {
        const made = await bed.account() // an access key that no process has in memory
        await made.client({}).send(new PutParameterCommand({ Name: 'b', Value: 'v', Type: 'SecureString' }))
      }
    })()
    try {
      expect((await rootKey(bed, 'POST')).status).toBe(200)
      await reached(bed, 'waiting', [second])
    } finally {
      reading.on = false
    }
    await Promise.all([...readers, fresh])
    expect(reading.reads).toBeGreaterThan(4)

    expect(await under(bed, old)).toEqual([])
    const names = (keys: Buffer[]) => keys.map((key) => rootKeyName(key))
    const { Rotation, InUse } = (await rootKey(bed, 'GET')).read()
    expect(Rotation).toMatchObject({ From: rootKeyName(old), To: InUse })
    expect(Rotation?.Rewrapped).toBeGreaterThan(4)
    for (const { kept } of [here, there]) expect(names(kept.keys)).toEqual([InUse, rootKeyName(old)])
    // What clients hold stays good for as long as it lives.
    await bySession.decrypt({ CiphertextBlob })
    bed.clock.advance(37 * HOURS_MS)
    await reached(bed, 'done', [second])
    for (const { kept } of [here, there]) expect(names(kept.keys)).toEqual([InUse])
    expect(bed.server.ground.sealer.rootKeys.names()).toEqual([InUse])
    expect(await under(bed, old)).toEqual([])
    const late = new KMS(config)
    Object.defineProperty(late.config, 'systemClockOffset', {
      get: () => bed.clock.now().getTime() - Date.now(),
      set() {},
    })
    expect(Buffer.from((await late.decrypt({ CiphertextBlob })).Plaintext ?? []).toString()).toBe('x')

    const tooLate = { database: bed.database.address, region: 'us-east-1', host: '127.0.0.1', port: 0 }
    const start = startServer({ ...tooLate, rootKey: old, maxConnections: 9, log: bed.server.ground.log })
    await expect(start).rejects.toThrow(/^this database was made with another root key \(it wants [0-9a-f]{8}, /)
  })

  it('is learnt by servers that start meanwhile with the old key alone, and ends', async () => {
    const old = randomBytes(32)
    const where = place(old)
    await using bed = await startTestbed({ options: { rootKey: where.source() } })
    const { config } = await bed.account()
    const kms = new KMS(config)
    const keys = await Promise.all(Array.from({ length: 20 }, () => kms.createKey({})))
    const KeyId = keys[0]?.KeyMetadata?.KeyId
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('x') })
    // A server that has begun and is gone: what it was about to do lies in the database alone.
    const { beginRotation } = await import('../../packages/server/src/capabilities/root-key/rotation.ts')
    const ground = Object.assign(Object.create(bed.server.ground), bed.server.ground, { wake: () => {} })
    // A third one that has not heard of the change yet, so that it goes on for as long as this test wants.
    const away = { processId: randomUUID(), held: [rootKeyName(old)], kept: [rootKeyName(old)] }
    const later = new Date(bed.clock.now().getTime() + HOURS_MS)
    await writeHolder(ground.sql, { ...away, origin: 'elsewhere', canKeep: true, sealsWith: rootKeyName(old) }, later)
    await beginRotation(ground, true)
    const options = { database: bed.database.address, region: 'us-east-1', host: '127.0.0.1', port: 0, strict: true }
    const more = { maxConnections: 100, log: bed.server.ground.log, clock: bed.clock }
    for (let round = 0; round < 3; round++) {
      const alone = place(old) // a machine of its own, whose file has the old key only
      await using server = await startServer({ ...options, ...more, rootKey: alone.source() })
      expect(server.ground.sealer.rootKeys.names()).toHaveLength(2)
      const reader = new KMS({ ...config, endpoint: `http://127.0.0.1:${server.listener.port}` })
      expect(Buffer.from((await reader.decrypt({ CiphertextBlob })).Plaintext ?? []).toString()).toBe('x')
      expect(alone.kept.keys).toHaveLength(2)
    }
    await deleteHolder(ground.sql, away.processId)
    const { To } = await reached(bed, 'done')
    expect(where.kept.keys.map((key) => rootKeyName(key))).toEqual([To])
    expect(await under(bed, old)).toEqual([])
  })

  it('is refused where a process could not keep the new key, and takes the one that its operator has added', async () => {
    const [old, added] = [randomBytes(32), randomBytes(32)]
    const variable = (...keys: Buffer[]) => ({ keys, origin: 'MUSTERBOOK_ROOT_KEY' })
    await using bed = await startTestbed({ options: { rootKey: variable(old) } })
    const refused = await rootKey(bed, 'POST')
    expect(refused.status).toBe(400)
    expect(refused.text).toContain('takes its root key from MUSTERBOOK_ROOT_KEY')
    await bed.server[Symbol.asyncDispose]()

    const options = { database: bed.database.address, region: 'us-east-1', host: '127.0.0.1', port: 0, strict: true }
    const more = { maxConnections: 100, log: bed.server.ground.log, clock: bed.clock }
    await using server = await startServer({ ...options, ...more, rootKey: variable(added, old) })
    expect(server.ground.sealer.rootKeys.current()).toBe(rootKeyName(old))
    const now = { ...bed, server, endpoint: `http://127.0.0.1:${server.listener.port}` }
    expect((await rootKey(now, 'POST', '{"Now":true}')).status).toBe(200)
    expect(await reached(now, 'done')).toMatchObject({ From: rootKeyName(old), To: rootKeyName(added) })
    expect(await under(now, old)).toEqual([])
    // The former key, which stands behind, is no new one.
    expect((await rootKey(now, 'POST')).status).toBe(400)
  })

  it('waits, and says so, while anything remains that only the old key opens', async () => {
    const old = randomBytes(32)
    await using bed = await startTestbed({ options: { rootKey: place(old).source() } })
    const sql = bed.server.database
    await sql`create table undeclared (secret bytea)`
    await sql`insert into undeclared values (${bed.server.ground.sealer.seal('p', Buffer.from('x'), 'c')})`
    await rootKey(bed, 'POST', '{"Now":true}')
    // Before that it may name what a call that had begun earlier has sealed late; that is sealed again.
    await eventually('it says what it waits for', async () => {
      const { Rotation } = (await rootKey(bed, 'GET')).read()
      return Rotation?.Problem === 'undeclared.secret still hold what is sealed under the old root key'
    })
    await sql`drop table undeclared`
    await reached(bed, 'done')
  })

  it('is for the account of the installation alone', async () => {
    await using bed = await startTestbed()
    const { config, account } = await bed.account()
    const answer = await rootKey(bed, 'POST', '{}', { account, ...config.credentials })
    expect(answer.status).toBe(403)
    expect(answer.text).toContain('AccessDeniedException')
  })
})
