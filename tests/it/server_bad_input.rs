//! What nobody should send, and what a hostile gateway says: refused in words, at nobody's cost.
//! No mistake of a client's is a 5xx, and none is a panic.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Stream;
use crate::support::server::{API_TOKEN, Served};

/// Every call of the description, its names filled in with what does not exist.
fn calls() -> Vec<(String, String)> {
    let text = openclaw_pipeline::server::description_text().expect("a description");
    let description: Value = serde_json::from_str(&text).expect("JSON");
    let mut calls = Vec::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("calls").keys() {
            let path = path.replace("{name}", "nobody").replace(['{', '}'], "");
            calls.push((method.to_uppercase(), path));
        }
    }
    calls
}

#[test]
fn a_body_that_is_no_json_is_refused_in_words() {
    let served = Served::with_versions();
    let whole = json!({ "type": "launching", "name": "nobody", "message": "m" }).to_string();
    let post = |body: &[u8]| {
        let call = served.call("POST", "/webhook/event");
        call.body("application/json", body.to_vec()).send()
    };
    post(whole.as_bytes()).refuses(404, "nobody");
    for end in 0..whole.len() {
        post(&whole.as_bytes()[..end]).problem(400);
    }
    let deep = |open: &str, close: &str, count: usize| {
        let value = format!("{}{}", open.repeat(count), close.repeat(count));
        whole.replace("\"m\"", &format!("\"m\",\"data\":{value}"))
    };
    let nested = [deep("[", "]", 200), deep("[", "]", 60_000), deep("{\"a\":", "1}", 200)];
    for body in [
        "",
        "null",
        "true",
        "1",
        "\"text\"",
        "[]",
        "[\"launching\",\"nobody\",\"m\",null,null]",
        "{",
        "}",
        "{}}",
        "{} {}",
        "{},",
        "\u{feff}{}",
        "{'type':'launching'}",
        "{\"type\":\"launching\"",
        "{\"type\":1,\"message\":\"m\"}",
        "{\"type\":[],\"message\":\"m\"}",
        "{\"type\":null,\"message\":\"m\"}",
        "{\"message\":\"m\"}",
        "{\"type\":\"launching\",\"type\":\"launching\",\"message\":\"m\"}",
        "{\"type\":\"launching\",\"message\":\"\\ud800\"}",
        "{\"type\":\"launching\",\"message\":\"line\nbreak\"}",
        "{\"type\":\"launching\",\"message\":NaN}",
        "{\"type\":\"launching\",\"message\":1e999}",
        "<xml/>",
        "type=launching&message=m",
        "\0",
        "{\"type\":\"launching\",\"message\":\"\0\"}",
    ]
    .into_iter()
    .chain(nested.iter().map(String::as_str))
    {
        let answer = post(body.as_bytes());
        assert_eq!(answer.status, 400, "{body:.100}");
        let problem = answer.problem(400);
        let detail = problem["detail"].as_str().expect("a sentence");
        assert!(!detail.contains(char::is_control) && detail.len() < 600, "{detail:?}");
    }
    post(b"{\"type\":\"launching\",\"message\":\"\xff\xfe\"}").problem(400);
    // A field whose name is nobody's business at this length is named shortly.
    let long = format!("{{\"{}\":1}}", "x\\u001b".repeat(20_000));
    assert!(post(long.as_bytes()).problem(400).to_string().len() < 2000);
    served.assert_well();
}

#[test]
fn a_body_that_is_too_large_is_not_read() {
    let served = Served::with_versions();
    let body = |size: usize| {
        let rest =
            json!({ "type": "launching", "name": "nobody", "message": "" }).to_string().len();
        json!({ "type": "launching", "name": "nobody", "message": "m".repeat(size - rest) })
    };
    let most = 256 << 10;
    served.post("/webhook/event", &body(most)).problem(404);
    served.post("/webhook/event", &body(most + 1)).refuses(413, "256 KiB");
    served.post("/launch", &body(most + 1)).problem(413);
    let head = |rest: &str| {
        format!(
            "POST /webhook/event HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {API_TOKEN}\r\n\
             content-type: application/json\r\nconnection: close\r\n{rest}\r\n\r\n",
            served.address()
        )
    };
    // One that says so is believed before it sends anything.
    let claims = served.raw(head("content-length: 99999999999").as_bytes());
    assert!(claims.starts_with("HTTP/1.1 413 "), "{claims}");
    let mut chunked = head("transfer-encoding: chunked").into_bytes();
    for _ in 0..40 {
        chunked.extend(format!("2000\r\n{}\r\n", "x".repeat(0x2000)).as_bytes());
    }
    let chunked = served.raw(&chunked);
    assert!(chunked.starts_with("HTTP/1.1 413 ") || chunked.is_empty(), "{chunked}");
    served.assert_well();
}

#[test]
fn a_method_or_a_media_type_that_is_wrong_is_refused() {
    let served = Served::with_versions();
    let calls = calls();
    // Changing calls are counted, known or not: a token for each.
    let tokens = [(); 8].map(|()| served.token(["--scope", "admin"]).text);
    let mut tokens = tokens.iter().cycle();
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"];
    for path in calls.iter().map(|(_, path)| path).collect::<std::collections::BTreeSet<_>>() {
        let known = |method: &str| calls.iter().any(|(it, at)| it == method && at == path);
        for method in methods.into_iter().filter(|method| !known(method)).take(3) {
            let token = tokens.next().expect("it never ends");
            let answer = served.call(method, path).token(token).send();
            answer.refuses(405, method);
            let allow: Vec<&str> = answer.header("allow").split([',', ' ']).collect();
            for method in methods {
                assert_eq!(allow.contains(&method), known(method), "{path}: {allow:?}");
            }
            // A client may wait for its right to ask so often.
            std::thread::sleep(Duration::from_millis(8));
        }
    }
    let body = json!({ "target": "moon" }).to_string();
    let post = |kind: &str| served.call("POST", "/launch").body(kind, body.clone()).send();
    for kind in
        ["text/plain", "text/json", "application/jsonx", "application/xml", "*/*", "json", ""]
    {
        post(kind).problem(415);
    }
    served
        .call("POST", "/launch")
        .body("x", body.clone())
        .without("content-type")
        .send()
        .problem(415);
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/json;x=y"] {
        post(kind).names("target");
    }
    let nowhere = served.get("/v1/deployment");
    nowhere.refuses(404, "no such call");
    for path in
        ["/v2/deployments", "/v1", "/v1/", "/v1/deployments/", "//status", "/status/", "/.env"]
    {
        served.get(path).problem(404);
    }
    served.assert_well();
}

#[test]
fn queries_and_cursors_that_are_wrong_name_their_field() {
    let served = Served::with_versions();
    for (path, field) in [
        ("/v1/deployments?limit=0", "limit"),
        ("/v1/deployments?limit=201", "limit"),
        ("/v1/deployments?limit=-1", "limit"),
        ("/v1/deployments?limit=ten", "limit"),
        ("/v1/deployments?limit=99999999999999999999", "limit"),
        ("/v1/deployments?limit=", "limit"),
        ("/v1/deployments?limit=1&limit=2", "limit"),
        ("/v1/deployments?status=asleep", "status"),
        ("/v1/deployments?target=moon", "target"),
        ("/v1/deployments?cursor=", "cursor"),
        ("/v1/deployments?cursor=x", "cursor"),
        ("/v1/deployments?cursor=%00", "cursor"),
        ("/v1/deployments?cursor=bWFpbg", "cursor"),
        ("/v1/deployments?page=2", "page"),
        ("/v1/operations?status=done", "status"),
        ("/v1/operations?cursor=b3BlcmF0aW9uczp4", "cursor"),
        ("/v1/audit?cursor=zzz", "cursor"),
        ("/v1/tokens?limit=1000", "limit"),
    ] {
        served.get(path).names(field);
    }
    for path in
        ["/v1/deployments?%", "/v1/deployments?limit=%ff", "/v1/deployments?%00=1", "/status?%zz"]
    {
        let answer = served.get(path);
        assert!(matches!(answer.status, 200 | 400), "{path}: {answer:?}");
    }
    served.get(&format!("/v1/deployments?cursor={}", "A".repeat(8000))).names("cursor");
    served.assert_well();
}

#[test]
fn names_that_are_paths_or_commands_are_no_names() {
    let served = Served::with_versions();
    let outside = served.product().home().join("deployments");
    for name in [
        "..",
        ".",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "%2Fetc%2Fpasswd",
        "main%00",
        "main%0d%0ax:1",
        "main;reboot",
        "$(reboot)",
        "%60reboot%60",
        "-rf",
        "--help",
        "main%20main",
        "MAIN",
        "m%C3%A4in",
        "%ff%fe",
        "%F0%9F%A6%9E",
        "a_b",
        "main%1b[2J",
        "*",
        "%25",
        "%",
        "con",
        "main.",
        "'%20or%201=1--",
    ] {
        for (method, rest) in
            [("GET", ""), ("GET", "/logs"), ("POST", "/stop"), ("GET", "/backups")]
        {
            let answer = served.call(method, &format!("/v1/deployments/{name}{rest}")).send();
            // One that could be a name has no backups.
            assert!(
                matches!(answer.status, 200 | 400 | 404 | 405),
                "{method} {name}{rest}: {answer:?}"
            );
            assert!(answer.headers.iter().all(|(header, _)| header != "x"), "{answer:?}");
            let text = answer.text();
            assert!(!text.contains(char::is_control) && !text.contains("root:"), "{text:?}");
            std::thread::sleep(Duration::from_millis(8));
        }
    }
    served.get(&format!("/v1/deployments/{}", "a".repeat(5000))).problem(404);
    served.get(&format!("/v1/operations/{}", "%27".repeat(100))).problem(404);
    let made = std::fs::read_dir(outside).map_or(0, Iterator::count);
    assert_eq!(made, 0, "nothing was made under such a name");
    served.assert_well();
}

#[test]
fn nothing_of_a_hostile_gateways_words_does_harm() {
    const OWN: &str = "gw~Vb64+token/0123456789==";
    const ODD: &str =
        "\u{1b}]0;x\u{7}\u{1b}[2J<script>alert(1)</script>\u{202e}\u{0}\u{85}\u{2028}";
    let served = Served::with_versions();
    let mut body = Served::launch_body("main");
    body["token"] = json!(OWN);
    body["approval"] = json!("ask");
    served.ended(&served.post("/launch", &body).ok(202));
    served.ended(&served.call("POST", "/v1/deployments/main/stop").send().ok(202));
    // What it says of who waits, and of who is in.
    let encoded = "gw~Vb64%2Btoken%2F0123456789%3D%3D";
    let says = |id: &str, device: &str| {
        json!({
            "requestId": id, "deviceId": device, "publicKey": "key", "role": "operator",
            "roles": ["operator"], "scopes": ["operator.read"], "remoteIp": format!("{OWN}{ODD}"),
            "clientId": ODD, "clientMode": OWN, "platform": format!("{ODD} {OWN} {encoded}"),
            "displayName": format!("{OWN}{ODD}"), "isRepair": false, "ts": now_ms(),
            "approvedAtMs": now_ms(), "tokens": [],
        })
    };
    let pairing = json!({
        "pending": [says("req-1", "device-1"), says(&format!("{ODD}{OWN}"), OWN), says(OWN, ODD)],
        "paired": [says("req-2", "device-2"), says("req-3", &format!("{OWN}{ODD}"))],
    });
    let state = served.product().state("main").join("state/standin-pairing.json");
    std::fs::write(state, pairing.to_string()).expect("a file");
    served.ended(&served.call("POST", "/v1/deployments/main/start").send().ok(202));
    let log = served.product().deployment("main").join("gateway.log");
    let lines = [ODD, OWN, encoded, &format!("{ODD}{OWN}"), &"long ".repeat(100_000)].join("\n");
    let mut file = std::fs::File::options().append(true).open(log).expect("the log");
    file.write_all(lines.as_bytes()).and_then(|()| file.write_all(b"\xff\xfe\n")).expect("written");
    // It waits for a person: who asks for everything is told of, and let in by hand.
    served.until("the server has looked", || {
        let kinds = served.product().events("main");
        kinds.iter().any(|kind| kind == "pairing_required").then_some(())
    });
    served.post("/approve", &json!({ "request_id": "req-1" })).ok(200);

    let mut shown = Vec::new();
    for path in [
        "/status",
        "/v1/deployments/main",
        "/v1/deployments/main/devices",
        "/v1/operations",
        "/v1/deployments/main/operations",
        "/v1/deployments/main/events?limit=200",
        "/v1/audit",
        "/v1/deployments/main/logs",
        "/metrics",
    ] {
        let answer = served.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(!answer.header("content-type").contains("html"), "{path}");
        shown.push((path, answer.text()));
    }
    let mut events = served.call("GET", "/v1/events?after=0").stream();
    let told = list_to(&mut events, "approve_success");
    shown.push(("/v1/events", told));
    let approve = served.post("/approve", &json!({}));
    shown.push(("/approve", approve.text()));
    for (path, text) in shown {
        for secret in [OWN, encoded, "Vb64+token"] {
            assert!(!text.contains(secret), "{path}: {text}");
        }
        // In JSON, a control character would be an escape.
        let plain = text.replace("\\n", "").replace('\n', "");
        let odd = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}');
        assert!(!plain.contains(odd) && !plain.contains("\\u00"), "{path}: {plain:?}");
        assert!(text.lines().all(|line| line.chars().count() < 20_000), "{path}");
    }
    assert!(!served.log().contains(OWN) && !served.log().contains("Vb64"));
    served.assert_well();
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now");
    u64::try_from(now.as_millis()).expect("fits")
}

/// The frames of a stream, until one of a type.
fn list_to(stream: &mut Stream, kind: &str) -> String {
    let mut text = String::new();
    loop {
        let sent = stream.next();
        text += &sent.data;
        text.push('\n');
        if sent.kind == kind {
            return text;
        }
    }
}
