-- Output that is to be written into a bucket, and when it last was; due again when more of it came.
alter table command_invocations add column keep_output_at timestamptz, add column output_kept_at timestamptz;
create index command_invocations_to_keep on command_invocations (keep_output_at)
  where keep_output_at is not null and completed_at is not null;

-- The status that was told last, and what is still to be told.
alter table commands add column notified_status text;
alter table command_invocations add column notified_status text;
create table command_notifications (
  sequence bigint generated always as identity primary key,
  message_id uuid not null default gen_random_uuid(),
  command_id uuid not null references commands on delete cascade,
  topic_arn text not null,
  subject text not null,
  message text not null,
  created_at timestamptz not null,
  attempts integer not null default 0,
  due_at timestamptz not null
);
create index command_notifications_due on command_notifications (due_at, sequence);
create index command_notifications_by_command on command_notifications (command_id);
