//! The connection against a gateway in memory: acceptance, refusals, requests, events, the end.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Bytes;

use super::super::connect::connect_retrying;
use super::super::events::MAX_QUEUED;
use super::super::fake::{FakeDial, Peer, TOKEN, options, pair};
use super::*;

const LIMIT: Duration = Duration::from_secs(5);

async fn connected() -> (GatewayClient, Peer) {
    let (near, far) = pair();
    let options = options();
    let accept = async {
        let mut peer = Peer::accept(far).await;
        peer.welcome().await;
        peer
    };
    let (client, peer) = tokio::join!(GatewayClient::connect(near, &options), accept);
    (client.expect("accepted"), peer)
}

async fn refused(error: Value) -> ConnectError {
    let (near, far) = pair();
    let options = options();
    let refuse = async { Peer::accept(far).await.refuse(error).await };
    let (client, ()) = tokio::join!(GatewayClient::connect(near, &options), refuse);
    client.expect_err("refused")
}

#[tokio::test]
async fn it_introduces_itself_as_the_one_identity_without_traces() {
    let (near, far) = pair();
    let options = options().scopes(&["operator.pairing"]);
    let accept = async { Peer::accept(far).await.welcome().await };
    let (client, params) = tokio::join!(GatewayClient::connect(near, &options), accept);
    let client = client.expect("accepted");
    assert_eq!(client.hello().scopes, ["operator.pairing"]);
    assert_eq!(params["client"]["id"], "gateway-client");
    assert_eq!(params["client"]["mode"], "backend");
    assert_eq!((&params["minProtocol"], &params["maxProtocol"]), (&json!(3), &json!(4)));
    assert_eq!(params["auth"], json!({ "token": TOKEN }));
    assert!(!format!("{client:?} {options:?}").contains(TOKEN));
}

/// The errors are those that 2026.9.6 sent.
#[tokio::test]
async fn each_refusal_is_told_apart() {
    let error = |code: &str| json!({ "code": "INVALID_REQUEST", "message": "m", "details": { "code": code } });
    let is = |error: ConnectError, expected: &str| {
        let shown = format!("{error:?}");
        assert!(shown.starts_with(expected), "{shown} is not {expected}");
    };
    is(refused(error("CONTROL_UI_ORIGIN_NOT_ALLOWED")).await, "OriginNotAllowed");
    is(refused(error("AUTH_TOKEN_MISMATCH")).await, "Unauthorized { code: \"AUTH_TOKEN_MISMATCH\"");
    is(refused(error("CONTROL_UI_DEVICE_IDENTITY_REQUIRED")).await, "DeviceIdentityRequired");
    let no_device = json!({ "code": "NOT_PAIRED", "message": "device identity required",
        "details": { "code": "DEVICE_IDENTITY_REQUIRED" } });
    is(refused(no_device).await, "DeviceIdentityRequired");
    let pairing = json!({ "code": "NOT_PAIRED", "message": "pairing required",
        "details": { "code": "PAIRING_REQUIRED", "reason": "not-paired", "requestId": "r-1" } });
    is(refused(pairing).await, "PairingRequired { request_id: Some(\"r-1\")");
    let protocol = json!({ "code": "INVALID_REQUEST", "message": "protocol mismatch",
        "details": { "code": "PROTOCOL_MISMATCH", "expectedProtocol": 5 } });
    is(refused(protocol).await, "ProtocolMismatch { expected: Some(5)");
    let locked = json!({ "code": "INVALID_REQUEST", "message": "unauthorized: too many",
        "retryable": true, "retryAfterMs": 299_988, "details": { "code": "AUTH_RATE_LIMITED" } });
    is(refused(locked).await, "RateLimited { retry_after: Some(299.988s)");
    let starting = json!({ "code": "UNAVAILABLE", "message": "gateway starting; retry shortly",
        "retryable": true, "retryAfterMs": 500, "details": { "reason": "startup-sidecars" } });
    is(refused(starting).await, "Unavailable { retry_after: Some(500ms)");
    let old =
        json!({ "code": "INVALID_REQUEST", "message": "unauthorized: gateway token mismatch" });
    is(refused(old).await, "Unauthorized");
    is(refused(json!({})).await, "Other");
}

#[tokio::test]
async fn an_error_never_repeats_the_token() {
    let message = format!("you sent \u{1b}[1m{TOKEN}, {}", "x".repeat(9000));
    let error = refused(json!({ "code": TOKEN, "message": message })).await;
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(TOKEN) && !shown.contains('\u{1b}') && shown.len() < 1000, "{shown}");
}

#[tokio::test]
async fn a_silent_gateway_runs_into_the_deadline() {
    let (near, _far) = pair();
    let mut options = options();
    options.deadline = Instant::now() + Duration::from_millis(50);
    let error = GatewayClient::connect(near, &options).await.expect_err("timeout");
    assert!(matches!(error, ConnectError::Timeout { during: "opening the WebSocket" }));

    let (near, far) = pair();
    options.deadline = Instant::now() + Duration::from_millis(200);
    let silent = async {
        let mut peer = Peer::accept(far).await;
        peer.request("connect").await;
        peer.message().await
    };
    let (client, _) = tokio::join!(GatewayClient::connect(near, &options), silent);
    let error = client.expect_err("timeout");
    assert!(matches!(error, ConnectError::Timeout { during } if during.contains("token")));
}

#[tokio::test]
async fn a_stream_that_ends_within_the_handshake_may_be_tried_again() {
    let (near, far) = pair();
    drop(far);
    let error = GatewayClient::connect(near, &options()).await.expect_err("gone");
    assert!(error.is_transient(), "{error:?}");

    let (near, far) = pair();
    let options = options();
    let accept = async { drop(Peer::accept(far).await) };
    let (client, ()) = tokio::join!(GatewayClient::connect(near, &options), accept);
    let error = client.expect_err("gone");
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn an_http_answer_instead_of_an_upgrade_is_understood() {
    let cases = [
        (403, r#"{"error":{"message":"m","type":"proxy_attribution_required"}}"#, "Other"),
        (429, "", "RateLimited"),
        (502, "<html>", "Unavailable"),
        (200, "<html>", "Other { code: \"http_200\""),
    ];
    for (status, body, expected) in cases {
        let dial = FakeDial::http(vec![("/", status, body.into())]);
        let stream = super::super::Dial::dial(&dial).await.expect("stream");
        let error = GatewayClient::connect(stream, &options()).await.expect_err("refused");
        assert!(format!("{error:?}").starts_with(expected), "{status}: {error:?}");
    }
}

#[tokio::test]
async fn retrying_outlasts_a_start_and_stops_at_a_refusal() {
    let dial = FakeDial::new(2, |number, stream| async move {
        let mut peer = Peer::accept(stream).await;
        if number == 0 {
            let error = json!({ "code": "UNAVAILABLE", "message": "starting", "retryAfterMs": 10 });
            peer.refuse(error).await;
        } else {
            peer.welcome().await;
            while peer.message().await.is_some() {}
        }
    });
    let mut told = Vec::new();
    let client = connect_retrying(&dial, &options(), |m| told.push(m.to_owned())).await;
    client.expect("accepted").close().await;
    assert_eq!(told.len(), 2, "{told:?}");

    let dial = FakeDial::new(0, |number, stream| async move {
        assert_eq!(number, 0, "a wrong token is tried once");
        let details = json!({ "code": "AUTH_TOKEN_MISMATCH" });
        Peer::accept(stream).await.refuse(json!({ "details": details })).await;
    });
    let error = connect_retrying(&dial, &options(), |_| {}).await.expect_err("refused");
    assert!(matches!(error, ConnectError::Unauthorized { .. }), "{error:?}");
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let (client, mut peer) = connected().await;
    let serve = async {
        let first = peer.request("health").await;
        let second = peer.request("health").await;
        peer.answer("999", json!("nobody asked")).await;
        peer.answer(&second.0, second.1).await;
        peer.answer(&first.0, first.1).await;
    };
    let ask = |n: u32| client.request("health", json!({ "n": n }), LIMIT);
    let (one, two, ()) = tokio::join!(ask(1), ask(2), serve);
    assert_eq!((one.expect("one"), two.expect("two")), (json!({ "n": 1 }), json!({ "n": 2 })));
}

#[tokio::test]
async fn a_missing_scope_is_recognised_both_ways() {
    let (client, mut peer) = connected().await;
    let details = json!({ "code": "MISSING_SCOPE", "missingScope": "operator.read" });
    let errors = [
        json!({ "code": "FORBIDDEN", "message": "m", "details": details }),
        json!({ "code": "INVALID_REQUEST", "message": "missing scope: operator.read" }),
    ];
    for error in errors {
        let serve = async {
            let (id, _) = peer.request("models.list").await;
            peer.fail(&id, error).await;
        };
        let (answer, ()) = tokio::join!(client.request("models.list", json!({}), LIMIT), serve);
        assert_eq!(answer.expect_err("refused").missing_scope(), Some("operator.read"));
    }
}

#[tokio::test]
async fn a_request_times_out_and_the_connection_goes_on() {
    let (client, mut peer) = connected().await;
    let short = Duration::from_millis(30);
    let error = client.request("health", json!({}), short).await.expect_err("timeout");
    assert!(matches!(error, RpcError::Timeout { .. }));
    let serve = async {
        let (late, _) = peer.request("health").await;
        peer.answer(&late, json!("late")).await;
        let (id, _) = peer.request("status").await;
        peer.answer(&id, json!("fine")).await;
    };
    let (answer, ()) = tokio::join!(client.request("status", json!({}), LIMIT), serve);
    assert_eq!(answer.expect("answer"), "fine");
}

#[tokio::test]
async fn wanted_events_come_in_order_and_gaps_are_told() {
    let (client, mut peer) = connected().await;
    peer.event("device.pair.requested", 1, json!(1)).await;
    peer.event("health", 2, json!(2)).await;
    peer.event("device.pair.resolved", 3, json!(3)).await;
    for expected in [1, 3] {
        let next = client.next_event().await;
        assert!(matches!(&next, Next::Event(e) if e.payload == json!(expected)), "{next:?}");
    }
    // Number 4 was dropped by the gateway.
    peer.event("device.pair.requested", 5, json!(5)).await;
    assert_eq!(client.next_event().await, Next::Lagged);
    assert!(matches!(client.next_event().await, Next::Event(e) if e.seq == Some(5)));
    // An event too large to keep.
    peer.event("device.pair.requested", 6, json!("x".repeat(MAX_EVENT_BYTES))).await;
    assert_eq!(client.next_event().await, Next::Lagged);
}

#[tokio::test]
async fn a_slow_reader_loses_events_not_memory() {
    let (client, mut peer) = connected().await;
    for seq in 1..=3 * MAX_QUEUED as u64 {
        peer.event("device.pair.requested", seq, json!({})).await;
    }
    let serve = async {
        let (id, _) = peer.request("health").await;
        peer.answer(&id, json!({})).await;
    };
    let (answer, ()) = tokio::join!(client.request("health", json!({}), LIMIT), serve);
    answer.expect("the connection is not blocked by unread events");
    assert_eq!(client.next_event().await, Next::Lagged);
}

#[tokio::test]
async fn pings_are_answered_and_the_end_reaches_everyone() {
    let (client, mut peer) = connected().await;
    peer.raw(Message::Ping(Bytes::from_static(b"are you there"))).await;
    let pong = peer.message().await;
    assert_eq!(pong, Some(Message::Pong(Bytes::from_static(b"are you there"))));

    let waiting = client.request("health", json!({}), LIMIT);
    let close = async {
        peer.request("health").await;
        peer.raw(Message::Close(None)).await;
    };
    let (answer, ()) = tokio::join!(waiting, close);
    assert!(matches!(answer, Err(RpcError::Closed(_))), "{answer:?}");
    assert!(matches!(client.next_event().await, Next::Closed(_)));
    let after = client.request("health", json!({}), LIMIT).await;
    assert!(matches!(after, Err(RpcError::Closed(_))), "{after:?}");
}

#[tokio::test]
async fn dropping_the_client_says_farewell() {
    let (client, mut peer) = connected().await;
    drop(client);
    assert!(matches!(peer.message().await, Some(Message::Close(_))));
}
