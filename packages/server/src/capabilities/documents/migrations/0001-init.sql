create table documents (
  account text not null,
  region text not null,
  name text collate "C" not null, -- listings are merged with built-in names, which are sorted by code point
  document_type text not null,
  default_version integer not null,
  latest_version integer not null,
  versions_made integer not null, -- numbers are never given twice, even when the newest version was deleted
  primary key (account, region, name)
);

create table document_versions (
  account text not null,
  region text not null,
  name text collate "C" not null,
  version integer not null,
  version_name text,
  display_name text,
  target_type text,
  document_format text not null,
  schema_version text not null, -- empty for types without one
  description text,
  content text not null, -- the text as submitted: the hash is of its bytes
  hash text not null, -- SHA-256, hexadecimal
  platform_types text[] not null,
  requires jsonb,
  author text not null,
  created_at timestamptz not null,
  review_status text not null default 'NOT_REVIEWED',
  primary key (account, region, name, version),
  foreign key (account, region, name) references documents on delete cascade
);
create unique index document_versions_by_version_name on document_versions (account, region, name, version_name);

create table document_shares (
  account text not null,
  region text not null,
  name text collate "C" not null,
  shared_with text not null, -- twelve digits, or `all`
  shared_version text not null, -- $DEFAULT, $LATEST or $ALL
  primary key (account, region, name, shared_with),
  foreign key (account, region, name) references documents on delete cascade
);
create index document_shares_by_consumer on document_shares (shared_with, region);

create table document_reviews (
  account text not null,
  region text not null,
  name text collate "C" not null,
  version integer not null,
  number integer not null, -- counts up within a version; the history shows the newest first
  review_status text not null,
  reviewer text, -- null: sent for review, nobody has answered
  comment jsonb not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (account, region, name, version, number),
  foreign key (account, region, name, version) references document_versions on delete cascade
);
