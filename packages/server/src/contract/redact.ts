/**
 * A copy of an input or output that may be kept: what the model marks as sensitive is replaced, and what is known as a secret. The audit and the log call it.
 */
import type { OperationModel, Shape } from './shape.ts'

/** What CloudTrail shows in place of a sensitive value. */
export const REDACTED = 'HIDDEN_DUE_TO_SECURITY_REASONS'

/**
 * Members that are secrets though the models do not mark them: credentials, tokens and codes that let somebody in, under
 * whatever operation they come.
 */
export const SECRET_MEMBERS: ReadonlySet<string> = new Set([
  'ActivationCode',
  'AuthenticationCode1',
  'AuthenticationCode2',
  'GrantToken',
  'GrantTokens',
  'ImportToken',
  'NewPassword',
  'OldPassword',
  'Password',
  'PrivateKey',
  'SecretAccessKey',
  'SessionToken',
  'TokenCode',
  'TokenValue',
  'WebIdentityToken',
])

/** A copy of a decoded input without its secrets; members that the model does not know are left out. */
export const redact = (operation: OperationModel, input: unknown): unknown => copy(operation.input, input)

/** The same for an output, such as the value that GetParameter returns. */
export const redactOutput = (operation: OperationModel, output: unknown): unknown => copy(operation.output, output)

function copy(shape: Shape, value: unknown): unknown {
  if (value === undefined || value === null) return value
  if (shape.sensitive) return REDACTED
  switch (shape.kind) {
    case 'structure': {
      const record = value as Record<string, unknown>
      const kept: Record<string, unknown> = {}
      for (const member of shape.members) {
        const given = record[member.name]
        if (given !== undefined)
          kept[member.name] = SECRET_MEMBERS.has(member.name) ? REDACTED : copy(member.shape(), given)
      }
      return kept
    }
    case 'list':
      return (value as unknown[]).map((item) => copy(shape.element(), item))
    case 'map': {
      const kept: Record<string, unknown> = Object.create(null)
      for (const [key, item] of Object.entries(value)) kept[key] = copy(shape.value(), item)
      return kept
    }
    default:
      return value
  }
}
