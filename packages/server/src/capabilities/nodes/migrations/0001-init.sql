create table activations (
  account text not null,
  region text not null,
  activation_id uuid not null,
  code_digest bytea not null, -- SHA-256 of the activation code; the code itself is shown once and kept nowhere
  description text not null default '',
  default_instance_name text not null default '',
  iam_role text not null,
  registration_limit integer not null,
  registrations_count integer not null default 0,
  expiration_date timestamptz not null,
  created_date timestamptz not null,
  tags jsonb not null default '[]',
  node_id text, -- the id that its one node is to have, from the tag musterbook:node-id
  primary key (activation_id)
);
create index activations_by_account on activations (account, region, created_date desc, activation_id);

create table nodes (
  account text not null,
  region text not null,
  node_id text not null,
  activation_id uuid,
  name text not null default '',
  iam_role text not null default '',
  registration_date timestamptz not null,
  public_key bytea not null, -- DER SubjectPublicKeyInfo
  fingerprint text not null,
  agent_name text,
  agent_status text,
  agent_version text,
  platform_type text,
  platform_name text,
  platform_version text,
  computer_name text,
  ip_address text,
  last_ping_at timestamptz,
  primary key (account, region, node_id)
);
-- A node's signature names its id but no account: the few nodes of that id are tried with their keys.
create index nodes_by_id on nodes (region, node_id);
create index nodes_by_activation on nodes (activation_id);
