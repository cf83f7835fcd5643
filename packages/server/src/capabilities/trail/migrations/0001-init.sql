-- The audit: for each account and region a chain of records. Records lie in segments, a batch of the writer each: JSON
-- lines, deflated, with the chain's hash before and after them, so that a busy second costs a row and a commit or ten.
create table trail_chains (
  account text not null,
  region text not null,
  -- The head: what the chain ends with. Sealed under the root key, so that an end that was cut off is noticed.
  last_seq bigint not null,
  hash bytea not null,
  seal bytea not null,
  -- The anchor: what was trimmed by age ends here, and the chain begins after it.
  anchor_seq bigint not null,
  anchor_hash bytea not null,
  anchor_seal bytea not null,
  primary key (account, region)
);

create table trail_segments (
  account text not null,
  region text not null,
  last_seq bigint not null,
  first_seq bigint not null,
  first_at timestamptz not null,
  last_at timestamptz not null,
  hash_before bytea not null,
  hash bytea not null,
  seal bytea not null,
  -- Eight bytes of each record's hash, one after the other: they name the record that was changed.
  tags bytea not null,
  -- Hashes of what LookupEvents looks for.
  attributes integer[] not null,
  body bytea not null,
  primary key (account, region, last_seq)
);
-- Deflated already: no second try.
alter table trail_segments alter column body set storage external;
alter table trail_segments alter column tags set storage external;
create index trail_segments_by_time on trail_segments (account, region, last_at);
create index trail_segments_by_attribute on trail_segments using gin (attributes);

-- Records on their way into a chain: events that were written with what they tell of (no process), and in fail-closed
-- mode what is about to be done by a process. A row is taken out by the statement that appends its record.
create table trail_pending (
  event_id uuid primary key,
  account text not null,
  region text not null,
  process_id uuid,
  at timestamptz not null,
  event text not null
);

-- Which processes live, by the database's own clock.
create table trail_processes (
  process_id uuid primary key,
  beat_at timestamptz not null
);

-- Texts of commands and values that were written, encrypted under a data key of the account's KMS key.
create table trail_contents (
  event_id uuid primary key,
  account text not null,
  region text not null,
  at timestamptz not null,
  data_key bytea not null,
  sealed bytea not null
);
create index trail_contents_by_time on trail_contents (account, region, at);

-- Which chains there are, sealed: a chain that is gone as a whole is noticed.
create table trail_roll (
  only_row boolean primary key default true check (only_row),
  seal bytea not null
);
