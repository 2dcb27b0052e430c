//! The console's sessions.
//!
//! Owns their rows: of a session's secret only the SHA-256 is here. Refuses one that is past its end or
//! whose token is no longer good, and more of one principal than a person has browsers.

use rusqlite::OptionalExtension;

use super::tokens::{self, TokenRecord};
use super::{Result, Store, format_time, now};
use crate::secrets::bearer::BearerHash;

/// How long a session lasts, in hours. It is not lengthened by use.
pub const SESSION_HOURS: i64 = 12;
/// How many one principal has at once; one more ends the oldest.
pub const SESSIONS_MAX: i64 = 100;

/// A session without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Whose it is: a token's id, or another principal's.
    pub principal: String,
    /// That token, where it is one of the table's.
    pub token: Option<TokenRecord>,
    /// What the token was bound by, where it is none of the table's.
    pub binding: Option<BearerHash>,
    /// When it ends, RFC 3339 UTC.
    pub expires_at: String,
}

impl Store {
    /// Keeps a session; answers when it ends.
    pub fn open_session(
        &self,
        hash: &BearerHash,
        principal: &str,
        binding: Option<&BearerHash>,
    ) -> Result<String> {
        let ends = time::OffsetDateTime::now_utc() + time::Duration::hours(SESSION_HOURS);
        let ends = format_time(ends);
        self.write(|tx| {
            tx.execute(
                "INSERT INTO sessions (hash, principal, binding, created_at, expires_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                (hash.as_bytes(), principal, binding.map(BearerHash::as_bytes), now(), &ends),
            )?;
            tx.execute(
                "DELETE FROM sessions WHERE principal = ?1 AND sequence <= \
                 (SELECT sequence FROM sessions WHERE principal = ?1 \
                 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
                (principal, SESSIONS_MAX),
            )?;
            Ok(())
        })?;
        Ok(ends)
    }

    /// The session with this hash, whether it is over or not.
    pub fn session(&self, hash: &BearerHash) -> Result<Option<SessionRecord>> {
        self.read(|db| {
            let found = db
                .prepare_cached(
                    "SELECT principal, binding, expires_at FROM sessions WHERE hash = ?1",
                )?
                .query_row([hash.as_bytes()], |row| {
                    Ok(SessionRecord {
                        principal: row.get(0)?,
                        token: None,
                        binding: row.get::<_, Option<[u8; 32]>>(1)?.map(BearerHash::from),
                        expires_at: row.get(2)?,
                    })
                })
                .optional()?;
            let Some(mut session) = found else { return Ok(None) };
            session.token = tokens::by_id(db, &session.principal)?;
            Ok(Some(session))
        })
    }

    /// Ends a session; one that is over already is no failure.
    pub fn close_session(&self, hash: &BearerHash) -> Result<()> {
        self.write(|tx| {
            tx.execute("DELETE FROM sessions WHERE hash = ?1", [hash.as_bytes()])?;
            Ok(())
        })
    }
}
