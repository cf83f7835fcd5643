// The bytes and signatures that every side of the system speaks: pure codecs without socket, file or clock.

export * from './agent-message.ts'
export * from './control-channel.ts'
export * from './data-channel.ts'
export { type JsonObject, type JsonValue, PayloadError } from './json-members.ts'
export * from './live-output.ts'
export * from './sigv4.ts'
export * from './smux.ts'
export * from './stream.ts'
