-- What a port session leads to, as its client asked for it.
alter table sessions add column destination text not null default '';

-- Recordings in asciicast v2, cut into chunks. Each chunk's hash covers the one before it, and the seal at the end
-- covers the last hash and the number of chunks under the root key: nothing can be changed, left out or cut off unseen.
create table session_recordings (
  session_id text not null references sessions on delete cascade,
  number integer not null,
  body text not null,
  hash bytea not null,
  primary key (session_id, number)
);
create table session_recording_seals (
  session_id text primary key references sessions on delete cascade,
  chunks integer not null,
  seal bytea not null
);
