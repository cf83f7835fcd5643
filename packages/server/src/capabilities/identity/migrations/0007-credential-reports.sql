-- The report on the credentials of an account's users that was made last.
create table credential_reports (
  account text primary key references accounts,
  generated_at timestamptz not null,
  content text not null
);
