-- The job that tells a node to cancel, and when the node took it: the grace of a silent node begins there.
alter table command_invocations add column cancel_job uuid, add column cancel_taken_at timestamptz;
create index command_invocations_by_cancel on command_invocations (cancel_job) where cancel_job is not null;
-- Open invocations of nodes, to find those whose node is gone.
create index command_invocations_open on command_invocations (account, region, node_id) where completed_at is null;

-- The whole output of an invocation in the order in which it came. `position` counts the bytes of all its streams and is
-- where a reader goes on; `start` is the place in the one stream, so that what comes twice is kept once.
create table command_output (
  command_id uuid not null,
  node_id text not null,
  position bigint not null,
  step text not null,
  stream text not null, -- stdout, stderr
  start bigint not null,
  bytes bytea not null,
  received_at timestamptz not null,
  primary key (command_id, node_id, position),
  foreign key (command_id, node_id) references command_invocations on delete cascade
);
create unique index command_output_by_stream on command_output (command_id, node_id, step, stream, start);
