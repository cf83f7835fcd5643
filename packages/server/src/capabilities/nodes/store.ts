/** SQL of nodes and activations. */
import type { Scope } from '../../platform/arn.ts'
import type { Sql } from '../../platform/database.ts'

export interface Tag {
  Key: string
  Value: string
}

export interface ActivationRow {
  activationId: string
  description: string
  defaultInstanceName: string
  iamRole: string
  registrationLimit: number
  registrationsCount: number
  expirationDate: Date
  createdDate: Date
  tags: Tag[]
  nodeId: string | null
}

const activationColumns = (sql: Sql) => sql`
  activation_id as "activationId", description, default_instance_name as "defaultInstanceName", iam_role as "iamRole",
  registration_limit as "registrationLimit", registrations_count as "registrationsCount",
  expiration_date as "expirationDate", created_date as "createdDate", tags, node_id as "nodeId"`

export async function insertActivation(
  sql: Sql,
  scope: Scope,
  row: Omit<ActivationRow, 'registrationsCount'> & { codeDigest: Buffer },
): Promise<void> {
  await sql`
    insert into activations (account, region, activation_id, code_digest, description, default_instance_name, iam_role,
      registration_limit, expiration_date, created_date, tags, node_id)
    values (${scope.account}, ${scope.region}, ${row.activationId}, ${row.codeDigest}, ${row.description},
      ${row.defaultInstanceName}, ${row.iamRole}, ${row.registrationLimit}, ${row.expirationDate}, ${row.createdDate},
      ${sql.json(row.tags as never)}, ${row.nodeId})`
}

export interface ActivationFilter {
  activationIds?: string[]
  defaultInstanceNames?: string[]
  iamRoles?: string[]
}

/** Newest first, after the position of the page before. */
export async function listActivations(
  sql: Sql,
  scope: Scope,
  filter: ActivationFilter,
  after: { createdDate: string; activationId: string } | undefined,
  limit: number,
): Promise<ActivationRow[]> {
  return sql<ActivationRow[]>`
    select ${activationColumns(sql)} from activations
    where account = ${scope.account} and region = ${scope.region}
      ${filter.activationIds ? sql`and activation_id::text = any(${filter.activationIds})` : sql``}
      ${filter.defaultInstanceNames ? sql`and default_instance_name = any(${filter.defaultInstanceNames})` : sql``}
      ${filter.iamRoles ? sql`and iam_role = any(${filter.iamRoles})` : sql``}
      ${after ? sql`and (created_date, activation_id) < (${after.createdDate}::timestamptz, ${after.activationId}::uuid)` : sql``}
    order by created_date desc, activation_id desc limit ${limit}`
}

export async function deleteActivation(sql: Sql, scope: Scope, activationId: string): Promise<boolean> {
  const rows = await sql`
    delete from activations
    where account = ${scope.account} and region = ${scope.region} and activation_id = ${activationId} returning 1`
  return rows.length === 1
}

/** An activation by its secret code, whatever its account; locked, so that its count is exact. */
export async function lockActivation(
  sql: Sql,
  activationId: string,
  codeDigest: Buffer,
): Promise<(ActivationRow & Scope) | undefined> {
  const [row] = await sql<(ActivationRow & Scope)[]>`
    select account, region, ${activationColumns(sql)} from activations
    where activation_id::text = ${activationId} and code_digest = ${codeDigest} for update`
  return row
}

export async function countRegistration(sql: Sql, activationId: string): Promise<void> {
  await sql`update activations set registrations_count = registrations_count + 1 where activation_id = ${activationId}`
}

export interface NodeRow extends Scope {
  nodeId: string
  activationId: string | null
  name: string
  iamRole: string
  registrationDate: Date
  publicKey: Buffer
  /** When its key was registered or last replaced. */
  keyDate: Date
  fingerprint: string
  agentName: string | null
  agentStatus: string | null
  agentVersion: string | null
  platformType: string | null
  platformName: string | null
  platformVersion: string | null
  computerName: string | null
  ipAddress: string | null
  lastPingAt: Date | null
}

const nodeColumns = (sql: Sql) => sql`
  account, region, node_id as "nodeId", activation_id as "activationId", name, iam_role as "iamRole",
  registration_date as "registrationDate", public_key as "publicKey", key_date as "keyDate",
  fingerprint, agent_name as "agentName",
  agent_status as "agentStatus",
  agent_version as "agentVersion", platform_type as "platformType", platform_name as "platformName",
  platform_version as "platformVersion", computer_name as "computerName", ip_address as "ipAddress",
  last_ping_at as "lastPingAt"`

/** Throws a unique violation when the node id is taken in this account and region. */
export async function insertNode(
  sql: Sql,
  row: Pick<
    NodeRow,
    | 'account'
    | 'region'
    | 'nodeId'
    | 'activationId'
    | 'name'
    | 'iamRole'
    | 'registrationDate'
    | 'publicKey'
    | 'fingerprint'
  >,
): Promise<void> {
  await sql`
    insert into nodes (account, region, node_id, activation_id, name, iam_role, registration_date, public_key,
      key_date, fingerprint)
    values (${row.account}, ${row.region}, ${row.nodeId}, ${row.activationId}, ${row.name}, ${row.iamRole},
      ${row.registrationDate}, ${row.publicKey}, ${row.registrationDate}, ${row.fingerprint})`
}

export async function deleteNode(sql: Sql, scope: Scope, nodeId: string): Promise<boolean> {
  const rows = await sql`
    delete from nodes
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId} returning 1`
  return rows.length === 1
}

export async function readNode(sql: Sql, scope: Scope, nodeId: string): Promise<NodeRow | undefined> {
  const [row] = await sql<NodeRow[]>`
    select ${nodeColumns(sql)} from nodes
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId}`
  return row
}

/** Nodes of this id in any account: a signature by a node's own key tells which of them it is. */
export async function readNodesOfId(sql: Sql, region: string, nodeId: string): Promise<NodeRow[]> {
  return sql<NodeRow[]>`select ${nodeColumns(sql)} from nodes where region = ${region} and node_id = ${nodeId}`
}

export async function updateRole(sql: Sql, scope: Scope, nodeId: string, iamRole: string): Promise<boolean> {
  const rows = await sql`
    update nodes set iam_role = ${iamRole}
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId} returning 1`
  return rows.length === 1
}

export async function updatePublicKey(
  sql: Sql,
  scope: Scope,
  nodeId: string,
  publicKey: Buffer,
  keyDate: Date,
): Promise<void> {
  await sql`
    update nodes set public_key = ${publicKey}, key_date = ${keyDate}
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId}`
}

export interface Ping {
  nodeId: string
  agentName?: string
  agentStatus?: string
  agentVersion?: string
  platformType?: string
  platformName?: string
  platformVersion?: string
  computerName?: string
  ipAddress?: string
}

/** Records a sign of life, false when there is no such node; what the agent left out keeps its earlier value. */
export async function updatePing(sql: Sql, scope: Scope, ping: Ping, now: Date): Promise<boolean> {
  const kept = (value: string | undefined) => value || null // an empty text means "not told"
  const rows = await sql`
    update nodes set last_ping_at = ${now},
      agent_name = coalesce(${kept(ping.agentName)}, agent_name),
      agent_status = coalesce(${kept(ping.agentStatus)}, agent_status),
      agent_version = coalesce(${kept(ping.agentVersion)}, agent_version),
      platform_type = coalesce(${kept(ping.platformType)}, platform_type),
      platform_name = coalesce(${kept(ping.platformName)}, platform_name),
      platform_version = coalesce(${kept(ping.platformVersion)}, platform_version),
      computer_name = coalesce(${kept(ping.computerName)}, computer_name),
      ip_address = coalesce(${kept(ping.ipAddress)}, ip_address)
    where account = ${scope.account} and region = ${scope.region} and node_id = ${ping.nodeId} returning 1`
  return rows.length === 1
}

export interface NodeFilter {
  nodeIds?: string[]
  agentVersions?: string[]
  platformTypes?: string[]
  activationIds?: string[]
  iamRoles?: string[]
  sourceTypes?: string[]
}

/** In order of the node id, from behind `after`. */
export async function listNodes(
  sql: Sql,
  scope: Scope,
  filters: NodeFilter[],
  after: string | undefined,
  limit: number,
): Promise<NodeRow[]> {
  const conditions = filters.map((filter) => {
    if (filter.nodeIds) return sql`and node_id = any(${filter.nodeIds})`
    if (filter.agentVersions) return sql`and agent_version = any(${filter.agentVersions})`
    if (filter.platformTypes) return sql`and platform_type = any(${filter.platformTypes})`
    if (filter.activationIds) return sql`and activation_id::text = any(${filter.activationIds})`
    if (filter.sourceTypes)
      return sql`and case when node_id like 'i-%' then 'AWS::EC2::Instance' else 'AWS::SSM::ManagedInstance' end
        = any(${filter.sourceTypes})`
    return sql`and iam_role = any(${filter.iamRoles ?? []})`
  })
  return sql<NodeRow[]>`
    select ${nodeColumns(sql)} from nodes
    where account = ${scope.account} and region = ${scope.region}
      ${conditions.reduce((all, condition) => sql`${all} ${condition}`, sql``)}
      ${after === undefined ? sql`` : sql`and node_id > ${after}`}
    order by node_id limit ${limit}`
}

export interface NodeKey extends Scope {
  nodeId: string
}

/** Of these nodes of any account, those that are registered. */
export async function listExisting(sql: Sql, nodes: NodeKey[]): Promise<NodeKey[]> {
  return sql<NodeKey[]>`
    select n.account, n.region, n.node_id as "nodeId"
    from unnest(
      ${nodes.map((n) => n.account)}::text[], ${nodes.map((n) => n.region)}::text[], ${nodes.map((n) => n.nodeId)}::text[]
    ) as w (account, region, node_id)
    join nodes n on n.account = w.account and n.region = w.region and n.node_id = w.node_id`
}

/** Of these ids, the registered ones with their platform. */
export async function readPlatforms(
  sql: Sql,
  scope: Scope,
  nodeIds: string[],
): Promise<{ nodeId: string; platformType: string | null }[]> {
  return sql<{ nodeId: string; platformType: string | null }[]>`
    select node_id as "nodeId", platform_type as "platformType" from nodes
    where account = ${scope.account} and region = ${scope.region} and node_id = any(${nodeIds})
    order by node_id`
}

/** By node id, where the node has told it. */
export async function readComputerNames(sql: Sql, scope: Scope, nodeIds: string[]): Promise<Map<string, string>> {
  const rows = await sql<{ nodeId: string; computerName: string }[]>`
    select node_id as "nodeId", computer_name as "computerName" from nodes
    where account = ${scope.account} and region = ${scope.region} and node_id = any(${nodeIds})
      and computer_name is not null`
  return new Map(rows.map(({ nodeId, computerName }) => [nodeId, computerName]))
}

/** The node's id if it is registered; it cannot be deregistered before the transaction ends. */
export async function holdNode(sql: Sql, scope: Scope, nodeId: string): Promise<string | undefined> {
  const [row] = await sql<{ nodeId: string }[]>`
    select node_id as "nodeId" from nodes
    where account = ${scope.account} and region = ${scope.region} and node_id = ${nodeId} for key share`
  return row?.nodeId
}

export interface EnrolmentRow extends Scope {
  tokenDigest: Buffer
  activationId: string
  codeSealed: Buffer
  kind: string
  certificates: string
  expiresAt: Date
}

export async function insertEnrolment(sql: Sql, row: EnrolmentRow): Promise<void> {
  await sql`
    insert into enrolments
      (token_digest, account, region, activation_id, code_sealed, kind, certificates, expires_at)
    values (${row.tokenDigest}, ${row.account}, ${row.region}, ${row.activationId}, ${row.codeSealed}, ${row.kind},
      ${row.certificates}, ${row.expiresAt})`
}

export async function readEnrolment(sql: Sql, tokenDigest: Buffer, now: Date): Promise<EnrolmentRow | undefined> {
  const [row] = await sql<EnrolmentRow[]>`
    select token_digest as "tokenDigest", account, region, activation_id as "activationId",
      code_sealed as "codeSealed", kind, certificates, expires_at as "expiresAt"
    from enrolments where token_digest = ${tokenDigest} and expires_at > ${now}`
  return row
}

export async function deleteEnrolments(sql: Sql, before: Date): Promise<void> {
  await sql`delete from enrolments where expires_at <= ${before}`
}
