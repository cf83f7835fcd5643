/** SQL of passwords: what an account wants of them, and the hashes of those that its users have and had. */
import type { Sql } from '../../../platform/database.ts'
import type { PasswordPolicy } from '../passwords.ts'

export async function readPasswordPolicy(sql: Sql, account: string): Promise<PasswordPolicy | undefined> {
  const [row] = await sql<{ policy: PasswordPolicy }[]>`select policy from password_policies where account = ${account}`
  return row?.policy
}

export async function putPasswordPolicy(sql: Sql, account: string, policy: PasswordPolicy): Promise<void> {
  await sql`
    insert into password_policies (account, policy) values (${account}, ${sql.json({ ...policy })})
    on conflict (account) do update set policy = excluded.policy`
}

/** false: there was none. */
export async function deletePasswordPolicy(sql: Sql, account: string): Promise<boolean> {
  const rows = await sql`delete from password_policies where account = ${account} returning 1`
  return rows.length === 1
}

/** The hashes of a user's passwords, the present one first. */
export async function readHashes(sql: Sql, userId: string): Promise<string[]> {
  const [row] = await sql<{ hash: string | null; history: string[] }[]>`
    select password_hash as hash, password_history as history from users where user_id = ${userId}`
  return row ? [...(row.hash === null ? [] : [row.hash]), ...row.history] : []
}

export async function setPassword(
  sql: Sql,
  userId: string,
  change: { hashes?: string[] | undefined; resetRequired?: boolean | undefined; createdAt?: Date },
  now: Date,
): Promise<void> {
  const [hash, ...history] = change.hashes ?? []
  await sql`
    update users set password_hash = coalesce(${hash ?? null}, password_hash),
      password_history = coalesce(${change.hashes ? sql.json(history) : null}, password_history),
      password_changed_at = ${change.hashes ? now : sql`password_changed_at`},
      password_reset_required = coalesce(${change.resetRequired ?? null}, password_reset_required),
      password_created_at = coalesce(${change.createdAt ?? null}, password_created_at)
    where user_id = ${userId}`
}

/** The passwords that the user had stay known: a new login profile is no way around a policy. */
export async function deletePassword(sql: Sql, userId: string, history: string[]): Promise<void> {
  await sql`
    update users set password_hash = null, password_created_at = null, password_changed_at = null,
      password_reset_required = false, password_history = ${sql.json(history)}
    where user_id = ${userId}`
}
