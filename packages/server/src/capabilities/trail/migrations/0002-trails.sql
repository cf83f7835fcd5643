-- Trails: files of records for a bucket. What the chains hold is the truth; a trail knows how far of each chain it has come.
create table trails (
  account text not null,
  -- The home region.
  region text not null,
  name text not null,
  bucket text not null,
  prefix text not null,
  include_global boolean not null,
  multi_region boolean not null,
  validation boolean not null,
  selectors jsonb,
  advanced_selectors jsonb,
  tags jsonb not null default '{}',
  is_logging boolean not null default false,
  started_at timestamptz,
  stopped_at timestamptz,
  attempted_at timestamptz,
  delivered_at timestamptz,
  delivery_error text,
  digested_at timestamptz,
  digest_error text,
  failures integer not null default 0,
  -- When it is to be looked at; null: nothing is to be done.
  next_at timestamptz,
  -- Until then one process delivers, and no other.
  lease_until timestamptz,
  lease_id uuid,
  primary key (account, region, name)
);
create index trails_by_next on trails (next_at) where next_at is not null;

-- Stretches of chains that were recorded while a trail was logging: records after after_seq are still to be delivered.
create table trail_spans (
  account text not null,
  home_region text not null,
  name text not null,
  region text not null,
  begin_seq bigint not null,
  after_seq bigint not null,
  -- Null: it goes on.
  until_seq bigint,
  -- A file that was begun: its last record and the moment in its name, so that whoever finishes it makes the same file.
  file_to bigint,
  file_at timestamptz,
  primary key (account, home_region, name, region, begin_seq),
  foreign key (account, home_region, name) references trails (account, region, name) on delete cascade
);

-- Files that lie in the bucket and that no digest tells of yet.
create table trail_files (
  account text not null,
  home_region text not null,
  name text not null,
  region text not null,
  last_seq bigint not null,
  bucket text not null,
  key text not null,
  hash bytea not null,
  oldest_at timestamptz not null,
  newest_at timestamptz not null,
  -- The digest that was begun with it.
  digest_end timestamptz,
  primary key (account, home_region, name, region, last_seq),
  foreign key (account, home_region, name) references trails (account, region, name) on delete cascade
);

-- The end of a chain of digests.
create table trail_digests (
  account text not null,
  home_region text not null,
  name text not null,
  region text not null,
  start_at timestamptz not null,
  -- The end of a digest that was begun.
  end_at timestamptz,
  previous jsonb,
  primary key (account, home_region, name, region),
  foreign key (account, home_region, name) references trails (account, region, name) on delete cascade
);

-- What signs digests.
create table trail_signing_keys (
  fingerprint text primary key,
  -- PKCS #1, DER.
  public_key bytea not null,
  -- PKCS #8, DER, sealed under the root key.
  private_key bytea not null,
  valid_from timestamptz not null,
  valid_until timestamptz not null
);
