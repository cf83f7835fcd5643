/** SQL of credential reports: what they tell, and the one of each account that was made last. */
import type { Sql } from '../../../platform/database.ts'

export interface Report {
  generatedAt: Date
  content: string
}

export async function readReport(sql: Sql, account: string): Promise<Report | undefined> {
  const [row] = await sql<Report[]>`
    select generated_at as "generatedAt", content from credential_reports where account = ${account}`
  return row
}

export async function putReport(sql: Sql, account: string, { generatedAt, content }: Report): Promise<void> {
  await sql`
    insert into credential_reports (account, generated_at, content) values (${account}, ${generatedAt}, ${content})
    on conflict (account) do update set generated_at = excluded.generated_at, content = excluded.content`
}

export interface ReportedKey {
  /** null: the root's. */
  userId: string | null
  status: 'Active' | 'Inactive'
  createdAt: Date
  usedAt: Date | null
  region: string | null
  service: string | null
}

/** Of all of the account's users and of its root, the oldest first. */
export async function listReportedKeys(sql: Sql, account: string): Promise<ReportedKey[]> {
  return sql<ReportedKey[]>`
    select user_id as "userId", status, created_at as "createdAt", last_used_at as "usedAt", last_used_region as region,
      last_used_service as service
    from access_keys where account = ${account} order by created_at, access_key_id`
}

export async function readAccountBirth(sql: Sql, account: string): Promise<Date | undefined> {
  const [row] = await sql<
    { createdAt: Date }[]
  >`select created_at as "createdAt" from accounts where account = ${account}`
  return row?.createdAt
}
