-- The ids of the users and roles that a trust policy names, by their ARNs at the time: who is made anew under an old name
-- is somebody else. Roles of before have none until their trust policy is written again; theirs go by ARN alone.
alter table roles add column trusted_ids jsonb not null default '{}';
