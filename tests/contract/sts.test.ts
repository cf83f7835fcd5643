import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { startTestbed } from '@musterbook/testbed'
import { describe, expect, it } from 'vitest'

describe('STS', () => {
  it('tells the root of an account who it is', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const sts = new STSClient(account.config)
    const identity = await sts.send(new GetCallerIdentityCommand({}))
    expect(identity).toMatchObject({
      Account: account.account,
      Arn: `arn:aws:iam::${account.account}:root`,
      UserId: account.account,
    })
    sts.destroy()
  })

  it('refuses a role that does not exist in the words of the query protocol', async () => {
    await using testbed = await startTestbed()
    const account = await testbed.account()
    const sts = new STSClient(account.config)
    const RoleArn = `arn:aws:iam::${account.account}:role/none`
    const refused = sts.send(new AssumeRoleCommand({ RoleArn, RoleSessionName: 'test' }))
    await expect(refused).rejects.toMatchObject({ name: 'AccessDenied', $metadata: { httpStatusCode: 403 } })
    sts.destroy()
  })
})
