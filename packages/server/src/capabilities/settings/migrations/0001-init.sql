-- Service settings that an account has customised; a missing row means the default.
create table service_settings (
  account text collate "C" not null,
  region text collate "C" not null,
  setting_id text collate "C" not null,
  value text not null,
  last_modified_at timestamptz not null,
  last_modified_by text not null,
  primary key (account, region, setting_id)
);
