-- Where a session's two ends reach the process that holds a node's channel, such as `wss://10.0.0.5:8771`.
alter table server_processes add column stream_origin text;
