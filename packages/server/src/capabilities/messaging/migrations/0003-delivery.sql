-- Nodes that poll (ec2messages) take a message for some seconds; one that is not acknowledged shows again after them.
alter table mailbox add column hidden_until timestamptz;
-- What nobody wants to say any more after this moment.
alter table mailbox add column expires_at timestamptz;
create index mailbox_by_expiry on mailbox (expires_at) where expires_at is not null;
