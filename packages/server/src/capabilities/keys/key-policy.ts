/** The policies of keys: what AWS gives a key that is made without one, and what it gives the keys it manages. */
import type { ResourcePolicy } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { mayDo, resourcePolicyIds } from '../identity/index.ts'
import { KeyError } from './errors.ts'
import { CLOUDTRAIL_KEY_ALIAS, keyArn } from './resolve.ts'
import type { KeyRow } from './store.ts'

export const POLICY_NAME = 'default'
/** AWS's limit of a key policy. */
const MAX_POLICY_BYTES = 32_768

const rootOf = (account: string) => `arn:aws:iam::${account}:root`

/** It lets the account in, that is, leaves the decision to the account's identity policies. */
export const defaultPolicy = (account: string): string =>
  JSON.stringify(
    {
      Version: '2012-10-17',
      Id: 'key-default-1',
      Statement: [
        {
          Sid: 'Enable IAM User Permissions',
          Effect: 'Allow',
          Principal: { AWS: rootOf(account) },
          Action: 'kms:*',
          Resource: '*',
        },
      ],
    },
    null,
    2,
  )

const managedPolicies = new Map<string, string>()
const MAX_MANAGED = 10_000

/** Everybody in the account may use the key, through Systems Manager alone. */
function managedPolicy(account: string, region: string): string {
  const name = `${account}/${region}`
  let text = managedPolicies.get(name)
  if (text === undefined) {
    text = JSON.stringify(
      {
        Version: '2012-10-17',
        Id: 'auto-ssm-1',
        Statement: [
          {
            Sid: 'Allow access through SSM for all principals in the account that are authorized to use SSM',
            Effect: 'Allow',
            Principal: { AWS: '*' },
            Action: [
              'kms:Encrypt',
              'kms:Decrypt',
              'kms:ReEncrypt*',
              'kms:GenerateDataKey*',
              'kms:CreateGrant',
              'kms:DescribeKey',
            ],
            Resource: '*',
            Condition: {
              StringEquals: { 'kms:CallerAccount': account, 'kms:ViaService': `ssm.${region}.amazonaws.com` },
            },
          },
          {
            Sid: 'Allow direct access to key metadata to the account',
            Effect: 'Allow',
            Principal: { AWS: rootOf(account) },
            Action: ['kms:Describe*', 'kms:Get*', 'kms:List*', 'kms:RevokeGrant'],
            Resource: '*',
          },
        ],
      },
      null,
      2,
    )
    if (managedPolicies.size >= MAX_MANAGED) managedPolicies.clear()
    managedPolicies.set(name, text)
  }
  return text
}

/**
 * What the audit keeps is read by whoever has kms:Decrypt on its key, and not by everybody whom a service would let in.
 * Nobody may disable or delete the key, or write its policy: what was kept would be lost, and what comes would not be kept.
 */
const auditPolicy = ({ account, region }: KeyRow): string =>
  JSON.stringify(
    {
      Version: '2012-10-17',
      Id: 'auto-cloudtrail-1',
      Statement: [
        {
          Sid: 'Allow CloudTrail to encrypt what it keeps apart',
          Effect: 'Allow',
          Principal: { AWS: rootOf(account) },
          Action: 'kms:GenerateDataKey',
          Resource: '*',
          Condition: { StringEquals: { 'kms:ViaService': `cloudtrail.${region}.amazonaws.com` } },
        },
        {
          Sid: 'Allow principals in the account that are authorized by IAM to read it',
          Effect: 'Allow',
          Principal: { AWS: rootOf(account) },
          Action: ['kms:Decrypt', 'kms:Describe*', 'kms:Get*', 'kms:List*'],
          Resource: '*',
        },
      ],
    },
    null,
    2,
  )

/** The key's policy, and what grants give this caller beside it, as the evaluator takes them. */
export const resourcePolicyOf = (key: KeyRow, granted?: string): ResourcePolicy => ({
  text: policyOf(key),
  ...(key.policy !== null && { ids: key.policyIds }),
  ...(granted !== undefined && { granted }),
  required: true,
})

export const policyOf = (key: KeyRow): string => {
  if (key.policy !== null) return key.policy
  return key.aliases.includes(CLOUDTRAIL_KEY_ALIAS) ? auditPolicy(key) : managedPolicy(key.account, key.region)
}

/**
 * The ids of the users and roles that the policy names. MalformedPolicyDocumentException: unreadable, it names somebody who
 * does not exist, or it locks its writer out. LimitExceededException.
 */
export async function checkPolicy(
  context: Context,
  key: { account: string; region: string; keyId: string },
  text: string,
  bypassLockoutCheck: boolean | undefined,
): Promise<Record<string, string>> {
  if (Buffer.byteLength(text) > MAX_POLICY_BYTES)
    throw new KeyError('LimitExceededException', `A key policy may have ${MAX_POLICY_BYTES} bytes at most.`)
  const ids = await resourcePolicyIds(context, text)
  if (typeof ids === 'string') throw new KeyError('MalformedPolicyDocumentException', ids)
  if (bypassLockoutCheck) return ids
  const locksOut = !(await mayDo(context, {
    action: 'kms:PutKeyPolicy',
    resources: [keyArn(key)],
    keys: { 'kms:CallerAccount': context.account },
    resourcePolicy: { text, ids, required: true },
  }))
  if (locksOut)
    throw new KeyError(
      'MalformedPolicyDocumentException',
      'The new key policy will not allow you to update the key policy in the future.',
    )
  return ids
}
