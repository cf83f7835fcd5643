-- Encryption keys. A key is a name and a state; what encrypts is one of its versions, so that rotation adds a row and old
-- ciphertext stays readable. Material lies sealed under the installation's root key, bound to the key it belongs to.
create table keys (
  account text collate "C" not null,
  region text collate "C" not null,
  key_id uuid not null,
  manager text not null check (manager in ('AWS', 'CUSTOMER')),
  state text not null,
  description text not null,
  current_version integer not null,
  created_at timestamptz not null,
  primary key (account, region, key_id)
);

create table key_versions (
  account text collate "C" not null,
  region text collate "C" not null,
  key_id uuid not null,
  version integer not null,
  sealed_material bytea not null,
  created_at timestamptz not null,
  primary key (account, region, key_id, version),
  foreign key (account, region, key_id) references keys on delete cascade
);

create table key_aliases (
  account text collate "C" not null,
  region text collate "C" not null,
  alias text collate "C" not null,
  key_id uuid not null,
  created_at timestamptz not null,
  primary key (account, region, alias),
  foreign key (account, region, key_id) references keys on delete cascade
);
