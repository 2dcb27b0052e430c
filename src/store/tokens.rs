//! The API's tokens.
//!
//! Owns their rows. Of a token itself only the SHA-256 is here. Refuses to forget one that was
//! revoked before its history is old, so that the audit log's names keep a meaning.

use std::collections::BTreeSet;

use rusqlite::{Row, Transaction};
use serde::Serialize;
use time::OffsetDateTime;

use super::audit::{self, AuditRecord};
use super::idempotency::{self, Answer, IdempotencyKey};
use super::{Result, Store, StoreError, format_time, new_id, now, rows};
use crate::domain::{Failure, Limits, NamePrefix, Scope};
use crate::secrets::bearer::BearerHash;

/// The most tokens that are good at once. A server remembers those in use.
pub const TOKENS_MAX: i64 = 10_000;

/// A token to be.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What people call it.
    pub label: String,
    /// What it is good for.
    pub scopes: BTreeSet<Scope>,
    /// How the names begin that it reaches.
    pub name_prefix: Option<NamePrefix>,
    /// How much it may have.
    pub limits: Limits,
    /// Whether the server's own provider credentials may go into what it launches.
    pub server_credentials: bool,
    /// When it ends.
    pub expires_at: Option<OffsetDateTime>,
}

/// A token without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenRecord {
    /// Its id, which is no secret.
    pub id: String,
    /// What people call it.
    pub label: String,
    /// What it is good for.
    pub scopes: BTreeSet<Scope>,
    /// How the names begin that it reaches.
    pub name_prefix: Option<NamePrefix>,
    /// How much it may have.
    pub limits: Limits,
    /// Whether the server's own provider credentials may go into what it launches.
    pub server_credentials: bool,
    /// When it was made, RFC 3339 UTC.
    pub created_at: String,
    /// By whom: the id of a principal.
    pub created_by: String,
    /// When it ends.
    pub expires_at: Option<String>,
    /// When it was last used; up to a minute late.
    pub last_used_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
}

impl TokenRecord {
    /// Whether it is good at a moment, RFC 3339 UTC as the store writes it.
    pub fn is_good(&self, now: &str) -> bool {
        self.revoked_at.is_none() && self.expires_at.as_deref().is_none_or(|end| now < end)
    }
}

impl Store {
    /// Keeps a token. The audit log says it with the token's id and label.
    pub fn create_token(
        &self,
        new: &NewToken,
        hash: &BearerHash,
        record: &AuditRecord,
        key: Option<&IdempotencyKey>,
    ) -> Result<TokenRecord> {
        let id = new_id();
        self.write(|tx| {
            if let Some(key) = key {
                idempotency::claim(tx, key)?;
            }
            has_room(tx)?;
            insert(tx, &id, new, hash, &record.actor)?;
            audit::append(tx, &record.clone().about(&id).detail(&new.label))?;
            if let Some(key) = key {
                idempotency::keep(tx, key, &Answer::shown_once(201, &id))?;
            }
            by_id(tx, &id)?.ok_or_else(|| StoreError::Corrupt("a token just written".into()))
        })
    }

    /// Ends a token and its sessions, and says so in the audit log. One that was revoked before
    /// stays as it is.
    pub fn revoke_token(&self, id: &str, record: &AuditRecord) -> Result<TokenRecord> {
        self.write(|tx| {
            let revoked = tx.execute(
                "UPDATE tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
                (id, now()),
            )?;
            let Some(token) = by_id(tx, id)? else {
                return Err(StoreError::Refused(unknown(id)));
            };
            if revoked > 0 {
                tx.execute("DELETE FROM sessions WHERE principal = ?1", [id])?;
                audit::append(tx, &record.clone().about(id).detail(&token.label))?;
            }
            Ok(token)
        })
    }

    /// Whether there is a token that is good for more than posting events.
    pub fn has_good_tokens(&self) -> Result<bool> {
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM tokens WHERE revoked_at IS NULL \
                 AND (expires_at IS NULL OR expires_at > ?1) AND EXISTS \
                 (SELECT 1 FROM json_each(scopes) WHERE value NOT LIKE 'events:%'))",
            )?;
            Ok(statement.query_row([now()], |row| row.get(0))?)
        })
    }

    /// The token with this id.
    pub fn token(&self, id: &str) -> Result<Option<TokenRecord>> {
        self.read(|db| by_id(db, id))
    }

    /// The token with this hash, good or not.
    pub fn token_by_hash(&self, hash: &BearerHash) -> Result<Option<TokenRecord>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!("{SELECT} WHERE hash = ?1"))?;
            let mut found = statement.query([hash.as_bytes()])?;
            found.next()?.map(read).transpose()
        })
    }

    /// The tokens, newest first: those before a place, and the place to go on from where there
    /// are more.
    pub fn tokens(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<TokenRecord>, Option<i64>)> {
        self.read(|db| {
            let mut statement = db.prepare_cached(&format!(
                "{SELECT} WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut found =
                statement.query((before.unwrap_or(i64::MAX), limit.saturating_add(1)))?;
            let (mut tokens, mut places) = (Vec::new(), Vec::new());
            while let Some(row) = found.next()? {
                places.push(row.get::<_, i64>(11)?);
                tokens.push(read(row)?);
            }
            Ok(super::access::page(tokens, &places, limit))
        })
    }

    /// Records when tokens were last used. A power cut may lose that.
    pub fn touch_tokens(&self, used: &[(String, OffsetDateTime)]) -> Result<()> {
        if used.is_empty() {
            return Ok(());
        }
        self.write_unsynced(|tx| {
            let mut statement = tx.prepare_cached(
                "UPDATE tokens SET last_used_at = ?2 \
                 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)",
            )?;
            for (id, at) in used {
                statement.execute((id, format_time(*at)))?;
            }
            Ok(())
        })
    }
}

const SELECT: &str = "SELECT id, label, scopes, name_prefix, limits, server_credentials, \
                      created_at, created_by, expires_at, last_used_at, revoked_at, sequence \
                      FROM tokens";

fn read(row: &Row<'_>) -> Result<TokenRecord> {
    let prefix: Option<String> = row.get(3)?;
    Ok(TokenRecord {
        id: row.get(0)?,
        label: row.get(1)?,
        scopes: rows::json(&row.get::<_, String>(2)?)?,
        name_prefix: prefix
            .map(|prefix| prefix.parse().map_err(|_| StoreError::Corrupt("a name prefix".into())))
            .transpose()?,
        limits: rows::json(&row.get::<_, String>(4)?)?,
        server_credentials: row.get(5)?,
        created_at: row.get(6)?,
        created_by: row.get(7)?,
        expires_at: row.get(8)?,
        last_used_at: row.get(9)?,
        revoked_at: row.get(10)?,
    })
}

pub(super) fn by_id(db: &rusqlite::Connection, id: &str) -> Result<Option<TokenRecord>> {
    let mut statement = db.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let mut found = statement.query([id])?;
    found.next()?.map(read).transpose()
}

/// The failure for an id that no token has.
pub fn unknown(id: &str) -> Failure {
    Failure::not_found(format!("there is no token {:?}", crate::domain::text::clean(id, 60)))
        .remedy("openclaw-pipeline tokens list shows what there is")
}

fn has_room(tx: &Transaction<'_>) -> Result<()> {
    let good: i64 = tx.query_row(
        "SELECT count(*) FROM tokens WHERE revoked_at IS NULL \
         AND (expires_at IS NULL OR expires_at > ?1)",
        [now()],
        |row| row.get(0),
    )?;
    if good < TOKENS_MAX {
        return Ok(());
    }
    Err(StoreError::Refused(
        Failure::conflict(format!("there are {good} tokens, and no more are made"))
            .remedy("revoke those that nobody needs: openclaw-pipeline tokens list"),
    ))
}

fn insert(
    tx: &Transaction<'_>,
    id: &str,
    new: &NewToken,
    hash: &BearerHash,
    by: &str,
) -> Result<()> {
    tx.execute(
        "INSERT INTO tokens (id, hash, label, scopes, name_prefix, limits, server_credentials, \
         created_at, created_by, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        (
            id,
            hash.as_bytes(),
            &new.label,
            rows::to_json(&new.scopes)?,
            new.name_prefix.as_ref().map(NamePrefix::as_str),
            rows::to_json(&new.limits)?,
            new.server_credentials,
            now(),
            by,
            new.expires_at.map(format_time),
        ),
    )?;
    Ok(())
}
