//! The proof against a gateway in memory.

use serde_json::{Value, json};
use tokio::io::DuplexStream;

use super::super::fake::{FakeDial, Peer, TOKEN, http};
use super::*;

const STARTED: &str = r#"{"ok":true,"status":"started"}"#;

fn route(model: &str) -> Route {
    Route {
        host_header: "203.0.113.7:18789".into(),
        origin: "http://203.0.113.7:18789".into(),
        token: Secret::new(TOKEN),
        expected_model: Some(model.into()),
        refused_patience: Duration::ZERO,
        reach_patience: Duration::from_secs(30),
        accept_unlisted_model: false,
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(500)
}

async fn accept(stream: DuplexStream) {
    let mut peer = Peer::accept(stream).await;
    peer.welcome().await;
    while peer.message().await.is_some() {}
}

/// A started gateway, whose connection `connect` accepts or refuses.
fn outside(refusal: Option<Value>) -> FakeDial {
    FakeDial::new(0, move |number, stream| {
        let refusal = refusal.clone();
        async move {
            match (number, refusal) {
                (0, _) => http(&("/startupz", 200, STARTED.into()), stream).await,
                (_, None) => accept(stream).await,
                (_, Some(error)) => Peer::accept(stream).await.refuse(error).await,
            }
        }
    })
}

/// The gateway's loopback, with one model in its catalogue.
fn inside() -> FakeDial {
    FakeDial::new(0, |_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        let params = peer.welcome().await;
        assert_eq!(params["scopes"], json!(["operator.read"]));
        // Fresh from its start: the provider is not read yet.
        let (id, _) = peer.request("models.list").await;
        peer.answer(&id, json!({ "models": [], "pendingProviders": ["anthropic"] })).await;
        let (id, params) = peer.request("models.list").await;
        assert_eq!(params, json!({ "view": "all" }), "the default view lists what does not exist");
        let row = json!({ "provider": "anthropic", "id": "claude-sonnet-5", "available": true });
        peer.answer(&id, json!({ "models": [row] })).await;
        while peer.message().await.is_some() {}
    })
}

#[tokio::test]
async fn a_working_gateway_is_proven() {
    let (outside, inside) = (outside(None), inside());
    let route = route("anthropic/claude-sonnet-5");
    let proof = prove(&outside, Some(&inside), &route, soon(), |_| {}).await.expect("proof");
    assert_eq!(proof.server_version.as_deref(), Some("2026.9.6"));
    assert_eq!((proof.protocol, proof.model), (4, Some(Availability::Available)));
}

#[tokio::test]
async fn a_page_that_was_let_in_just_now_is_waited_for() {
    let details = json!({ "code": "CONTROL_UI_ORIGIN_NOT_ALLOWED" });
    let refusal = json!({ "code": "INVALID_REQUEST", "details": details });
    let outside = FakeDial::new(0, move |number, stream| {
        let refusal = refusal.clone();
        async move {
            match number {
                0 => http(&("/startupz", 200, STARTED.into()), stream).await,
                1 | 2 => Peer::accept(stream).await.refuse(refusal).await,
                _ => accept(stream).await,
            }
        }
    });
    let patient = Duration::from_secs(60);
    let route = Route { refused_patience: patient, expected_model: None, ..route("a/b") };
    let deadline = Instant::now() + patient;
    prove(&outside, None, &route, deadline, |_| {}).await.expect("the list is taken over");
}

/// A dial that nothing is behind.
struct Nowhere;

#[async_trait::async_trait]
impl Dial for Nowhere {
    async fn dial(&self) -> std::io::Result<Box<dyn super::super::dial::Duplex>> {
        Err(std::io::ErrorKind::ConnectionRefused.into())
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_and_is_not_reached_is_not_proven_and_not_waited_for_to_the_end() {
    let inside = FakeDial::new(0, |_, stream| async move {
        http(&("/startupz", 200, STARTED.into()), stream).await;
    });
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(600);
    let error = prove(&Nowhere, Some(&inside), &route("a/b"), deadline, |_| {}).await;
    let error = error.expect_err("nothing leads there");
    assert!(matches!(&error, ProveError::Unreached(seen) if seen.contains("refused")), "{error}");
    assert!(error.remedy().contains("firewalls"));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());

    // One that does not run either is given its time.
    let begun = Instant::now();
    let (route, deadline) = (route("a/b"), begun + Duration::from_secs(600));
    let error = prove(&Nowhere, Some(&Nowhere), &route, deadline, |_| {}).await;
    let error = error.expect_err("nothing is there");
    assert!(matches!(error, ProveError::Startup(ProbeError::Deadline(_))), "{error}");
    assert!(begun.elapsed() > Duration::from_secs(590), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_wrong_origin_names_the_remedy() {
    let details = json!({ "code": "CONTROL_UI_ORIGIN_NOT_ALLOWED" });
    let outside = outside(Some(json!({ "code": "INVALID_REQUEST", "details": details })));
    let error = prove(&outside, None, &route("a/b"), soon(), |_| {}).await.expect_err("refused");
    assert!(matches!(error, ProveError::Connect(ConnectError::OriginNotAllowed)), "{error:?}");
    assert!(error.remedy().contains("allowedOrigins"));
}

#[tokio::test]
async fn tokens_are_told_apart_from_lock_outs() {
    let ask = async |code: &str| {
        let error = json!({ "details": { "code": code } });
        let dial = FakeDial::new(0, move |_, stream| {
            let error = error.clone();
            async move { Peer::accept(stream).await.refuse(error).await }
        });
        token_refused(&dial, "h", &Secret::new("old"), soon()).await
    };
    assert!(ask("AUTH_TOKEN_MISMATCH").await.expect("known"));
    assert!(ask("AUTH_RATE_LIMITED").await.is_err(), "a lock-out proves nothing");
    let accepting = FakeDial::new(0, |_, stream| accept(stream));
    let refused = token_refused(&accepting, "h", &Secret::new(TOKEN), soon()).await;
    assert!(!refused.expect("known"));
}
