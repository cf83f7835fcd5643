/** Every SQL statement of service settings. */
import type { Scope } from '../../platform/arn.ts'
import type { Ground } from '../../platform/context.ts'
import { gathered } from '../../platform/gathered.ts'

type Scoped = Scope & Pick<Ground, 'sql'>

export interface CustomisedSetting {
  value: string
  lastModifiedAt: Date
  lastModifiedBy: string
}

/** Gathered, since every PutParameter that names no tier asks for one. */
const lookUp = gathered<Scope & { id: string }, CustomisedSetting | undefined>(async (sql, keys) => {
  const found = await sql<(CustomisedSetting & { position: number })[]>`
    select wanted.position::int, value, last_modified_at as "lastModifiedAt", last_modified_by as "lastModifiedBy"
    from unnest(
      ${keys.map((key) => key.account)}::text[],
      ${keys.map((key) => key.region)}::text[],
      ${keys.map((key) => key.id)}::text[]
    ) with ordinality as wanted (account, region, setting_id, position)
    join service_settings using (account, region, setting_id)`
  const rows = new Map(found.map((row) => [row.position, row]))
  return keys.map((_, index) => rows.get(index + 1))
})

export const customised = (context: Scoped, id: string): Promise<CustomisedSetting | undefined> =>
  lookUp(context.sql, { account: context.account, region: context.region, id })

export async function customise(context: Scoped, id: string, setting: CustomisedSetting): Promise<void> {
  await context.sql`
    insert into service_settings (account, region, setting_id, value, last_modified_at, last_modified_by)
    values (${context.account}, ${context.region}, ${id}, ${setting.value}, ${setting.lastModifiedAt}, ${setting.lastModifiedBy})
    on conflict (account, region, setting_id) do update
    set value = excluded.value, last_modified_at = excluded.last_modified_at, last_modified_by = excluded.last_modified_by`
}

export async function reset(context: Scoped, id: string): Promise<void> {
  await context.sql`
    delete from service_settings
    where account = ${context.account} and region = ${context.region} and setting_id = ${id}`
}
