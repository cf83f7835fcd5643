-- One row: what this installation is. `root_key_check` is sealed under the root key, so that a process that was
-- started with another root key notices before it writes anything.
create table installation (
  only_row boolean primary key default true check (only_row),
  account text not null,
  region text not null,
  root_key_check bytea not null,
  created_at timestamptz not null
);

create table accounts (
  account text primary key check (account ~ '^[0-9]{12}$'),
  name text not null,
  status text not null default 'Active',
  created_at timestamptz not null
);

-- Long-lived keys. The secret lies sealed under the root key, bound to the key id.
create table access_keys (
  access_key_id text primary key,
  account text not null references accounts,
  owner text not null, -- 'root'
  secret_sealed bytea not null,
  status text not null default 'Active',
  created_at timestamptz not null
);

-- Nodes that may hold role credentials. A node's session tokens name its serial: a new serial, or none, ends them all.
create table node_grants (
  account text not null references accounts,
  region text not null,
  node_id text not null,
  serial bigint not null generated always as identity,
  primary key (account, region, node_id)
);
