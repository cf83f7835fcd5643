/** Parameters that are read often are kept in memory; nobody may notice but by the speed. */
import {
  DeleteParameterCommand,
  GetParameterCommand,
  LabelParameterVersionCommand,
  PutParameterCommand,
  type SSMClient,
} from '@aws-sdk/client-ssm'
import { eventually, startTestbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'

const read = async (ssm: SSMClient, Name: string) =>
  (await ssm.send(new GetParameterCommand({ Name }))).Parameter?.Value
const write = (ssm: SSMClient, Name: string, Value: string) =>
  ssm.send(new PutParameterCommand({ Name, Value, Type: 'String', Overwrite: true }))

describe('a parameter that is read again and again', () => {
  it('always shows what the same process was last told', async () => {
    await using testbed = await startTestbed()
    const { ssm } = await testbed.account()
    const rounds = Array.from({ length: 15 }, (_, round) => round)
    await Promise.all(
      ['/kept/a', '/kept/b', '/kept/c'].map(async (name) => {
        for (const round of rounds) {
          await write(ssm, name, `value ${round}`)
          const seen = await Promise.all([1, 2, 3].map(() => read(ssm, name)))
          expect(seen).toEqual(Array.from({ length: 3 }, () => `value ${round}`))
        }
      }),
    )
  })

  it('never goes back to an older value while others write', async () => {
    await using testbed = await startTestbed()
    const { ssm } = await testbed.account()
    await write(ssm, '/kept/rising', '0')
    let isWriting = true
    let acknowledged = 0
    const readers = Array.from({ length: 2 }, async () => {
      while (isWriting) {
        const least = acknowledged
        expect(Number(await read(ssm, '/kept/rising'))).toBeGreaterThanOrEqual(least)
      }
    })
    for (let value = 1; value <= 40; value++) {
      await write(ssm, '/kept/rising', String(value))
      acknowledged = value
    }
    isWriting = false
    await Promise.all(readers)
  })

  it('shows what another process wrote, deleted and created again', async () => {
    await using testbed = await startTestbed()
    await using second = await testbed.another()
    const account = await testbed.account()
    const other = account.client({ endpoint: second.endpoint })
    await write(account.ssm, '/kept/shared', 'first')
    expect(await read(other, '/kept/shared')).toBe('first')
    await write(account.ssm, '/kept/shared', 'second')
    await eventually('the other process shows it', async () => (await read(other, '/kept/shared')) === 'second')
    await other.send(new DeleteParameterCommand({ Name: '/kept/shared' }))
    await expect(read(other, '/kept/shared')).rejects.toMatchObject({ name: 'ParameterNotFound' })
    await eventually('it is gone from the first', () =>
      read(account.ssm, '/kept/shared').then(
        () => false,
        () => true,
      ),
    )
    await write(other, '/kept/shared', 'third')
    expect(await read(other, '/kept/shared')).toBe('third')
    await eventually('the first shows the new one', () =>
      read(account.ssm, '/kept/shared').then(
        (value) => value === 'third',
        () => false,
      ),
    )
  })

  it('is found by version and label after it was kept', async () => {
    await using testbed = await startTestbed()
    const { ssm } = await testbed.account()
    await write(ssm, '/kept/labelled', 'one')
    expect(await read(ssm, '/kept/labelled')).toBe('one')
    await write(ssm, '/kept/labelled', 'two')
    await ssm.send(new LabelParameterVersionCommand({ Name: '/kept/labelled', ParameterVersion: 1, Labels: ['old'] }))
    expect(await read(ssm, '/kept/labelled:old')).toBe('one')
    expect(await read(ssm, '/kept/labelled:2')).toBe('two')
  })

  it('is another account’s own under the same name', async () => {
    await using testbed = await startTestbed()
    const [one, two] = [await testbed.account(), await testbed.account()]
    await write(one.ssm, '/kept/name', 'of one')
    expect(await read(one.ssm, '/kept/name')).toBe('of one')
    await expect(read(two.ssm, '/kept/name')).rejects.toMatchObject({ name: 'ParameterNotFound' })
    const elsewhere = one.client({ region: 'eu-west-1' })
    await expect(read(elsewhere, '/kept/name')).rejects.toMatchObject({ name: 'ParameterNotFound' })
  })
})
