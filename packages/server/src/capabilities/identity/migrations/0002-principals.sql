-- Users, groups, roles and their policies. IAM is global: an account has one set for all regions. Names are unique
-- without regard to case, as in AWS; ids are never used again.
create table users (
  account text not null references accounts,
  user_name text not null,
  user_id text not null unique,
  path text not null,
  created_at timestamptz not null,
  boundary_arn text,
  tags jsonb not null default '[]',
  password_hash text,
  password_reset_required boolean not null default false,
  password_created_at timestamptz,
  password_last_used_at timestamptz
);
create unique index users_by_name on users (account, lower(user_name));

create table groups (
  account text not null references accounts,
  group_name text not null,
  group_id text not null unique,
  path text not null,
  created_at timestamptz not null
);
create unique index groups_by_name on groups (account, lower(group_name));

create table group_members (
  group_id text not null references groups (group_id) on delete cascade,
  user_id text not null references users (user_id) on delete cascade,
  primary key (group_id, user_id)
);
create index group_members_by_user on group_members (user_id);

create table roles (
  account text not null references accounts,
  role_name text not null,
  role_id text not null unique,
  path text not null,
  trust_policy text not null,
  description text not null default '',
  max_session_seconds integer not null default 3600,
  created_at timestamptz not null,
  boundary_arn text,
  tags jsonb not null default '[]',
  last_used_at timestamptz,
  last_used_region text
);
create unique index roles_by_name on roles (account, lower(role_name));

-- Customer managed policies; those of AWS are built in.
create table policies (
  account text not null references accounts,
  policy_name text not null,
  policy_id text not null unique,
  policy_arn text not null unique,
  path text not null,
  description text not null default '',
  default_version integer not null,
  latest_version integer not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  tags jsonb not null default '[]'
);
create unique index policies_by_name on policies (account, lower(policy_name));

create table policy_versions (
  policy_id text not null references policies (policy_id) on delete cascade,
  version integer not null,
  document text not null,
  created_at timestamptz not null,
  primary key (policy_id, version)
);

-- Policies of a user, group or role (`owner_id` is its id): attached managed ones and inline ones.
create table attached_policies (
  account text not null,
  owner_id text not null,
  policy_arn text not null,
  attached_at timestamptz not null,
  primary key (owner_id, policy_arn)
);
create index attached_policies_by_policy on attached_policies (account, policy_arn);

create table inline_policies (
  account text not null,
  owner_id text not null,
  policy_name text not null,
  document text not null,
  primary key (owner_id, policy_name)
);

create table instance_profiles (
  account text not null references accounts,
  profile_name text not null,
  profile_id text not null unique,
  path text not null,
  role_id text references roles (role_id),
  created_at timestamptz not null,
  tags jsonb not null default '[]'
);
create unique index instance_profiles_by_name on instance_profiles (account, lower(profile_name));

create table account_aliases (
  alias text primary key,
  account text not null unique references accounts
);

-- Time-based one-time passwords; the seed lies sealed. `last_step` is the last half minute that was used: no code is taken twice.
create table mfa_devices (
  serial_number text primary key,
  account text not null references accounts,
  user_id text references users (user_id) on delete cascade,
  seed_sealed bytea not null,
  enabled_at timestamptz,
  last_step bigint
);

-- Issuers whose tokens AssumeRoleWithWebIdentity takes.
create table oidc_providers (
  account text not null references accounts,
  url text not null,
  client_ids jsonb not null default '[]',
  thumbprints jsonb not null default '[]',
  created_at timestamptz not null,
  tags jsonb not null default '[]',
  primary key (account, url)
);

-- Long-lived keys belong to the account's root or to a user.
alter table access_keys add column user_id text references users (user_id) on delete cascade;
alter table access_keys add column last_used_at timestamptz;
alter table access_keys add column last_used_region text;
alter table access_keys add column last_used_service text;
create index access_keys_by_user on access_keys (user_id);

-- The role whose policies a node's credentials carry beside the rights that every node has as itself.
alter table node_grants add column role_name text;

-- Refusals with their reasons, for those who may know. The newest of each account are kept.
create table denials (
  account text not null references accounts,
  request_id text not null,
  denied_at timestamptz not null,
  principal_arn text not null,
  action text not null,
  reason jsonb not null,
  primary key (account, request_id)
);
create index denials_by_age on denials (account, denied_at desc);
