/** The parameters that every AWS document running a script publishes, so that they are written once. */
import type { JsonObject } from '../json.ts'

/** 1 to 172800 seconds (48 hours); published without anchors, so only a whole match means what it says. */
export const EXECUTION_TIMEOUT_PATTERN =
  '([1-9][0-9]{0,4})|(1[0-6][0-9]{4})|(17[0-1][0-9]{3})|(172[0-7][0-9]{2})|(172800)'

export const workingDirectory: JsonObject = {
  type: 'String',
  default: '',
  description: '(Optional) Absolute path of the folder to run in.',
  maxChars: 4096,
}

export const executionTimeout: JsonObject = {
  type: 'String',
  default: '3600',
  description: '(Optional) Seconds after which a running script counts as timed out, 1 to 172800 (48 hours).',
  allowedPattern: EXECUTION_TIMEOUT_PATTERN,
}

/** Empty, or an https or S3 address. */
export const OPTIONAL_URL_PATTERN = '^$|^https://.+$|^s3://[^/]+/.+$'
