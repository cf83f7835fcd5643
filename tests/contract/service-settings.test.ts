import { SSM } from '@aws-sdk/client-ssm'
import { startTestbed } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())
const newClient = async () => new SSM((await testbed.account()).config)

const SettingId = '/ssm/parameter-store/default-parameter-tier'

describe('a service setting', () => {
  it('has its default until somebody changes it', async () => {
    const ssm = await newClient()
    expect((await ssm.getServiceSetting({ SettingId })).ServiceSetting).toMatchObject({
      SettingId,
      SettingValue: 'Standard',
      LastModifiedUser: 'System',
      ARN: expect.stringMatching(
        /^arn:aws:ssm:[a-z0-9-]+:\d{12}:servicesetting\/ssm\/parameter-store\/default-parameter-tier$/,
      ),
      Status: 'Default',
    })
  })

  it('is changed for one account and region, and reset', async () => {
    const { config } = await testbed.account()
    const [ssm, elsewhere, stranger] = [
      new SSM(config),
      new SSM({ ...config, region: 'eu-central-1' }),
      await newClient(),
    ]
    await ssm.updateServiceSetting({ SettingId, SettingValue: 'Advanced' })
    const { ServiceSetting } = await ssm.getServiceSetting({ SettingId })
    expect(ServiceSetting).toMatchObject({ SettingValue: 'Advanced', Status: 'Customized' })
    expect(ServiceSetting?.LastModifiedUser).toMatch(/^arn:aws:iam::\d{12}:root$/)
    for (const other of [elsewhere, stranger]) {
      expect((await other.getServiceSetting({ SettingId })).ServiceSetting?.SettingValue).toBe('Standard')
    }
    expect((await ssm.resetServiceSetting({ SettingId })).ServiceSetting).toMatchObject({
      SettingValue: 'Standard',
      Status: 'Default',
    })
    expect((await ssm.getServiceSetting({ SettingId })).ServiceSetting?.Status).toBe('Default')
  })

  it('may be named by its own ARN, and not by another account’s', async () => {
    const [ssm, stranger] = [await newClient(), await newClient()]
    const { ARN } = (await ssm.getServiceSetting({ SettingId })).ServiceSetting ?? {}
    await ssm.updateServiceSetting({ SettingId: ARN, SettingValue: 'Intelligent-Tiering' })
    const { ServiceSetting } = await ssm.getServiceSetting({ SettingId: ARN })
    expect(ServiceSetting).toMatchObject({ SettingId, SettingValue: 'Intelligent-Tiering' })
    expect(await refusal(stranger.getServiceSetting({ SettingId: ARN }))).toMatchObject({
      name: 'ServiceSettingNotFound',
    })
  })

  it.each(['/ssm/none', 'constructor', 'arn:aws:ssm:us-east-1:1:nonsense'])(
    'that is not one is not found: %s',
    async (id) => {
      const ssm = await newClient()
      expect(await refusal(ssm.getServiceSetting({ SettingId: id }))).toMatchObject({ name: 'ServiceSettingNotFound' })
      expect(await refusal(ssm.resetServiceSetting({ SettingId: id }))).toMatchObject({
        name: 'ServiceSettingNotFound',
      })
      const update = ssm.updateServiceSetting({ SettingId: id, SettingValue: 'v' })
      expect(await refusal(update)).toMatchObject({ name: 'ServiceSettingNotFound' })
    },
  )

  it.each([
    [SettingId, 'Gold'],
    ['/ssm/parameter-store/high-throughput-enabled', 'maybe'],
    ['/ssm/managed-instance/activation-tier', 'Advanced!'],
    ['/ssm/automation/customer-script-log-group-name', 'a b'],
  ])('%s cannot be %s', async (id, SettingValue) => {
    const ssm = await newClient()
    const update = ssm.updateServiceSetting({ SettingId: id, SettingValue })
    expect(await refusal(update)).toMatchObject({ name: 'ValidationException' })
  })

  it.each([
    '/ssm/parameter-store/high-throughput-enabled',
    '/ssm/appmanager/appmanager-enabled',
    '/ssm/automation/customer-script-log-destination',
    '/ssm/automation/customer-script-log-group-name',
    '/ssm/automation/enable-adaptive-concurrency',
    '/ssm/documents/console/public-sharing-permission',
    '/ssm/managed-instance/activation-tier',
    '/ssm/managed-instance/default-ec2-instance-management-role',
    '/ssm/opsinsights/opscenter',
  ])('%s is known', async (id) => {
    const ssm = await newClient()
    expect((await ssm.getServiceSetting({ SettingId: id })).ServiceSetting?.Status).toBe('Default')
  })
})
