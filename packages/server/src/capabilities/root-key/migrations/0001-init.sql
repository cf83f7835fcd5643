-- The change of the root key that goes on, or the last one. `handover` is the new key sealed under the old one, so that
-- every process can learn it; it is taken out as soon as nothing lies under the old key any more.
create table root_key_rotation (
  only_row boolean primary key default true check (only_row),
  phase text not null check (phase in ('introduced', 'switching', 'rewrapping', 'waiting', 'done')),
  old_name text not null,
  new_name text not null,
  handover bytea,
  hurry boolean not null default false, -- what clients hold under the old key is given up at once
  rewrapped integer not null default 0,
  problem text,
  started_at timestamptz not null,
  retire_at timestamptz,
  ended_at timestamptz
);

-- Which root keys each server process holds: a key is not sealed with before all of them have it.
create table root_key_holders (
  process_id uuid primary key,
  origin text not null,
  can_keep boolean not null,
  held jsonb not null,
  kept jsonb not null,
  seals_with text not null,
  seen_at timestamptz not null
);
