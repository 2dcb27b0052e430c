//! Looking after gateways that are meant to run, and after the store.
//!
//! Owns the rounds: whether each gateway's process is there, whether those on other machines
//! answer, and what history is too old. Refuses
//! to wait for what does not answer.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::App;
use crate::exec::wait;

/// How often the gateways are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// How often the gateways on machines of their own are looked at, over the network. A round has
/// its own pace: many that do not answer hold up no look at the others.
const MACHINES_EVERY: Duration = Duration::from_secs(30);
/// After how many rounds the store is pruned: about once an hour.
const PRUNE_AFTER: u32 = 360;
/// How many batches one round of pruning removes at most.
const BATCHES: u32 = 100;

/// Looks after everything until the server ends.
pub(super) async fn keep(app: App, end: CancellationToken) {
    let mut round = 0_u32;
    loop {
        let looked = tokio::select! {
            looked = app.survey() => looked,
            () = end.cancelled() => return,
        };
        if let Err(failure) = looked {
            tracing::warn!("the gateways could not be looked at: {failure}");
        }
        if round.is_multiple_of(PRUNE_AFTER) {
            prune(&app);
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = wait::back_off(EVERY) => {}
            () = end.cancelled() => return,
        }
    }
}

/// Looks after the gateways on machines of their own until the server ends.
pub(super) async fn keep_machines(app: App, end: CancellationToken) {
    loop {
        let looked = tokio::select! {
            looked = app.survey_machines() => looked,
            () = end.cancelled() => return,
        };
        if let Err(failure) = looked {
            tracing::warn!("the machines could not be looked at: {failure}");
        }
        tokio::select! {
            () = wait::back_off(MACHINES_EVERY) => {}
            () = end.cancelled() => return,
        }
    }
}

fn prune(app: &App) {
    for _ in 0..BATCHES {
        match app.store().prune() {
            Ok(0) => return,
            Ok(removed) => tracing::debug!(removed, "old history was pruned"),
            Err(error) => {
                tracing::warn!(%error, "old history could not be pruned");
                return;
            }
        }
    }
}
