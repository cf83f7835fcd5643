/**
 * Where the output of a command with an OutputS3BucketName lies: AWS's keys, in a bucket of an S3-compatible store or in
 * a folder of that name. Pure; keep-output.ts writes there, reading.ts shows the addresses.
 *
 *   <OutputS3KeyPrefix>/<CommandId>/<node>/<plugin>/<step>/stdout      awsrunShellScript/mount/stdout
 *   documents of schema 1.2 name no steps                              awsrunShellScript/0.awsrunShellScript/stdout
 */
import { isBucketName, isKeyPrefix, type Place } from '../../platform/buckets.ts'
import type { OutputOptions } from './store.ts'

/** Neither leaves the folder that the bucket is, nor names what no file can be named. */
export const isPlace = ({ OutputS3BucketName: bucket = '', OutputS3KeyPrefix: prefix = '' }: OutputOptions): boolean =>
  isBucketName(bucket) && isKeyPrefix(prefix)

/**
 * Undefined for a step that the document does not have: its name would be the node's own word, and part of a path.
 */
export function placeOf(
  output: OutputOptions,
  invocation: { commandId: string; nodeId: string; steps: { name: string; action: string }[] },
  step: string,
  stream: string,
): Place | undefined {
  const action = invocation.steps.find(({ name }) => name === step)?.action
  if (action === undefined) return undefined
  const plugin = action.replaceAll(':', '')
  const parts = [
    ...(output.OutputS3KeyPrefix ?? '').split('/'),
    invocation.commandId,
    invocation.nodeId,
    plugin,
    step === action ? `0.${plugin}` : step,
    stream,
  ]
  return { bucket: output.OutputS3BucketName ?? '', key: parts.filter(Boolean).join('/') }
}
