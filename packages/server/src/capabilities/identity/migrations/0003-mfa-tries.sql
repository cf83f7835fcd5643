-- Codes that were tried since one was right: a million are soon guessed, so only so many are looked at within a while.
alter table mfa_devices add column tries integer not null default 0;
alter table mfa_devices add column tries_since timestamptz;
