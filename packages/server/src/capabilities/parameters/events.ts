/** Events of Parameter Store in the words of EventBridge (source aws.ssm). Pure: the store writes them with the change. */
import type { StoredPolicy } from './policies.ts'

export interface ParameterEvent {
  detailType: 'Parameter Store Change' | 'Parameter Store Policy Action'
  detail: Record<string, string>
}

export type ChangeOperation = 'Create' | 'Update' | 'Delete' | 'LabelParameterVersion'

export const changeEvent = (parameter: { name: string; type: string }, operation: ChangeOperation): ParameterEvent => ({
  detailType: 'Parameter Store Change',
  detail: { name: parameter.name, type: parameter.type, operation },
})

export const policyEvent = (parameter: { name: string; type: string }, policy: StoredPolicy): ParameterEvent => ({
  detailType: 'Parameter Store Policy Action',
  detail: {
    'parameter-name': parameter.name,
    'parameter-type': parameter.type,
    'policy-type': policy.type,
    'policy-content': policy.text,
    'action-status': 'Success',
    'action-reason': REASONS[policy.type],
  },
})

const REASONS = {
  Expiration: 'The parameter has expired and was deleted.',
  ExpirationNotification: 'The parameter is about to expire.',
  NoChangeNotification: 'The parameter has not been changed for the time that its policy names.',
} as const
