-- What is to be said to nodes. A message lies here until its node has acknowledged it; contents that many nodes
-- share are stored once.
create table message_contents (
  content_id uuid primary key,
  content text not null,
  created_at timestamptz not null
);

create table mailbox (
  message_id uuid primary key,
  account text not null,
  region text not null,
  node_id text not null,
  message_type text not null,
  job_id text not null,
  topic text not null,
  content_id uuid not null references message_contents,
  created_at timestamptz not null
);
create index mailbox_by_node on mailbox (account, region, node_id, created_at);
create index mailbox_by_job on mailbox (job_id);
create index mailbox_by_content on mailbox (content_id);

-- Server processes prove that they live by their heartbeat.
create table server_processes (
  process_id uuid primary key,
  heartbeat_at timestamptz not null
);

-- Which process holds a node's control channel.
create table node_channels (
  account text not null,
  region text not null,
  node_id text not null,
  process_id uuid not null,
  opened_at timestamptz not null,
  primary key (account, region, node_id)
);
create index node_channels_by_process on node_channels (process_id);
