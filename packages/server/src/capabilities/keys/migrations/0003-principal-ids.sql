-- The ids of the users and roles that a key's policy and its grants name: who is made anew under an old name is somebody
-- else. Those of before go by ARN alone, policies until they are written again.
alter table keys add column policy_ids jsonb not null default '{}';
alter table key_grants add column grantee_id text;
alter table key_grants add column retiring_id text;
