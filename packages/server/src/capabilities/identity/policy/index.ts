/**
 * IAM's policy language: text to document, document to closures, closures to decisions and to reasons.
 * Pure throughout: no store, no socket, no clock. Called by identity's operations and by the gateway's authorization.
 */
export { type BroadGrant, broaderThanNode } from './broader-than-node.ts'
export { type CompiledPolicy, compilePolicy, concerning, joinPolicies } from './compile.ts'
export {
  type ContextKeys,
  type ContextValue,
  contextKeys,
  keysOnDemand,
  layered,
  noContextKeys,
} from './context-keys.ts'
export type {
  Condition,
  Effect,
  PolicyDocument,
  PolicyKind,
  PolicyVersion,
  PrincipalElement,
  Statement,
} from './document.ts'
export { type AccessRequest, type Decision, evaluate, type PolicySet, type RequestedResource } from './evaluate.ts'
export {
  type Explanation,
  explain,
  type FailedCondition,
  type MissingPermission,
  type PolicyType,
  type StatementTrace,
} from './explain.ts'
export { MANAGED_POLICIES, type ManagedPolicy } from './managed-policies.ts'
export { isMalformed, type MalformedPolicy, parsePolicy } from './parse.ts'
export type { Principal } from './principal.ts'
