//! Who is known, and for how long.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::domain::{Limits, Scope};

const GIVEN: &str = "0123456789abcdef-given";

/// An installation and a server's memory of it. The verbs are another process's, as far as the
/// memory can tell.
struct Bench {
    _dir: tempfile::TempDir,
    app: App,
    authenticator: Authenticator,
}

impl Bench {
    fn new(configured: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (home, key) = (dir.path().join("home"), dir.path().join("key"));
        let app = App::open_at(&home, &key).expect("opens");
        let store = Store::open(&home).expect("opens");
        let configured = configured.map(Secret::new);
        Self { _dir: dir, app, authenticator: Authenticator::new(store, configured.as_ref()) }
    }

    fn create(&self, new: &NewToken) -> (TokenRecord, Secret) {
        self.app.create_token(&Principal::operator(), new, &record(), None).expect("made")
    }

    fn revoke(&self, id: &str) {
        self.app.revoke_token(&Principal::operator(), id, &record()).expect("revoked");
    }

    fn known(&self, token: &Secret) -> Result<Arc<Principal>, AuthError> {
        self.authenticator.authenticate(token.expose())
    }

    fn known_by(&self, cookie: &Secret) -> Result<Arc<Principal>, AuthError> {
        self.authenticator.authenticate_session(cookie.expose())
    }
}

fn record() -> AuditRecord {
    AuditRecord::of(&Principal::operator(), "tokens")
}

fn new(scopes: &[Scope]) -> NewToken {
    NewToken {
        label: "one".into(),
        scopes: scopes.iter().cloned().collect(),
        name_prefix: Some("a-".parse().expect("a prefix")),
        limits: Limits { launches: Some(1), ..Limits::default() },
        server_credentials: true,
        expires_at: None,
    }
}

fn in_ms(ms: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() + time::Duration::milliseconds(ms)
}

#[test]
fn a_token_is_its_principal_with_all_that_it_was_given() {
    let bench = Bench::new(None);
    let (token, text) = bench.create(&new(&[Scope::Read]));
    for _ in 0..2 {
        let principal = bench.known(&text).expect("known");
        assert_eq!((&principal.id, &principal.label), (&token.id, &token.label));
        assert_eq!(principal.kind, PrincipalKind::Token);
        assert_eq!(principal.scopes, BTreeSet::from([Scope::Read]));
        assert_eq!(principal.name_prefix, token.name_prefix);
        assert_eq!((&principal.limits, principal.server_credentials), (&token.limits, true));
    }
}

#[test]
fn what_is_no_token_is_not_known_and_not_remembered() {
    let bench = Bench::new(Some(GIVEN));
    let (_, text) = bench.create(&new(&[Scope::Read]));
    let cookie = bearer::new_session();
    let stranger = bearer::new_token();
    for shown in
        ["", "x", cookie.expose(), stranger.expose(), &text.expose()[..46], &"x".repeat(9999)]
    {
        let error = bench.authenticator.authenticate(shown).expect_err(shown);
        assert_eq!(error, AuthError::Unknown);
        let error = bench.authenticator.authenticate_session(shown).expect_err(shown);
        assert_eq!(error, AuthError::Unknown);
    }
    assert!(bench.authenticator.memory().known.is_empty());
}

#[test]
fn a_token_that_another_process_revokes_is_refused_at_once() {
    let bench = Bench::new(None);
    let (token, text) = bench.create(&new(&[Scope::Read]));
    let (_, other) = bench.create(&new(&[Scope::Read]));
    bench.known(&text).expect("known");
    bench.known(&other).expect("known");
    bench.revoke(&token.id);
    assert_eq!(bench.known(&text), Err(AuthError::Revoked));
    bench.known(&other).expect("still known");
}

#[test]
fn no_token_is_known_after_its_revocation_has_returned_whatever_runs_beside() {
    let bench = Bench::new(None);
    let done = AtomicBool::new(false);
    for _ in 0..30 {
        let (token, text) = bench.create(&new(&[Scope::Read]));
        done.store(false, Ordering::SeqCst);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        let _ = bench.known(&text);
                    }
                });
            }
            bench.revoke(&token.id);
            let after = bench.known(&text);
            done.store(true, Ordering::SeqCst);
            assert_eq!(after, Err(AuthError::Revoked));
        });
        assert_eq!(bench.known(&text), Err(AuthError::Revoked));
    }
}

#[test]
fn a_token_expires_while_it_is_remembered() {
    let bench = Bench::new(None);
    let (_, text) =
        bench.create(&NewToken { expires_at: Some(in_ms(60_000)), ..new(&[Scope::Read]) });
    bench.known(&text).expect("known");
    // Time passes.
    for known in bench.authenticator.memory().known.values_mut() {
        let old = Arc::get_mut(known).expect("nobody else has it");
        old.ends = Some(in_ms(-1));
    }
    assert_eq!(bench.known(&text), Err(AuthError::Expired));
    let (_, text) = bench.create(&NewToken { expires_at: Some(in_ms(-1)), ..new(&[Scope::Read]) });
    assert_eq!(bench.known(&text), Err(AuthError::Expired));
}

#[test]
fn the_token_of_the_settings_may_everything_and_can_be_changed() {
    let bench = Bench::new(Some(GIVEN));
    let given = Secret::new(GIVEN);
    let principal = bench.known(&given).expect("known");
    assert_eq!((principal.id.as_str(), principal.kind), (CONFIGURED, PrincipalKind::Token));
    principal.may(Need::Tokens).expect("everything");
    let (cookie, _) = bench.authenticator.open_session(&principal).expect("opens");
    assert_eq!(bench.known_by(&cookie).expect("known").kind, PrincipalKind::Session);
    let other = Secret::new("another-0123456789abcdef");
    bench.authenticator.configure(Some(&other));
    assert_eq!(bench.known(&given), Err(AuthError::Unknown));
    assert_eq!(bench.known_by(&cookie), Err(AuthError::Unknown), "its session ended with it");
    bench.known(&other).expect("known");
    bench.authenticator.configure(Some(&given));
    bench.known_by(&cookie).expect("it is the token that the session was opened with");
    bench.authenticator.configure(None);
    assert_eq!(bench.known(&given), Err(AuthError::Unknown));
    assert_eq!(bench.known_by(&cookie), Err(AuthError::Unknown));
}

#[test]
fn a_session_is_its_token_and_ends_with_it() {
    let bench = Bench::new(None);
    let (token, text) = bench.create(&new(&[Scope::Read]));
    let principal = bench.known(&text).expect("known");
    let (cookie, ends) = bench.authenticator.open_session(&principal).expect("opens");
    assert!(ends > crate::store::now());
    let by_session = bench.known_by(&cookie).expect("known");
    assert_eq!(by_session.kind, PrincipalKind::Session);
    assert_eq!((&by_session.id, &by_session.scopes), (&token.id, &principal.scopes));
    bench.authenticator.open_session(&by_session).expect_err("no session from a session");
    bench.revoke(&token.id);
    assert_eq!(bench.known_by(&cookie), Err(AuthError::Unknown));
}

#[test]
fn a_session_ends_no_later_than_its_token() {
    let bench = Bench::new(None);
    let end = in_ms(60_000);
    let (_, text) = bench.create(&NewToken { expires_at: Some(end), ..new(&[Scope::Read]) });
    let principal = bench.known(&text).expect("known");
    let (cookie, _) = bench.authenticator.open_session(&principal).expect("opens");
    bench.known_by(&cookie).expect("known");
    let memory = bench.authenticator.memory();
    let ends: Vec<_> = memory.known.values().filter_map(|known| known.ends).collect();
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|it| *it <= end));
}

#[test]
fn a_session_is_closed_by_whoever_has_it_and_outlives_the_server() {
    let bench = Bench::new(None);
    let operator = Principal::operator();
    let (cookie, _) = bench.authenticator.open_session(&operator).expect("opens");
    let restarted = Authenticator::new(bench.app.store().clone(), None);
    assert_eq!(restarted.authenticate_session(cookie.expose()).expect("known").id, operator.id);
    bench.known_by(&cookie).expect("known");
    restarted.close_session("ocs_no-such").expect("nothing to do");
    restarted.close_session(cookie.expose()).expect("closes");
    assert_eq!(bench.known_by(&cookie), Err(AuthError::Unknown), "in the other process, too");
    let open = bench.authenticator.open_session(&Principal::open()).expect_err("no token");
    assert_eq!(open.kind, FailureKind::Forbidden);
}

#[test]
fn the_last_use_is_recorded_also_of_what_is_no_longer_remembered() {
    let bench = Bench::new(None);
    let (token, text) = bench.create(&new(&[Scope::Read]));
    let (other, _) = bench.create(&new(&[Scope::Read]));
    let last = || bench.app.store().token(&token.id).expect("reads").expect("there").last_used_at;
    bench.authenticator.record_uses().expect("nothing to do");
    bench.known(&text).expect("known");
    assert_eq!(last(), None, "a request does not wait for it");
    // The memory is emptied by a revocation.
    bench.revoke(&other.id);
    bench.known(&text).expect("known");
    bench.authenticator.record_uses().expect("records");
    let first = last().expect("recorded");
    bench.authenticator.record_uses().expect("nothing is new");
    assert_eq!(last().as_ref(), Some(&first));
    let principal = bench.known(&text).expect("known");
    let (cookie, _) = bench.authenticator.open_session(&principal).expect("opens");
    bench.known_by(&cookie).expect("known");
    bench.authenticator.record_uses().expect("records");
    assert!(last().expect("recorded") >= first);
}

#[tokio::test(start_paused = true)]
async fn uses_are_recorded_within_a_minute_and_at_the_end() {
    let bench = Bench::new(None);
    let (token, text) = bench.create(&new(&[Scope::Read]));
    let (other, text2) = bench.create(&new(&[Scope::Read]));
    let used = |id: &str| {
        bench.app.store().token(id).expect("reads").expect("there").last_used_at.is_some()
    };
    let end = CancellationToken::new();
    let keeps = bench.authenticator.keep_uses(end.clone());
    let asks = async {
        bench.known(&text).expect("known");
        let recorded =
            wait::until(Duration::from_secs(70), || async { used(&token.id).then_some(()) });
        recorded.await.expect("within a minute");
        bench.known(&text2).expect("known");
        assert!(!used(&other.id));
        end.cancel();
    };
    tokio::join!(keeps, asks);
    assert!(used(&other.id), "nothing is lost by a stop");
}

#[test]
fn only_an_administrator_makes_and_sees_tokens() {
    let bench = Bench::new(None);
    let (token, text) = bench.create(&new(&[Scope::Read, Scope::Deploy]));
    let narrow = bench.known(&text).expect("known");
    for by in [&*narrow, &Principal::open()] {
        for failure in [
            bench.app.create_token(by, &new(&[Scope::Read]), &record(), None).map(drop),
            bench.app.revoke_token(by, &token.id, &record()).map(drop),
            bench.app.token(by, &token.id).map(drop),
            bench.app.tokens(by, None, 10).map(drop),
        ] {
            assert_eq!(failure.expect_err("not theirs").kind, FailureKind::Forbidden);
        }
    }
    let operator = Principal::operator();
    assert_eq!(bench.app.tokens(&operator, None, 10).expect("lists").0.len(), 1);
    let none = bench.app.token(&operator, "none").expect_err("no such");
    assert_eq!(none.kind, FailureKind::NotFound);
}

#[test]
fn a_token_that_makes_no_sense_is_not_made() {
    let bench = Bench::new(None);
    let refused = |new: &NewToken| {
        let made = bench.app.create_token(&Principal::operator(), new, &record(), None);
        made.expect_err("no sense").kind
    };
    let good = new(&[Scope::Read]);
    let sizes = Limits { sizes: Some(vec!["a b".into()]), ..Limits::default() };
    for bad in [
        NewToken { label: String::new(), ..good.clone() },
        NewToken { scopes: BTreeSet::new(), ..good.clone() },
        NewToken { scopes: BTreeSet::from([Scope::Admin]), ..good.clone() },
        NewToken { limits: sizes, ..good },
    ] {
        assert_eq!(refused(&bad), FailureKind::BadInput);
    }
    assert!(bench.app.store().tokens(None, 10).expect("reads").0.is_empty());
}

#[test]
fn a_server_is_open_until_there_is_a_token() {
    let bench = Bench::new(None);
    assert!(bench.authenticator.is_open().expect("looks"));
    let (token, _) = bench.create(&new(&[Scope::Read]));
    assert!(!bench.authenticator.is_open().expect("looks"));
    bench.revoke(&token.id);
    assert!(!bench.authenticator.is_open().expect("looks"), "what was closed stays closed");
    let next = Authenticator::new(bench.app.store().clone(), None);
    assert!(next.is_open().expect("looks"), "a new server begins anew");
    assert!(!Bench::new(Some(GIVEN)).authenticator.is_open().expect("looks"));
}

#[test]
fn nothing_prints_what_was_shown() {
    let bench = Bench::new(Some(GIVEN));
    let (token, text) = bench.create(&new(&[Scope::Read]));
    let principal = bench.known(&text).expect("known");
    let (cookie, _) = bench.authenticator.open_session(&principal).expect("opens");
    let told = format!("{:?} {token:?} {principal:?}", bench.authenticator);
    for secret in [GIVEN, text.expose(), cookie.expose()] {
        assert!(!told.contains(&secret[4..]), "{told}");
    }
}
