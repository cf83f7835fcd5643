import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())
const newClient = async () => new SSM((await testbed.account()).config)

describe('a SecureString', () => {
  it('comes back as it was with decryption, and as ciphertext without', async () => {
    const ssm = await newClient()
    const Value = 'mypassword123 ü'
    await ssm.putParameter({ Name: '/db/password', Value, Type: 'SecureString' })
    const open = await ssm.getParameter({ Name: '/db/password', WithDecryption: true })
    expect(open.Parameter).toMatchObject({ Type: 'SecureString', Value })
    const closed = (await ssm.getParameter({ Name: '/db/password' })).Parameter?.Value ?? ''
    expect(Buffer.from(closed, 'base64').toString('base64')).toBe(closed)
    expect(Buffer.from(closed, 'base64').includes(Buffer.from('password'))).toBe(false)
  })

  it('is opened and closed alike by every operation that reads', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: '/s/x', Value: 'one', Type: 'SecureString' })
    await ssm.putParameter({ Name: '/s/x', Value: 'two', Overwrite: true })
    const WithDecryption = true
    const values = (answer: { Parameters?: { Value?: string }[] }) => answer.Parameters?.map(({ Value }) => Value)
    expect(values(await ssm.getParameters({ Names: ['/s/x', '/s/x:1'], WithDecryption }))).toEqual(['two', 'one'])
    expect(values(await ssm.getParametersByPath({ Path: '/s', WithDecryption }))).toEqual(['two'])
    expect(values(await ssm.getParameterHistory({ Name: '/s/x', WithDecryption }))).toEqual(['one', 'two'])
    expect(values(await ssm.getParameterHistory({ Name: '/s/x' }))).not.toContain('one')
  })

  it('looks different each time it is written', async () => {
    const ssm = await newClient()
    const seen = new Set<string | undefined>()
    for (let version = 1; version <= 3; version++) {
      await ssm.putParameter({ Name: 's', Value: 'same', Type: 'SecureString', Overwrite: true })
      seen.add((await ssm.getParameter({ Name: 's' })).Parameter?.Value)
    }
    expect(seen.size).toBe(3)
  })

  it('shows its key as it was named, by default alias/aws/ssm', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: 'default', Value: 'v', Type: 'SecureString' })
    await ssm.putParameter({ Name: 'named', Value: 'v', Type: 'SecureString', KeyId: 'alias/aws/ssm' })
    const { Parameters } = await ssm.describeParameters({})
    expect(Parameters?.map(({ KeyId }) => KeyId)).toEqual(['alias/aws/ssm', 'alias/aws/ssm'])
  })

  it('takes the ARN of the alias as well', async () => {
    const ssm = await newClient()
    await ssm.putParameter({ Name: 'a', Value: 'v', Type: 'String' })
    const [, , , region, account] = (await ssm.getParameter({ Name: 'a' })).Parameter?.ARN?.split(':') ?? []
    const KeyId = `arn:aws:kms:${region}:${account}:alias/aws/ssm`
    await ssm.putParameter({ Name: 's', Value: 'v', Type: 'SecureString', KeyId })
    expect((await ssm.getParameter({ Name: 's', WithDecryption: true })).Parameter?.Value).toBe('v')
  })

  it.each([
    ['alias/nothing', /^Alias arn:aws:kms:[a-z0-9-]+:\d{12}:alias\/nothing is not found\./],
    [
      '12345678-90ab-4cde-8f01-234567890abc',
      /^Key 'arn:aws:kms:[a-z0-9-]+:\d{12}:key\/12345678-90ab-4cde-8f01-234567890abc' does not exist/,
    ],
    ['nonsense', /^Invalid keyId 'nonsense'/],
  ])('under the key %s, which is not there, is refused', async (KeyId, message) => {
    const ssm = await newClient()
    const { name, message: text } = await refusal(
      ssm.putParameter({ Name: 's', Value: 'v', Type: 'SecureString', KeyId }),
    )
    expect(name).toBe('InvalidKeyId')
    expect(text).toMatch(message)
    expect(await refusal(ssm.getParameter({ Name: 's' }))).toMatchObject({ name: 'ParameterNotFound' })
  })

  it('is the only type with a key', async () => {
    const ssm = await newClient()
    expect(await refusal(ssm.putParameter({ Name: 's', Value: 'v', Type: 'String', KeyId: 'alias/aws/ssm' }))).toEqual({
      name: 'ValidationException',
      message: 'KeyId is required for SecureString type parameter only.',
    })
  })

  it('of eight kilobytes fits the advanced tier', async () => {
    const ssm = await newClient()
    const Value = 'v'.repeat(8192)
    await ssm.putParameter({ Name: 'large', Value, Type: 'SecureString', Tier: 'Advanced' })
    expect((await ssm.getParameter({ Name: 'large', WithDecryption: true })).Parameter?.Value).toBe(Value)
  })
})
