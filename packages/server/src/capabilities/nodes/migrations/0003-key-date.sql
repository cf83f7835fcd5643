-- When the node's key was last made known, from which its age counts.
alter table nodes add column key_date timestamptz;
update nodes set key_date = registration_date;
alter table nodes alter column key_date set not null;
