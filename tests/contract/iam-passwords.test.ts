/** Passwords of users: what an account wants of them, who sets them and who changes them. */
import { IAM } from '@aws-sdk/client-iam'
import { startTestbed, type TestAccount } from '@musterbook/testbed'
import { afterAll, describe, expect, it } from 'vitest'
import { refusal } from './refusal.ts'

const testbed = await startTestbed()
afterAll(() => testbed[Symbol.asyncDispose]())

const iamOf = ({ config }: TestAccount, credentials = config.credentials) => new IAM({ ...config, credentials })

/** A user with a password and a key, and what it may beside that. */
async function userOf(account: TestAccount, UserName: string, Password: string, ...actions: string[]) {
  const iam = iamOf(account)
  await iam.createUser({ UserName })
  await iam.createLoginProfile({ UserName, Password, PasswordResetRequired: true })
  if (actions.length > 0) {
    const Statement = { Effect: 'Allow', Action: actions, Resource: '*' }
    const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
    await iam.putUserPolicy({ UserName, PolicyName: 'own', PolicyDocument })
  }
  const { AccessKey } = await iam.createAccessKey({ UserName })
  return iamOf(account, { accessKeyId: AccessKey!.AccessKeyId!, secretAccessKey: AccessKey!.SecretAccessKey! })
}

const violation = (wanted: string) => ({
  name: 'PasswordPolicyViolationException',
  message: `Password does not conform to the account password policy: ${wanted}.`,
})

describe('the password policy of an account', () => {
  it('is told as it was written, as a whole, until it is deleted', async () => {
    const account = await testbed.account()
    const iam = iamOf(account)
    const none = {
      name: 'NoSuchEntityException',
      message: `The Password Policy with domain name ${account.account} cannot be found.`,
    }
    expect(await refusal(iam.getAccountPasswordPolicy({}))).toEqual(none)
    expect(await refusal(iam.deleteAccountPasswordPolicy({}))).toEqual(none)
    await iam.updateAccountPasswordPolicy({ MinimumPasswordLength: 14, MaxPasswordAge: 90, RequireSymbols: true })
    const others = {
      RequireNumbers: false,
      RequireUppercaseCharacters: false,
      RequireLowercaseCharacters: false,
      AllowUsersToChangePassword: false,
    }
    expect((await iam.getAccountPasswordPolicy({})).PasswordPolicy).toEqual({
      ...others,
      MinimumPasswordLength: 14,
      RequireSymbols: true,
      MaxPasswordAge: 90,
      ExpirePasswords: true,
    })
    await iam.updateAccountPasswordPolicy({ PasswordReusePrevention: 5 })
    expect((await iam.getAccountPasswordPolicy({})).PasswordPolicy).toEqual({
      ...others,
      MinimumPasswordLength: 6,
      RequireSymbols: false,
      PasswordReusePrevention: 5,
      ExpirePasswords: false,
    })
    expect(await refusal(iam.updateAccountPasswordPolicy({ MinimumPasswordLength: 5 }))).toMatchObject({
      name: 'ValidationError',
    })
    await iam.deleteAccountPasswordPolicy({})
    expect(await refusal(iam.getAccountPasswordPolicy({}))).toEqual(none)
  })

  it('holds for passwords that administrators give, in place of the default', async () => {
    const iam = iamOf(await testbed.account())
    const UserName = 'ada'
    await iam.createUser({ UserName })
    const weak = iam.createLoginProfile({ UserName, Password: 'onlyletters' })
    expect(await refusal(weak)).toEqual(violation('8 characters of 3 kinds at least'))
    await iam.updateAccountPasswordPolicy({
      ...{ MinimumPasswordLength: 10, RequireSymbols: true, RequireNumbers: true },
      ...{ RequireUppercaseCharacters: true, RequireLowercaseCharacters: true },
    })
    const wanted = {
      'Short-1': '10 characters at least',
      'no-uppercase-1': 'an uppercase letter at least',
      'NO-LOWERCASE-1': 'a lowercase letter at least',
      'No-numbers-here': 'a number at least',
      'NoSymbols 1 here': 'a symbol at least',
    }
    for (const [Password, fault] of Object.entries(wanted))
      expect(await refusal(iam.createLoginProfile({ UserName, Password }))).toEqual(violation(fault))
    await iam.createLoginProfile({ UserName, Password: 'Harbour-bell-7' })
    await iam.updateAccountPasswordPolicy({ MinimumPasswordLength: 6 })
    await iam.updateLoginProfile({ UserName, Password: 'simple' })
  })

  it('keeps passwords of before from being used again, those of an earlier login profile too', async () => {
    const iam = iamOf(await testbed.account())
    const UserName = 'ada'
    await iam.createUser({ UserName })
    await iam.updateAccountPasswordPolicy({ PasswordReusePrevention: 1 })
    await iam.createLoginProfile({ UserName, Password: 'the first' })
    const used = violation('none of the passwords before it')
    expect(await refusal(iam.updateLoginProfile({ UserName, Password: 'the first' }))).toEqual(used)
    await iam.deleteLoginProfile({ UserName })
    expect(await refusal(iam.createLoginProfile({ UserName, Password: 'the first' }))).toEqual(used)
    await iam.createLoginProfile({ UserName, Password: 'the second' })
    await iam.updateLoginProfile({ UserName, Password: 'the first' })
  })
})

describe('ChangePassword', () => {
  const [OldPassword, NewPassword] = ['Harbour bell 7', 'Harbour bell 8']

  it('is for users who know the old password and are allowed', async () => {
    const account = await testbed.account()
    const ada = await userOf(account, 'ada', OldPassword, 'iam:ChangePassword')
    expect(await refusal(ada.changePassword({ OldPassword: 'Harbour bell 6', NewPassword }))).toEqual({
      name: 'AccessDenied',
      message: 'The old password was incorrect.',
    })
    expect(await refusal(ada.changePassword({ OldPassword, NewPassword: 'short' }))).toMatchObject({
      name: 'PasswordPolicyViolationException',
    })
    await ada.changePassword({ OldPassword, NewPassword })
    expect(await refusal(ada.changePassword({ OldPassword, NewPassword }))).toMatchObject({ name: 'AccessDenied' })
    const { LoginProfile } = await iamOf(account).getLoginProfile({ UserName: 'ada' })
    expect(LoginProfile?.PasswordResetRequired).toBe(false)
    expect(await refusal(iamOf(account).changePassword({ OldPassword, NewPassword }))).toEqual({
      name: 'InvalidUserTypeException',
      message: 'Only IAM Users can change their own password',
    })
  })

  it('happens once, of two calls that know the same old password', async () => {
    const account = await testbed.account()
    const ada = await userOf(account, 'ada', OldPassword, 'iam:ChangePassword')
    const changed = await Promise.allSettled([
      ada.changePassword({ OldPassword, NewPassword }),
      ada.changePassword({ OldPassword, NewPassword: 'Harbour bell 9' }),
    ])
    expect(changed.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(await refusal(ada.changePassword({ OldPassword, NewPassword }))).toMatchObject({ name: 'AccessDenied' })
  })

  it('is everybody’s where the account says so, unless a policy denies it', async () => {
    const account = await testbed.account()
    const iam = iamOf(account)
    const ada = await userOf(account, 'ada', OldPassword)
    expect(await refusal(ada.changePassword({ OldPassword, NewPassword }))).toMatchObject({ name: 'AccessDenied' })
    expect(await refusal(ada.getAccountPasswordPolicy({}))).toMatchObject({ name: 'AccessDenied' })
    await iam.updateAccountPasswordPolicy({ AllowUsersToChangePassword: true })
    await ada.changePassword({ OldPassword, NewPassword })
    expect((await ada.getAccountPasswordPolicy({})).PasswordPolicy?.AllowUsersToChangePassword).toBe(true)
    expect(await refusal(ada.deleteAccountPasswordPolicy({}))).toMatchObject({ name: 'AccessDenied' })
    const Statement = { Effect: 'Deny', Action: 'iam:ChangePassword', Resource: '*' }
    const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
    await iam.putUserPolicy({ UserName: 'ada', PolicyName: 'own', PolicyDocument })
    const again = ada.changePassword({ OldPassword: NewPassword, NewPassword: OldPassword })
    expect(await refusal(again)).toMatchObject({ name: 'AccessDenied' })
  })
})
