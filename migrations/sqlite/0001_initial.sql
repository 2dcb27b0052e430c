-- What the installation is.
CREATE TABLE installation (
    id              TEXT NOT NULL,
    -- Of the sealing key, which lives apart: another key is refused.
    key_fingerprint TEXT,
    created_at      TEXT NOT NULL
) STRICT;

-- One row per name. A destroyed deployment keeps its row until the name is launched again.
CREATE TABLE deployments (
    name        TEXT PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    target      TEXT NOT NULL,
    status      TEXT NOT NULL,
    spec        TEXT NOT NULL,
    facts       TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Sealed values; the key lives apart from the database.
CREATE TABLE sealed (
    deployment_id TEXT NOT NULL,
    name          TEXT NOT NULL,
    value         BLOB NOT NULL,
    PRIMARY KEY (deployment_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE operations (
    -- The order of their beginnings; ids follow the wall clock, which may step back.
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    deployment  TEXT NOT NULL,
    status      TEXT NOT NULL,
    params      TEXT NOT NULL,
    -- The deployment's status before the operation began.
    prior       TEXT,
    -- Raised by every executor that takes the operation up; a write with an older one is refused.
    epoch       INTEGER NOT NULL DEFAULT 0,
    executor    TEXT,
    error       TEXT,
    created_at  TEXT NOT NULL,
    ended_at    TEXT
) STRICT;

-- One active operation per deployment, kept by the database and not by a mutex.
CREATE UNIQUE INDEX operations_active ON operations (deployment) WHERE status = 'running';
CREATE INDEX operations_by_deployment ON operations (deployment, sequence);

CREATE TABLE steps (
    operation   TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    name        TEXT NOT NULL,
    status      TEXT NOT NULL,
    started_at  TEXT,
    ended_at    TEXT,
    message     TEXT,
    output      TEXT NOT NULL DEFAULT 'null',
    PRIMARY KEY (operation, position)
) STRICT, WITHOUT ROWID;

-- Written in the transaction that makes what they tell true.
CREATE TABLE events (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    type        TEXT NOT NULL,
    name        TEXT NOT NULL,
    operation   TEXT,
    message     TEXT NOT NULL,
    timestamp   TEXT NOT NULL,
    data        TEXT NOT NULL DEFAULT 'null'
) STRICT;
CREATE INDEX events_by_name ON events (name, sequence);
CREATE INDEX events_by_operation ON events (operation, sequence);

-- The approval window of a deployment. Times are CLOCK_BOOTTIME seconds of the boot named, so
-- that no clock step lengthens one; after a reboot it is over.
CREATE TABLE approval_windows (
    deployment_id TEXT PRIMARY KEY,
    boot_id       TEXT NOT NULL,
    opened_s      INTEGER NOT NULL,
    deadline_s    INTEGER NOT NULL,
    remaining     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every decision about a device.
CREATE TABLE approvals (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    deployment    TEXT NOT NULL,
    request_id    TEXT NOT NULL,
    device_id     TEXT NOT NULL,
    address       TEXT NOT NULL,
    role          TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    decision      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    decided_at    TEXT NOT NULL
) STRICT;
CREATE INDEX approvals_by_deployment ON approvals (deployment, id);

CREATE TABLE backups (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    deployment_id TEXT NOT NULL,
    deployment    TEXT NOT NULL,
    path          TEXT NOT NULL,
    bytes         INTEGER NOT NULL,
    sha256        TEXT NOT NULL,
    version       TEXT NOT NULL,
    artefact      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    created_at    TEXT NOT NULL
) STRICT;
CREATE INDEX backups_by_deployment ON backups (deployment, sequence);
