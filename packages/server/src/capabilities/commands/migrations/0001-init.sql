create table commands (
  account text not null,
  region text not null,
  command_id uuid primary key,
  document_name text not null,
  document_version text not null,
  comment text not null,
  parameters jsonb not null,
  instance_ids jsonb not null,
  targets jsonb not null,
  output jsonb not null, -- OutputS3…, CloudWatchOutputConfig, ServiceRole, NotificationConfig as they are shown again
  steps jsonb not null, -- [{name, action}], so that a step that has not reported yet can be shown
  payload text not null, -- what nodes are sent
  max_concurrency text not null,
  max_errors text not null,
  concurrency integer not null, -- invocations under way at a time
  errors_allowed integer not null,
  requested_at timestamptz not null,
  timeout_seconds integer not null,
  deliver_by timestamptz not null,
  expires_at timestamptz not null,
  cancelled_at timestamptz,
  target_count integer not null,
  completed_count integer not null default 0,
  error_count integer not null default 0,
  delivery_timed_out_count integer not null default 0,
  status text not null default 'Pending',
  status_details text not null default 'Pending',
  completed_at timestamptz,
  due_at timestamptz -- when the command is to be looked at again; null once it is complete
);
create index commands_by_account on commands (account, region, requested_at desc, command_id);
create index commands_due on commands (due_at) where due_at is not null;
create index commands_by_end on commands (completed_at) where completed_at is not null;

create table command_invocations (
  account text not null,
  region text not null,
  command_id uuid not null references commands on delete cascade,
  node_id text not null,
  position integer not null, -- order of release
  status text not null default 'Pending',
  status_details text not null default 'Pending',
  requested_at timestamptz not null,
  released_at timestamptz, -- put into the node's mailbox
  delivered_at timestamptz, -- acknowledged by the node
  cancelled_at timestamptz, -- asked to cancel
  cancel_sent_at timestamptz,
  completed_at timestamptz,
  trace text not null default '', -- what the agent said when it refused the document
  primary key (command_id, node_id)
);
create index command_invocations_by_state on command_invocations (command_id, position) where completed_at is null;
create index command_invocations_by_node on command_invocations (account, region, node_id, requested_at desc);
create index command_invocations_by_account on command_invocations (account, region, requested_at desc, command_id, node_id);

create table command_steps (
  command_id uuid not null,
  node_id text not null,
  name text not null,
  action text not null,
  status text not null,
  status_details text not null,
  code integer not null,
  output text not null,
  standard_output text not null,
  standard_error text not null,
  started_at text not null,
  ended_at text not null,
  completed_at timestamptz,
  primary key (command_id, node_id, name),
  foreign key (command_id, node_id) references command_invocations on delete cascade
);
