//! Who follows: how many at once, for how long, and what they are told when it ends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::server_wire::memory_mib;
use crate::support::client::{Call, Sent, Stream};
use crate::support::executable::executable;
use crate::support::product::{Product, until};
use crate::support::server::Served;
use crate::support::unlimited::{serve, sources};

/// Follows events on a connection of its own, which is answered with the first line that comes.
fn follow(address: SocketAddr, token: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("written");
    let (mut line, mut byte) = (Vec::new(), [0]);
    while byte != *b"\n" {
        stream.read_exact(&mut byte).expect("an answer");
        line.push(byte[0]);
    }
    (stream, String::from_utf8(line).expect("text"))
}

#[test]
fn streams_leave_room_for_those_who_call() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit can be raised to its maximum");
    if limit.maximum.is_some_and(|most| most < 7_000) {
        return crate::support::skip("six thousand connections are more than this user may open");
    }
    let product = Product::new();
    let token = |()| {
        let made = product.run(["tokens", "create", "--json", "--label=a", "--scope=read"]).ok();
        made.json()["token"].as_str().expect("a token").to_owned()
    };
    let [first, second, third, last] = [(); 4].map(token);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let running = runtime.block_on(serve(sources(&product)));
    let address = running.address();
    let call = |token: &str, path: &str| Call::to(address, "GET", path).token(token);
    let refused = |token: &str, status: u16, words: &str| {
        let refused = call(token, "/v1/events").send();
        refused.refuses(status, words);
        assert!(
            refused.header("retry-after").parse::<u32>().is_ok_and(|it| it >= 1),
            "{refused:?}"
        );
    };
    let mut streams = Vec::new();
    for token in [&first, &second, &third] {
        for number in 0..1024 {
            let (stream, line) = follow(address, token);
            assert!(line.starts_with("HTTP/1.1 200 "), "{number}: {line}");
            streams.push(stream);
        }
        refused(token, 429, "1024 streams of events");
        call(token, "/status").send().ok(200);
    }
    refused(&last, 503, "3072 streams of events");
    let calls: Vec<TcpStream> =
        (0..512).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    call(&last, "/status").send().ok(200);
    call(&last, "/v1/events").header("accept", "application/json").send().ok(200);
    // Whoever leaves makes room.
    drop(streams.pop());
    until("there is room", || (call(&last, "/v1/events").stream().status == 200).then_some(()));
    drop((calls, streams));
    runtime.block_on(running.end());
}

#[test]
fn a_long_log_waits_for_its_reader() {
    const LINES: usize = 5000;
    let served = Served::with_versions();
    served.launch("main");
    // Nobody turns it over, or writes into it.
    served.ended(&served.call("POST", "/v1/deployments/main/stop").send().ok(202));
    let log = served.product().deployment("main").join("gateway.log");
    let line = "x".repeat(3900);
    let lines: Vec<String> = (0..LINES).map(|number| format!("{number} {line}\n")).collect();
    let mut file = std::fs::File::options().append(true).open(&log).expect("the log");
    file.write_all(lines.concat().as_bytes()).expect("written");
    let before = memory_mib(served.pid());
    let path = format!("/v1/deployments/main/logs?tail={LINES}");
    let mut stream = served.call("GET", &path).stream();
    let (mut most, mut all) = (before, String::new());
    while let Some(piece) = stream.piece() {
        all.push_str(&piece);
        most = most.max(memory_mib(served.pid()));
    }
    assert!(most < before + 12, "from {before} to {most} MiB");
    assert!(all == lines.concat(), "each line is there once, in order");
    served.assert_well();
}

#[test]
fn a_few_follow_logs_at_once() {
    let served = Served::with_versions();
    served.launch("main");
    let log = |token: &str, follow: bool| {
        let path = format!("/v1/deployments/main/logs?tail=1&follow={follow}");
        served.call("GET", &path).header("accept", "text/event-stream").token(token)
    };
    let [first, second] = [(); 2].map(|()| served.token(["--scope", "read"]).text);
    let mut streams: Vec<Stream> = (0..16).map(|_| log(&first, true).stream()).collect();
    assert!(streams.iter().all(|it| it.status == 200));
    let refused = log(&first, true).send();
    refused.refuses(429, "16 logs that are followed");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|it| it >= 1), "{refused:?}");
    // It still reads, and others follow.
    assert_eq!(log(&first, false).send().status, 200);
    assert_eq!(log(&second, true).stream().status, 200);
    drop(streams.pop());
    served.until("there is room", || (log(&first, true).stream().status == 200).then_some(()));
    drop(streams);
    served.assert_well();
}

/// Tells of something that happened to a deployment.
fn tell(served: &Served, name: &str) {
    let event = json!({ "type": "deploying_app", "name": name, "message": "it goes on" });
    served.post("/webhook/event", &event).ok(200);
}

/// Tells of it again and again until `work` is over.
fn while_telling<T>(served: &Served, name: &str, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                tell(served, name);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        // Also where it fails.
        let over = End(&over);
        let worked = work();
        drop(over);
        worked
    })
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_filtered_stream_says_that_it_lives_while_others_have_events() {
    let served = Served::with_versions();
    served.put("main");
    served.put("other");
    let mut stream = served.call("GET", "/v1/events?name=main").stream();
    assert_eq!(stream.frame().as_deref(), Some(": connected"));
    let frame = while_telling(&served, "other", || stream.frame());
    assert_eq!(frame.as_deref(), Some(": keep-alive"));
}

#[test]
fn a_token_that_ends_takes_its_streams_along_though_events_come() {
    let served = Served::with_versions();
    served.put("main");
    served.put("other");
    let end = OffsetDateTime::now_utc() + time::Duration::seconds(8);
    let end = end.format(&Rfc3339).expect("a time");
    let body = json!({ "label": "short", "scopes": ["read"], "expires_at": end });
    let made = served.post("/v1/tokens", &body).ok(201);
    let token = made["token"].as_str().expect("a token");
    let follow = |path: &str| served.call("GET", path).token(token).stream();
    let streams = [follow("/v1/events?name=main"), follow("/v1/events?name=other")];
    assert!(streams.iter().all(|it| it.status == 200));
    while_telling(&served, "main", || {
        for mut stream in streams {
            while let Some(frame) = stream.frame() {
                assert_ne!(frame, ": keep-alive", "it is over long before that");
            }
        }
    });
}

#[test]
fn a_log_that_cannot_be_read_is_a_problem_and_one_that_ends_says_why() {
    const TOKEN: &str = "tok~Zx81/qQ+0123456789abcdef=";
    let served = Served::with_versions();
    let log = |name: &str, follow: bool, kind: &str| {
        let path = format!("/v1/deployments/{name}/logs?follow={follow}");
        served.call("GET", &path).header("accept", kind)
    };
    let kinds = ["text/plain", "text/event-stream"];
    served.put("other");
    for (follow, kind) in [true, false].into_iter().zip(kinds) {
        log("other", follow, kind).send().refuses(404, "other has no log yet");
    }
    let mut body = Served::launch_body("main");
    body["token"] = json!(TOKEN);
    served.ended(&served.post("/v1/deployments", &body).ok(202));
    let tail = served.product().path("bin").join("tail");
    let reads_by = |script: &str| executable(&tail, &format!("#!/bin/sh\n{script}\n"));
    std::fs::remove_file(&tail).expect("it was there");
    for kind in kinds {
        log("main", false, kind).send().refuses(503, "tail is not installed");
    }
    reads_by("exit 3");
    for kind in kinds {
        log("main", false, kind).send().refuses(502, "cannot be read any further");
    }
    reads_by(&format!("echo one; echo \"$PWD {TOKEN} is gone\" >&2; exit 3"));
    let mut stream = log("main", true, kinds[1]).stream();
    let frames: Vec<Sent> = std::iter::from_fn(|| stream.event()).collect();
    let (last, lines) = frames.split_last().expect("frames");
    assert!(lines.iter().any(|it| it.data == "one" && it.kind.is_empty()), "{lines:?}");
    assert_eq!(last.kind, "error");
    let text = log("main", false, kinds[0]).send().text();
    for why in [last.data.as_str(), text.lines().last().expect("a line")] {
        assert!(why.contains("cannot be read any further"), "{why}");
        assert!(why.contains("[redacted] is gone") && !why.contains(TOKEN), "{why}");
        let home = served.product().home();
        assert!(!why.contains(home.to_str().expect("a path")), "{why}");
    }
    served.assert_well();
}
