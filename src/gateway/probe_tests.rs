//! Probe answers as captured from 2026.9.6.

use super::super::fake::FakeDial;
use super::*;

const STARTED: &str = r#"{"ok":true,"status":"started","version":"2026.9.6","uptimeMs":32120}"#;
const STARTING: &str = r#"{"ok":false,"status":"starting","version":"2026.9.6","uptimeMs":9,"pendingReason":"startup-sidecars"}"#;
const LIVE: &str = r#"{"ok":true,"status":"live"}"#;

fn page() -> String {
    format!("<!doctype html><title>OpenClaw</title>{}", "x".repeat(2 * MAX_BODY_BYTES))
}

async fn ask(answers: Vec<(&'static str, u16, String)>) -> Result<Startup, ProbeError> {
    startup(&FakeDial::http(answers), "gateway:18789").await
}

#[tokio::test]
async fn startupz_is_judged_by_its_body() {
    let started = ask(vec![("/startupz", 200, STARTED.into())]).await.expect("answer");
    let version = Some("2026.9.6".into());
    assert_eq!(started, Startup::Started { version, uptime_ms: Some(32120) });

    let outside = ask(vec![("/startupz", 200, r#"{"ok":true,"status":"started"}"#.into())]).await;
    assert_eq!(outside.expect("answer"), Startup::Started { version: None, uptime_ms: None });

    let starting = ask(vec![("/startupz", 503, STARTING.into())]).await.expect("answer");
    assert_eq!(starting, Startup::Starting { detail: "startup-sidecars".into() });

    let draining = ask(vec![("/startupz", 503, r#"{"ok":false,"status":"draining"}"#.into())]);
    assert_eq!(draining.await.expect("answer"), Startup::Starting { detail: "draining".into() });
}

#[tokio::test]
async fn a_web_page_with_200_is_not_started() {
    let old = ask(vec![("/startupz", 200, page()), ("/healthz", 200, LIVE.into())]).await;
    assert_eq!(old.expect("answer"), Startup::Unsupported);

    let stranger = ask(vec![("/startupz", 200, page()), ("/healthz", 200, page())]).await;
    assert!(matches!(stranger, Err(ProbeError::NotAGateway(_))), "{stranger:?}");

    // Through a proxy that it does not trust yet; that it lives, it tells everybody.
    let refusal = r#"{"error":{"message":"…","type":"proxy_attribution_required"}}"#;
    let refused =
        ask(vec![("/startupz", 403, refusal.into()), ("/healthz", 200, LIVE.into())]).await;
    assert!(matches!(refused, Err(ProbeError::Refused)), "{refused:?}");

    let proxy = ask(vec![("/startupz", 502, "<html>bad gateway".into())]).await;
    assert!(matches!(proxy, Err(ProbeError::Proxy(502))), "{proxy:?}");
}

#[tokio::test]
async fn readyz_lists_what_fails() {
    let body = r#"{"ready":false,"failing":["telegram\u001b[2J"],"uptimeMs":1,"eventLoop":{}}"#;
    let dial = FakeDial::http(vec![("/readyz", 503, body.into())]);
    let answer = ready(&dial, "h").await.expect("answer");
    assert_eq!(answer, Ready { ready: false, failing: vec!["telegram[2J".into()] });
}

#[tokio::test]
async fn waiting_ends_with_the_start_and_tells_each_change_once() {
    let dial = FakeDial::http(vec![
        ("/startupz", 502, String::new()),
        ("/startupz", 503, STARTING.into()),
        ("/startupz", 503, STARTING.into()),
        ("/startupz", 200, STARTED.into()),
    ]);
    let mut told = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    let started = wait_started(&dial, "h", deadline, |m| told.push(m.to_owned())).await;
    assert!(matches!(started, Ok(Startup::Started { .. })));
    assert_eq!(
        told,
        [
            "a proxy before the gateway answers HTTP 502",
            "the gateway is starting (startup-sidecars)"
        ]
    );
}

#[tokio::test]
async fn waiting_ends_at_the_deadline() {
    let silent = FakeDial::new(0, |_, stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    });
    let deadline = Instant::now() + Duration::from_millis(100);
    let error = wait_started(&silent, "h", deadline, |_| {}).await.expect_err("deadline");
    assert!(matches!(error, ProbeError::Deadline(_)), "{error:?}");

    let refused = FakeDial::new(usize::MAX, |_, _| async {});
    let deadline = Instant::now() + Duration::from_millis(100);
    let error = wait_started(&refused, "h", deadline, |_| {}).await.expect_err("deadline");
    assert!(error.to_string().contains("connection refused"), "{error}");
}
