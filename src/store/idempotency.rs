//! Requests that may be sent again.
//!
//! Owns the first answer to each: it is kept in the transaction that did the work, so a client
//! that never got it may send the request again and the work is not done twice. A key belongs to
//! its token and lives for a day. Refuses a key that comes with another request, and to show a
//! secret a second time.

use std::fmt;

use rusqlite::{OptionalExtension, Transaction};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::{Along, Result, Store, StoreError, format_time, now};
use crate::domain::{Failure, FailureKind, Operation};

/// How long an answer is kept, in hours.
pub const KEPT_HOURS: i64 = 24;
/// The longest key, in characters.
pub const KEY_MAX: usize = 255;

/// A request as its client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    token: String,
    key: String,
    fingerprint: [u8; 32],
}

impl IdempotencyKey {
    /// The key of a request of a principal.
    pub fn new(
        token: &str,
        key: &str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> std::result::Result<Self, Failure> {
        let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if !(1..=KEY_MAX).contains(&key.len()) || !key.bytes().all(plain) {
            return Err(Failure::bad_input(format!(
                "Idempotency-Key is 1 to {KEY_MAX} printable ASCII characters"
            ))
            .remedy("make a new one for each request, such as a random UUID"));
        }
        let mut digest = Sha256::new();
        for part in [method.as_bytes(), path.as_bytes(), body] {
            // With its length, so that no part can be read as the end of the one before.
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        Ok(Self {
            token: token.to_owned(),
            key: key.to_owned(),
            fingerprint: digest.finalize().into(),
        })
    }

    /// Whose it is, and the key: the same for a request that is sent again.
    pub fn name(&self) -> (String, String) {
        (self.token.clone(), self.key.clone())
    }
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; `None` where it showed a secret.
    pub body: Option<String>,
    /// The operation that it began, or the id of what it made.
    pub made: Option<String>,
}

impl Answer {
    /// One that can be given again.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: Some(body.into()), made: None }
    }

    /// Adds the operation that it began, or the id of what it made.
    pub fn of(mut self, made: impl Into<String>) -> Self {
        self.made = Some(made.into());
        self
    }

    /// One that showed a secret with what it made.
    pub fn shown_once(status: u16, made: &str) -> Self {
        Self { status, body: None, made: Some(made.to_owned()) }
    }

    /// What a client is told that asks for a secret a second time.
    pub fn not_again(&self) -> Failure {
        let made = self.made.as_deref().unwrap_or("it");
        Failure::conflict(format!(
            "the first request with this Idempotency-Key made {made}; what it showed is shown once"
        ))
        .remedy("if the answer was lost, remove what was made and ask again with a new key")
    }
}

impl Store {
    /// The answer to a request that was sent before, without waiting for the write lock.
    pub fn answered(&self, key: &IdempotencyKey) -> Result<Option<Answer>> {
        self.read(|db| find(db, key))
    }
}

/// The first answer to a request with a key, which comes along with the operation that it begins.
pub struct Once {
    key: IdempotencyKey,
    answer: Box<dyn Fn(&Operation) -> Answer + Send + Sync>,
}

impl Once {
    /// The answer that a request gets which begins an operation.
    pub fn new(
        key: IdempotencyKey,
        answer: impl Fn(&Operation) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self { key, answer: Box::new(answer) }
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Along for Once {
    fn look(&self, tx: &Transaction<'_>) -> Result<()> {
        claim(tx, &self.key)
    }

    fn write(&self, tx: &Transaction<'_>, begun: &Operation) -> Result<()> {
        keep(tx, &self.key, &(self.answer)(begun))
    }
}

/// Ends the transaction with [`StoreError::Answered`] where the request was sent before, and
/// refuses one that is not what its key was for. Otherwise it is the first: its answer is kept
/// with [`keep`], in the same transaction.
pub(super) fn claim(tx: &Transaction<'_>, key: &IdempotencyKey) -> Result<()> {
    match find(tx, key)? {
        None => Ok(()),
        Some(answer) => Err(StoreError::Answered(Box::new(answer))),
    }
}

/// Keeps the answer of a request that was claimed in the same transaction.
pub(super) fn keep(tx: &Transaction<'_>, key: &IdempotencyKey, answer: &Answer) -> Result<()> {
    // One whose day is over gives way.
    tx.prepare_cached(
        "INSERT OR REPLACE INTO idempotency \
         (token, key, fingerprint, status, body, made, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        &key.token,
        &key.key,
        key.fingerprint,
        answer.status,
        &answer.body,
        &answer.made,
        now(),
    ))?;
    Ok(())
}

fn find(db: &rusqlite::Connection, key: &IdempotencyKey) -> Result<Option<Answer>> {
    let since = format_time(OffsetDateTime::now_utc() - Duration::hours(KEPT_HOURS));
    let found = db
        .prepare_cached(
            "SELECT fingerprint, status, body, made FROM idempotency \
             WHERE token = ?1 AND key = ?2 AND created_at >= ?3",
        )?
        .query_row((&key.token, &key.key, since), |row| {
            let answer = Answer { status: row.get(1)?, body: row.get(2)?, made: row.get(3)? };
            Ok((row.get::<_, [u8; 32]>(0)?, answer))
        })
        .optional()?;
    let Some((fingerprint, answer)) = found else { return Ok(None) };
    if fingerprint == key.fingerprint {
        return Ok(Some(answer));
    }
    Err(StoreError::Refused(
        Failure::new(
            FailureKind::KeyReused,
            "this Idempotency-Key was used for another request: method, path or body differ",
        )
        .remedy("make a new key for each request; send the same one with the same body only"),
    ))
}
