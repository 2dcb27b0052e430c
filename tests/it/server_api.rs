//! The API as its clients call it: every call of the contract against the real server, with the
//! stand-in in the place of the gateway.

use serde_json::json;

use crate::support::server::Served;

#[test]
fn it_answers_that_it_lives_without_a_token() {
    let served = Served::begin();
    for path in ["/health", "/livez", "/readyz"] {
        let answer = served.call("GET", path).without("authorization").send();
        assert_eq!(answer.ok(200), json!({ "status": "ok" }), "{path}");
    }
}

#[test]
fn a_launch_is_accepted_and_proven() {
    let served = Served::begin();
    served.launch("main");
    let status = served.get("/status").ok(200);
    assert_eq!(status["deployments"][0]["status"], "running", "{status:#}");
    let mut events = served.call("GET", "/v1/events?after=0").stream();
    let kinds = std::iter::from_fn(|| Some(events.next().kind));
    let kinds: Vec<String> = kinds.take_while(|kind| kind != "completed").collect();
    assert_eq!(kinds[0], "launching", "{kinds:?}");
    served.assert_well();
}
