-- Tags of every taggable resource. The resource itself lies with its owner, above: no foreign key.
create table tags (
  account text collate "C" not null,
  region text collate "C" not null,
  resource_type text collate "C" not null,
  resource_id text collate "C" not null,
  key text collate "C" not null,
  value text collate "C" not null,
  primary key (account, region, resource_type, resource_id, key)
);

-- Targets such as tag:Environment=Production. The id is only carried: were it a part of the key, PostgreSQL 18 might skip
-- through this index for the tags of one resource.
create index tags_by_key on tags (account, region, resource_type, key, value) include (resource_id);
