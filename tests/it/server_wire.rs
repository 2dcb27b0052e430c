//! What is no HTTP, or comes too slowly, or not at all: refused, cut off, or made to give way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::server::{API_TOKEN, Served};

/// The status of the first answer to bytes as they are; `None` where there is none.
fn status_of(served: &Served, bytes: &[u8]) -> Option<u16> {
    let answer = served.raw(bytes);
    answer.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

#[test]
fn requests_that_are_no_http_are_refused() {
    let served = Served::with_versions();
    let host = served.address().to_string();
    let auth = format!("authorization: Bearer {API_TOKEN}\r\n");
    let get = |target: &str, version: &str, headers: &str| {
        format!("GET {target} {version}\r\n{headers}{auth}connection: close\r\n\r\n")
    };
    let own = format!("host: {host}\r\n");
    let status = |request: String| status_of(&served, request.as_bytes());
    assert_eq!(status(get("/status", "HTTP/1.1", &own)), Some(200));
    assert_eq!(status(get("/status", "HTTP/1.0", &own)), Some(200));
    assert_eq!(status(get(&format!("http://{host}/status"), "HTTP/1.1", &own)), Some(200));
    for (target, headers) in [
        ("/status", String::new()),
        ("/status", "host: \r\n".to_owned()),
        ("/status", own.repeat(2)),
        ("/status", format!("{own}host: evil.example\r\n")),
        ("/status", "host: a b\r\n".to_owned()),
        ("http://evil.example/status", own.clone()),
        (&format!("http://{host}/status"), "host: evil.example\r\n".to_owned()),
        ("http://evil.example/status", "host: evil.example\r\n".to_owned()),
        ("evil.example:80", own.clone()),
    ] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let status = status(get(target, version, &headers));
            assert!(matches!(status, Some(400 | 404 | 421)), "{target} {headers:?}: {status:?}");
        }
    }
    let huge = format!("{own}x: {}\r\n", "x".repeat(300_000));
    assert!(matches!(status(get("/status", "HTTP/1.1", &huge)), Some(400 | 431) | None));
    let many = "x: 1\r\n".repeat(200);
    assert!(matches!(status(get("/status", "HTTP/1.1", &(own.clone() + &many))), Some(400 | 431)));
    let long = format!("/{}", "a".repeat(300_000));
    assert!(matches!(status(get(&long, "HTTP/1.1", &own)), Some(400 | 414 | 431) | None));
    let odd: &[&[u8]] = &[
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /status\r\n\r\n",
        b"GET  /status  HTTP/1.1\r\n\r\n",
        b"GET /status HTTP/9.9\r\n\r\n",
        b"get /status HTTP/1.1\r\n\r\n",
        b"G\0T /status HTTP/1.1\r\n\r\n",
        b"GET /sta\0tus HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /status HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
        b"GET /status HTTP/1.1\r\nhost: localhost\r\n folded\r\n\r\n",
        b"GET /status HTTP/1.1\r\nhost: localhost\r\nno colon\r\n\r\n",
        b"GET /status HTTP/1.1\r\nhost : localhost\r\n\r\n",
        b"GET /status HTTP/1.1\r\nhost: local\xff\xfehost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\nhost: evil.example:80\r\nconnection: close\r\n\r\n",
    ];
    // All at once: what may still become a request is waited for until its time is over.
    std::thread::scope(|scope| {
        for bytes in odd {
            scope.spawn(|| {
                let status = status_of(&served, &[bytes, &b"\r\n\r\n"[..]].concat());
                let refused = status.is_none_or(|status| (400..500).contains(&status));
                assert!(refused, "{:?}: {status:?}", String::from_utf8_lossy(bytes));
            });
        }
    });
    served.get("/status").ok(200);
    served.assert_well();
}

#[test]
fn bodies_whose_length_is_not_clear_are_refused() {
    let served = Served::with_versions();
    let post = |headers: &str, body: &str, is_whole: bool| {
        let request = format!(
            "POST /webhook/event HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {API_TOKEN}\r\n\
             content-type: application/json\r\nconnection: close\r\n{headers}\r\n{body}",
            served.address()
        );
        let mut stream = TcpStream::connect(served.address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
        stream.write_all(request.as_bytes()).expect("written");
        if !is_whole {
            stream.shutdown(std::net::Shutdown::Write).expect("its end");
        }
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let event = r#"{"type":"launching","message":"m"}"#;
    let whole = format!("{:x}\r\n{event}\r\n0\r\n\r\n", event.len());
    let found = post("transfer-encoding: chunked\r\n", &whole, true);
    assert!(found.starts_with("HTTP/1.1 404 "), "{found}");
    for (headers, body) in [
        ("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\n", "-1\r\n{}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\n", "2\r\n{}"),
        ("transfer-encoding: chunked\r\n", "2\r\n{}extra\r\n0\r\n\r\n"),
        ("transfer-encoding: gzip\r\n", "{}"),
        ("transfer-encoding: chunked, gzip\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ncontent-length: 2\r\n", &whole),
        ("content-length: 2\r\ntransfer-encoding: chunked\r\n", &whole),
        ("content-length: 2\r\ncontent-length: 3\r\n", "{}x"),
        ("content-length: -2\r\n", "{}"),
        ("content-length: 2x\r\n", "{}"),
        ("content-length: 0x2\r\n", "{}"),
        ("content-length: 99999999999999999999999\r\n", "{}"),
        ("content-length: 1000\r\n", "{\"type\":"),
        ("", event),
    ] {
        let answer = post(headers, body, false);
        let status = answer.get(9..12).unwrap_or("none");
        // Where both lengths are given, the chunks count, and the connection ends after it.
        let refused = matches!(status, "400" | "404" | "413" | "415" | "501" | "none");
        assert!(refused, "{headers:?} {body:?}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "one answer: {answer}");
    }
    served.get("/status").ok(200);
    served.assert_well();
}

#[test]
fn who_is_slow_is_cut_off() {
    let served = Served::with_versions();
    let open = |sent: String| {
        let mut stream = TcpStream::connect(served.address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
        stream.write_all(sent.as_bytes()).expect("written");
        stream
    };
    let head = format!("POST /launch HTTP/1.1\r\nhost: {}\r\n", served.address());
    let token = format!("authorization: Bearer {API_TOKEN}\r\ncontent-type: application/json\r\n");
    let body = format!("{head}{token}content-length: 1000\r\n\r\n{{\"name\":");
    let chunk = format!("{head}{token}transfer-encoding: chunked\r\n\r\nfff\r\n{{\"na");
    let sent = [String::new(), head.clone(), body, chunk];
    let cut_off = |sent: String| {
        let mut stream = open(sent);
        let mut dripping = stream.try_clone().expect("a socket");
        // A byte now and then is no progress. It ends with the connection, which the server ends.
        let drips = std::thread::spawn(move || {
            while dripping.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_secs(2));
            }
        });
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).map_err(|error| error.kind());
        let _ = stream.shutdown(std::net::Shutdown::Both);
        drips.join().expect("ends");
        // Bytes that came too late for it make the end a harsh one.
        assert!(matches!(ended, Ok(_) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answers: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = sent.into_iter().map(|sent| scope.spawn(|| cut_off(sent))).collect();
        all.into_iter().map(|it| it.join().expect("an answer")).collect()
    });
    for answer in &answers[2..] {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answers:?}");
        assert!(answer.contains("urn:openclaw-pipeline:request-timeout"), "{answer}");
    }
    served.assert_well();
}

/// The memory that a process has, in MiB.
pub(super) fn memory_mib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|it| it.parse().ok()).expect("a number");
    kib / 1024
}

#[test]
fn ten_thousand_idle_connections_harm_nobody() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit can be raised to its maximum");
    if limit.maximum.is_some_and(|most| most < 11_000) {
        return crate::support::skip("ten thousand connections are more than this user may open");
    }
    let served = Served::with_versions();
    served.get("/status").ok(200);
    let before = memory_mib(served.pid());
    let mut follows = served.call("GET", "/v1/events").stream();
    follows.frame().expect("it begins");
    let mut idle = Vec::with_capacity(10_000);
    for number in 0..10_000 {
        let mut stream = TcpStream::connect(served.address()).expect("it listens");
        if number % 2 == 0 {
            // Half of them begin to say something.
            let _ = stream.write_all(b"GET /status HTTP/1.1\r\nhost: ");
        }
        idle.push(stream);
        if number % 500 == 499 {
            // Others are answered meanwhile.
            served.get("/status").ok(200);
        }
    }
    let during = memory_mib(served.pid());
    assert!(during < before + 150, "from {before} to {during} MiB");
    // Who was being answered all the while still is.
    served.put("main");
    assert_eq!(follows.next().kind, "launching");
    drop(idle);
    served.get("/status").ok(200);
    drop(follows);
    served.assert_well();
}
