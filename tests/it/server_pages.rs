//! What a web page can do to the server, and a browser for its user: sessions, origins, names; and
//! where the server listens at all.

use serde_json::{Value, json};

use crate::support::product::Product;
use crate::support::server::{API_TOKEN, Answer, Call, Served};

fn product() -> Product {
    let mut product = Product::new();
    product.set("OPENCLAW_PIPELINE_API_TOKEN", API_TOKEN);
    product
}

/// What a browser keeps of a session.
struct Session {
    cookie: String,
    key: String,
}

/// Signs in; answers the answer and what a browser keeps.
fn sign_in(served: &Served, token: &str) -> (Answer, Session) {
    let call = Call::to(served.address(), "POST", "/v1/session");
    let answer = call.json(&json!({ "token": token })).send();
    let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
    let key = answer.json()["key"].as_str().unwrap_or_default().to_owned();
    (answer, Session { cookie, key })
}

fn with(served: &Served, session: &Session, method: &str, path: &str) -> Call {
    let call = Call::to(served.address(), method, path);
    call.header("cookie", &session.cookie).header("x-session-key", &session.key)
}

#[test]
fn a_session_is_a_cookie_that_only_the_own_pages_change_with() {
    let served = Served::begin();
    let (answer, session) = sign_in(&served, API_TOKEN);
    let view = answer.ok(200);
    assert_eq!(view["principal"]["kind"], "token", "{view}");
    assert!(view["expires_at"].as_str().expect("an end").ends_with('Z'));
    let set = answer.header("set-cookie");
    assert!(set.starts_with("openclaw_pipeline_session="), "{set}");
    for flag in ["; Path=/", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43200"] {
        assert!(set.contains(flag), "{flag} in {set}");
    }
    assert!(!set.contains("Secure") && !set.contains("Domain"), "{set}");
    assert!(!set.contains(API_TOKEN) && !answer.text().contains(API_TOKEN));
    assert_eq!(answer.header("cache-control"), "no-store");

    let who = with(&served, &session, "GET", "/v1/session").send().ok(200);
    assert_eq!(who["principal"]["kind"], "session");
    with(&served, &session, "GET", "/status").send().ok(200);
    let own = format!("http://{}", served.address());
    let change = |origin: Option<&str>| {
        let call = with(&served, &session, "POST", "/launch").json(&json!({ "target": "moon" }));
        match origin {
            Some(origin) => call.header("origin", origin).send(),
            None => call.send(),
        }
    };
    change(Some(&own)).names("target");
    for foreign in [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "https://127.0.0.1:1",
        &own.replace("http", "https"),
    ] {
        change(Some(foreign)).refuses(403, "Origin");
    }
    change(None).refuses(403, "Origin");

    let leave = |origin: &str| {
        with(&served, &session, "DELETE", "/v1/session").header("origin", origin).send()
    };
    leave("http://evil.example").problem(403);
    let left = leave(&own);
    left.ok(204);
    assert!(left.header("set-cookie").contains("; Max-Age=0"), "{left:?}");
    with(&served, &session, "GET", "/status").send().problem(401);
    served.assert_well();
}

#[test]
fn half_a_session_is_none() {
    let served = Served::begin();
    let (_, session) = sign_in(&served, API_TOKEN);
    let (_, other) = sign_in(&served, API_TOKEN);
    let look = |cookie: &str, key: &str| {
        let halves = Session { cookie: cookie.to_owned(), key: key.to_owned() };
        with(&served, &halves, "GET", "/status").send()
    };
    look(&session.cookie, &session.key).ok(200);
    // What a browser sends to every port of this host.
    let call = Call::to(served.address(), "GET", "/status").header("cookie", &session.cookie);
    call.send().problem(401);
    let call = Call::to(served.address(), "GET", "/status").header("x-session-key", &session.key);
    call.send().problem(401);
    let value = session.cookie.split('=').nth(1).expect("a value");
    for key in ["", &other.key, value, &session.key[1..], &format!("{}x", session.key)] {
        look(&session.cookie, key).problem(401);
    }
    assert!(session.key.len() >= 21 && value.len() >= 26, "each is past guessing");
    assert!(!value.contains(&session.key));
    served.assert_well();
}

#[test]
fn a_session_ends_with_its_token() {
    let mut served = Served::begin();
    let made = served.token(["--scope", "read"]);
    let (answer, session) = sign_in(&served, &made.text);
    answer.ok(200);
    let look = |served: &Served| with(served, &session, "GET", "/status").send();
    look(&served).ok(200);
    served.kill();
    served.start_again();
    look(&served).ok(200);
    served.product().run(["tokens", "revoke", &made.id]).ok();
    look(&served).problem(401);
    sign_in(&served, &made.text).0.refuses(401, "revoked");
    sign_in(&served, "ocp_unknown").0.refuses(401, "not known");
    sign_in(&served, "").0.problem(401);
    let cross =
        Call::to(served.address(), "POST", "/v1/session").json(&json!({ "token": API_TOKEN }));
    cross.clone().header("sec-fetch-site", "cross-site").send().problem(403);
    cross.header("sec-fetch-site", "same-origin").send().ok(200);
    for wrong in
        ["openclaw_pipeline_session=", "openclaw_pipeline_session=ocs_x", "session=x", ";;=;"]
    {
        let wrong = Session { cookie: wrong.to_owned(), key: session.key.clone() };
        with(&served, &wrong, "GET", "/status").send().problem(401);
    }
}

#[test]
fn pages_of_allowed_origins_may_call_and_no_others() {
    let mut product = product();
    product.set("OPENCLAW_PIPELINE_CORS_ORIGINS", "https://app.example,http://localhost:3000");
    let served = Served::on(product, &[]);
    let preflight = |origin: &str| {
        let call = Call::to(served.address(), "OPTIONS", "/launch").header("origin", origin);
        call.header("access-control-request-method", "POST").send()
    };
    for origin in ["https://app.example", "http://localhost:3000"] {
        let answer = preflight(origin);
        answer.ok(204);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert!(answer.header("access-control-allow-headers").contains("authorization"));
        assert!(answer.header("access-control-allow-methods").contains("DELETE"));
        assert_eq!(answer.header("access-control-allow-credentials"), "", "no cookies");
        assert_eq!(answer.header("vary"), "Origin");
        let call = served.call("GET", "/status").header("origin", origin).send();
        call.ok(200);
        assert_eq!(call.header("access-control-allow-origin"), origin);
        // A page must be able to read why it was refused.
        let refused = Call::to(served.address(), "GET", "/status").header("origin", origin).send();
        refused.problem(401);
        assert_eq!(refused.header("access-control-allow-origin"), origin);
    }
    for origin in [
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:444",
        "null",
        "https://APP.example/",
    ] {
        let answer = preflight(origin);
        assert_ne!(answer.status, 204, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        let call = served.call("GET", "/status").header("origin", origin).send();
        assert_eq!(call.header("access-control-allow-origin"), "", "{origin}");
    }
    let (_, session) = sign_in(&served, API_TOKEN);
    let change = with(&served, &session, "POST", "/launch").json(&json!({ "target": "moon" }));
    change.header("origin", "https://app.example").send().problem(403);
}

#[test]
fn a_name_that_is_not_the_servers_is_refused() {
    let mut product = product();
    product.set("OPENCLAW_PIPELINE_HOSTS", "pipeline.example");
    let served = Served::on(product, &[]);
    let port = served.address().port();
    let named = |host: &str| served.call("GET", "/status").header("host", host).send();
    for own in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "pipeline.example"] {
        named(own).ok(200);
        named(&format!("{own}:{port}")).ok(200);
    }
    for other in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:80",
        "pipeline.example.evil.example",
        "192.0.2.1",
        "169.254.169.254",
        "[2001:db8::1]",
        "0x7f.1",
        "localhost@evil.example",
        "",
        ":80",
    ] {
        let refused = named(other);
        assert!(matches!(refused.status, 400 | 421), "{other}: {refused:?}");
    }
    named("evil.example").refuses(421, "another name");
    // Also where no token is needed, and for a page that guessed it right.
    let open = Served::open();
    for path in ["/status", "/health", "/swagger.json"] {
        Call::to(open.address(), "GET", path).header("host", "evil.example").send().problem(421);
    }
}

#[test]
fn an_open_server_is_open_to_this_machines_programs_alone() {
    let served = Served::open();
    served.launch("main");
    served.get("/status").ok(200);
    for origin in ["http://evil.example", "null", "http://localhost:3000"] {
        let call = |method: &str, path: &str| served.call(method, path).header("origin", origin);
        call("GET", "/status").send().refuses(403, "other origins");
        call("POST", "/launch").json(&json!({ "target": "moon" })).send().problem(403);
        call("POST", "/v1/deployments/main/stop").send().problem(403);
    }
    // What a page can send without being asked for leave.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let body = json!({ "name": "x", "target": "process" }).to_string();
        served.call("POST", "/launch").body(kind, body).send().problem(415);
        served.call("POST", "/v1/deployments/main/stop").body(kind, "{}").send().problem(415);
    }
    for (method, path, body) in [
        ("GET", "/v1/tokens", None),
        ("POST", "/v1/tokens", Some(json!({ "label": "x", "scopes": ["admin"] }))),
        ("GET", "/v1/tokens/x", None),
        ("DELETE", "/v1/tokens/x", None),
        ("POST", "/v1/deployments/main/access", None),
        ("DELETE", "/v1/deployments/main", None),
        ("DELETE", "/v1/deployments/main/backups/x", None),
    ] {
        let call = served.call(method, path);
        let call = body.map_or(call.clone(), |body| call.json(&body));
        call.send().refuses(403, "without a token");
    }
    Call::to(served.address(), "POST", "/v1/session")
        .json(&json!({ "token": "x" }))
        .send()
        .problem(401);
    assert_eq!(served.get("/v1/deployments/main").ok(200)["status"], "running");
    // The first token closes it, at once.
    let made = served.token(["--scope", "read"]).text;
    served.get("/status").refuses(401, "needs a token");
    served.call("GET", "/status").token(&made).send().ok(200);
}

fn refused_to_start(product: &Product, flags: &[&str], says: &str) {
    let run = product.run(["serve", "--port", "0"]);
    let done = flags.iter().fold(run, |run, flag| run.arg(flag)).code(2);
    assert!(done.stderr.contains(says), "{flags:?}: {}", done.stderr);
    assert_eq!(done.stdout, "");
}

#[test]
fn beyond_this_machine_it_takes_a_token_and_a_word_about_tls() {
    let bare = Product::new();
    for flags in [
        &["--bind", "0.0.0.0"][..],
        &["--bind", "0.0.0.0", "--insecure-http"],
        &["--bind", "::", "--insecure-http"],
        &["--behind-tls-proxy"],
    ] {
        refused_to_start(&bare, flags, "no token");
    }
    let product = product();
    refused_to_start(&product, &["--bind", "0.0.0.0"], "plain HTTP");
    refused_to_start(&product, &["--tls-cert", "x.pem"], "TLS_KEY");
    refused_to_start(&product, &["--tls-cert", "x.pem", "--tls-key", "x.key"], "x.pem");
    let served = Served::on(product, &["--bind", "0.0.0.0", "--insecure-http"]);
    let local = format!("127.0.0.1:{}", served.address().port()).parse().expect("an address");
    let call = |path: &str| Call::to(local, "GET", path).token(API_TOKEN);
    call("/status").send().ok(200);
    call("/status").without("authorization").send().problem(401);
    call("/status").header("host", "evil.example").send().problem(421);
    // Whoever else reaches it launches nothing on this machine unless that was switched on.
    let launch = Call::to(local, "POST", "/launch").token(API_TOKEN);
    launch.json(&Served::launch_body("main")).send().names("target");
}

#[test]
fn behind_a_proxy_cookies_are_for_tls_and_callers_are_who_it_says() {
    let mut product = product();
    product.set("OPENCLAW_PIPELINE_HOSTS", "pipeline.example");
    let served = Served::on(product, &["--behind-tls-proxy"]);
    let (answer, session) = sign_in(&served, API_TOKEN);
    assert!(answer.header("set-cookie").contains("; Secure"), "{answer:?}");
    assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
    let change = |origin: &str| {
        let call = with(&served, &session, "POST", "/launch").header("host", "pipeline.example");
        call.header("origin", origin).json(&json!({ "target": "moon" })).send()
    };
    change("https://pipeline.example").names("target");
    change("http://pipeline.example").problem(403);
    let denied = Call::to(served.address(), "GET", "/status");
    denied.header("x-forwarded-for", "198.51.100.1, 203.0.113.9").send().problem(401);
    served.until("the denial is on record", || {
        let lines = served.get("/v1/audit?outcome=denied").ok(200)["items"].clone();
        let address = |it: &Value| it["address"] == "203.0.113.9";
        lines.as_array()?.iter().any(address).then_some(())
    });
    // Without a proxy nobody is believed.
    let direct = Served::begin();
    let denied =
        Call::to(direct.address(), "GET", "/status").header("x-forwarded-for", "203.0.113.9");
    denied.send().problem(401);
    direct.until("the denial is on record", || {
        let lines = direct.get("/v1/audit?outcome=denied").ok(200)["items"].clone();
        let lines = lines.as_array()?.clone();
        assert!(lines.iter().all(|it| it["address"] == "127.0.0.1"), "{lines:?}");
        (!lines.is_empty()).then_some(())
    });
}
