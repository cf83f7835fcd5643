/** Settings: secrets, of which whatever the process starts later finds none in its environment, and what values may be. */
import { describe, expect, it } from 'vitest'
import { readConfig } from './config.ts'
import { SETTINGS } from './settings.ts'

/** Every setting whose value lets somebody in, with one that it takes. */
const SECRETS: Record<string, string> = {
  DATABASE_URL: 'postgres://app:open-sesame@127.0.0.1:5432/app',
  MUSTERBOOK_ROOT_KEY: Buffer.alloc(32, 7).toString('base64'),
  MUSTERBOOK_ROOT_SECRET_ACCESS_KEY: 'open-sesame-open-sesame-open-sesame',
  MUSTERBOOK_COMMAND_OUTPUT_SECRET_ACCESS_KEY: 'open-sesame-open-sesame-open-sesame',
  MUSTERBOOK_ACTIVATION_CODE: 'open-sesame-open-sesame',
}
const OPEN = {
  MUSTERBOOK_ROOT_ACCESS_KEY_ID: 'AKIA0123456789ABCDEF',
  MUSTERBOOK_COMMAND_OUTPUT: 'https://store.example.com',
  MUSTERBOOK_COMMAND_OUTPUT_ACCESS_KEY_ID: 'AKIA0123456789ABCDEF',
  MUSTERBOOK_ACTIVATION_ID: '8f6a1a1e-54b4-4f59-a3a5-6a2a5a6a3a11',
}

describe('a secret in the environment', () => {
  for (const command of ['up', 'serve', 'agent', 'enroll', 'migrate', 'doctor'])
    it(`is gone once '${command}' has read its settings`, () => {
      const environment: NodeJS.ProcessEnv = { ...OPEN, ...SECRETS, PATH: '/bin' }
      readConfig([command], environment)
      expect(environment).toEqual({ ...OPEN, PATH: '/bin' })
    })

  it('is in this list, whenever a setting is called so', () => {
    const called = Object.values(SETTINGS).filter(({ variable }) =>
      /SECRET|PASSWORD|_KEY$|_CODE$|_TOKEN$/.test(variable),
    )
    for (const { variable } of called) expect(Object.keys(SECRETS)).toContain(variable)
  })

  it('is still known to the command that wants it', () => {
    const environment: NodeJS.ProcessEnv = { ...OPEN, ...SECRETS }
    const config = readConfig(['serve'], environment)
    expect(config.databaseUrl).toBe(SECRETS.DATABASE_URL)
    expect(config.rootKey.variable).toBe(SECRETS.MUSTERBOOK_ROOT_KEY)
    expect(config.rootCredentials?.secretAccessKey).toBe(SECRETS.MUSTERBOOK_ROOT_SECRET_ACCESS_KEY)
    expect(config.commandOutput).toMatchObject({
      secretAccessKey: SECRETS.MUSTERBOOK_COMMAND_OUTPUT_SECRET_ACCESS_KEY,
    })
  })
})

describe('the life of an enrolment', () => {
  const hours = (ttl: string) => readConfig(['enroll', '--ttl', ttl], { PATH: '/bin' }).enrolment.ttlHours

  it('is told in minutes, hours or days, or has no end', () => {
    expect(['30m', '24h', '7d', 'none'].map(hours)).toEqual([0.5, 24, 168, Number.POSITIVE_INFINITY])
    expect(() => hours('long')).toThrow('it must look like 30m, 24h or 7d, or be none')
  })
})
