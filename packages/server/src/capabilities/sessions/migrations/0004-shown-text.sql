-- What a chunk's output shows as text, for the search: without escape sequences, and beginning with the last words of the
-- chunk before. Made from the body, which alone is chained; empty for chunks of before, whose bodies are searched.
alter table session_recordings add column shown text not null default '';
