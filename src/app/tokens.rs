//! Who somebody is that shows a token or a session's secret, and the verbs on tokens.
//!
//! Owns the memory that makes the answer cheap. It is right at once whoever changes the rows: what
//! takes a right away raises a number in the store, in whichever process, and the number is looked
//! at with each request. Refuses to remember what is not good: whoever guesses fills no memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::domain::access::{check_label, check_scopes};
use crate::domain::{Failure, FailureKind, Need, Principal, PrincipalKind};
use crate::exec::wait;
use crate::secrets::Secret;
use crate::secrets::bearer::{self, BearerHash};
use crate::store::{IdempotencyKey, SessionRecord, Store, StoreError};

pub use crate::store::{AuditFilter, AuditOutcome, AuditRecord, NewToken, TokenRecord, now};

/// The id of whoever shows the token of the settings.
pub const CONFIGURED: &str = "configured";
/// The most tokens and sessions that are remembered; past that, all are forgotten and read anew.
const REMEMBERED_MAX: usize = 20_000;
/// How often it is recorded when tokens were last used.
const RECORDED_EVERY: Duration = Duration::from_secs(60);

/// Why somebody is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no such token or session.
    #[error("the token is not known")]
    Unknown,
    /// It ended by itself.
    #[error("the token has expired")]
    Expired,
    /// It was ended.
    #[error("the token was revoked")]
    Revoked,
    /// It could not be looked up.
    #[error("{0}")]
    Failed(Failure),
}

impl From<StoreError> for AuthError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Somebody who is known, until when, and when they were last seen.
#[derive(Debug)]
struct Known {
    principal: Arc<Principal>,
    /// The token whose last use is recorded.
    token: Option<String>,
    ends: Option<OffsetDateTime>,
    /// In milliseconds since 1970; 0 is not since it was last recorded.
    used_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct Memory {
    /// What of the store this is from.
    generation: i64,
    known: HashMap<BearerHash, Arc<Known>>,
    /// Last uses of what is no longer remembered.
    used: HashMap<String, i64>,
}

/// Knows tokens and sessions again.
#[derive(Debug)]
pub struct Authenticator {
    store: Store,
    configured: RwLock<Option<BearerHash>>,
    memory: Mutex<Memory>,
    /// Whether somebody had to show a token here.
    was_closed: AtomicBool,
}

impl Authenticator {
    /// One over a store, with the token of the settings.
    pub fn new(store: Store, configured: Option<&Secret>) -> Self {
        let configured = RwLock::new(configured.map(|token| BearerHash::of(token.expose())));
        Self { store, configured, memory: Mutex::default(), was_closed: AtomicBool::default() }
    }

    /// Takes another token of the settings, or none. Sessions of the one before end.
    pub fn configure(&self, token: Option<&Secret>) {
        let token = token.map(|token| BearerHash::of(token.expose()));
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = token;
        self.memory().forget();
    }

    /// Whether nobody can show a token: the settings have none, and none that is good was made. What
    /// was closed once stays closed: that the last token has ended does not let everybody in.
    pub fn is_open(&self) -> Result<bool, Failure> {
        if self.was_closed.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let is_open = self.configured().is_none() && !self.store.has_good_tokens()?;
        self.was_closed.store(!is_open, Ordering::Relaxed);
        Ok(is_open)
    }

    /// Whose token this is.
    pub fn authenticate(&self, presented: &str) -> Result<Arc<Principal>, AuthError> {
        if !bearer::is_presentable(presented) {
            return Err(AuthError::Unknown);
        }
        let hash = BearerHash::of(presented);
        if self.configured().is_some_and(|token| token.is(&hash)) {
            return Ok(Arc::new(configured()));
        }
        if !bearer::is_token(presented) {
            return Err(AuthError::Unknown);
        }
        self.known(&hash, |store| {
            let token = store.token_by_hash(&hash)?.ok_or(AuthError::Unknown)?;
            of_token(&token, PrincipalKind::Token, token.expires_at.as_deref())
        })
    }

    /// Whose session this is.
    pub fn authenticate_session(&self, secret: &str) -> Result<Arc<Principal>, AuthError> {
        if !bearer::is_session(secret) {
            return Err(AuthError::Unknown);
        }
        let hash = BearerHash::of(secret);
        self.known(&hash, |store| {
            let session = store.session(&hash)?.ok_or(AuthError::Unknown)?;
            self.of_session(&session, secret)
        })
    }

    /// Opens a session for whoever is known by a token or by the operator's socket; answers its
    /// secret and when it ends.
    pub fn open_session(&self, principal: &Principal) -> Result<(Secret, String), Failure> {
        let refused = || {
            Failure::new(FailureKind::Forbidden, "a session is opened with a token")
                .remedy("sign in with a token")
        };
        let secret = bearer::new_session();
        let binding = match principal.kind {
            PrincipalKind::Session | PrincipalKind::Open => return Err(refused()),
            PrincipalKind::Token if principal.id == CONFIGURED => {
                let token = self.configured().ok_or_else(refused)?;
                Some(BearerHash::bound_to(secret.expose(), token))
            }
            PrincipalKind::Token | PrincipalKind::Operator => None,
        };
        let hash = BearerHash::of(secret.expose());
        let ends = self.store.open_session(&hash, &principal.id, binding.as_ref())?;
        Ok((secret, ends))
    }

    /// Ends a session; one that is over already is no failure.
    pub fn close_session(&self, secret: &str) -> Result<(), Failure> {
        if bearer::is_session(secret) {
            self.store.close_session(&BearerHash::of(secret))?;
        }
        Ok(())
    }

    /// Records when tokens were last used. A request does not wait for that: call it about once a
    /// minute, and at the end.
    pub fn record_uses(&self) -> Result<(), Failure> {
        let taken = self.memory().take_uses();
        let at = |ms: &i64| OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(*ms);
        let last: Vec<(String, OffsetDateTime)> =
            taken.iter().map(|(id, ms)| (id.clone(), at(ms))).collect();
        if let Err(error) = self.store.touch_tokens(&last) {
            // The next call has them again.
            let mut memory = self.memory();
            for (token, ms) in taken {
                let last = memory.used.entry(token).or_default();
                *last = ms.max(*last);
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Records uses once a minute, until the server ends.
    pub async fn keep_uses(&self, end: CancellationToken) {
        let mut ended = false;
        while !ended {
            tokio::select! {
                () = wait::back_off(RECORDED_EVERY) => {}
                () = end.cancelled() => ended = true,
            }
            if let Err(failure) = self.record_uses() {
                tracing::warn!("when tokens were used is not recorded yet: {failure}");
            }
        }
    }

    fn configured(&self) -> Option<BearerHash> {
        *self.configured.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // What is remembered is whole between two statements.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever has this hash, from memory or read anew.
    fn known(
        &self,
        hash: &BearerHash,
        read: impl FnOnce(&Store) -> Result<Known, AuthError>,
    ) -> Result<Arc<Principal>, AuthError> {
        let now = OffsetDateTime::now_utc();
        let generation = self.store.access_generation()?;
        let remembered = self.memory().remembered(generation, hash);
        let known = if let Some(known) = remembered {
            known
        } else {
            let known = Arc::new(read(&self.store)?);
            self.memory().remember(generation, *hash, &known);
            known
        };
        if known.ends.is_some_and(|end| end <= now) {
            return Err(AuthError::Expired);
        }
        let now_ms = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        known.used_ms.store(now_ms, Ordering::Relaxed);
        Ok(Arc::clone(&known.principal))
    }

    fn of_session(&self, session: &SessionRecord, secret: &str) -> Result<Known, AuthError> {
        if let Some(token) = &session.token {
            let first = token.expires_at.as_deref().filter(|end| *end < &*session.expires_at);
            let ends = first.unwrap_or(&session.expires_at);
            return of_token(token, PrincipalKind::Session, Some(ends));
        }
        let bound = |token: BearerHash| {
            let bound = BearerHash::bound_to(secret, token);
            session.binding.is_some_and(|binding| binding.is(&bound))
        };
        let principal = match session.principal.as_str() {
            CONFIGURED if self.configured().is_some_and(bound) => configured(),
            id if id == Principal::operator().id => Principal::operator(),
            // Its token was pruned, or is another one now.
            _ => return Err(AuthError::Unknown),
        };
        let principal = Principal { kind: PrincipalKind::Session, ..principal };
        Ok(known(principal, None, ends(&session.expires_at)?))
    }
}

impl Memory {
    fn remembered(&mut self, generation: i64, hash: &BearerHash) -> Option<Arc<Known>> {
        if generation > self.generation {
            self.generation = generation;
            self.forget();
        }
        self.known.get(hash).map(Arc::clone)
    }

    /// Remembers what was read when the store's number was this one. What was read before the
    /// number rose may be what made it rise.
    fn remember(&mut self, generation: i64, hash: BearerHash, known: &Arc<Known>) {
        if generation != self.generation {
            return;
        }
        if self.known.len() >= REMEMBERED_MAX {
            self.forget();
        }
        self.known.insert(hash, Arc::clone(known));
    }

    fn forget(&mut self) {
        let uses = self.take_uses();
        self.used = uses;
        self.known.clear();
    }

    fn take_uses(&mut self) -> HashMap<String, i64> {
        let mut uses = std::mem::take(&mut self.used);
        for known in self.known.values() {
            let used_ms = known.used_ms.swap(0, Ordering::Relaxed);
            if let Some(token) = known.token.as_ref().filter(|_| used_ms > 0) {
                let last = uses.entry(token.clone()).or_default();
                *last = used_ms.max(*last);
            }
        }
        uses
    }
}

fn known(principal: Principal, token: Option<String>, ends: Option<OffsetDateTime>) -> Known {
    Known { principal: Arc::new(principal), token, ends, used_ms: AtomicI64::new(0) }
}

fn configured() -> Principal {
    Principal::unlimited(CONFIGURED, "OPENCLAW_PIPELINE_API_TOKEN", PrincipalKind::Token)
}

fn ends(at: &str) -> Result<Option<OffsetDateTime>, AuthError> {
    let end = OffsetDateTime::parse(at, &Rfc3339);
    end.map(Some).map_err(|_| StoreError::Corrupt("an expiry".into()).into())
}

fn of_token(
    token: &TokenRecord,
    kind: PrincipalKind,
    until: Option<&str>,
) -> Result<Known, AuthError> {
    if token.revoked_at.is_some() {
        return Err(AuthError::Revoked);
    }
    let principal = Principal {
        id: token.id.clone(),
        label: token.label.clone(),
        kind,
        scopes: token.scopes.clone(),
        name_prefix: token.name_prefix.clone(),
        limits: token.limits.clone(),
        server_credentials: token.server_credentials,
    };
    let ends = until.map(ends).transpose()?.flatten();
    Ok(known(principal, Some(token.id.clone()), ends))
}

impl App {
    /// Makes a token; its text is given this once. A request that was sent before is a conflict
    /// that names what it made.
    pub fn create_token(
        &self,
        by: &Principal,
        new: &NewToken,
        record: &AuditRecord,
        key: Option<&IdempotencyKey>,
    ) -> Result<(TokenRecord, Secret), Failure> {
        by.may(Need::Tokens)?;
        check_label(&new.label)?;
        check_scopes(&new.scopes, new.name_prefix.as_ref())?;
        new.limits.check()?;
        let text = bearer::new_token();
        let hash = BearerHash::of(text.expose());
        match self.store().create_token(new, &hash, record, key) {
            Ok(token) => Ok((token, text)),
            Err(StoreError::Answered(answer)) => Err(answer.not_again()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a token, its sessions included, in every process at once.
    pub fn revoke_token(
        &self,
        by: &Principal,
        id: &str,
        record: &AuditRecord,
    ) -> Result<TokenRecord, Failure> {
        by.may(Need::Tokens)?;
        Ok(self.store().revoke_token(id, record)?)
    }

    /// The token with this id.
    pub fn token(&self, by: &Principal, id: &str) -> Result<TokenRecord, Failure> {
        by.may(Need::Tokens)?;
        self.store().token(id)?.ok_or_else(|| crate::store::unknown_token(id))
    }

    /// The tokens, newest first, and the place to go on from where there are more.
    pub fn tokens(
        &self,
        by: &Principal,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<TokenRecord>, Option<i64>), Failure> {
        by.may(Need::Tokens)?;
        Ok(self.store().tokens(before, limit)?)
    }
}

#[cfg(test)]
mod tests;
