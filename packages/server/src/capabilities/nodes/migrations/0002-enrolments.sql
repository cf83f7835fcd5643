-- Scripts that make machines into nodes, served to whoever knows the token while it lives.
create table enrolments (
  token_digest bytea primary key, -- SHA-256; the token itself is shown once and kept nowhere
  account text not null,
  region text not null,
  activation_id uuid not null references activations on delete cascade,
  code_sealed bytea not null, -- the activation code, sealed for this enrolment
  kind text not null, -- own, official
  certificates text not null, -- PEM of the authority that nodes are to trust
  expires_at timestamptz not null
);
create index enrolments_by_expiry on enrolments (expires_at);
