//! A server's figures, for Prometheus.
//!
//! Owns every figure's name, labels and unit. What happens is counted where it happens, in atomics;
//! what stands in the store, or is known elsewhere, comes along when somebody asks ([`Now`]).
//! Refuses a label whose values a caller could multiply: no name, no path, no address.

mod now;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::process;
use now::{gauge, gauge_f64};

pub use now::{Endpoint, Now, Stored};

/// What the names begin with, but for those that every exporter has.
const PREFIX: &str = "openclaw_pipeline";
/// The bounds of an answer's time, in seconds.
const ANSWERED_WITHIN: [f64; 13] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The bounds of a step's time, in seconds: a port is found at once, an image comes in minutes.
const DONE_WITHIN: [f64; 13] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    method: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLaunch {
    target: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOperation {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    operation: &'static str,
    step: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// What has been counted since the server began.
#[derive(Clone)]
pub struct Metrics {
    counted: Arc<Counted>,
}

struct Counted {
    begun: SystemTime,
    requests: Family<OfRequest, Counter>,
    answered: Histograms<OfRoute>,
    connections: Gauge,
    launches: Family<OfLaunch, Counter>,
    operations: Family<OfOperation, Counter>,
    steps: Histograms<OfStep>,
    watches: Gauge,
}

/// One more of something, until this is dropped.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let counted = Counted {
            begun: SystemTime::now(),
            requests: Family::default(),
            answered: Family::new_with_constructor(|| Histogram::new(ANSWERED_WITHIN)),
            connections: Gauge::default(),
            launches: Family::default(),
            operations: Family::default(),
            steps: Family::new_with_constructor(|| Histogram::new(DONE_WITHIN)),
            watches: Gauge::default(),
        };
        Self { counted: Arc::new(counted) }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A request was answered. `method` and `route` are of those that the server knows.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let route = route.to_owned();
        let status = class(status);
        let of_route = OfRoute { method, route: route.clone() };
        self.counted.answered.get_or_create(&of_route).observe(took.as_secs_f64());
        self.counted.requests.get_or_create(&OfRequest { method, route, status }).inc();
    }

    /// A connection was taken.
    pub fn connection(&self) -> Held {
        Held::of(&self.counted.connections)
    }

    /// A gateway is watched.
    pub fn watch(&self) -> Held {
        Held::of(&self.counted.watches)
    }

    /// An operation is over.
    pub fn operation(&self, operation: &'static str, outcome: &'static str) {
        self.counted.operations.get_or_create(&OfOperation { operation, outcome }).inc();
    }

    /// A launch is over.
    pub fn launch(&self, target: &'static str, outcome: &'static str) {
        self.counted.launches.get_or_create(&OfLaunch { target, outcome }).inc();
    }

    /// A step has acted, and took so long.
    pub fn step(&self, operation: &'static str, step: &str, took: Duration) {
        let step = step.to_owned();
        let steps = self.counted.steps.get_or_create(&OfStep { operation, step });
        steps.observe(took.as_secs_f64());
    }

    /// All figures, with those that are known elsewhere, as text.
    pub fn text(&self, now: &Now, form: Form) -> Result<String, fmt::Error> {
        let registry = self.registry(now);
        let mut out = String::new();
        match form {
            Form::Prometheus => prometheus_text::encode(&mut out, &registry)?,
            Form::OpenMetrics => text::encode(&mut out, &registry)?,
        }
        Ok(out)
    }

    fn registry(&self, now: &Now) -> Registry {
        let mut registry = Registry::default();
        self.register_process(&mut registry);
        let own = registry.sub_registry_with_prefix(PREFIX);
        own.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        self.register_counted(own);
        now.register(own);
        registry
    }

    /// What every exporter tells, under the names that everybody looks for.
    fn register_process(&self, registry: &mut Registry) {
        let begun = self.counted.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = "process_start_time";
        let help = "When the server began, in seconds since 1970";
        registry.register_with_unit(name, help, Unit::Seconds, gauge_f64(begun.as_secs_f64()));
        if let Some(bytes) = process::resident_bytes() {
            let name = "process_resident_memory";
            registry.register_with_unit(name, "Memory in use", Unit::Bytes, gauge(bytes));
        }
        if let Some(open) = process::open_descriptors() {
            registry.register("process_open_fds", "Open descriptors", gauge(open));
        }
    }

    fn register_counted(&self, own: &mut Registry) {
        let Counted {
            requests, answered, connections, launches, operations, steps, watches, ..
        } = &*self.counted;
        own.register("http_requests", "Requests that were answered", requests.clone());
        own.register_with_unit(
            "http_request_duration",
            "How long it took until an answer's head was there",
            Unit::Seconds,
            answered.clone(),
        );
        own.register("http_connections", "Open connections", connections.clone());
        own.register("launches", "Launches that are over", launches.clone());
        own.register("operations", "Operations that are over", operations.clone());
        own.register_with_unit(
            "operation_step_duration",
            "How long a step took that succeeded or failed",
            Unit::Seconds,
            steps.clone(),
        );
        own.register("watches", "Gateways whose approval window is watched", watches.clone());
    }
}

/// The class of a status.
fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// The form of the figures as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The one that everybody reads.
    Prometheus,
    /// The one that has units.
    OpenMetrics,
}

impl Form {
    /// The form that a reader asks for by `Accept`.
    pub fn accepted(accept: &str) -> Self {
        let open = accept.split(',').any(|it| it.trim_start().starts_with(Self::OPEN_METRICS));
        if open { Self::OpenMetrics } else { Self::Prometheus }
    }

    const OPEN_METRICS: &str = "application/openmetrics-text";

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told() {
        let metrics = Metrics::default();
        metrics.answered("GET", "/v1/deployments/{name}", 200, Duration::from_millis(3));
        metrics.answered("GET", "/v1/deployments/{name}", 404, Duration::from_millis(30));
        metrics.launch("process", "failed");
        metrics.operation("launch", "failed");
        metrics.step("launch", "fetch", Duration::from_secs(42));
        let held = metrics.connection();
        drop(metrics.connection());
        let now = Now { waiting: 2, queue_age: Duration::from_millis(1500), ..Now::default() };
        let text = metrics.text(&now, Form::Prometheus).expect("written");
        for line in [
            "openclaw_pipeline_http_requests_total{method=\"GET\",route=\"/v1/deployments/{name}\",\
             status=\"4xx\"} 1",
            "openclaw_pipeline_http_request_duration_seconds_bucket{method=\"GET\",\
             route=\"/v1/deployments/{name}\",le=\"0.005\"} 1",
            "openclaw_pipeline_launches_total{target=\"process\",outcome=\"failed\"} 1",
            "openclaw_pipeline_operations_total{operation=\"launch\",outcome=\"failed\"} 1",
            "openclaw_pipeline_operation_step_duration_seconds_sum{operation=\"launch\",\
             step=\"fetch\"} 42.0",
            "openclaw_pipeline_http_connections 1",
            "openclaw_pipeline_executor_operations{state=\"waiting\"} 2",
            "openclaw_pipeline_queue_age_seconds 1.5",
            "openclaw_pipeline_store_readable 0",
            "# TYPE openclaw_pipeline_launches_total counter",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
        }
        assert!(text.contains("openclaw_pipeline_build_info{version=\""), "{text}");
        assert!(!text.contains("webhook"), "nothing is made up: {text}");
        drop(held);
        let text = metrics.text(&now, Form::OpenMetrics).expect("written");
        assert!(text.contains("openclaw_pipeline_http_connections 0\n"), "{text}");
        assert!(text.contains("# UNIT openclaw_pipeline_queue_age_seconds seconds\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn the_reader_chooses_the_form() {
        let open = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        assert_eq!(Form::accepted(open), Form::OpenMetrics);
        for other in ["", "*/*", "text/plain", "x/application/openmetrics-text"] {
            assert_eq!(Form::accepted(other), Form::Prometheus);
        }
    }
}
