-- `revision` is that of the change that wrote the row last: what was written after one is found without reading all.
ALTER TABLE requests ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
CREATE INDEX requests_by_revision ON requests (revision);
ALTER TABLE grants ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
CREATE INDEX grants_by_revision ON grants (revision);

-- Requests to targets that wait, or waited, for a person's word.
CREATE TABLE holds (
    id         TEXT PRIMARY KEY,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    decided_at INTEGER,
    revision   INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX holds_by_state ON holds (state);
CREATE INDEX holds_by_decision ON holds (decided_at);
CREATE INDEX holds_by_age ON holds (created_at DESC);
CREATE INDEX holds_by_revision ON holds (revision);

-- Links and buttons that were used: each works once.
CREATE TABLE spent (
    token      TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX spent_by_end ON spent (expires_at);

-- How far each reader of events has come, and who may do at the moment what only one bastion may.
CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    seq  INTEGER NOT NULL
) STRICT;
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until  INTEGER NOT NULL
) STRICT;
