-- What passwords of an account's users must be like; an account without a row has IAM's default.
create table password_policies (
  account text primary key references accounts,
  policy jsonb not null
);

-- Hashes of the passwords before the present one, the newest first: a policy may forbid to use them again.
alter table users add column password_history jsonb not null default '[]';
alter table users add column password_changed_at timestamptz;
update users set password_changed_at = password_created_at;
