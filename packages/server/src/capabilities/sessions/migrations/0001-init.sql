-- Sessions, from StartSession to their history. What runs between the two ends lives in one process' memory.
create table sessions (
  session_id text primary key,
  account text not null,
  region text not null,
  node_id text not null,
  document_name text not null,
  session_type text not null,
  owner text not null,
  reason text not null,
  -- Connecting, Connected, Terminating, Terminated, Failed
  status text not null,
  details text not null,
  started_at timestamptz not null,
  ended_at timestamptz,
  -- null: without a limit
  idle_seconds integer,
  longest_seconds integer,
  encrypted boolean not null,
  recorded boolean not null,
  -- The interactive_shell message in the node's mailbox.
  letter_id uuid not null,
  -- The process that carries the session touches it; what nobody has touched for long is over.
  seen_at timestamptz not null
);
create index sessions_of_account on sessions (account, region, started_at desc, session_id);
create index sessions_open on sessions (seen_at) where ended_at is null;
create index sessions_by_end on sessions (ended_at) where ended_at is not null;

-- Tokens open a session's data channel once, for one of its ends. Only their SHA-256 is kept.
create table session_tokens (
  token_hash bytea primary key,
  session_id text not null references sessions on delete cascade,
  role text not null,
  expires_at timestamptz not null
);
create index session_tokens_by_session on session_tokens (session_id, role);
create index session_tokens_by_expiry on session_tokens (expires_at);
