/**
 * What the embedded PostgreSQL is started with. Given on the command line, so that one text decides, old clusters
 * included; a database that needs tuning of its own is reached with DATABASE_URL.
 */

/** PostgreSQL's default; it only names the socket's file, nothing listens on TCP. */
export const PORT = 5432
export const USER = 'musterbook'
export const DATABASE = 'musterbook'

const SETTINGS: Record<string, string> = {
  cluster_name: 'musterbook',
  // Reach: one private unix socket.
  listen_addresses: '',
  unix_socket_permissions: '0700',
  max_connections: '100',
  // Durability: an acknowledged write survives a power cut.
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  // Memory: 128 MB of cache is touched only as it is used. Without I/O workers and replication launcher four processes
  // fewer lie idle.
  shared_buffers: '128MB',
  huge_pages: 'off',
  io_method: 'sync',
  max_logical_replication_workers: '0',
  jit: 'off',
  // The log: what PostgreSQL does, never what it is asked. Statements, parameters and the DETAIL of an error
  // ("Failing row contains …") hold secrets; errors reach the client that caused them.
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_statement: 'none',
  log_min_duration_statement: '-1',
  log_parameter_max_length: '0',
  log_parameter_max_length_on_error: '0',
  log_checkpoints: 'off',
  log_destination: 'stderr',
  logging_collector: 'off',
  log_line_prefix: '%m [%p] ',
  log_timezone: 'UTC',
  timezone: 'UTC',
}

/** The arguments of `postgres` for the cluster in `cluster`, reached through a socket in `socketFolder`. */
export function serverArguments(cluster: string, socketFolder: string): string[] {
  const settings = { ...SETTINGS, port: String(PORT), unix_socket_directories: quoted(socketFolder) }
  return ['-D', cluster, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
}

/** The arguments of `initdb`: checksums, UTF-8, and an order by code points that no system library can change. */
export const initialArguments = (cluster: string): string[] => [
  ...['-D', cluster, '-U', USER, '--data-checksums', '--no-instructions'],
  ...['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
  // The socket lies in a folder that only its owner and root may enter (0700): whoever reaches it may read the files too.
  ...['--auth-local=trust', '--auth-host=reject'],
]

/** A list setting takes a comma as a separator and blanks as nothing, unless the element is quoted. */
const quoted = (path: string): string => `"${path.replaceAll('"', '""')}"`
