/** The control plane, for the binary and for tests. */
export {
  createAccount,
  InstallationError,
  lintNodePolicy,
  type NodePolicyLint,
  parseKeysFile,
  type RootCredentials,
} from './capabilities/identity/index.ts'
export { type EarlierHead, recordServiceEvent, type TrailReport, verifyTrail } from './capabilities/trail/index.ts'
export { capabilities } from './capabilities.ts'
export {
  createAuthority,
  isCurrent,
  issueServerCertificate,
  type KeyAndCertificate,
} from './engines/gateway/certificates.ts'
export { ListenError } from './engines/gateway/listener.ts'
export { type ServerOptions, type ServerProcess, startServer } from './main.ts'
export type { OutputDestination } from './platform/capability.ts'
export { type Clock, type MovableClock, movableClock, systemClock } from './platform/clock.ts'
export { connectDatabase, type Database, type DatabaseAddress } from './platform/database.ts'
export { createLog, LOG_LEVELS, type Logger, type LogLevel } from './platform/log.ts'
export { MigrationError, migrate } from './platform/migrate.ts'
export { type EmbeddedPostgres, PostgresStartError, startPostgres } from './platform/postgres/index.ts'
export { createSealer, ROOT_KEY_BYTES, type RootKeySource } from './platform/seal.ts'
