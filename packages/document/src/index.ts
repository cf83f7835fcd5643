/**
 * The SSM document language, pure: text to typed documents, parameter values, and the plan an agent follows.
 * No sockets, files or clock. The server asks it at CreateDocument and SendCommand, agents before they run anything.
 */
export * from './builtin/index.ts'
export * from './document.ts'
export { DocumentError, type DocumentErrorCode } from './error.ts'
export type { Json, JsonObject } from './json.ts'
export * from './names.ts'
export * from './output.ts'
export { checkOnNode, resolveParameters } from './parameters.ts'
export { openDocument, parseDocument } from './parse.ts'
export { compilePattern, type Pattern } from './pattern.ts'
export * from './plugins.ts'
export { type DocumentFormat, MAX_DOCUMENT_BYTES } from './read.ts'
export { renderAs, toJson } from './render.ts'
