//! `scripts/webhook-notify.sh`, in every shell that is here, against a real receiver.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::source::root;

const TOKEN: &str = "ocp_a-token-that-nobody-else-sees";

/// What the receiver got, and the connection to answer on.
struct Request {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
    stream: TcpStream,
}

impl Request {
    fn event(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&String| line.split(':').next().is_some_and(|it| it == name);
        self.headers.iter().find(named)?.split_once(": ").map(|(_, value)| value)
    }

    fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let _ = write!(
            self.stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
        );
    }
}

struct Receiver {
    listener: TcpListener,
}

impl Receiver {
    fn start() -> Self {
        Self { listener: TcpListener::bind(("127.0.0.1", 0)).expect("a port") }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("an address"))
    }

    fn request(&self) -> Request {
        let (stream, _) = self.listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
        let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        let line = lines.remove(0);
        let mut request = Request { line, headers: lines, body: Vec::new(), stream };
        let length = request.header("Content-Length").map(|it| it.parse().expect("a number"));
        request.body.resize(length.unwrap_or_default(), 0);
        reader.read_exact(&mut request.body).expect("a body");
        request
    }
}

fn notify(shell: &[&str], url: &str, args: &[&[u8]]) -> Command {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(root().join("scripts/webhook-notify.sh"));
    command.args(args.iter().map(|arg| std::ffi::OsStr::from_bytes(arg)));
    command.env("WEBHOOK_URL", url).env("OPENCLAW_PIPELINE_EVENTS_TOKEN", TOKEN);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it while the receiver takes one request, which is answered well.
fn received(shell: &[&str], args: &[&[u8]]) -> Request {
    let receiver = Receiver::start();
    let child = notify(shell, &receiver.url(), args).spawn().expect("the shell starts");
    let mut request = receiver.request();
    request.answer("200 OK", "", "{}");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(said(&output), "");
    request
}

/// What it said, all of it.
fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    assert!(!text.contains(TOKEN), "{text}");
    text
}

/// The shells of this machine that a host may have as its `sh`.
fn shells() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 5] =
        [&["sh"], &["dash"], &["bash"], &["bash", "--posix"], &["busybox", "sh"]];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_here =
        |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).exists());
    all.into_iter().filter(|shell| is_here(shell[0])).collect()
}

/// The text that arrives: each byte that is no UTF-8 has become U+FFFD.
fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let (good, bad) = bytes.split_at(error.valid_up_to());
            format!("{}\u{fffd}{}", String::from_utf8_lossy(good), readable(&bad[1..]))
        }
    }
}

#[test]
fn an_event_arrives_as_it_was_said() {
    let request = received(&["sh"], &[b"health_check", b"waiting for \"it\"", b"main-2"]);
    assert_eq!(request.line, "POST /webhook/event HTTP/1.1");
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    assert_eq!(request.header("Authorization"), Some(&*format!("Bearer {TOKEN}")));
    let event =
        json!({ "type": "health_check", "message": "waiting for \"it\"", "name": "main-2" });
    assert_eq!(request.event(), event);
    let unnamed = received(&["sh"], &[b"health_check", b""]);
    assert_eq!(unnamed.event(), json!({ "type": "health_check", "message": "" }));
}

#[test]
fn every_byte_is_escaped_as_json_wants_it() {
    let ascii: Vec<u8> = (1..=127).collect();
    let characters = "é ÿ ࠀ \u{d7ff} 日本 \u{fffd} \u{10000} 🦀 \u{10ffff} end".as_bytes();
    // Cut off, too long, a surrogate, past the last character, and bytes that begin nothing.
    let broken = b"\xc3 \xe6\x97 \xf0\x9f\xa6 \xc0\x80 \xe0\x80\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \
                   \xff\xfe \x80 \xf0\x9f";
    let scripts = b"$HOME `id` $(id) \\u0041 \\\\ %s %n !x *?[a] ~ 'it' \\\"";
    // Whatever comes after whatever else, across every border.
    let mut state = 7_u32;
    let mut any = Vec::new();
    while any.len() < 700 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        any.push(u8::try_from((state >> 16) % 255 + 1).expect("a byte"));
    }
    for shell in shells() {
        for message in [&ascii[..], characters, broken, scripts, &any, b"\n", b"a\n\n", b"\\"] {
            let event = received(shell, &[b"launching", message, message]).event();
            assert_eq!(event["message"], readable(message), "{shell:?} {message:?}");
            assert_eq!(event["name"], event["message"]);
        }
    }
}

#[test]
fn a_long_message_is_cut() {
    let long = "日\"\n".repeat(10_000);
    for shell in shells() {
        let event = received(shell, &[b"launching", long.as_bytes()]).event();
        let message = event["message"].as_str().expect("a text");
        let whole = message.trim_end_matches('\u{fffd}');
        assert!(long.starts_with(whole), "{shell:?}");
        assert!((4000..=4096).contains(&whole.len()), "{shell:?}: {}", whole.len());
    }
}

/// The processes that have the text in this file of theirs.
fn shown_in(file: &str, text: &str) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let files = processes.map(|process| process.path().join(file));
    let has = |file: &PathBuf| {
        fs::read(file).is_ok_and(|it| it.windows(text.len()).any(|part| part == text.as_bytes()))
    };
    files.filter(has).collect()
}

#[test]
fn nobody_sees_the_token() {
    for shell in shells() {
        let receiver = Receiver::start();
        let traced = [shell, &["-x"]].concat();
        let url = receiver.url();
        let child = notify(&traced, &url, &[b"launching", b"x"]).spawn().expect("it starts");
        let mut request = receiver.request();
        assert_eq!(request.header("Authorization"), Some(&*format!("Bearer {TOKEN}")));
        // curl waits for the answer now.
        let waiting: Vec<_> = fs::read_dir("/proc").expect("processes").flatten().collect();
        let curls = waiting.iter().filter(|process| {
            fs::read(process.path().join("cmdline")).is_ok_and(|it| it.starts_with(b"curl\0"))
        });
        assert!(curls.count() > 0, "{shell:?}: curl is not seen");
        assert_eq!(shown_in("cmdline", TOKEN), Vec::<PathBuf>::new(), "{shell:?}");
        let token = format!("Bearer {TOKEN}");
        request.answer("403 Forbidden", "", &format!("{{\"detail\":\"{token} \u{1b}[1m\"}}"));
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success());
        assert!(said(&output).contains("not accepted: 403"), "{}", said(&output));
    }
}

#[test]
fn what_is_not_accepted_is_said_without_control_characters() {
    let receiver = Receiver::start();
    let child = notify(&["sh"], &receiver.url(), &[b"nonsense", b"x"]).spawn().expect("starts");
    receiver.request().answer("400 Bad Request", "", "{\"detail\":\"no such type\u{1b}[2J\"}");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let said = said(&output);
    assert!(said.contains("400") && said.contains("no such type\\u001b[2J"), "{said}");
}

#[test]
fn a_redirect_is_not_followed() {
    let (receiver, elsewhere) = (Receiver::start(), Receiver::start());
    elsewhere.listener.set_nonblocking(true).expect("a mode");
    let child = notify(&["sh"], &receiver.url(), &[b"launching", b"x"]).spawn().expect("starts");
    let location = format!("location: {}/\r\n", elsewhere.url());
    receiver.request().answer("307 Temporary Redirect", &location, "");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && said(&output).contains("307"), "{}", said(&output));
    assert!(elsewhere.listener.accept().is_err(), "the token went elsewhere");
}

#[test]
fn the_users_own_settings_of_curl_change_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join(".curlrc"), "verbose\nproxy = \"http://127.0.0.1:1\"\n")
        .expect("it");
    let receiver = Receiver::start();
    let child = notify(&["sh"], &receiver.url(), &[b"launching", b"x"])
        .env("HOME", home.path())
        .env("http_proxy", "http://127.0.0.1:1")
        .env("SHELLOPTS", "xtrace")
        .spawn()
        .expect("starts");
    receiver.request().answer("200 OK", "", "");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(said(&output), "");
}

#[test]
fn sh_and_curl_are_enough() {
    let bin = tempfile::tempdir().expect("a directory");
    let curl = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|dir| dir.join("curl"))
        .find(|curl| curl.exists())
        .expect("the lab has curl");
    std::os::unix::fs::symlink(curl, bin.path().join("curl")).expect("a link");
    let receiver = Receiver::start();
    let child = notify(&["/bin/sh"], &receiver.url(), &[b"launching", b"\xff\n\"x\""])
        .env("PATH", bin.path())
        .spawn()
        .expect("starts");
    let mut request = receiver.request();
    assert_eq!(request.event()["message"], "\u{fffd}\n\"x\"");
    request.answer("200 OK", "", "");
    assert_eq!(said(&child.wait_with_output().expect("it ends")), "");
}

#[test]
fn it_never_stops_what_it_tells_of() {
    let free = Receiver::start().url();
    let outputs = |url: &str, args: &[&[u8]]| {
        let output = notify(&["sh"], url, args).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        said(&output)
    };
    assert!(outputs(&free, &[b"launching", b"x"]).contains("not delivered"), "nobody listens");
    assert!(outputs("ftp://127.0.0.1/", &[b"launching", b"x"]).contains("not delivered"));
    assert!(outputs("http://a\nb", &[b"launching", b"x"]).contains("no URL"));
    for args in [&[][..], &[&b"launching"[..]], &[b"a", b"b", b"c", b"d"]] {
        assert!(outputs(&free, args).contains("usage"), "{args:?}");
    }
    let mut broken = notify(&["sh"], &free, &[b"launching", b"x"]);
    let output = broken.env("OPENCLAW_PIPELINE_EVENTS_TOKEN", "x\"\nurl = y").output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("no token holds"), "{}", said(&output));
    let missing = notify(&["/bin/sh"], &free, &[b"launching", b"x"]).env("PATH", "/x").output();
    let missing = missing.expect("it runs");
    assert_eq!(missing.status.code(), Some(0));
    assert!(said(&missing).contains("not delivered"), "{}", said(&missing));
}

#[test]
fn it_gives_up_on_a_receiver_that_hangs() {
    let receiver = Receiver::start();
    let begun = Instant::now();
    let child = notify(&["sh"], &receiver.url(), &[b"launching", b"x"]).spawn().expect("starts");
    let held = receiver.request();
    let output = child.wait_with_output().expect("it ends");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(output.status.success());
    assert!(said(&output).contains("not delivered"), "{}", said(&output));
    drop(held);
}
