//! What of the store a server's figures tell.

use std::time::Duration;

use super::App;
use crate::domain::Failure;
use crate::store::{Endpoint, now_ms};
use crate::telemetry::metrics::{self, Stored};

impl App {
    /// How much of what there is now. It reads the store, which may take a while.
    pub fn figures(&self) -> Result<Stored, Failure> {
        let store = self.store();
        let endpoints = store.endpoints()?;
        Ok(Stored {
            deployments: store.deployments_by_status()?,
            approvals: store.decided(),
            endpoints: endpoints
                .iter()
                .map(|it| self.endpoint_figures(it))
                .collect::<Result<_, _>>()?,
            bytes: store.bytes(),
        })
    }

    fn endpoint_figures(&self, endpoint: &Endpoint) -> Result<metrics::Endpoint, Failure> {
        let counts = self.store().counts(endpoint)?;
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        let since = |ms: i64| Duration::from_millis(unsigned(now_ms() - ms));
        Ok(metrics::Endpoint {
            id: endpoint.id.clone(),
            lag: counts.oldest_pending_ms.map(since).unwrap_or_default(),
            pending: unsigned(counts.pending),
            dead: unsigned(counts.dead),
            arrived: unsigned(counts.delivered_total),
            failed: unsigned(counts.failed_total),
            given_up: unsigned(counts.dead_total),
        })
    }
}
