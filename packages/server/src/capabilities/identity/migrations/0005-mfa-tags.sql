alter table mfa_devices add column tags jsonb not null default '[]';
