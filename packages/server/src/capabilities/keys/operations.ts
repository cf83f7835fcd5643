/** The operations of KMS, with the permissions that each asks for. */
import type { Input, ServiceOperations } from '../../contract/types.ts'
import type { Access } from '../../platform/capability.ts'
import type { Context } from '../../platform/context.ts'
import { validation } from '../../platform/errors.ts'
import { accessTo, accessToBlob, keyOf, type Use } from './access.ts'
import * as aliases from './aliases.ts'
import * as cryptography from './cryptography.ts'
import { ignoresCiphertext } from './errors.ts'
import * as grants from './grants.ts'
import * as imports from './imports.ts'
import * as lifecycle from './lifecycle.ts'
import * as rotation from './rotation.ts'

type Keyed = { KeyId: string; GrantTokens?: string[] | undefined }
type Contextual = { EncryptionContext?: Record<string, string> | undefined }
type Keys = Use['keys']

/** Operations that manage a key: by id or ARN, never by an alias, never by a grant. */
const manages =
  <I extends Keyed>(operation: string, keys?: (input: I) => Keys) =>
  (input: I, context: Context): Promise<Access> =>
    accessTo(
      context,
      input,
      { keyId: input.KeyId, own: !FROM_ELSEWHERE.has(operation) },
      { action: `kms:${operation}`, keys: keys?.(input) ?? {} },
    )

/** What another account may do to manage a key whose policy lets it; of what uses a key, it may do everything. */
const FROM_ELSEWHERE = new Set(['ListGrants', 'RevokeGrant', 'GetKeyRotationStatus'])

/** Operations that use a key: by any of its names, also by a grant. */
const uses =
  <I = unknown>(operation: string, keys?: (input: I) => Keys) =>
  (input: I & Keyed & Contextual, context: Context): Promise<Access> =>
    accessTo(
      context,
      input,
      { keyId: input.KeyId, aliases: true },
      {
        action: `kms:${operation}`,
        grantable: operation,
        encryptionContext: input.EncryptionContext,
        grantTokens: input.GrantTokens,
        keys: { 'kms:RequestAlias': aliasIn(input.KeyId), ...keys?.(input) },
      },
    )

const aliasIn = (keyId: string): string | undefined => /alias\/.*$/.exec(keyId)?.[0]

const anything = (action: string, keys: Record<string, string | string[]> = {}): Access => ({
  action,
  resources: ['*'],
  keys,
})

function createKey(input: Input<'CreateKey', 'kms'>): Access[] {
  const { spec, usage, origin } = lifecycle.kindOf(input)
  const tags = input.Tags ?? []
  const keys: Record<string, string | string[]> = {
    'kms:KeySpec': spec,
    'kms:KeyUsage': usage,
    'kms:KeyOrigin': origin,
    'kms:MultiRegion': 'false',
    'kms:BypassPolicyLockoutSafetyCheck': String(input.BypassPolicyLockoutSafetyCheck ?? false),
    ...tagKeys(tags),
  }
  return tags.length === 0
    ? [anything('kms:CreateKey', keys)]
    : [anything('kms:CreateKey', keys), anything('kms:TagResource', keys)]
}

const tagKeys = (tags: { TagKey: string; TagValue: string }[]): Record<string, string | string[]> => ({
  ...Object.fromEntries(tags.map(({ TagKey, TagValue }) => [`aws:RequestTag/${TagKey}`, TagValue])),
  ...(tags.length > 0 && { 'aws:TagKeys': tags.map(({ TagKey }) => TagKey) }),
})

/** ValidationException, unless the request says that it wants no ciphertext to be looked at. */
function missing(input: Parameters<typeof ignoresCiphertext>[0]): Uint8Array {
  if (!ignoresCiphertext(input)) throw validation('CiphertextBlob is required.')
  return new Uint8Array()
}

function decrypt(input: Input<'Decrypt', 'kms'>, context: Context): Promise<Access> {
  const blob = input.CiphertextBlob ?? missing(input)
  const algorithm = input.EncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT'
  const keyId = input.KeyId
  if (keyId !== undefined)
    return uses('Decrypt', () => ({ 'kms:EncryptionAlgorithm': algorithm }))(
      Object.assign(input, { KeyId: keyId }),
      context,
    )
  if (algorithm !== 'SYMMETRIC_DEFAULT') throw validation('KeyId is required to decrypt with an asymmetric key.')
  if (ignoresCiphertext(input)) throw validation('KeyId is required when the ciphertext is ignored.')
  return accessToBlob(context, input, 'key', blob, {
    action: 'kms:Decrypt',
    grantable: 'Decrypt',
    encryptionContext: input.EncryptionContext,
    grantTokens: input.GrantTokens,
    keys: { 'kms:EncryptionAlgorithm': algorithm },
  })
}

async function reEncrypt(input: Input<'ReEncrypt', 'kms'>, context: Context): Promise<Access[]> {
  const blob = input.CiphertextBlob ?? missing(input)
  const from: Use = {
    action: 'kms:ReEncryptFrom',
    grantable: 'ReEncryptFrom',
    encryptionContext: input.SourceEncryptionContext,
    grantTokens: input.GrantTokens,
    keys: { 'kms:EncryptionAlgorithm': input.SourceEncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT' },
  }
  if (
    input.SourceKeyId === undefined &&
    (input.SourceEncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT') !== 'SYMMETRIC_DEFAULT'
  )
    throw validation('SourceKeyId is required to decrypt with an asymmetric key.')
  if (input.SourceKeyId === undefined && ignoresCiphertext(input))
    throw validation('SourceKeyId is required when the ciphertext is ignored.')
  const source =
    input.SourceKeyId === undefined
      ? await accessToBlob(context, input, 'source', blob, from)
      : await accessTo(context, input, { keyId: input.SourceKeyId, aliases: true, role: 'source' }, from)
  const destination = await accessTo(
    context,
    input,
    { keyId: input.DestinationKeyId, aliases: true },
    {
      action: 'kms:ReEncryptTo',
      grantable: 'ReEncryptTo',
      encryptionContext: input.DestinationEncryptionContext,
      grantTokens: input.GrantTokens,
      keys: { 'kms:EncryptionAlgorithm': input.DestinationEncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT' },
    },
  )
  const onSame = { 'kms:ReEncryptOnSameKey': String(sameKey(input)) }
  return [source, destination].map((access) => ({ ...access, keys: { ...access.keys, ...onSame } }))
}

function sameKey(input: object): boolean {
  try {
    return keyOf(input, 'source').keyId === keyOf(input).keyId
  } catch {
    return false // one of them does not exist, as the handler will tell
  }
}

const algorithmOf = (input: { EncryptionAlgorithm?: string | undefined }): Keys => ({
  'kms:EncryptionAlgorithm': input.EncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT',
})
const SYMMETRIC = (): Keys => ({ 'kms:EncryptionAlgorithm': 'SYMMETRIC_DEFAULT' })
const pairKeys = (input: { KeyPairSpec: string }): Keys => ({
  'kms:EncryptionAlgorithm': 'SYMMETRIC_DEFAULT',
  'kms:DataKeyPairSpec': input.KeyPairSpec,
})
const signKeys = (input: { SigningAlgorithm: string; MessageType?: string | undefined }): Keys => ({
  'kms:SigningAlgorithm': input.SigningAlgorithm,
  'kms:MessageType': input.MessageType ?? 'RAW',
})
const agreementKeys = (input: { KeyAgreementAlgorithm: string }): Keys => ({
  'kms:KeyAgreementAlgorithm': input.KeyAgreementAlgorithm,
})
const macKeys = (input: { MacAlgorithm: string }): Keys => ({ 'kms:MacAlgorithm': input.MacAlgorithm })

export const operations: ServiceOperations<'kms'> = {
  CreateKey: { authorize: createKey, handle: lifecycle.createKey },
  DescribeKey: { authorize: uses('DescribeKey'), handle: lifecycle.describeKey },
  ListKeys: { authorize: () => anything('kms:ListKeys'), handle: lifecycle.listKeys },
  UpdateKeyDescription: { authorize: manages('UpdateKeyDescription'), handle: lifecycle.updateKeyDescription },
  EnableKey: { authorize: manages('EnableKey'), handle: lifecycle.enableKey },
  DisableKey: { authorize: manages('DisableKey'), handle: lifecycle.disableKey },
  ScheduleKeyDeletion: {
    authorize: manages('ScheduleKeyDeletion', (input: Input<'ScheduleKeyDeletion', 'kms'>) => ({
      'kms:ScheduleKeyDeletionPendingWindowInDays': String(input.PendingWindowInDays ?? 30),
    })),
    handle: lifecycle.scheduleKeyDeletion,
  },
  CancelKeyDeletion: { authorize: manages('CancelKeyDeletion'), handle: lifecycle.cancelKeyDeletion },

  CreateAlias: {
    authorize: (input, context) => aliases.createAliasAccess(context, input),
    handle: aliases.createAlias,
  },
  UpdateAlias: {
    authorize: (input, context) => aliases.updateAliasAccess(context, input),
    handle: aliases.updateAlias,
  },
  DeleteAlias: {
    authorize: (input, context) => aliases.deleteAliasAccess(context, input),
    handle: aliases.deleteAlias,
  },
  ListAliases: {
    async authorize(input, context) {
      // The permission is on everything; the key is looked up for the handler.
      if (input.KeyId !== undefined)
        await accessTo(context, input, { keyId: input.KeyId, own: true }, { action: 'kms:ListAliases' })
      return anything('kms:ListAliases')
    },
    handle: aliases.listAliases,
  },

  Encrypt: { authorize: uses('Encrypt', algorithmOf), handle: cryptography.encrypt },
  Decrypt: { authorize: decrypt, handle: cryptography.decrypt },
  ReEncrypt: { authorize: reEncrypt, handle: cryptography.reEncrypt },
  GenerateDataKey: { authorize: uses('GenerateDataKey', SYMMETRIC), handle: cryptography.generateDataKey },
  GenerateDataKeyWithoutPlaintext: {
    authorize: uses('GenerateDataKeyWithoutPlaintext', SYMMETRIC),
    handle: cryptography.generateDataKeyWithoutPlaintext,
  },
  GenerateDataKeyPair: { authorize: uses('GenerateDataKeyPair', pairKeys), handle: cryptography.generateDataKeyPair },
  GenerateDataKeyPairWithoutPlaintext: {
    authorize: uses('GenerateDataKeyPairWithoutPlaintext', pairKeys),
    handle: cryptography.generateDataKeyPairWithoutPlaintext,
  },
  GenerateRandom: { authorize: () => anything('kms:GenerateRandom'), handle: cryptography.generateRandom },
  GenerateMac: { authorize: uses('GenerateMac', macKeys), handle: cryptography.generateMac },
  VerifyMac: { authorize: uses('VerifyMac', macKeys), handle: cryptography.verifyMac },
  Sign: { authorize: uses('Sign', signKeys), handle: cryptography.sign },
  Verify: { authorize: uses('Verify', signKeys), handle: cryptography.verify },
  DeriveSharedSecret: {
    authorize: uses('DeriveSharedSecret', agreementKeys),
    handle: cryptography.deriveSharedSecret,
  },
  GetPublicKey: { authorize: uses('GetPublicKey'), handle: cryptography.getPublicKey },

  EnableKeyRotation: {
    authorize: manages('EnableKeyRotation', (input: Input<'EnableKeyRotation', 'kms'>) => ({
      'kms:RotationPeriodInDays': String(input.RotationPeriodInDays ?? 365),
    })),
    handle: rotation.enableKeyRotation,
  },
  DisableKeyRotation: { authorize: manages('DisableKeyRotation'), handle: rotation.disableKeyRotation },
  GetKeyRotationStatus: { authorize: manages('GetKeyRotationStatus'), handle: rotation.getKeyRotationStatus },
  RotateKeyOnDemand: { authorize: manages('RotateKeyOnDemand'), handle: rotation.rotateKeyOnDemand },
  ListKeyRotations: { authorize: manages('ListKeyRotations'), handle: rotation.listKeyRotations },

  GetKeyPolicy: { authorize: manages('GetKeyPolicy'), handle: lifecycle.getKeyPolicy },
  PutKeyPolicy: {
    authorize: manages('PutKeyPolicy', (input: Input<'PutKeyPolicy', 'kms'>) => ({
      'kms:BypassPolicyLockoutSafetyCheck': String(input.BypassPolicyLockoutSafetyCheck ?? false),
    })),
    handle: lifecycle.putKeyPolicy,
  },
  ListKeyPolicies: { authorize: manages('ListKeyPolicies'), handle: lifecycle.listKeyPolicies },

  CreateGrant: { authorize: (input, context) => grants.createGrantAccess(context, input), handle: grants.createGrant },
  ListGrants: { authorize: manages('ListGrants'), handle: grants.listGrants },
  ListRetirableGrants: { authorize: () => anything('kms:ListRetirableGrants'), handle: grants.listRetirableGrants },
  RevokeGrant: { authorize: manages('RevokeGrant'), handle: grants.revokeGrant },
  RetireGrant: { authorize: (input, context) => grants.retireGrantAccess(context, input), handle: grants.retireGrant },

  TagResource: {
    authorize: manages('TagResource', (input: Input<'TagResource', 'kms'>) => tagKeys(input.Tags)),
    handle: lifecycle.tagResource,
  },
  UntagResource: {
    authorize: manages('UntagResource', (input: Input<'UntagResource', 'kms'>) => ({ 'aws:TagKeys': input.TagKeys })),
    handle: lifecycle.untagResource,
  },
  ListResourceTags: { authorize: manages('ListResourceTags'), handle: lifecycle.listResourceTags },

  GetParametersForImport: {
    authorize: manages('GetParametersForImport', (input: Input<'GetParametersForImport', 'kms'>) => ({
      'kms:WrappingAlgorithm': input.WrappingAlgorithm,
      'kms:WrappingKeySpec': input.WrappingKeySpec,
    })),
    handle: imports.getParametersForImport,
  },
  ImportKeyMaterial: {
    authorize: manages('ImportKeyMaterial', (input: Input<'ImportKeyMaterial', 'kms'>) => ({
      'kms:ExpirationModel': input.ExpirationModel ?? 'KEY_MATERIAL_EXPIRES',
      'kms:ValidTo': input.ValidTo?.toISOString(),
    })),
    handle: imports.importKeyMaterial,
  },
  DeleteImportedKeyMaterial: {
    authorize: manages('DeleteImportedKeyMaterial'),
    handle: imports.deleteImportedKeyMaterial,
  },
}
