-- Times are milliseconds since the epoch. `body` is the object as JSON text; the other columns are what queries need.
-- Run in a transaction, with the schema in the search path.
CREATE TABLE requests (
    id         text PRIMARY KEY,
    state      text NOT NULL,
    created_at bigint NOT NULL,
    revision   bigint NOT NULL,
    body       text NOT NULL
);
CREATE INDEX requests_by_state ON requests (state);
CREATE INDEX requests_by_age ON requests (created_at DESC);
CREATE INDEX requests_by_revision ON requests (revision);

CREATE TABLE grants (
    id        text PRIMARY KEY,
    starts_at bigint NOT NULL,
    ended_at  bigint,
    revision  bigint NOT NULL,
    body      text NOT NULL
);
CREATE INDEX grants_by_end ON grants (ended_at);
CREATE INDEX grants_by_age ON grants (starts_at DESC);
CREATE INDEX grants_by_revision ON grants (revision);

-- Requests to targets that wait, or waited, for a person's word.
CREATE TABLE holds (
    id         text PRIMARY KEY,
    state      text NOT NULL,
    created_at bigint NOT NULL,
    decided_at bigint,
    revision   bigint NOT NULL,
    body       text NOT NULL
);
CREATE INDEX holds_by_state ON holds (state);
CREATE INDEX holds_by_decision ON holds (decided_at);
CREATE INDEX holds_by_age ON holds (created_at DESC);
CREATE INDEX holds_by_revision ON holds (revision);

-- The trail: what was done, by whom.
CREATE TABLE events (
    seq  bigint PRIMARY KEY,
    at   bigint NOT NULL,
    body text NOT NULL
);
CREATE FUNCTION events_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed or deleted';
END $$;
CREATE TRIGGER events_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_kept();

-- The number of the last event. Writers lock this row, so numbers have no gaps and become visible in their order, which
-- a sequence does not promise.
CREATE TABLE revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seq      bigint NOT NULL
);
INSERT INTO revision (seq) VALUES (0);

-- Links and buttons that were used: each works once.
CREATE TABLE spent (
    token      text PRIMARY KEY,
    expires_at bigint NOT NULL
);
CREATE INDEX spent_by_end ON spent (expires_at);

-- How far each reader of events has come, and who may do at the moment what only one bastion may.
CREATE TABLE cursors (
    name text PRIMARY KEY,
    seq  bigint NOT NULL
);
CREATE TABLE leases (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    until  bigint NOT NULL
);
