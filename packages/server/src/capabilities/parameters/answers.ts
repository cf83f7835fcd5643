/** Rows as the shapes of the API. */
import type { Output } from '../../contract/types.ts'
import type { Context } from '../../platform/context.ts'
import { parameterArn, type Reference } from './names.ts'
import { decryptValue } from './secure-value.ts'
import { policiesOf, type VersionRow } from './store.ts'

type Parameter = NonNullable<Output<'GetParameter'>['Parameter']>
type ParameterMetadata = NonNullable<Output<'DescribeParameters'>['Parameters']>[number]
type ParameterHistory = NonNullable<Output<'GetParameterHistory'>['Parameters']>[number]

const shownValue = (context: Context, row: VersionRow, decrypt: boolean | undefined): Promise<string> | string =>
  row.type === 'SecureString' && decrypt ? decryptValue(context, row.nameKey, row.value) : row.value

/** `reference`: what was asked for, whose spelling and selector the answer repeats. InvalidKeyId. */
export async function parameterOf(
  context: Context,
  row: VersionRow,
  decrypt: boolean | undefined,
  reference?: Reference,
): Promise<Parameter> {
  return {
    Name: reference?.spelling ?? row.name,
    Type: row.type,
    Value: await shownValue(context, row, decrypt),
    Version: row.version,
    Selector: reference?.selector?.text,
    LastModifiedDate: row.lastModifiedAt,
    ARN: parameterArn(context, row.nameKey),
    DataType: row.dataType,
  }
}

const policyList = (row: VersionRow) =>
  policiesOf(row).map(({ text, type, status }) => ({ PolicyText: text, PolicyType: type, PolicyStatus: status }))

export const metadataOf = (context: Context, row: VersionRow): ParameterMetadata => ({
  Name: row.name,
  ARN: parameterArn(context, row.nameKey),
  Type: row.type,
  KeyId: row.keyId ?? undefined,
  LastModifiedDate: row.lastModifiedAt,
  LastModifiedUser: row.lastModifiedBy,
  Description: row.description ?? undefined,
  AllowedPattern: row.allowedPattern ?? undefined,
  Version: row.version,
  Tier: row.tier,
  Policies: policyList(row),
  DataType: row.dataType,
})

/** InvalidKeyId. */
export async function historyOf(
  context: Context,
  row: VersionRow & { labels: string[] },
  decrypt: boolean | undefined,
): Promise<ParameterHistory> {
  const { ARN: _, ...metadata } = metadataOf(context, row)
  return { ...metadata, Value: await shownValue(context, row, decrypt), Labels: row.labels }
}
