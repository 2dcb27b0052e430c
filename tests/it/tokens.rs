//! The API's tokens by command, beside a living server's memory of them: shown once, kept as a
//! hash, refused at once when revoked; and the audit log, which no flood fills.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openclaw_pipeline::app::audit::Denials;
use openclaw_pipeline::app::tokens::{
    AuditOutcome, AuditRecord, AuthError, Authenticator, NewToken,
};
use openclaw_pipeline::domain::{Limits, Need, Principal, PrincipalKind, Scope};
use openclaw_pipeline::secrets::bearer::{BearerHash, new_token};
use openclaw_pipeline::store::Store;
use rusqlite::Connection;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::support::product::{Done, Product};

/// Makes a token; answers its text and its id.
fn create<const N: usize>(product: &Product, args: [&str; N]) -> (String, String) {
    let run = args.iter().fold(product.run(["tokens", "create"]), |run, arg| run.arg(arg));
    let made = run.arg("--json").ok().json();
    let text = |field: &str| made[field].as_str().expect("a text").to_owned();
    (text("token"), text("id"))
}

/// What a server remembers, over the installation's own files.
fn server(product: &Product) -> Authenticator {
    Authenticator::new(store(product), None)
}

fn store(product: &Product) -> Store {
    Store::open(&product.home()).expect("opens")
}

fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files(&entry.path(), into),
            kind if kind.is_file() => into.push(entry.path()),
            _ => {}
        }
    }
}

/// No file of the installation has this text.
#[track_caller]
fn nowhere(product: &Product, text: &str) {
    let mut all = Vec::new();
    files(&product.path(""), &mut all);
    assert!(all.iter().any(|path| path.ends_with("pipeline.db")), "there is something to look at");
    for path in all {
        let bytes = fs::read(&path).expect("readable");
        let found = bytes.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!found, "{} has it", path.display());
    }
}

#[test]
fn a_token_is_printed_alone_and_once() {
    let product = Product::bare();
    let made = product.run(["tokens", "create", "--label", "front end", "--scope", "read"]).ok();
    let token = made.stdout.trim_end();
    assert!(token.starts_with("ocp_") && token.len() == 47, "{token:?}");
    assert_eq!(made.stdout.lines().count(), 1, "standard output is the token, for $(…)");
    made.says("\"front end\"").says("shown this once").says("tokens revoke ");
    assert!(!made.stderr.contains(token));
    server(&product).authenticate(token).expect("it is good");
    let shows = |done: &Done| done.stdout.contains(token) || done.stderr.contains(token);
    for args in [vec!["tokens", "list"], vec!["audit"], vec!["events"], vec!["config", "explain"]] {
        for json in [false, true] {
            let run = args[1..].iter().fold(product.run([args[0]]), |run, arg| run.arg(arg));
            let run = run.env("OPENCLAW_PIPELINE_LOG", "trace");
            let done = if json { run.arg("--json") } else { run }.ok();
            assert!(!shows(&done), "{done:?}");
        }
    }
    // Neither the text nor what of it is random.
    nowhere(&product, token);
    nowhere(&product, &token[4..]);
}

#[test]
fn of_a_token_the_database_has_the_hash() {
    let product = Product::bare();
    let (token, id) = create(&product, ["--label", "one", "--scope", "read"]);
    let database = Connection::open(product.home().join("pipeline.db")).expect("opens");
    let hash: Vec<u8> = database
        .query_row("SELECT hash FROM tokens WHERE id = ?1", [&id], |row| row.get(0))
        .expect("a row");
    assert_eq!(hash, BearerHash::of(&token).as_bytes());
    let (other, _) = create(&product, ["--label", "one", "--scope", "read"]);
    assert_ne!(token, other);
}

#[test]
fn a_token_has_what_it_was_given_and_nothing_more() {
    let product = Product::bare();
    let (token, id) = create(
        &product,
        [
            "--label=ci",
            "--scope=read,deploy",
            "--scope=connect",
            "--events=ci-1",
            "--prefix=ci-",
            "--max-deployments=3",
            "--max-launches=1",
            "--target=docker",
            "--size=t3.medium",
            "--size=t3.large",
            "--region=us-west-2",
            "--max-monthly-price=120",
            "--server-credentials",
            "--expires=30d",
        ],
    );
    let listed = product.json(["tokens", "list"])["items"][0].clone();
    assert_eq!(listed["id"], id.as_str());
    assert_eq!(listed["scopes"], serde_json::json!(["read", "deploy", "connect", "events:ci-1"]));
    assert_eq!(listed["name_prefix"], "ci-");
    let limits = serde_json::json!({
        "deployments": 3, "launches": 1, "monthly_price": 120, "targets": ["docker"],
        "sizes": ["t3.medium", "t3.large"], "regions": ["us-west-2"],
    });
    assert_eq!(listed["limits"], limits);
    assert_eq!(
        (&listed["server_credentials"], &listed["created_by"]),
        (&true.into(), &"operator".into())
    );
    assert_eq!((&listed["last_used_at"], &listed["revoked_at"]), (&Value::Null, &Value::Null));
    assert!(listed["expires_at"].as_str() > listed["created_at"].as_str());
    assert!(listed.get("token").is_none() && listed.get("hash").is_none());

    let principal = server(&product).authenticate(&token).expect("known");
    let name = |text: &str| text.parse().expect("a name");
    let (own, other) = (name("ci-1"), name("main"));
    assert!(principal.reaches(&own) && !principal.reaches(&other));
    for need in [Need::Read, Need::Deploy, Need::Access, Need::Event(&own)] {
        principal.may(need).expect("given");
    }
    for need in [Need::Destroy, Need::Tokens, Need::Admin, Need::Event(&other)] {
        principal.may(need).expect_err("not given");
    }
    assert_eq!(principal.kind, PrincipalKind::Token);
    product.run(["tokens", "list"]).ok().answers("names that begin with ci-").answers(" good ");
    let listed = product.run(["tokens", "list"]).ok();
    listed.answers("of t3.medium and t3.large only").answers("machines for 120 dollars a month");
}

#[test]
fn a_token_that_makes_no_sense_is_refused_with_what_would() {
    let product = Product::bare();
    let long = "x".repeat(81);
    for (args, says) in [
        (&["--scope=read"][..], "--label"),
        (&["--label=a"], "at least one scope"),
        (&["--label=", "--scope=read"], "a label is"),
        (&["--label=a\u{1b}[31mb", "--scope=read"], "a label is"),
        (&["--label", &long, "--scope=read"], "a label is"),
        (&["--label=a", "--scope=write"], "a scope is read, deploy"),
        (&["--label=a", "--events=../x"], "events:NAME"),
        (&["--label=a", "--scope=read", "--prefix=A"], "a name prefix is"),
        (&["--label=a", "--scope=admin", "--prefix=a"], "has no name prefix"),
        (&["--label=a", "--events=b", "--prefix=a"], "does not begin with a"),
        (&["--label=a", "--scope=read", "--target=moon"], "target is one of"),
        (&["--label=a", "--scope=read", "--max-launches=-1"], "max-launches"),
        (&["--label=a", "--scope=read", "--max-monthly-price=-1"], "max-monthly-price"),
        (&["--label=a", "--scope=read", "--size=t3 large"], "sizes"),
        (&["--label=a", "--scope=read", "--expires=soon"], "an expiry is"),
        (&["--label=a", "--scope=read", "--expires=2020-01-01T00:00:00Z"], "is over"),
        (&["--label=a", "--scope=read", "--expires=0d"], "is over"),
    ] {
        let run = args.iter().fold(product.run(["tokens", "create"]), |run, arg| run.arg(arg));
        let done = run.code(2);
        done.says(says);
        assert_eq!(done.stdout, "", "{args:?}");
    }
    product.run(["tokens", "list"]).ok().answers("There is no token");
    assert_eq!(product.json(["audit"])["items"], serde_json::json!([]));
}

#[test]
fn a_revoked_token_is_refused_at_once_by_a_server_that_remembers_it() {
    let product = Product::bare();
    let (token, id) = create(&product, ["--label", "one", "--scope", "read"]);
    let (other, _) = create(&product, ["--label", "two", "--scope", "read"]);
    let server = server(&product);
    let principal = server.authenticate(&token).expect("known");
    let (cookie, _) = server.open_session(&principal).expect("opens");
    for _ in 0..3 {
        server.authenticate(&token).expect("remembered");
        server.authenticate(&other).expect("remembered");
        server.authenticate_session(cookie.expose()).expect("remembered");
    }
    let revoked = product.json(["tokens", "revoke", &id]);
    assert!(revoked["revoked_at"].is_string());
    assert_eq!(server.authenticate(&token), Err(AuthError::Revoked));
    assert_eq!(server.authenticate_session(cookie.expose()), Err(AuthError::Unknown));
    server.authenticate(&other).expect("the other one is as it was");
    // Once more changes nothing, and what is not there is told.
    assert_eq!(product.json(["tokens", "revoke", &id])["revoked_at"], revoked["revoked_at"]);
    product.run(["tokens", "revoke", "nobody"]).code(3).says("there is no token \"nobody\"");
    product.run(["tokens", "list"]).ok().answers("revoked").answers("good");
}

#[test]
fn what_was_used_shows_when() {
    let product = Product::bare();
    let (token, _) = create(&product, ["--label", "one", "--scope", "read"]);
    let server = server(&product);
    product.run(["tokens", "list"]).ok().answers("never");
    server.authenticate(&token).expect("known");
    server.record_uses().expect("records");
    let listed = product.json(["tokens", "list"]);
    assert!(listed["items"][0]["last_used_at"].is_string(), "{listed}");
}

#[test]
fn an_expired_token_is_refused_and_says_so() {
    let product = Product::bare();
    let text = new_token();
    let new = NewToken {
        label: "old".into(),
        scopes: [Scope::Read].into(),
        name_prefix: None,
        limits: Limits::default(),
        server_credentials: false,
        expires_at: Some(OffsetDateTime::now_utc() - Duration::minutes(1)),
    };
    let record = AuditRecord::of(&Principal::operator(), "tokens.create");
    let hash = BearerHash::of(text.expose());
    store(&product).create_token(&new, &hash, &record, None).expect("made");
    assert_eq!(server(&product).authenticate(text.expose()), Err(AuthError::Expired));
    product.run(["tokens", "list"]).ok().answers("expired");
}

#[test]
fn the_settings_token_is_checked_and_masked() {
    let product = Product::bare();
    for name in ["OPENCLAW_PIPELINE_API_TOKEN", "OPENCLAW_PIPELINE_EVENTS_TOKEN"] {
        let explain = |value: &str| product.run(["config", "explain"]).env(name, value);
        let shown = explain("s3cret-s3cret-s3cret").ok();
        assert!(!shown.stdout.contains("s3cret"), "{}", shown.stdout);
        shown.answers(name);
        let refused = explain("s3cret").code(2);
        assert!(!refused.stdout.contains("s3cret"), "{}", refused.stdout);
        refused.answers(&format!("{name} is 16 to 512 printable ASCII characters"));
    }
}

#[test]
fn the_audit_log_says_who_made_and_revoked_what() {
    let product = Product::bare();
    let (_, id) = create(&product, ["--label", "<b>one</b>", "--scope", "read"]);
    product.run(["tokens", "revoke", &id]).ok();
    let records = product.json(["audit", "--name", &id])["items"].clone();
    let told: Vec<_> = records
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| [&it["actor"], &it["action"], &it["outcome"], &it["detail"]].map(Value::as_str))
        .collect();
    let of = |action| [Some("operator"), Some(action), Some("allowed"), Some("<b>one</b>")];
    assert_eq!(told, [of("tokens.revoke"), of("tokens.create")]);
    product.run(["audit"]).ok().answers("tokens.create").answers("the operator");
    assert_eq!(product.json(["audit", "--limit", "1"])["items"].as_array().map(Vec::len), Some(1));
    for filter in ["--actor=nobody", "--name=nobody", "--outcome=denied"] {
        product.run(["audit", filter]).ok().answers("nothing of that");
    }
    product.run(["audit", "--outcome=maybe"]).code(2).says("allowed, denied or failed");
}

#[test]
fn a_flood_of_denials_is_a_few_records() {
    let product = Product::bare();
    let denials = Arc::new(Denials::new(store(&product)));
    let floods: Vec<_> = (0..4_u32)
        .map(|flood| {
            let denials = Arc::clone(&denials);
            std::thread::spawn(move || {
                for number in 0..25_000_u32 {
                    let address = std::net::Ipv4Addr::from(flood << 24 | number);
                    let record = AuditRecord::of_nobody("sign-in")
                        .from_address(address.to_string())
                        .ended(AuditOutcome::Denied, 401)
                        .detail("\u{1b}]0;title\u{7}guess".repeat(1000));
                    denials.note(record);
                }
            })
        })
        .collect();
    for flood in floods {
        flood.join().expect("no panic");
        denials.flush().expect("writes");
    }
    let records = product.json(["audit", "--limit", "100000"])["items"].clone();
    let records = records.as_array().expect("a list");
    // It may have begun in one minute and ended in the next.
    assert!((1..=2 * 65).contains(&records.len()), "{}", records.len());
    let times: u64 = records.iter().filter_map(|it| it["times"].as_u64()).sum();
    assert_eq!(times, 100_000, "every one is counted");
    assert!(records.iter().all(|it| it["detail"].as_str().is_some_and(|it| it.len() < 400)));
    let shown = product.run(["audit"]).ok();
    assert!(!shown.stdout.contains('\u{1b}'));
    let size = fs::metadata(product.home().join("pipeline.db-wal")).map_or(0, |file| file.len());
    assert!(size < 4 << 20, "{size}");
}
