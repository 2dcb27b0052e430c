//! What tokens may, and what they may not.

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::domain::TargetKind;

fn name(text: &str) -> DeploymentName {
    text.parse().expect("a name")
}

fn with(scopes: &[&str]) -> Principal {
    let scopes = scopes.iter().map(|scope| scope.parse().expect("a scope")).collect();
    Principal { scopes, ..Principal::unlimited("id", "label", PrincipalKind::Token) }
}

fn needs(name: &DeploymentName) -> [Need<'_>; 8] {
    [
        Need::Read,
        Need::Deploy,
        Need::Approve,
        Need::Access,
        Need::Destroy,
        Need::Event(name),
        Need::Tokens,
        Need::Admin,
    ]
}

fn scopes() -> impl Strategy<Value = BTreeSet<Scope>> {
    let scope = prop_oneof![
        Just(Scope::Read),
        Just(Scope::Deploy),
        Just(Scope::Connect),
        Just(Scope::Destroy),
        Just(Scope::Admin),
        "[a-z]{1,3}".prop_map(|text| Scope::Events(name(&text))),
    ];
    proptest::collection::btree_set(scope, 0..5)
}

#[test]
fn a_denial_says_what_is_missing_and_how_to_get_it() {
    let denied = with(&["read"]).may(Need::Access).expect_err("it may only look");
    assert_eq!(denied, Denied::Scope(Scope::Connect));
    assert!(denied.to_string().contains("the scope connect"), "{denied}");
    assert!(denied.remedy().contains("tokens create --label LABEL --scope connect"));
    let denied = with(&["read"]).may(Need::Event(&name("a"))).expect_err("no events");
    assert!(denied.remedy().contains("--events a"), "{}", denied.remedy());
}

#[test]
fn events_are_for_one_name() {
    let token = with(&["events:a"]);
    token.may(Need::Event(&name("a"))).expect("its own");
    token.may(Need::Event(&name("ab"))).expect_err("another one's");
    token.may(Need::Read).expect_err("nothing else");
}

#[test]
fn any_of_several_is_enough() {
    let name = name("a");
    let needs = [Need::Deploy, Need::Approve, Need::Event(&name)];
    for scope in ["deploy", "connect", "events:a", "admin"] {
        with(&[scope]).may_any(&needs).expect(scope);
    }
    let denied = with(&["read"]).may_any(&needs).expect_err("none of them");
    assert_eq!(denied, Denied::Scope(Scope::Deploy));
}

#[test]
fn without_a_token_the_dangerous_calls_are_not_offered() {
    let (open, name) = (Principal::open(), name("a"));
    for need in needs(&name) {
        let refused = matches!(need, Need::Access | Need::Destroy | Need::Tokens);
        assert_eq!(open.may(need).is_err(), refused, "{need:?}");
        Principal::operator().may(need).expect("the operator may all");
    }
    let denied = open.may(Need::Tokens).expect_err("no tokens");
    assert!(denied.remedy().contains("OPENCLAW_PIPELINE_API_TOKEN"));
}

#[test]
fn scopes_are_read_and_written_alike() {
    for text in ["read", "deploy", "connect", "destroy", "admin", "events:team-a"] {
        let scope: Scope = text.parse().expect(text);
        assert_eq!(scope.to_string(), text);
        let json = serde_json::to_value(&scope).expect("writes");
        assert_eq!(json, text);
        assert_eq!(serde_json::from_value::<Scope>(json).expect("reads"), scope);
    }
    for text in ["", "Read", "write", "events", "events:", "events:A", "events:*", "admin "] {
        text.parse::<Scope>().expect_err(text);
    }
}

#[test]
fn a_prefix_covers_names_that_begin_with_it() {
    let prefix: NamePrefix = "team-a-".parse().expect("a prefix");
    let token = Principal { name_prefix: Some(prefix), ..with(&["read"]) };
    assert!(token.reaches(&name("team-a-1")));
    assert!(!token.reaches(&name("team-a")) && !token.reaches(&name("main")));
    for text in ["", "-a", "A", "a*", "a/", &"a".repeat(41)] {
        text.parse::<NamePrefix>().expect_err(text);
    }
}

#[test]
fn a_launch_is_of_a_kind_that_the_limits_allow() {
    let local = Wanted::on(TargetKind::Process);
    Limits::default().allow(&local).expect("none");
    let limits = Limits {
        monthly_price: Some(0),
        targets: Some(vec![TargetKind::Process]),
        sizes: Some(vec!["small".into()]),
        regions: Some(Vec::new()),
        ..Limits::default()
    };
    limits.allow(&local).expect("what a target does not have is not limited");
    limits.allow(&Wanted { size: Some("small"), monthly_price: Some(0), ..local }).expect("listed");
    for beyond in [
        Wanted::on(TargetKind::Docker),
        Wanted { size: Some("large"), ..local },
        Wanted { region: Some("moon"), ..local },
        Wanted { monthly_price: Some(1), ..local },
    ] {
        let denied = limits.allow(&beyond).expect_err("beyond");
        assert!(matches!(denied, Denied::Limit(_)), "{beyond:?}");
    }
}

#[test]
fn limits_are_plain_and_bounded() {
    let sizes = |items: &[&str]| Limits {
        sizes: Some(items.iter().map(|item| (*item).to_owned()).collect()),
        ..Limits::default()
    };
    sizes(&["t3.small", "medium_3_0"]).check().expect("plain words");
    for items in [&[""][..], &["a b"], &["a\n"], &["x"; LIMIT_ITEMS_MAX + 1], &[&"x".repeat(61)]] {
        sizes(items).check().expect_err("no plain words, or too many");
    }
    serde_json::from_str::<Limits>(r#"{"deployment": 1}"#).expect_err("a slip is told");
}

#[test]
fn scopes_that_make_no_sense_are_refused() {
    let prefix: NamePrefix = "a-".parse().expect("a prefix");
    check_scopes(&with(&["read", "events:a-1"]).scopes, Some(&prefix)).expect("within");
    check_scopes(&with(&["events:b"]).scopes, Some(&prefix)).expect_err("out of reach");
    check_scopes(&with(&["admin"]).scopes, Some(&prefix)).expect_err("admin has no bound");
    check_scopes(&BTreeSet::new(), None).expect_err("for nothing");
    let many = (0..=SCOPES_MAX).map(|n| Scope::Events(name(&format!("n{n}")))).collect();
    check_scopes(&many, None).expect_err("too many");
}

#[test]
fn labels_are_what_they_look_like() {
    for label in ["front end", "ä", &"x".repeat(LABEL_MAX)] {
        check_label(label).expect(label);
    }
    for label in ["", " x", "x ", "a\nb", "a\u{1b}[31mb", "a\u{202e}b", &"x".repeat(LABEL_MAX + 1)]
    {
        check_label(label).expect_err(label);
    }
}

#[test]
fn an_expiry_is_a_moment_or_a_time_from_now() {
    let now = datetime!(2030-01-01 00:00 UTC);
    for (given, end) in [
        ("30d", datetime!(2030-01-31 00:00 UTC)),
        ("12h", datetime!(2030-01-01 12:00 UTC)),
        ("90m", datetime!(2030-01-01 01:30 UTC)),
        ("2030-06-01T02:00:00+02:00", datetime!(2030-06-01 00:00 UTC)),
    ] {
        assert_eq!(expiry(given, now).expect(given), end, "{given}");
    }
    for given in [
        "",
        "d",
        "0d",
        "-1d",
        "1.5h",
        "30",
        "1y",
        "4294967295d",
        "3651d",
        "2029-12-31T23:59:59Z",
        "ä",
    ] {
        expiry(given, now).expect_err(given);
    }
}

proptest! {
    #[test]
    fn no_scope_implies_another(scopes in scopes(), asked in "[a-z]{1,3}") {
        let principal =
            Principal { scopes, ..Principal::unlimited("id", "label", PrincipalKind::Token) };
        let asked = name(&asked);
        for need in needs(&asked) {
            let has = principal.scopes.contains(&Scope::Admin)
                || principal.scopes.contains(&need.scope());
            prop_assert_eq!(principal.may(need).is_ok(), has);
        }
    }

    #[test]
    fn a_prefix_reaches_what_begins_with_it_and_nothing_else(
        prefix in "[a-z0-9][a-z0-9-]{0,5}", asked in "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?",
    ) {
        let token = Principal {
            name_prefix: Some(prefix.parse().expect("a prefix")), ..with(&["read"])
        };
        prop_assume!(asked != "server");
        prop_assert_eq!(token.reaches(&name(&asked)), asked.starts_with(&prefix));
    }

    #[test]
    fn nothing_given_makes_it_panic(given in "\\PC{0,30}") {
        let _ = given.parse::<Scope>();
        let _ = given.parse::<NamePrefix>();
        let _ = check_label(&given);
        let _ = expiry(&given, datetime!(2030-01-01 00:00 UTC));
    }
}
