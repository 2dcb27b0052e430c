//! What is known elsewhere than where it happens: how everything stands when somebody asks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDeployment {
    target: String,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDecision {
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEndpoint {
    endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDelivery {
    endpoint: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAttempt {
    endpoint: String,
    outcome: &'static str,
}

/// What is known elsewhere, at this moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Now {
    /// Operations that are carried out.
    pub running: usize,
    /// Operations that wait for their turn.
    pub waiting: usize,
    /// How long the oldest of those has waited.
    pub queue_age: Duration,
    /// Who listens to the events.
    pub listeners: usize,
    /// What stands in the store; `None` where it could not be read.
    pub stored: Option<Stored>,
}

/// What stands in the store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    /// Deployments that are not destroyed, by target and status.
    pub deployments: Vec<(String, String, u64)>,
    /// Decisions about devices since the server began.
    pub approvals: Vec<(&'static str, u64)>,
    /// Where events are sent.
    pub endpoints: Vec<Endpoint>,
    /// How large the store is.
    pub bytes: u64,
}

/// How it stands with one receiver of events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// How long the oldest pending delivery has waited.
    pub lag: Duration,
    /// How many are pending.
    pub pending: u64,
    /// How many dead letters there are.
    pub dead: u64,
    /// How many tries arrived, ever.
    pub arrived: u64,
    /// How many tries failed, ever.
    pub failed: u64,
    /// How many deliveries were given up, ever.
    pub given_up: u64,
}

impl Now {
    pub(super) fn register(&self, own: &mut Registry) {
        let load = Family::<OfState, Gauge>::default();
        load.get_or_create(&OfState { state: "running" }).set(signed(self.running));
        load.get_or_create(&OfState { state: "waiting" }).set(signed(self.waiting));
        own.register("executor_operations", "Operations that are seen to", load);
        own.register_with_unit(
            "queue_age",
            "How long the oldest operation has waited for its turn",
            Unit::Seconds,
            gauge_f64(self.queue_age.as_secs_f64()),
        );
        let listeners = Gauge::<i64>::default();
        listeners.set(signed(self.listeners));
        own.register("event_listeners", "Who follows the events as a stream", listeners);
        let readable = gauge(u64::from(self.stored.is_some()));
        own.register("store_readable", "Whether the store could be read", readable);
        if let Some(stored) = &self.stored {
            stored.register(own);
        }
    }
}

impl Stored {
    fn register(&self, own: &mut Registry) {
        own.register_with_unit("store", "The store's files", Unit::Bytes, gauge(self.bytes));
        let deployments = Family::<OfDeployment, Gauge>::default();
        for (target, status, number) in &self.deployments {
            let of = OfDeployment { target: target.clone(), status: status.clone() };
            deployments.get_or_create(&of).set(signed(*number));
        }
        own.register("deployments", "Deployments that are not destroyed", deployments);
        let approvals = Family::<OfDecision, Counter>::default();
        for (decision, number) in &self.approvals {
            approvals.get_or_create(&OfDecision { decision }).inc_by(*number);
        }
        own.register("approvals", "Decisions about devices that asked to be let in", approvals);
        self.register_endpoints(own);
    }

    fn register_endpoints(&self, own: &mut Registry) {
        let lags = Family::<OfEndpoint, Gauge<f64, AtomicU64>>::default();
        let deliveries = Family::<OfDelivery, Gauge>::default();
        let attempts = Family::<OfAttempt, Counter>::default();
        let given_up = Family::<OfEndpoint, Counter>::default();
        for it in &self.endpoints {
            let endpoint = || it.id.clone();
            let of = OfEndpoint { endpoint: endpoint() };
            lags.get_or_create(&of).set(it.lag.as_secs_f64());
            given_up.get_or_create(&of).inc_by(it.given_up);
            for (status, number) in [("pending", it.pending), ("dead", it.dead)] {
                let of = OfDelivery { endpoint: endpoint(), status };
                deliveries.get_or_create(&of).set(signed(number));
            }
            for (outcome, number) in [("arrived", it.arrived), ("failed", it.failed)] {
                let of = OfAttempt { endpoint: endpoint(), outcome };
                attempts.get_or_create(&of).inc_by(number);
            }
        }
        let help = "How long the oldest pending delivery has waited";
        own.register_with_unit("webhook_lag", help, Unit::Seconds, lags);
        own.register("webhook_deliveries", "Deliveries that have not arrived", deliveries);
        own.register("webhook_attempts", "Tries to deliver, since the endpoint is there", attempts);
        let help = "Deliveries that were given up, since the endpoint is there";
        own.register("webhook_given_up", help, given_up);
    }
}

fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

pub(super) fn gauge(number: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(signed(number));
    gauge
}

pub(super) fn gauge_f64(number: f64) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(number);
    gauge
}

#[cfg(test)]
mod tests {
    use super::super::{Form, Metrics};
    use super::*;

    #[test]
    fn what_the_store_has_is_told_as_it_is_now() {
        let endpoint = Endpoint {
            id: "e1".into(),
            lag: Duration::from_secs(90),
            pending: 3,
            dead: 1,
            arrived: 7,
            failed: 5,
            given_up: 1,
        };
        let stored = Stored {
            deployments: vec![("process".into(), "running".into(), 2)],
            approvals: vec![("approved", 4)],
            endpoints: vec![endpoint],
            bytes: 4096,
        };
        let metrics = Metrics::default();
        let now = Now { stored: Some(stored), ..Now::default() };
        let text = metrics.text(&now, Form::Prometheus).expect("written");
        for line in [
            "openclaw_pipeline_webhook_lag_seconds{endpoint=\"e1\"} 90.0",
            "openclaw_pipeline_webhook_deliveries{endpoint=\"e1\",status=\"dead\"} 1",
            "openclaw_pipeline_webhook_attempts_total{endpoint=\"e1\",outcome=\"failed\"} 5",
            "openclaw_pipeline_webhook_given_up_total{endpoint=\"e1\"} 1",
            "openclaw_pipeline_approvals_total{decision=\"approved\"} 4",
            "openclaw_pipeline_deployments{target=\"process\",status=\"running\"} 2",
            "openclaw_pipeline_store_bytes 4096",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
        }
        let now = Now { stored: Some(Stored::default()), ..Now::default() };
        let text = metrics.text(&now, Form::Prometheus).expect("written");
        assert!(!text.contains("e1") && !text.contains("status=\"running\""), "{text}");
    }
}
