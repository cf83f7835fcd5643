-- The latest version of every parameter, whole: GetParameter reads one row. Overwriting moves it to parameter_versions.
-- name_key is the name with its leading slash (`name` and `/name` are one parameter); name is how it was spelt at creation.
-- revision changes with everything that is done to the parameter and never returns, also not after deleting and re-creating.
create sequence parameter_revisions cache 32;

create table parameters (
  account text collate "C" not null,
  region text collate "C" not null,
  name_key text collate "C" not null,
  parent text collate "C" not null,
  leaf text collate "C" not null generated always as (substring(name_key from '[^/]*$')) stored,
  name text collate "C" not null,
  version bigint not null,
  revision bigint not null default nextval('parameter_revisions'),
  type text collate "C" not null,
  -- Text, or the ciphertext in base 64.
  value text not null,
  data_type text collate "C" not null,
  tier text collate "C" not null,
  key_id text collate "C",
  description text,
  allowed_pattern text,
  -- A JSON array as text: jsonb would refuse the \u0000 that policies may hold.
  policies text,
  -- When the next policy of this parameter has something to do.
  policy_due_at timestamptz,
  last_modified_at timestamptz not null,
  last_modified_by text not null,
  primary key (account, region, name_key)
);

-- One level of a hierarchy; the primary key serves all levels below a path. Ordered by leaf and not by name_key, which
-- would let PostgreSQL 18 skip through this index for a single name.
create index parameters_by_parent on parameters (account, region, parent, leaf);
-- Statistics of a few rows would say that accounts grow as rows do, and an index on them alone would look as good as the
-- primary key: measured, a million rows in one account, 2 s for one row until the table is analyzed again.
alter table parameters alter column account set (n_distinct = 10);
alter table parameters alter column region set (n_distinct = 2);
create index parameters_by_policy_due on parameters (policy_due_at) where policy_due_at is not null;

create table parameter_versions (
  account text collate "C" not null,
  region text collate "C" not null,
  name_key text collate "C" not null,
  version bigint not null,
  name text collate "C" not null,
  type text collate "C" not null,
  value text not null,
  data_type text collate "C" not null,
  tier text collate "C" not null,
  key_id text collate "C",
  description text,
  allowed_pattern text,
  policies text,
  last_modified_at timestamptz not null,
  last_modified_by text not null,
  primary key (account, region, name_key, version)
);

-- A label sits on one version at most.
create table parameter_labels (
  account text collate "C" not null,
  region text collate "C" not null,
  name_key text collate "C" not null,
  label text collate "C" not null,
  version bigint not null,
  primary key (account, region, name_key, label)
);

create index parameter_labels_by_label on parameter_labels (account, region, label) include (name_key, version);

create view parameter_all_versions as
  select account, region, name_key, version, name, type, value, data_type, tier, key_id, description, allowed_pattern,
    policies, last_modified_at, last_modified_by
  from parameters
  union all
  select account, region, name_key, version, name, type, value, data_type, tier, key_id, description, allowed_pattern,
    policies, last_modified_at, last_modified_by
  from parameter_versions;

-- What happened, in the words of EventBridge. Written in the transaction of the change itself: each exactly once.
create table parameter_events (
  id bigint generated always as identity primary key,
  account text collate "C" not null,
  region text collate "C" not null,
  name_key text collate "C" not null,
  occurred_at timestamptz not null,
  detail_type text not null,
  detail jsonb not null
);
