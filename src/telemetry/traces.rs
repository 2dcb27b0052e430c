//! Traces: a server's spans, sent to a collector by OTLP over HTTP.
//!
//! Owns what of a span is sent, and under which name: what a span is called and holds in the log is
//! put into OpenTelemetry's words here. A span holds ids, names of the program's own and numbers,
//! never a text from outside. Refuses to hold anything up: a collector that is slow or away costs
//! the spans that do not fit into the queue, and nothing else.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use reqwest::Client;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// What the traces are of.
const SERVICE: &str = "openclaw-pipeline";
/// The path of traces below a collector's base URL.
const PATH: &str = "/v1/traces";
/// How many spans wait to be sent; more are dropped.
const QUEUE: usize = 2048;
/// How many are sent at once.
const BATCH: usize = 512;
/// How often what waits is sent.
const EVERY: Duration = Duration::from_secs(5);
/// How long one request to the collector may take.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a batch may take, tries again included.
const ATTEMPTS: Duration = Duration::from_secs(10);
/// How much of a collector's answer is read, in bytes.
const ANSWER_MAX: usize = 64 << 10;
/// The longest `tracestate` that is passed on: what others put there is kept until it is sent.
const STATE_MAX: usize = 512;

/// Whether spans are sent.
static ON: AtomicBool = AtomicBool::new(false);

/// The traces, as long as the server lives.
#[derive(Debug)]
pub(super) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Begins to send spans to a collector, which its base URL names.
    pub(super) fn begin(collector: &str) -> Result<Self, String> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{collector}{PATH}"))
            .with_timeout(ATTEMPTS)
            .with_http_client(Collector::new(collector.starts_with("https:"))?)
            .build()
            .map_err(|error| format!("the traces: {error}"))?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(EVERY)
            .build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        ON.store(true, Ordering::Relaxed);
        Ok(Self::through(batches))
    }

    fn through(processor: impl SpanProcessor + 'static) -> Self {
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource =
            Resource::builder().with_service_name(SERVICE).with_attribute(version).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(Worded(processor))
            .build();
        Self { provider }
    }

    /// What makes spans of the log's.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        // Lines are the log's: what they say was written for its reader.
        let own = filter_fn(|metadata| {
            metadata.is_span()
                && *metadata.level() <= LevelFilter::INFO
                && metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
        });
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(own.with_max_level_hint(LevelFilter::INFO))
    }

    /// Sends what waits, and ends. It blocks, no longer than `at_most`.
    pub(super) fn end(&self, at_most: Duration) {
        ON.store(false, Ordering::Relaxed);
        // What could not be sent is lost; whoever runs the collector sees that there.
        let _ = self.provider.shutdown_with_timeout(at_most);
    }
}

/// Makes a request's span a part of its caller's trace, where the request says which one that is.
pub fn adopt<'h>(span: &tracing::Span, header: impl Fn(&'static str) -> Option<&'h str>) {
    if ON.load(Ordering::Relaxed)
        && let Some(caller) = caller(header)
    {
        // A span that nobody looks at has no parent either.
        let _ = span.set_parent(caller);
    }
}

fn caller<'h>(header: impl Fn(&'static str) -> Option<&'h str>) -> Option<Context> {
    let state = header("tracestate").filter(|it| it.len() <= STATE_MAX);
    let headers = Headers { parent: header("traceparent")?, state };
    Some(TraceContextPropagator::new().extract_with_context(&Context::new(), &headers))
}

/// Says in a request's span how it was answered.
pub fn answered(span: &tracing::Span, status: u16) {
    if ON.load(Ordering::Relaxed) {
        span.set_attribute("status", i64::from(status));
    }
}

struct Headers<'h> {
    parent: &'h str,
    state: Option<&'h str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.parent),
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Puts spans into OpenTelemetry's words on their way to the queue.
#[derive(Debug)]
struct Worded<P>(P);

impl<P: SpanProcessor> SpanProcessor for Worded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        word(&mut span);
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn word(span: &mut SpanData) {
    let found = |key: &str| span.attributes.iter().find(|it| it.key.as_str() == key);
    let text = |key: &str| found(key).map(|it| it.value.as_str().into_owned()).unwrap_or_default();
    let (name, kind) = match span.name.as_ref() {
        "request" => (format!("{} {}", text("method"), text("route")), SpanKind::Server),
        "operation" => (format!("operation {}", text("kind")), SpanKind::Internal),
        "step" => (format!("step {}", text("step")), SpanKind::Internal),
        "delivery" => ("webhook delivery".to_owned(), SpanKind::Client),
        other => (other.to_owned(), SpanKind::Internal),
    };
    let status = found("status").and_then(|it| match it.value {
        Value::I64(status) => Some(status),
        _ => None,
    });
    let failed = ["failed", "dead"].iter().any(|it| text("outcome").starts_with(it))
        || status.is_some_and(|status| {
            // A client's mistake is none of a server's, and a receiver's refusal is a failure.
            status >= if kind == SpanKind::Server { 500 } else { 400 }
        });
    (span.name, span.span_kind) = (name.trim_end().to_owned().into(), kind);
    if failed {
        span.status = Status::error("");
    }
    span.attributes.retain(|it| !matches!(it.value, Value::Array(Array::String(_))));
    for attribute in &mut span.attributes {
        attribute.key = match attribute.key.as_str() {
            "method" => "http.request.method".into(),
            "route" => "http.route".into(),
            "status" => "http.response.status_code".into(),
            other => format!("openclaw_pipeline.{other}").into(),
        };
    }
}

/// The collector. The queue's thread has no runtime of its own, so the server's does the sending.
struct Collector {
    client: Client,
    runtime: Handle,
    failing: AtomicBool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    fn new(is_tls: bool) -> Result<Self, String> {
        // Whoever was first may have installed another one, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("openclaw-pipeline/", env!("CARGO_PKG_VERSION")))
            .timeout(REQUEST);
        if !is_tls {
            // Reading the system's certificates takes time and memory.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| format!("the traces: {error}"))?;
        let runtime = Handle::try_current().map_err(|error| format!("the traces: {error}"))?;
        Ok(Self { client, runtime, failing: AtomicBool::new(false) })
    }

    /// Says that the collector began to fail, or works again; not how often.
    fn note(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let failure = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let before = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(failure) if !before => tracing::warn!("traces do not arrive: {failure}"),
            None if before => tracing::info!("traces arrive again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request: reqwest::Request = request.try_into()?;
        let exchange = exchange(self.client.clone(), request);
        let sent = self.runtime.spawn(exchange).await.unwrap_or_else(|error| Err(error.into()));
        self.note(&sent);
        sent
    }
}

async fn exchange(client: Client, request: reqwest::Request) -> Result<Response<Bytes>, HttpError> {
    // The URL may hold a password.
    let plain = |error: reqwest::Error| innermost(&error.without_url());
    let mut answer = client.execute(request).await.map_err(plain)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(later) = answer.headers().get("retry-after") {
        response = response.header("retry-after", later);
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(plain)? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(opentelemetry_http::ResponseBodyTooLarge::new().into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(response.body(body.into())?)
}

/// What is behind an error: what stands around it repeats it.
fn innermost(error: &(dyn std::error::Error + 'static)) -> HttpError {
    let causes = std::iter::successors(Some(error), |it| (*it).source());
    causes.last().map(ToString::to_string).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{SpanId, TraceId};
    use opentelemetry_sdk::trace::{SimpleSpanProcessor, SpanExporter};
    use tracing::field::Empty;
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::registry::Registry;

    use super::*;

    /// What was sent.
    #[derive(Debug, Clone, Default)]
    struct Sent(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Sent {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().expect("no panic").extend(batch);
            Ok(())
        }
    }

    impl Sent {
        fn named(&self, name: &str) -> SpanData {
            let sent = self.0.lock().expect("no panic");
            let found = sent.iter().find(|span| span.name == name);
            found.unwrap_or_else(|| panic!("no {name} in {sent:?}")).clone()
        }
    }

    fn traced(work: impl FnOnce()) -> Sent {
        let sent = Sent::default();
        let traces = Traces::through(SimpleSpanProcessor::new(sent.clone()));
        let subscriber = Registry::default().with(traces.layer());
        ON.store(true, Ordering::Relaxed);
        tracing::subscriber::with_default(subscriber, work);
        sent
    }

    fn attribute(span: &SpanData, key: &str) -> Option<String> {
        let found = span.attributes.iter().find(|it| it.key.as_str() == key);
        found.map(|it| it.value.as_str().into_owned())
    }

    #[test]
    fn a_request_belongs_to_its_callers_trace_and_an_operation_begins_one() {
        const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let sent = traced(|| {
            let request =
                info_span!("request", request_id = "r", method = "POST", route = "/launch");
            adopt(&request, |name| (name == "traceparent").then_some(CALLER));
            let operation = request.in_scope(|| {
                tracing::info!(token = "s3cr3t", "a line is no part of a trace");
                let operation =
                    info_span!(parent: None, "operation", kind = "launch", outcome = Empty);
                operation.follows_from(tracing::Span::current());
                operation
            });
            answered(&request, 202);
            drop(request);
            operation.in_scope(|| {
                let step = info_span!("step", step = "fetch", outcome = Empty);
                step.record("outcome", "failed_clean");
                let _ = tracing::debug_span!("more").entered();
            });
            operation.record("outcome", "cancelled");
        });
        let request = sent.named("POST /launch");
        let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").expect("an id");
        assert_eq!(request.span_context.trace_id(), trace);
        assert_eq!(request.parent_span_id, SpanId::from_hex("b7ad6b7169203331").expect("an id"));
        assert_eq!((&request.span_kind, &request.status), (&SpanKind::Server, &Status::Unset));
        assert_eq!(attribute(&request, "http.response.status_code").as_deref(), Some("202"));
        assert_eq!(attribute(&request, "http.route").as_deref(), Some("/launch"));
        assert_eq!(attribute(&request, "openclaw_pipeline.request_id").as_deref(), Some("r"));
        assert_eq!(request.attributes.len(), 4, "nothing else: {:?}", request.attributes);
        assert!(request.events.is_empty());
        let operation = sent.named("operation launch");
        assert_ne!(operation.span_context.trace_id(), trace);
        assert_eq!(operation.parent_span_id, SpanId::INVALID);
        assert_eq!(operation.links.links[0].span_context, request.span_context);
        assert_eq!(operation.status, Status::Unset, "somebody wanted it so");
        let step = sent.named("step fetch");
        assert_eq!(step.parent_span_id, operation.span_context.span_id());
        assert_eq!(step.status, Status::error(""));
        assert_eq!(sent.0.lock().expect("no panic").len(), 3);
    }

    #[test]
    fn what_failed_is_marked() {
        let sent = traced(|| {
            for (route, status) in [("/a", 404), ("/b", 503)] {
                let request = info_span!("request", method = "GET", route);
                adopt(&request, |_| Some("not a parent"));
                answered(&request, status);
            }
            for (deployment, status, outcome) in [("one", 204_u16, "arrived"), ("two", 410, "dead")]
            {
                let delivery = info_span!("delivery", deployment, status = Empty, outcome = Empty);
                delivery.record("status", status).record("outcome", outcome);
            }
        });
        assert_eq!(sent.named("GET /a").status, Status::Unset);
        assert_eq!(sent.named("GET /a").parent_span_id, SpanId::INVALID);
        assert_eq!(sent.named("GET /b").status, Status::error(""));
        let sent = sent.0.lock().expect("no panic");
        let deliveries: Vec<_> = sent.iter().filter(|it| it.name == "webhook delivery").collect();
        assert!(deliveries.iter().all(|it| it.span_kind == SpanKind::Client));
        let status = |span: &SpanData| attribute(span, "http.response.status_code");
        assert_eq!(
            deliveries.iter().filter_map(|it| status(it)).collect::<Vec<_>>(),
            ["204", "410"]
        );
        assert_eq!(deliveries[0].status, Status::Unset);
        assert_eq!(deliveries[1].status, Status::error(""));
    }

    #[test]
    fn a_callers_state_is_kept_short() {
        const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let state = |text: String| {
            let text: &str = text.leak();
            let found = caller(|name| Some(if name == "tracestate" { text } else { CALLER }));
            let found = found.expect("a caller");
            opentelemetry::trace::TraceContextExt::span(&found).span_context().clone()
        };
        assert_eq!(state("a=1".into()).trace_state().header(), "a=1");
        assert!(!state(String::new()).is_sampled(), "the caller may want none");
        assert_eq!(state(format!("a={}", "x".repeat(600))).trace_state().header(), "");
        assert!(caller(|_| None).is_none());
    }
}
