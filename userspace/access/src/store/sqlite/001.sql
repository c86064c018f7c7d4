-- Times are milliseconds since the epoch. `body` is the object as JSON; the other columns are what queries need.
CREATE TABLE requests (
    id         TEXT PRIMARY KEY,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX requests_by_state ON requests (state);
CREATE INDEX requests_by_age ON requests (created_at DESC);

CREATE TABLE grants (
    id        TEXT PRIMARY KEY,
    starts_at INTEGER NOT NULL,
    ended_at  INTEGER,
    body      TEXT NOT NULL
) STRICT;
CREATE INDEX grants_by_end ON grants (ended_at);
CREATE INDEX grants_by_age ON grants (starts_at DESC);

-- The trail: what was done, by whom. Its last number is the revision of the store.
CREATE TABLE events (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    at   INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events BEGIN
    SELECT raise(ABORT, 'events are never changed');
END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events BEGIN
    SELECT raise(ABORT, 'events are never deleted');
END;
