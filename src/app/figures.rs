//! What of the store a server's figures tell.

use std::time::Duration;

use super::App;
use super::endpoints::EndpointReport;
use crate::domain::Failure;
use crate::store::now_ms;
use crate::telemetry::metrics::{Endpoint, Stored};

impl App {
    /// How much of what there is now. It reads the store, which may take a while.
    pub fn figures(&self) -> Result<Stored, Failure> {
        let store = self.store();
        Ok(Stored {
            deployments: store.deployments_by_status()?,
            approvals: store.decided()?,
            endpoints: self.endpoint_figures()?.iter().map(of_endpoint).collect(),
            bytes: store.bytes(),
        })
    }
}

fn of_endpoint(EndpointReport { endpoint, counts, .. }: &EndpointReport) -> Endpoint {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    let since = |ms: i64| Duration::from_millis(unsigned(now_ms() - ms));
    Endpoint {
        id: endpoint.id.clone(),
        lag: counts.oldest_pending_ms.map(since).unwrap_or_default(),
        pending: unsigned(counts.pending),
        dead: unsigned(counts.dead),
        arrived: unsigned(counts.delivered_total),
        failed: unsigned(counts.failed_total),
        given_up: unsigned(counts.dead_total),
    }
}
