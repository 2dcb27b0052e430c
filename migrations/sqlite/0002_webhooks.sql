-- Where events are sent. Times that decide something are milliseconds since 1970.
CREATE TABLE endpoints (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    url           TEXT NOT NULL,
    -- JSON lists of types and of what names begin with; NULL is all.
    events        TEXT,
    names         TEXT,
    -- enabled, disabled; removed until the last of its rows is gone.
    status        TEXT NOT NULL,
    reason        TEXT,
    is_frontend   INTEGER NOT NULL,
    owner         TEXT,
    -- Sealed. The one before signs as well for a while.
    secret        BLOB NOT NULL,
    old_secret    BLOB,
    old_until_ms  INTEGER,
    -- The last event that has its deliveries: what comes after it is the outbox.
    position      INTEGER NOT NULL,
    enabled_ms    INTEGER NOT NULL,
    -- Until when the receiver asked to be left alone.
    held_until_ms INTEGER,
    -- How many deliveries are pending, and how many there ever were of each kind.
    pending       INTEGER NOT NULL DEFAULT 0,
    delivered     INTEGER NOT NULL DEFAULT 0,
    failed        INTEGER NOT NULL DEFAULT 0,
    dead          INTEGER NOT NULL DEFAULT 0,
    created_at    TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX endpoints_frontend ON endpoints (is_frontend) WHERE is_frontend = 1;

-- One event for one endpoint. Ids are the order in which those of a deployment are sent.
CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint    INTEGER NOT NULL,
    event       INTEGER NOT NULL,
    -- The replay that it belongs to; empty for the first sending.
    replay      TEXT NOT NULL,
    name        TEXT NOT NULL,
    status      TEXT NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,
    last_error  TEXT,
    created_ms  INTEGER NOT NULL,
    ended_ms    INTEGER,
    UNIQUE (endpoint, event, replay)
) STRICT;
CREATE INDEX deliveries_queue ON deliveries (endpoint, name, id) WHERE status = 'pending';
CREATE INDEX deliveries_by_status ON deliveries (endpoint, status, id);

-- The deployments of which something is pending, and when the first of it is tried next. What
-- decides about a try stands here, so that none of a million deliveries is looked at in vain.
CREATE TABLE queues (
    endpoint    INTEGER NOT NULL,
    name        TEXT NOT NULL,
    next_ms     INTEGER NOT NULL,
    -- Since when it has been failing.
    failing_ms  INTEGER,
    -- Whether the receiver could not be reached: once it can be, this is tried at once.
    away        INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (endpoint, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX queues_due ON queues (endpoint, next_ms);

CREATE TABLE replays (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    endpoint      INTEGER NOT NULL,
    endpoint_id   TEXT NOT NULL,
    from_sequence INTEGER NOT NULL,
    to_sequence   INTEGER NOT NULL,
    -- all: what the endpoint's filter takes; dead: what stands in its dead letters; exact: the
    -- one event that was named.
    scope         TEXT NOT NULL,
    status        TEXT NOT NULL,
    -- The last event that was looked at.
    position      INTEGER NOT NULL,
    queued        INTEGER NOT NULL DEFAULT 0,
    delivered     INTEGER NOT NULL DEFAULT 0,
    dead          INTEGER NOT NULL DEFAULT 0,
    created_at    TEXT NOT NULL,
    ended_at      TEXT
) STRICT;
CREATE INDEX replays_running ON replays (endpoint, sequence) WHERE status = 'running';
CREATE INDEX replays_by_endpoint ON replays (endpoint, sequence);
