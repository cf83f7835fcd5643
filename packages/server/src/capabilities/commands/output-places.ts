/**
 * Where the output of a command with an OutputS3BucketName lies: AWS's keys, in a bucket of an S3-compatible store or in
 * a folder of that name. Pure; keep-output.ts writes there, reading.ts shows the addresses.
 *
 *   <OutputS3KeyPrefix>/<CommandId>/<node>/<plugin>/<step>/stdout      awsrunShellScript/mount/stdout
 *   documents of schema 1.2 name no steps                              awsrunShellScript/0.awsrunShellScript/stdout
 */
import { pathToFileURL } from 'node:url'
import type { OutputDestination } from '../../platform/capability.ts'
import type { OutputOptions } from './store.ts'

/** S3's own rule for the names of buckets. */
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/

/** Neither leaves the folder that the bucket is, nor names what no file can be named. */
export const isPlace = ({ OutputS3BucketName: bucket = '', OutputS3KeyPrefix: prefix = '' }: OutputOptions): boolean =>
  BUCKET.test(bucket) && !bucket.includes('..') && !prefix.split('/').some((part) => part === '.' || part === '..')

export interface OutputPlace {
  bucket: string
  key: string
}

export function placeOf(
  output: OutputOptions,
  invocation: { commandId: string; nodeId: string; steps: { name: string; action: string }[] },
  step: string,
  stream: string,
): OutputPlace {
  const action = invocation.steps.find(({ name }) => name === step)?.action ?? step
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

const encoded = (key: string): string => key.split('/').map(strictly).join('/')
/** As SigV4 wants it: what encodeURIComponent leaves is encoded too. */
const strictly = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)

/** Path-style, as every S3-compatible store knows it. */
export const addressOf = (destination: OutputDestination, { bucket, key }: OutputPlace): string =>
  'folder' in destination
    ? pathToFileURL(`${destination.folder}/${bucket}/${key}`).href
    : `${destination.endpoint}/${bucket}/${encoded(key)}`
