-- The ARN of the KMS key that an encrypted session's data key is made under; empty for all others.
alter table sessions add column kms_key text not null default '';
