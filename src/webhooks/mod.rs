//! Telling front ends what happens.
//!
//! Owns draining the outbox: signing, delivery, retry, dead letters, replay. Refuses to make an
//! event, and to send one anywhere but to an address that was checked when it was connected to.

pub mod address;
mod dispatcher;
pub mod message;
mod receiver;
pub mod schedule;
pub mod sender;
mod turn;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::Failure;
use crate::exec::{LockFile, wait};
use crate::secrets::SealingKey;
use crate::store::{Endpoint, Store};
use address::Rule;
use dispatcher::Dispatcher;

pub use schedule::Schedule;

/// How often it is looked whether another process still drains the outbox.
const LOCK_LOOK: Duration = Duration::from_millis(200);

/// How events are delivered.
#[derive(Clone)]
pub struct Options {
    /// The times and limits.
    pub schedule: Schedule,
    /// The rule for endpoints that are not the operator's own.
    pub strangers: Rule,
    /// Who says where a name leads; `None` is the system.
    pub resolver: Option<Arc<dyn Resolve>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { schedule: Schedule::default(), strangers: Rule::Global, resolver: None }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

/// Delivers events until it is cancelled; what is under way then is waited for a little. Of all
/// processes on a data directory one does so at a time, and the others wait for their turn.
pub async fn run(
    store: Store,
    key: SealingKey,
    options: Options,
    cancel: CancellationToken,
) -> Result<(), Failure> {
    let mut waits = false;
    let lock = loop {
        if let Some(lock) = LockFile::try_acquire(&lock_file(&store), "webhooks")? {
            break lock;
        }
        if !std::mem::replace(&mut waits, true) {
            tracing::info!("another process delivers events; this one does so once that has ended");
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = wait::back_off(LOCK_LOOK) => {}
        }
    };
    // Whoever was away when this was last looked at may have come back with this process.
    store.wake_away()?;
    Dispatcher::new(store, key, options, None).run(&cancel).await;
    drop(lock);
    Ok(())
}

/// Delivers what waits for one endpoint, as far as that can be done now and before a deadline has
/// passed. Where another process drains the outbox, that one does it.
pub async fn deliver_now(
    store: Store,
    key: SealingKey,
    options: Options,
    endpoint: &Endpoint,
    deadline: Duration,
) -> Result<(), Failure> {
    let end = Instant::now() + deadline;
    let Some(lock) = LockFile::try_acquire(&lock_file(&store), "webhooks")? else { return Ok(()) };
    store.wake(endpoint.number)?;
    let options = Options {
        // Nobody waits for a receiver beyond the deadline.
        schedule: Schedule { linger: Duration::ZERO, ..options.schedule },
        ..options
    };
    let drained = Dispatcher::new(store, key, options, Some(endpoint.number)).drain(end).await;
    drop(lock);
    drained
}

/// Whether a process delivers on a data directory.
pub fn is_delivering(store: &Store) -> Result<bool, Failure> {
    Ok(LockFile::is_held(&lock_file(store))?)
}

fn lock_file(store: &Store) -> PathBuf {
    store.path().with_file_name("webhooks.lock")
}
