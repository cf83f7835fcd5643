/**
 * The SSM document language, pure: text to typed documents, parameter values, and the plan an agent follows.
 * No sockets, files or clock. The server asks it at CreateDocument and SendCommand, agents before they run anything.
 */
export * from './builtin/index.ts'
export * from './document.ts'
export { DocumentError, type DocumentErrorCode } from './error.ts'
export type { Json, JsonObject } from './json.ts'
export * from './names.ts'
export * from './outcome.ts'
export * from './output.ts'
export * from './parameter-store.ts'
export { checkOnNode, resolveParameters } from './parameters.ts'
export { openDocument, parseDocument, reopenDocument } from './parse.ts'
export { compilePattern, type Pattern } from './pattern.ts'
export * from './plan.ts'
export * from './platforms.ts'
export * from './plugins.ts'
export { type DocumentFormat, MAX_DOCUMENT_BYTES } from './read.ts'
export { renderAs, toJson } from './render.ts'
export {
  DEFAULT_STEP_SECONDS,
  MAX_STEP_SECONDS,
  MIN_STEP_SECONDS,
  stepTimeoutSeconds,
  totalExecutionSeconds,
} from './timeouts.ts'
export { asText, type ParameterValues, substitute, substituteText } from './tokens.ts'
export type { Verdict } from './verdict.ts'
