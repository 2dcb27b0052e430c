-- Who may use the API. Of a token only its SHA-256 is kept.
CREATE TABLE tokens (
    sequence           INTEGER PRIMARY KEY AUTOINCREMENT,
    id                 TEXT NOT NULL UNIQUE,
    hash               BLOB NOT NULL UNIQUE,
    label              TEXT NOT NULL,
    scopes             TEXT NOT NULL,
    name_prefix        TEXT,
    limits             TEXT NOT NULL,
    server_credentials INTEGER NOT NULL,
    created_at         TEXT NOT NULL,
    created_by         TEXT NOT NULL,
    expires_at         TEXT,
    last_used_at       TEXT,
    revoked_at         TEXT
) STRICT;

-- The console's sessions. One ends with its token; one that stands for a token that is not in the
-- table above is bound to that token's hash, which is not kept.
CREATE TABLE sessions (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    hash        BLOB NOT NULL UNIQUE,
    -- A token's id, or another principal's.
    principal   TEXT NOT NULL,
    binding     BLOB,
    created_at  TEXT NOT NULL,
    expires_at  TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_principal ON sessions (principal, sequence);

-- Raised by whatever takes a right away, in whichever process and by whichever statement, so that
-- a server knows that what it remembers is out of date.
CREATE TABLE access_generation (
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO access_generation (generation) VALUES (0);

CREATE TRIGGER tokens_changed AFTER UPDATE OF
    hash, label, scopes, name_prefix, limits, server_credentials, expires_at, revoked_at ON tokens
BEGIN
    UPDATE access_generation SET generation = generation + 1;
END;
CREATE TRIGGER tokens_deleted AFTER DELETE ON tokens
BEGIN
    UPDATE access_generation SET generation = generation + 1;
END;
CREATE TRIGGER sessions_deleted AFTER DELETE ON sessions
BEGIN
    UPDATE access_generation SET generation = generation + 1;
END;

-- The first answer to a request that says by a key that it may be sent again.
CREATE TABLE idempotency (
    token       TEXT NOT NULL,
    key         TEXT NOT NULL,
    -- Of method, path and body.
    fingerprint BLOB NOT NULL,
    status      INTEGER NOT NULL,
    -- NULL where the answer showed a secret, which is shown once.
    body        TEXT,
    -- The operation that it began, or the id of what it made.
    made        TEXT,
    created_at  TEXT NOT NULL,
    PRIMARY KEY (token, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Who did what, and who was not let.
CREATE TABLE audit (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    at          TEXT NOT NULL,
    actor       TEXT NOT NULL,
    actor_label TEXT NOT NULL,
    address     TEXT NOT NULL,
    action      TEXT NOT NULL,
    name        TEXT,
    outcome     TEXT NOT NULL,
    status      INTEGER NOT NULL,
    request_id  TEXT NOT NULL,
    detail      TEXT NOT NULL,
    -- How often: denials that are alike are one row a minute.
    times       INTEGER NOT NULL DEFAULT 1,
    alike       TEXT UNIQUE
) STRICT;
CREATE INDEX audit_by_actor ON audit (actor, sequence);
CREATE INDEX audit_by_name ON audit (name, sequence);
CREATE INDEX audit_by_outcome ON audit (outcome, sequence);
