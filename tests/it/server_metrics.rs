//! The server's figures, asked for as Prometheus asks.

// Most of them are whole numbers.
#![allow(clippy::float_cmp)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openclaw_pipeline::telemetry::metrics::{Endpoint, Form, Metrics, Now, Stored};
use serde_json::json;

use crate::support::asking::ask;
use crate::support::product::{Product, TOKEN, until};
use crate::support::receiver::{Mode, Receiver};
use crate::support::server::{API_TOKEN, Served};
use crate::support::source::read;

/// The samples of an answer, by name with labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

fn figures(served: &Served) -> BTreeMap<String, f64> {
    // Who looks again and again is slowed down.
    let answer = until("it answers", || {
        let answer = served.get("/metrics");
        (answer.status != 429).then_some(answer)
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
    samples(&answer.text())
}

#[track_caller]
fn figure(figures: &BTreeMap<String, f64>, name: &str) -> f64 {
    let name = format!("openclaw_pipeline_{name}");
    *figures.get(&name).unwrap_or_else(|| panic!("no {name} in {figures:#?}"))
}

#[test]
fn a_launch_shows_in_the_figures() {
    let served = Served::begin();
    let before = figures(&served);
    assert!(!before.keys().any(|name| name.contains("launches")), "nothing was launched");
    let ended = served.launch("box");
    // It is counted when its executor lets go, a moment after it is over.
    let after = served.until("it is counted", || {
        let after = figures(&served);
        after.keys().any(|name| name.contains("launches_total")).then_some(after)
    });
    let is = |name: &str, number: f64| assert_eq!(figure(&after, name), number, "{name}");
    is("launches_total{target=\"process\",outcome=\"succeeded\"}", 1.0);
    is("operations_total{operation=\"launch\",outcome=\"succeeded\"}", 1.0);
    for step in ended["steps"].as_array().expect("steps") {
        let of = format!("{{operation=\"launch\",step={}}}", step["name"]);
        is(&format!("operation_step_duration_seconds_count{of}"), 1.0);
    }
    is("deployments{target=\"process\",status=\"running\"}", 1.0);
    is("executor_operations{state=\"running\"}", 0.0);
    is("queue_age_seconds", 0.0);
    is("store_readable", 1.0);
    let launched = "method=\"POST\",route=\"/v1/deployments\"";
    is(&format!("http_requests_total{{{launched},status=\"2xx\"}}"), 1.0);
    is(&format!("http_request_duration_seconds_count{{{launched}}}"), 1.0);
    assert!(figure(&after, "store_bytes") > 0.0);
    assert!(figure(&after, "http_connections") >= 1.0, "the one that asks");
    assert!(after["process_resident_memory_bytes"] > 1e6);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("now").as_secs_f64();
    assert!((now - after["process_start_time_seconds"]).abs() < 120.0);
    // The window is open: somebody watches, and lets in who asks.
    let let_in = "approvals_total{decision=\"approved\"}";
    is(let_in, 0.0);
    until("it is watched", || (figure(&figures(&served), "watches") == 1.0).then_some(()));
    served.ended(&served.post("/v1/deployments/box/stop", &json!({})).ok(202));
    ask(served.product(), "box", &[("req-1", "operator", &["operator.read"])]);
    served.ended(&served.post("/v1/deployments/box/start", &json!({})).ok(202));
    until("it is let in", || (figure(&figures(&served), let_in) == 1.0).then_some(()));
    served.assert_well();
}

#[test]
fn who_follows_is_counted_and_no_longer_once_gone() {
    let served = Served::begin();
    let listeners = || figure(&figures(&served), "event_listeners");
    let mut stream = served.call("GET", "/v1/events").stream();
    stream.frame().expect("it is connected");
    assert_eq!(listeners(), 1.0);
    drop(stream);
    until("it is gone", || (listeners() == 0.0).then_some(()));
}

#[test]
fn a_receiver_that_is_away_shows_and_so_does_its_coming_back() {
    let receiver = Receiver::start();
    receiver.set(Mode::Status(500, Vec::new()));
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN).set("FRONTEND_URL", receiver.url());
    let served = Served::on(product, &[]);
    let sum = |figures: &BTreeMap<String, f64>, name: &str, label: &str| -> f64 {
        let name = format!("openclaw_pipeline_webhook_{name}");
        let of = figures.iter().filter(|(key, _)| key.starts_with(&name) && key.contains(label));
        of.map(|(_, value)| value).sum()
    };
    served.launch("box");
    let away = until("it fails", || {
        let figures = figures(&served);
        (sum(&figures, "attempts", "failed") > 0.0).then_some(figures)
    });
    assert!(sum(&away, "deliveries", "pending") > 0.0, "{away:#?}");
    assert!(sum(&away, "lag_seconds", "endpoint") > 0.0, "{away:#?}");
    assert_eq!(sum(&away, "attempts", "arrived"), 0.0);
    receiver.set(Mode::Ok);
    let back = until("it has everything", || {
        let figures = figures(&served);
        (sum(&figures, "deliveries", "pending") == 0.0).then_some(figures)
    });
    assert_eq!(sum(&back, "lag_seconds", "endpoint"), 0.0);
    let arrived = u32::try_from(receiver.taken().len()).expect("a few");
    assert_eq!(sum(&back, "attempts", "arrived"), f64::from(arrived));
    assert_eq!(sum(&back, "given_up", "endpoint") + sum(&back, "deliveries", "dead"), 0.0);
}

#[test]
fn no_caller_makes_figures_of_its_own() {
    let served = Served::begin();
    let _ = served.get("/metrics");
    let before: BTreeSet<String> = figures(&served).into_keys().collect();
    for name in ["one", "two", "three"] {
        served.get(&format!("/v1/deployments/{name}")).problem(404);
        served.get(&format!("/{name}")).problem(404);
        served.call(&format!("BREW{name}"), "/launch").send().problem(405);
    }
    let after: BTreeSet<String> = figures(&served).into_keys().collect();
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(!new.iter().any(|name| ["one", "two", "BREW"].iter().any(|it| name.contains(it))));
    let requests = new.iter().filter(|name| name.contains("http_requests_total")).count();
    assert_eq!(requests, 3, "one for each call, not for each path: {new:?}");
}

#[test]
fn they_are_for_who_may_look_at_everything() {
    let served = Served::begin();
    served.launch("box");
    served.call("GET", "/metrics").without("authorization").send().problem(401);
    let with = |args: &[&str]| {
        let made = match *args {
            [a, b] => served.token([a, b]),
            [a, b, c, d] => served.token([a, b, c, d]),
            _ => panic!("{args:?}"),
        };
        served.call("GET", "/metrics").token(&made.text)
    };
    with(&["--scope", "deploy"]).send().problem(403);
    with(&["--scope", "read", "--prefix", "team-"]).send().refuses(403, "all deployments");
    let answer = with(&["--scope", "read"]).send();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    for hidden in [TOKEN, API_TOKEN, "\"box\""] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    let wanted = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1";
    let answer = with(&["--scope", "read"]).header("accept", wanted).send();
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    assert!(answer.text().ends_with("# EOF\n"));
}

#[test]
fn every_figure_stands_in_the_document() {
    let metrics = Metrics::default();
    metrics.answered("GET", "/", 200, Duration::ZERO);
    metrics.launch("process", "failed");
    metrics.operation("launch", "failed");
    metrics.step("launch", "fetch", Duration::ZERO);
    let stored = Stored {
        deployments: vec![("process".into(), "running".into(), 1)],
        approvals: vec![("left", 1)],
        endpoints: vec![Endpoint::default()],
        bytes: 1,
    };
    let now = Now { stored: Some(stored), ..Now::default() };
    let text = metrics.text(&now, Form::Prometheus).expect("written");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told: BTreeMap<&str, &str> = types.filter_map(|line| line.split_once(' ')).collect();
    let document = read("docs/observing.md");
    let rows = document.lines().skip_while(|line| *line != "## Figures");
    let rows = rows.take_while(|line| *line != "## Traces").filter(|line| line.starts_with("| `"));
    let shown: BTreeMap<&str, &str> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].trim_matches('`'), cells[1])
        })
        .collect();
    assert_eq!(shown, told);
}
