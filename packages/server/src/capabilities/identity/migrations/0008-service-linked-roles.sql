-- Service-linked roles that were deleted, by the ids of the tasks that deleted them.
create table role_deletions (
  account text not null references accounts,
  task_id text not null,
  role_arn text not null,
  deleted_at timestamptz not null,
  primary key (account, task_id)
);
