//! Tokens, sessions, keys of requests and the audit log, row by row.

use std::collections::BTreeSet;

use proptest::prelude::*;
use time::macros::datetime;

use super::super::{Along, Begin, NewDeployment, NewToken, TokenRecord, new_id, now};
use super::super::{Answer, AuditFilter, AuditOutcome, AuditRecord, IdempotencyKey, StoreError};
use super::*;
use crate::domain::{DeploymentName, FailureKind, Limits, OperationKind, Principal, Scope};
use crate::secrets::bearer::{BearerHash, new_session, new_token};

const BATCH: i64 = 500;

fn opened() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path()).expect("opens");
    (dir, store)
}

fn new(label: &str) -> NewToken {
    NewToken {
        label: label.into(),
        scopes: BTreeSet::from([Scope::Read, Scope::Events("a".parse().expect("a name"))]),
        name_prefix: Some("a".parse().expect("a prefix")),
        limits: Limits { deployments: Some(3), ..Limits::default() },
        server_credentials: true,
        expires_at: None,
    }
}

fn record(action: &str) -> AuditRecord {
    AuditRecord::of(&Principal::operator(), action)
}

fn create(store: &Store, new: &NewToken) -> (TokenRecord, BearerHash) {
    let hash = BearerHash::of(new_token().expose());
    (store.create_token(new, &hash, &record("tokens.create"), None).expect("made"), hash)
}

fn at(days: i64) -> String {
    format_time(OffsetDateTime::now_utc() + Duration::days(days))
}

fn prune(store: &Store, oldest: &str) -> usize {
    if !store.read(|db| is_due(db, oldest)).expect("looks") {
        return 0;
    }
    store.write(|tx| super::prune(tx, oldest, BATCH)).expect("prunes")
}

#[test]
fn a_token_is_kept_as_it_was_made_and_found_by_its_hash() {
    let (_dir, store) = opened();
    let (token, hash) = create(&store, &new("one"));
    assert_eq!(token.label, "one");
    assert_eq!(token.scopes, new("one").scopes);
    assert_eq!(
        (token.name_prefix.clone(), token.limits.clone()),
        (new("").name_prefix, new("").limits)
    );
    assert_eq!((token.created_by.as_str(), token.server_credentials), ("operator", true));
    assert_eq!(store.token_by_hash(&hash).expect("reads"), Some(token.clone()));
    assert_eq!(store.token(&token.id).expect("reads"), Some(token));
    assert_eq!(store.token_by_hash(&BearerHash::of("x")).expect("reads"), None);
}

#[test]
fn tokens_are_listed_page_by_page_newest_first() {
    let (_dir, store) = opened();
    for number in 0..5 {
        create(&store, &new(&number.to_string()));
    }
    let (mut labels, mut place) = (Vec::new(), None);
    loop {
        let (tokens, next) = store.tokens(place, 2).expect("reads");
        labels.extend(tokens.into_iter().map(|token| token.label));
        place = next;
        if place.is_none() {
            break;
        }
    }
    assert_eq!(labels, ["4", "3", "2", "1", "0"]);
}

#[test]
fn what_takes_a_right_away_raises_the_generation_and_nothing_else_does() {
    let (_dir, store) = opened();
    let generation = || store.access_generation().expect("reads");
    let before = generation();
    let (token, _) = create(&store, &new("one"));
    let cookie = BearerHash::of(new_session().expose());
    store.open_session(&cookie, &token.id, None).expect("opens");
    store.touch_tokens(&[(token.id.clone(), OffsetDateTime::now_utc())]).expect("touches");
    assert_eq!(generation(), before);
    store.close_session(&cookie).expect("closes");
    let closed = generation();
    assert!(closed > before);
    let revoked = store.revoke_token(&token.id, &record("tokens.revoke")).expect("revokes");
    assert!(!revoked.is_good(&now()) && token.is_good(&now()));
    assert!(generation() > closed);
}

#[test]
fn a_revoked_token_keeps_its_time_and_takes_its_sessions_along() {
    let (_dir, store) = opened();
    let (token, _) = create(&store, &new("one"));
    let cookie = BearerHash::of(new_session().expose());
    store.open_session(&cookie, &token.id, None).expect("opens");
    assert!(store.session(&cookie).expect("reads").is_some_and(|it| it.token.is_some()));
    let first = store.revoke_token(&token.id, &record("tokens.revoke")).expect("revokes");
    assert_eq!(store.session(&cookie).expect("reads"), None);
    let again = store.revoke_token(&token.id, &record("tokens.revoke")).expect("again");
    assert_eq!(first, again);
    let filter = AuditFilter { limit: 10, ..AuditFilter::default() };
    assert_eq!(store.audit(&filter).expect("reads").0.len(), 2, "made once, revoked once");
    match store.revoke_token("none", &record("tokens.revoke")) {
        Err(StoreError::Refused(failure)) => assert_eq!(failure.kind, FailureKind::NotFound),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_for_events_alone_is_none_that_keeps_others_out() {
    let (_dir, store) = opened();
    let events = BTreeSet::from([Scope::Events("a".parse().expect("a name"))]);
    create(&store, &NewToken { scopes: events, ..new("events") });
    assert!(!store.has_good_tokens().expect("looks"));
    let (token, _) = create(&store, &new("one"));
    assert!(store.has_good_tokens().expect("looks"));
    store.revoke_token(&token.id, &record("tokens.revoke")).expect("revokes");
    assert!(!store.has_good_tokens().expect("looks"));
}

#[test]
fn the_last_use_never_goes_back() {
    let (_dir, store) = opened();
    let (token, _) = create(&store, &new("one"));
    let used = |at: OffsetDateTime| {
        store.touch_tokens(&[(token.id.clone(), at)]).expect("touches");
        store.token(&token.id).expect("reads").and_then(|token| token.last_used_at)
    };
    let (first, second) = (datetime!(2030-01-01 00:00 UTC), datetime!(2030-01-02 00:00 UTC));
    assert_eq!(used(second).as_deref(), Some("2030-01-02T00:00:00.000Z"));
    assert_eq!(used(first).as_deref(), Some("2030-01-02T00:00:00.000Z"));
    store.touch_tokens(&[]).expect("nothing to do");
}

#[test]
fn one_session_too_many_ends_the_oldest() {
    let (_dir, store) = opened();
    let cookies: Vec<BearerHash> = (0..=super::super::sessions::SESSIONS_MAX)
        .map(|_| BearerHash::of(new_session().expose()))
        .collect();
    let other = BearerHash::of("other");
    store.open_session(&other, "operator", None).expect("opens");
    for cookie in &cookies {
        store.open_session(cookie, "one", None).expect("opens");
    }
    let lives = |cookie| store.session(cookie).expect("reads").is_some();
    assert!(!lives(&cookies[0]) && lives(&cookies[1]) && lives(&other));
}

fn key(token: &str, key: &str, body: &str) -> IdempotencyKey {
    IdempotencyKey::new(token, key, "POST", "/launch", body.as_bytes()).expect("a key")
}

/// Claims and answers, as whoever does the work in the same transaction.
fn ask(store: &Store, key: &IdempotencyKey, answer: &Answer) -> Result<()> {
    store.write(|tx| {
        idempotency::claim(tx, key)?;
        idempotency::keep(tx, key, answer)
    })
}

#[test]
fn the_same_request_gets_the_same_answer_and_another_one_is_refused() {
    let (_dir, store) = opened();
    let first = Answer::new(202, "{}").of("operation");
    ask(&store, &key("t", "k", "a"), &first).expect("the first");
    match ask(&store, &key("t", "k", "a"), &Answer::new(500, "never")) {
        Err(StoreError::Answered(answer)) => assert_eq!(*answer, first),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.answered(&key("t", "k", "a")).expect("reads"), Some(first.clone()));
    for other in [
        key("t", "k", "b"),
        IdempotencyKey::new("t", "k", "DELETE", "/launch", b"a").expect("a key"),
        IdempotencyKey::new("t", "k", "POST", "/launc", b"ha").expect("a key"),
    ] {
        match ask(&store, &other, &first) {
            Err(StoreError::Refused(failure)) => assert_eq!(failure.kind, FailureKind::KeyReused),
            other => panic!("{other:?}"),
        }
    }
    ask(&store, &key("other", "k", "b"), &first).expect("another token's key");
    ask(&store, &key("t", "k2", "b"), &first).expect("another key");
}

#[test]
fn work_that_did_not_commit_keeps_no_answer() {
    let (_dir, store) = opened();
    let asked = key("t", "k", "a");
    let failed: Result<()> = store.write(|tx| {
        idempotency::claim(tx, &asked)?;
        idempotency::keep(tx, &asked, &Answer::new(202, ""))?;
        Err(StoreError::LeaseLost)
    });
    failed.expect_err("the work");
    assert_eq!(store.answered(&asked).expect("reads"), None);
}

#[test]
fn a_key_is_forgotten_after_its_day_pruned_or_not() {
    let (_dir, store) = opened();
    let asked = key("t", "k", "a");
    ask(&store, &asked, &Answer::new(202, "")).expect("the first");
    assert_eq!(prune(&store, &at(-90)), 0, "it is new");
    let old = format_time(OffsetDateTime::now_utc() - Duration::hours(25));
    store
        .write(|tx| Ok(tx.execute("UPDATE idempotency SET created_at = ?1", [&old])?))
        .expect("ages");
    assert_eq!(store.answered(&asked).expect("reads"), None);
    ask(&store, &key("t", "k", "other"), &Answer::new(202, "")).expect("its day is over");
    assert_eq!(prune(&store, &at(-90)), 0, "it is in use again");
    store
        .write(|tx| Ok(tx.execute("UPDATE idempotency SET created_at = ?1", [&old])?))
        .expect("ages");
    assert_eq!(prune(&store, &at(-90)), 1);
}

#[test]
fn a_secret_is_shown_once() {
    let (_dir, store) = opened();
    let asked = key("t", "k", "a");
    let hash = BearerHash::of(new_token().expose());
    let made = store
        .create_token(&new("one"), &hash, &record("tokens.create"), Some(&asked))
        .expect("made");
    let other = BearerHash::of(new_token().expose());
    match store.create_token(&new("one"), &other, &record("tokens.create"), Some(&asked)) {
        Err(StoreError::Answered(answer)) => {
            assert_eq!((answer.status, &answer.body), (201, &None));
            let told = answer.not_again();
            assert_eq!(told.kind, FailureKind::Conflict);
            assert!(told.message.contains(&made.id), "{told}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.tokens(None, 10).expect("reads").0.len(), 1);
}

#[test]
fn keys_are_printable_and_bounded() {
    for text in ["", "ä", "a\n", "a\0", &"x".repeat(256)] {
        IdempotencyKey::new("t", text, "POST", "/", b"").expect_err(text);
    }
    for text in ["x", "a b", &"x".repeat(255)] {
        IdempotencyKey::new("t", text, "POST", "/", b"").expect(text);
    }
}

#[test]
fn what_others_wrote_is_clean_and_bounded_in_the_log() {
    let (_dir, store) = opened();
    let dirty = AuditRecord::of_nobody("x\u{1b}[31m")
        .from_address("y".repeat(1000))
        .about("<script>\n\u{202e}")
        .in_request("\0id")
        .detail("z".repeat(100_000))
        .ended(AuditOutcome::Failed, 502);
    store.append_audit(&dirty).expect("appends");
    let filter = AuditFilter { limit: 10, ..AuditFilter::default() };
    let (found, next) = store.audit(&filter).expect("reads");
    assert_eq!((found.len(), next), (1, None));
    let found = &found[0];
    assert_eq!((found.action.as_str(), found.request_id.as_str()), ("x", "id"));
    assert_eq!(found.name.as_deref(), Some("<script> "));
    assert!(found.address.chars().count() <= 61 && found.detail.chars().count() <= 301);
    assert_eq!((found.outcome, found.status, found.times), (AuditOutcome::Failed, 502, 1));
}

#[tokio::test]
async fn records_that_share_a_commit_are_all_there() {
    let (_dir, store) = opened();
    let appends = (0..20).map(|number| {
        let store = store.clone();
        let record = record("x").detail(number.to_string());
        tokio::spawn(async move { store.append_audit_async(record).await })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.expect("no panic").expect("appends");
    }
    let filter = AuditFilter { limit: 100, ..AuditFilter::default() };
    assert_eq!(store.audit(&filter).expect("reads").0.len(), 20);
}

#[test]
fn what_was_done_is_told_with_the_operation_that_does_it_or_not_at_all() {
    let (_dir, store) = opened();
    let along: std::sync::Arc<dyn Along> =
        std::sync::Arc::new(record("deployments.stop").from_address("192.0.2.1"));
    let spec = serde_json::json!({
        "target": "process", "bind": "127.0.0.1", "heartbeat": "0m", "memory_mib": 1024,
        "approval": crate::domain::approval::ApprovalPolicy::default(),
    });
    let launch = || Begin {
        create: Some(NewDeployment {
            id: new_id(),
            sealed: Vec::new(),
            spec: serde_json::from_value(spec.clone()).expect("a specification"),
            owner: None,
        }),
        along: vec![along.clone()],
        ..Begin::new(OperationKind::Launch, DeploymentName::main())
    };
    let begun = store.begin(&launch()).expect("begins");
    store.begin(&launch()).expect_err("one is at work");
    let filter = AuditFilter { name: Some("main"), limit: 10, ..AuditFilter::default() };
    let (found, _) = store.audit(&filter).expect("reads");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].detail, format!("operation {}", begun.id));
    assert_eq!(found[0].address, "192.0.2.1");
}

#[test]
fn the_log_is_filtered_and_paged() {
    let (_dir, store) = opened();
    for number in 0..30 {
        let outcome = if number % 3 == 0 { AuditOutcome::Denied } else { AuditOutcome::Allowed };
        let about = if number % 2 == 0 { "even" } else { "odd" };
        let record = record("x").about(about).ended(outcome, 0).detail(number.to_string());
        store.append_audit(&record).expect("appends");
    }
    store.append_audit(&AuditRecord::of_nobody("y").about("even")).expect("appends");
    let told = |filter: AuditFilter<'_>| {
        let (mut told, mut before) = (Vec::new(), None);
        loop {
            let (page, next) =
                store.audit(&AuditFilter { before, limit: 4, ..filter }).expect("reads");
            assert!(page.len() <= 4);
            told.extend(page.into_iter().map(|it| it.detail));
            before = next;
            if before.is_none() {
                return told;
            }
        }
    };
    assert_eq!(told(AuditFilter::default()).len(), 31);
    assert_eq!(told(AuditFilter { name: Some("even"), ..AuditFilter::default() }).len(), 16);
    assert_eq!(told(AuditFilter { actor: Some("operator"), ..AuditFilter::default() }).len(), 30);
    let filter = AuditFilter {
        name: Some("even"),
        actor: Some("operator"),
        outcome: Some(AuditOutcome::Denied),
        ..AuditFilter::default()
    };
    assert_eq!(told(filter), ["24", "18", "12", "6", "0"], "newest first");
}

#[test]
fn denials_that_are_alike_are_one_record_that_counts_them() {
    let (_dir, store) = opened();
    let denied = record("x").ended(AuditOutcome::Denied, 403);
    let many = AuditRecord { times: 7, ..denied.clone() };
    let denials = [("a".to_owned(), many), ("b".to_owned(), denied)];
    store.append_denials(&denials).expect("appends");
    store.append_denials(&denials).expect("appends");
    store.append_denials(&[]).expect("nothing to do");
    let filter = AuditFilter { limit: 10, ..AuditFilter::default() };
    let times: Vec<u32> =
        store.audit(&filter).expect("reads").0.into_iter().map(|it| it.times).collect();
    assert_eq!(times, [2, 14]);
    let endless = AuditRecord { times: u32::MAX, ..record("x") };
    for _ in 0..2 {
        store.append_denials(&[("a".to_owned(), endless.clone())]).expect("appends");
    }
    store.audit(&filter).expect("still readable");
}

#[test]
fn old_rows_go_in_batches_and_the_rest_stays() {
    let (_dir, store) = opened();
    let (kept, _) = create(&store, &new("kept"));
    let (revoked, _) = create(&store, &new("revoked"));
    store.revoke_token(&revoked.id, &record("tokens.revoke")).expect("revokes");
    let expired = OffsetDateTime::now_utc() - Duration::days(1);
    create(&store, &NewToken { expires_at: Some(expired), ..new("expired") });
    for _ in 0..596 {
        store.append_audit(&record("x")).expect("appends");
    }
    assert_eq!(prune(&store, &at(-90)), 0, "nothing is old");
    assert_eq!(prune(&store, &at(1)), 502, "two tokens, and a batch of records");
    assert_eq!(prune(&store, &at(1)), 100);
    assert_eq!(prune(&store, &at(1)), 0);
    let left: Vec<String> =
        store.tokens(None, 10).expect("reads").0.into_iter().map(|token| token.id).collect();
    assert_eq!(left, [kept.id]);
    let cookie = BearerHash::of(new_session().expose());
    store.open_session(&cookie, "operator", None).expect("opens");
    assert_eq!(prune(&store, &at(-90)), 0);
    store
        .write(|tx| Ok(tx.execute("UPDATE sessions SET expires_at = ?1", [at(-1)])?))
        .expect("ages");
    assert_eq!(prune(&store, &at(-90)), 1, "a session goes at its end");
}

#[test]
fn a_flood_of_denials_does_not_grow_the_log_for_ever() {
    let (_dir, store) = opened();
    store.append_audit(&record("first")).expect("appends");
    // As a flood of months leaves it.
    store
        .write(|tx| {
            Ok(tx.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                 INSERT INTO audit (at, actor, actor_label, address, action, outcome, status, \
                 request_id, detail) SELECT ?2, '', '', '', 'x', 'denied', 401, '', '' FROM n",
                (audit::DENIALS_MAX + 700, now()),
            )?)
        })
        .expect("floods");
    assert_eq!(prune(&store, &at(-90)), 500);
    assert_eq!(prune(&store, &at(-90)), 200);
    assert_eq!(prune(&store, &at(-90)), 0);
    let filter = AuditFilter { actor: Some("operator"), limit: 9, ..AuditFilter::default() };
    assert_eq!(store.audit(&filter).expect("reads").0.len(), 1, "what was done stays");
}

proptest! {
    #[test]
    fn requests_that_differ_have_different_fingerprints(
        one in ("[A-Z]{1,6}", "/[a-z/]{0,8}", "[ -~]{0,12}"),
        two in ("[A-Z]{1,6}", "/[a-z/]{0,8}", "[ -~]{0,12}"),
    ) {
        let made = |(method, path, body): &(String, String, String)| {
            IdempotencyKey::new("t", "k", method, path, body.as_bytes()).expect("a key")
        };
        prop_assert_eq!(made(&one) == made(&two), one == two);
    }
}
