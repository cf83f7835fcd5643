-- What KMS knows of a key beyond a name and a state. Versions of imported material may go and come back; grants are
-- permissions that a key's users hand on.
alter table keys add column spec text not null default 'SYMMETRIC_DEFAULT';
alter table keys add column usage text not null default 'ENCRYPT_DECRYPT';
alter table keys add column origin text not null default 'AWS_KMS';
alter table keys add column policy text; -- null: the policy that AWS gives its managed keys
alter table keys add column public_key bytea; -- asymmetric keys: SubjectPublicKeyInfo
alter table keys add column deletion_at timestamptz;
alter table keys add column rotation_days integer; -- null: not rotated by itself
alter table keys add column rotate_at timestamptz;
alter table keys add column material_expires_at timestamptz;
alter table keys add column imported_digest bytea; -- sealed; material that comes back must be the same
alter table keys add column tags jsonb not null default '[]';
-- A ciphertext names its key without the account.
create unique index keys_by_id on keys (region, key_id);
-- What background work looks for: the few keys with an appointment.
create index keys_by_appointment on keys (least(deletion_at, rotate_at, material_expires_at))
  where deletion_at is not null or rotate_at is not null or material_expires_at is not null;

alter table key_versions add column rotation_type text check (rotation_type in ('AUTOMATIC', 'ON_DEMAND'));

alter table key_aliases add column updated_at timestamptz;
create index key_aliases_by_key on key_aliases (account, region, key_id);

create table key_grants (
  account text collate "C" not null,
  region text collate "C" not null,
  key_id uuid not null,
  grant_id text collate "C" not null,
  name text,
  grantee text not null,
  retiring text,
  operations jsonb not null,
  constraints jsonb not null default '{}',
  issuing_account text not null,
  created_at timestamptz not null,
  primary key (account, region, key_id, grant_id),
  foreign key (account, region, key_id) references keys on delete cascade
);
create index key_grants_by_grantee on key_grants (account, region, key_id, grantee);
create index key_grants_by_retiring on key_grants (retiring, region, grant_id) where retiring is not null;
