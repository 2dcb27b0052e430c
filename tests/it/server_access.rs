//! Who may call what: scopes, names, limits, ends and revocation of tokens, and how often. Against
//! the real server.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::support::product::{BROKEN, Product};
use crate::support::server::{API_TOKEN, Answer, SLOW, Served, flood};

/// Every call that needs a token, and the scopes that are good for it beside `admin`. What is
/// named does not exist, so that nothing comes of the call.
const CALLS: [(&str, &str, &[&str]); 56] = [
    ("GET", "/status", &["read"]),
    ("POST", "/launch", &["deploy"]),
    ("POST", "/v1/plan", &["deploy"]),
    ("POST", "/approve", &["connect"]),
    ("POST", "/webhook/event", &["deploy", "connect", "events"]),
    ("GET", "/v1/deployments", &["read"]),
    ("POST", "/v1/deployments", &["deploy"]),
    ("GET", "/v1/deployments/{name}", &["read"]),
    ("PATCH", "/v1/deployments/{name}", &[]),
    ("DELETE", "/v1/deployments/{name}", &["destroy"]),
    ("POST", "/v1/deployments/{name}/stop", &["deploy"]),
    ("POST", "/v1/deployments/{name}/tunnel", &["deploy"]),
    ("DELETE", "/v1/deployments/{name}/tunnel", &["deploy"]),
    ("POST", "/v1/deployments/{name}/start", &["deploy"]),
    ("POST", "/v1/deployments/{name}/restart", &["deploy"]),
    ("POST", "/v1/deployments/{name}/update", &["deploy"]),
    ("POST", "/v1/deployments/{name}/rotate", &["deploy"]),
    ("GET", "/v1/deployments/{name}/backups", &["read"]),
    ("POST", "/v1/deployments/{name}/backups", &["deploy"]),
    ("POST", "/v1/deployments/{name}/backups/restore", &["deploy"]),
    ("DELETE", "/v1/deployments/{name}/backups/{id}", &["destroy"]),
    ("POST", "/v1/deployments/{name}/access", &["connect"]),
    ("POST", "/v1/deployments/{name}/approve", &["connect"]),
    ("POST", "/v1/deployments/{name}/reject", &["connect"]),
    ("GET", "/v1/deployments/{name}/devices", &["read"]),
    ("DELETE", "/v1/deployments/{name}/devices/{device_id}", &["connect"]),
    ("GET", "/v1/deployments/{name}/logs", &["read"]),
    ("GET", "/v1/deployments/{name}/events", &["read"]),
    ("GET", "/v1/deployments/{name}/operations", &["read"]),
    ("GET", "/v1/operations", &["read"]),
    ("GET", "/v1/operations/{id}", &["read"]),
    ("POST", "/v1/operations/{id}/cancel", &["deploy"]),
    ("POST", "/v1/operations/{id}/resume", &["deploy"]),
    ("GET", "/v1/operations/{id}/events", &["read"]),
    ("GET", "/v1/events", &["read"]),
    ("GET", "/v1/tokens", &[]),
    ("POST", "/v1/tokens", &[]),
    ("GET", "/v1/tokens/{id}", &[]),
    ("DELETE", "/v1/tokens/{id}", &[]),
    ("GET", "/v1/audit", &[]),
    ("GET", "/v1/webhooks", &[]),
    ("POST", "/v1/webhooks", &[]),
    ("GET", "/v1/webhooks/{id}", &[]),
    ("PATCH", "/v1/webhooks/{id}", &[]),
    ("DELETE", "/v1/webhooks/{id}", &[]),
    ("POST", "/v1/webhooks/{id}/enable", &[]),
    ("POST", "/v1/webhooks/{id}/disable", &[]),
    ("POST", "/v1/webhooks/{id}/rotate-secret", &[]),
    ("POST", "/v1/webhooks/{id}/replay", &[]),
    ("GET", "/v1/webhooks/{id}/deliveries", &[]),
    ("GET", "/metrics", &["read"]),
    ("GET", "/v1/session", &["read", "deploy", "connect", "destroy", "events"]),
    ("DELETE", "/v1/session", &["read", "deploy", "connect", "destroy", "events"]),
    // Without a token.
    ("GET", "/health", &["nobody"]),
    ("GET", "/livez", &["nobody"]),
    ("GET", "/readyz", &["nobody"]),
];

/// A body that is whole, and of which nothing comes.
fn harmless(method: &str, path: &str) -> Option<Value> {
    Some(match (method, path) {
        ("POST", "/launch" | "/v1/deployments" | "/v1/plan") => json!({ "target": "moon" }),
        ("POST", "/approve") => json!({ "name": "nobody" }),
        ("POST", "/webhook/event") => {
            json!({ "type": "launching", "name": "nobody", "message": "m" })
        }
        ("PATCH", "/v1/deployments/{name}") => json!({ "protected": true }),
        ("POST", "/v1/deployments/{name}/reject") => json!({ "request_id": "x" }),
        ("POST", "/v1/tokens") => json!({ "label": "", "scopes": ["read"] }),
        ("POST", "/v1/webhooks") => json!({ "url": "http://no.example/" }),
        ("PATCH", "/v1/webhooks/{id}") => json!({}),
        ("POST", "/v1/webhooks/{id}/replay") => json!({ "event_id": "x" }),
        _ => return None,
    })
}

fn call(served: &Served, method: &str, path: &str) -> crate::support::server::Call {
    let at =
        path.replace("{name}", "nobody").replace("{id}", "unknown").replace("{device_id}", "d");
    let call = served.call(method, &at).header("accept", "application/json");
    match harmless(method, path) {
        Some(body) => call.json(&body),
        None => call,
    }
}

#[test]
fn each_call_takes_its_scope_and_no_other() {
    let served = Served::with_versions();
    let scopes = ["read", "deploy", "connect", "destroy", "admin", "events"];
    let tokens = || {
        scopes.map(|scope| match scope {
            "events" => served.token(["--events", "nobody"]).text,
            _ => served.token(["--scope", scope]).text,
        })
    };
    // One token may change so much at once and no more: half of the calls are another one's.
    let (half, tokens) = (CALLS.len().div_ceil(2), [tokens(), tokens()]);
    for (index, (method, path, good)) in CALLS.into_iter().enumerate() {
        for (scope, token) in scopes.iter().zip(&tokens[index / half]) {
            let answer = call(&served, method, path).token(token).send();
            let allowed = good.contains(&"nobody") || *scope == "admin" || good.contains(scope);
            let told = format!("{method} {path} with {scope}: {} {}", answer.status, answer.text());
            assert_ne!(answer.status, 401, "{told}");
            assert!(answer.status < 500 && answer.status != 429, "{told}");
            assert_eq!(answer.status != 403, allowed, "{told}");
            if !allowed {
                let problem = answer.problem(403);
                assert!(problem["remedy"].as_str().is_some_and(|it| !it.is_empty()), "{problem}");
            }
        }
        let answer = call(&served, method, path).without("authorization").send();
        if good.contains(&"nobody") {
            answer.ok(200);
        } else {
            answer.refuses(401, "needs a token");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    served.assert_well();
}

#[test]
fn no_call_of_the_description_is_forgotten() {
    let text = openclaw_pipeline::server::description_text().expect("a description");
    let description: Value = serde_json::from_str(&text).expect("JSON");
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("calls").keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    // Signing in takes a token, and needs none.
    described.remove(&("POST".into(), "/v1/session".into()));
    let tested = CALLS.map(|(method, path, _)| (method.to_owned(), path.to_owned()));
    assert_eq!(described, BTreeSet::from(tested));
}

#[test]
fn a_token_is_taken_from_its_header_alone() {
    let served = Served::with_versions();
    let bare = |path: &str| served.call("GET", path).without("authorization");
    for query in ["token", "access_token", "api_key", "authorization"] {
        bare(&format!("/status?{query}={API_TOKEN}")).send().problem(401);
    }
    for header in ["x-api-key", "x-auth-token", "proxy-authorization"] {
        bare("/status").header(header, API_TOKEN).send().problem(401);
    }
    for shown in [
        API_TOKEN.to_owned(),
        format!("Basic {API_TOKEN}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {}", &API_TOKEN[..20]),
        format!("Bearer {API_TOKEN}x"),
        format!("Bearer ocp_{}", "A".repeat(43)),
        format!("Bearer {}", "A".repeat(5000)),
    ] {
        let refused = bare("/status").header("authorization", &shown).send();
        let problem = refused.problem(401).to_string();
        assert!(!problem.contains(API_TOKEN) && !problem.contains("AAAA"), "{problem}");
    }
    bare("/status").header("authorization", &format!("bearer  {API_TOKEN} ")).send().ok(200);
}

#[test]
fn names_out_of_reach_are_no_names() {
    let served = Served::with_versions();
    served.put("team-a");
    served.put("main");
    let every = ["read", "deploy", "connect", "destroy"].map(|scope| ["--scope", scope]);
    let [a, b, c, d] = every;
    let made =
        || served.token([a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1], "--prefix", "team-"]);
    let mut team = made();
    for (number, (method, path, _)) in CALLS.into_iter().enumerate() {
        // One alone is slowed down before the end.
        if number % 10 == 9 {
            team = made();
        }
        if !path.contains("{name}") || method == "PATCH" {
            continue;
        }
        let at = |name: &str| {
            let at = path.replace("{name}", name).replace("{id}", "x").replace("{device_id}", "d");
            let call = served.call(method, &at).token(&team.text);
            harmless(method, path).map_or(call.clone(), |body| call.json(&body)).send()
        };
        let (hidden, absent) = (at("main").problem(404), at("void").problem(404));
        let plain =
            |problem: &Value| problem["detail"].as_str().expect("text").replace("void", "main");
        assert_eq!(plain(&hidden), plain(&absent), "{method} {path}");
    }
    team = made();
    let operations = served.get("/v1/operations").ok(200)["items"].clone();
    let of_main =
        operations.as_array().expect("items").iter().find(|it| it["deployment"] == "main");
    let id = of_main.expect("one")["id"].as_str().expect("an id");
    let as_team = |method: &str, path: &str| served.call(method, path).token(&team.text);
    for (method, rest) in
        [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/resume")]
    {
        let path = format!("/v1/operations/{id}{rest}");
        as_team(method, &path).send().refuses(404, "no such operation");
    }
    let own = as_team("GET", "/v1/operations").send().ok(200);
    assert_eq!(own["items"].as_array().map(Vec::len), Some(1), "{own}");
    let status = as_team("GET", "/status").send().ok(200);
    assert_eq!(status["deployments"].as_array().map(Vec::len), Some(1), "{status}");
    as_team("GET", "/v1/operations?deployment=main").send().problem(404);
    let launch = as_team("POST", "/launch").json(&Served::launch_of("main", BROKEN)).send();
    launch.refuses(403, "team-");
    let launch = as_team("POST", "/launch").json(&Served::launch_of("team-a", BROKEN)).send();
    assert_eq!(launch.ok(202)["name"], "team-a1");
    served.ended(&launch.json());
    let event = json!({ "type": "launching", "message": "m", "name": "main" });
    as_team("POST", "/webhook/event").json(&event).send().problem(404);
    as_team("POST", "/approve").json(&json!({})).send().refuses(404, "main");
}

#[test]
fn a_token_has_no_more_than_its_limits() {
    let served = Served::with_versions();
    let make = |limits: Value| {
        let body = json!({ "label": "limited", "scopes": ["deploy", "destroy"], "limits": limits });
        let made = served.post("/v1/tokens", &body).ok(201);
        assert_eq!(made["limits"], limits);
        made["token"].as_str().expect("a token").to_owned()
    };
    let launch = |token: &str, name: &str, version: (&str, u64)| {
        served.call("POST", "/launch").token(token).json(&Served::launch_of(name, version)).send()
    };
    let two = make(json!({ "deployments": 2 }));
    for name in ["a", "b"] {
        served.ended(&launch(&two, name, BROKEN).ok(202));
    }
    launch(&two, "c", BROKEN).refuses(403, "deployments");
    served.ended(&served.call("DELETE", "/v1/deployments/a").token(&two).send().ok(202));
    served.ended(&launch(&two, "c", BROKEN).ok(202));
    // Those of others count for others.
    served.ended(&launch(API_TOKEN, "d", BROKEN).ok(202));

    let one = make(json!({ "launches": 1 }));
    let slow = launch(&one, "slow", SLOW).ok(202);
    launch(&one, "e", BROKEN).refuses(403, "launches");
    let cancel = format!("/v1/operations/{}/cancel", slow["operation_id"].as_str().expect("an id"));
    served.call("POST", &cancel).send().ok(202);
    served.ended(&slow);
    served.ended(&launch(&one, "e", BROKEN).ok(202));

    let docker = make(json!({ "targets": ["docker"] }));
    launch(&docker, "f", BROKEN).refuses(403, "process");

    // At once, no more than so many get through.
    let three = make(json!({ "deployments": 3 }));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|number| {
                let (launch, three) = (&launch, &three);
                scope.spawn(move || launch(three, &format!("at-once-{number}"), BROKEN).status)
            })
            .collect();
        all.into_iter().map(|it| it.join().expect("an answer")).collect()
    });
    assert_eq!(statuses.iter().filter(|it| **it == 202).count(), 3, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|it| **it == 403).count(), 5, "{statuses:?}");
}

#[test]
fn the_servers_own_keys_go_to_whom_they_are_lent() {
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    product.set("ANTHROPIC_API_KEY", "sk-ant-the-servers-own-0123456789");
    let served = Served::on(product, &[]);
    let credentials = |token: &str, name: &str| {
        let launched = served.call("POST", "/launch").token(token).json(&Served::launch_body(name));
        served.ended(&launched.send().ok(202));
        served.get(&format!("/v1/deployments/{name}")).ok(200)["credentials"].clone()
    };
    let without = served.token(["--scope", "deploy"]).text;
    let with = served.token(["--scope", "deploy", "--server-credentials"]).text;
    assert_eq!(credentials(&without, "a"), json!([]));
    assert_eq!(credentials(&with, "b"), json!(["ANTHROPIC_API_KEY"]));
    assert_eq!(credentials(API_TOKEN, "c"), json!(["ANTHROPIC_API_KEY"]));
}

#[test]
fn a_token_ends() {
    let served = Served::with_versions();
    let read = |token: &str| served.call("GET", "/status").token(token).send();
    let end = OffsetDateTime::now_utc() + Duration::seconds(10);
    let body = json!({
        "label": "short", "scopes": ["read"], "expires_at": end.format(&Rfc3339).expect("a time"),
    });
    let short = served.post("/v1/tokens", &body).ok(201);
    let short = short["token"].as_str().expect("a token");
    read(short).ok(200);
    let session = served.call("POST", "/v1/session").json(&json!({ "token": short })).send();
    let cookie = session.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    served.until("it has expired", || (read(short).status == 401).then_some(()));
    read(short).refuses(401, "expired");
    let key = session.json()["key"].as_str().expect("a key").to_owned();
    let with_cookie = served.call("GET", "/status").without("authorization");
    let with_session = with_cookie.header("cookie", &cookie).header("x-session-key", &key);
    with_session.send().refuses(401, "expired");

    // By another process, and at once.
    let made = served.token(["--scope", "read"]);
    read(&made.text).ok(200);
    served.product().run(["tokens", "revoke", &made.id]).ok();
    read(&made.text).refuses(401, "revoked");
    let made = served.token(["--scope", "read"]);
    read(&made.text).ok(200);
    served.delete(&format!("/v1/tokens/{}", made.id)).ok(200);
    read(&made.text).refuses(401, "revoked");
    for wrong in ["0s", "yesterday", "2020-01-01T00:00:00Z", "99999d"] {
        let body = json!({ "label": "x", "scopes": ["read"], "expires_at": wrong });
        served.post("/v1/tokens", &body).names("expires_at");
    }
}

#[test]
fn who_is_revoked_follows_no_longer() {
    let served = Served::with_versions();
    served.launch("main");
    let made = served.token(["--scope", "read"]);
    let follow = |path: &str| served.call("GET", path).token(&made.text).stream();
    let mut events = follow("/v1/events?after=0");
    assert_eq!(events.next().kind, "launching");
    let mut log = follow("/v1/deployments/main/logs?tail=1&follow=true");
    log.piece().expect("a line");
    served.product().run(["tokens", "revoke", &made.id]).ok();
    let event = json!({ "type": "deploying_app", "message": "after it" });
    served.post("/webhook/event", &event).ok(200);
    let mut rest = std::iter::from_fn(|| events.event()).map(|it| it.json()["message"].clone());
    assert!(!rest.any(|message| message == "after it"), "and the stream has ended");
    let path = served.product().deployment("main").join("gateway.log");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::File::options().append(true).open(&path).expect("the log");
            served.until("who read it is gone", || {
                writeln!(file, "one line more").expect("written");
                over.load(Ordering::Relaxed).then_some(())
            });
        });
        while log.piece().is_some() {}
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn tokens_are_made_listed_and_shown_without_their_text() {
    let served = Served::with_versions();
    let body = json!({
        "label": "front end", "scopes": ["read", "deploy", "events:team-a"], "name_prefix": "team-",
        "server_credentials": true, "expires_at": "30d",
    });
    let made = served.post("/v1/tokens", &body);
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.ok(201);
    let text = made["token"].as_str().expect("a token");
    assert!(text.starts_with("ocp_") && text.len() == 47, "{text}");
    let path = format!("/v1/tokens/{}", made["id"].as_str().expect("an id"));
    let shown = served.get(&path).ok(200);
    assert_eq!(shown.get("token"), None);
    assert_eq!((&shown["label"], &shown["name_prefix"]), (&json!("front end"), &json!("team-")));
    assert_eq!(shown["created_by"], "configured");
    let listed = served.get("/v1/tokens");
    assert_eq!(listed.ok(200)["items"][0], shown);
    for wrong in [
        ("label", json!("")),
        ("label", json!("l".repeat(81))),
        ("scopes", json!([])),
        ("scopes", json!(["root"])),
        ("scopes", json!(["events:"])),
        ("name_prefix", json!("-")),
        ("limits", json!({ "deployments": -1 })),
        ("lable", json!("x")),
    ] {
        let mut body = json!({ "label": "x", "scopes": ["read"] });
        body[wrong.0] = wrong.1;
        served.post("/v1/tokens", &body).problem(400);
    }
    let both = json!({ "label": "x", "scopes": ["admin"], "name_prefix": "team-" });
    served.post("/v1/tokens", &both).problem(400);
    served.delete("/v1/tokens/unknown").problem(404);
    served.get("/v1/tokens/unknown").problem(404);
}

#[test]
fn who_asks_too_often_waits() {
    let served = Served::with_versions();
    let read = served.token(["--scope", "read"]).text;
    let ask = |token: &str| served.call("GET", "/status").token(token).send();
    let answers = flood(served.address(), "/status", Some(&read), 600);
    let slowed: Vec<&str> =
        answers.split("HTTP/1.1 ").skip(1).filter(|it| !it.starts_with("200 ")).collect();
    assert!(!slowed.is_empty(), "six hundred at once are too many");
    for answer in slowed {
        assert!(answer.starts_with("429 ") && answer.contains("too many requests"), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "it says when to come again: {answer}");
    }
    // Looking goes on, once the flood from this address is over.
    served.until("looking goes on", || (ask(&read).status == 200).then_some(()));
}

#[test]
fn work_is_begun_less_often_than_looked_at() {
    let served = Served::with_versions();
    let deploy = served.token(["--scope", "deploy"]).text;
    let begin = |_| {
        let body = json!({ "target": "moon" });
        served.call("POST", "/launch").token(&deploy).json(&body).send()
    };
    // How many get through depends on how fast this machine asks; that thirty do, and not all, does not.
    let asked: Vec<Answer> = (0..90).map(begin).collect();
    assert!(asked[..30].iter().all(|it| it.status == 400), "{asked:?}");
    let refused = asked.iter().find(|it| it.status != 400).expect("ninety in a row are too many");
    refused.refuses(429, "too many requests");
}

#[test]
fn guessing_is_slowed() {
    let served = Served::with_versions();
    let guess = |number: u32| {
        let token = format!("ocp_{number:043}");
        served.call("GET", "/status").token(&token).send()
    };
    let statuses: Vec<u16> = (0..40).map(|number| guess(number).status).collect();
    assert!(statuses[..20].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    // What needs no token goes on.
    served.call("GET", "/health").without("authorization").send().ok(200);
}
