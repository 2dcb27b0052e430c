//! What is merged, what is told, and what stays.

use proptest::prelude::*;

use super::*;

fn managed() -> ManagedConfig {
    ManagedConfig {
        version: None,
        port: 18789,
        bind: Bind::Lan,
        origins: vec!["http://127.0.0.1:18789".into(), "http://localhost:18789".into()],
        proxies: Vec::new(),
        stale_proxies: Vec::new(),
        stale_origins: Vec::new(),
        model: Some("anthropic/claude-sonnet-5".into()),
        model_is_chosen: true,
        last_model: None,
        exec_ask: ExecAsk::On,
        heartbeat: "0m".into(),
        workspace: "/work".into(),
        log: None,
        users_file: false,
    }
}

fn merged(current: &str, managed: &ManagedConfig) -> Value {
    let text = merge(current, managed).expect("merges").text.expect("changes");
    serde_json::from_str(&text).expect("is JSON")
}

#[test]
fn an_empty_configuration_becomes_the_managed_one() {
    let text = merge("", &managed()).expect("merges").text.expect("changes");
    insta::assert_snapshot!(text);
}

#[test]
fn the_users_keys_stay() {
    let user = r#"{
        // a comment
        gateway: { port: 1, controlUi: { allowedOrigins: ["https://mine"] }, tls: {} },
        channels: { telegram: { enabled: true } },
        agents: { defaults: { model: "openai/gpt-5.5", thinking: "high" } },
    }"#;
    let tree = merged(user, &managed());
    assert_eq!(tree["channels"]["telegram"]["enabled"], true);
    assert_eq!(tree["agents"]["defaults"]["thinking"], "high");
    assert_eq!(tree["agents"]["defaults"]["model"]["primary"], "anthropic/claude-sonnet-5");
    assert_eq!(tree["gateway"]["port"], 18789);
    assert_eq!(tree["gateway"]["controlUi"]["allowedOrigins"][0], "https://mine");
    assert!(tree["gateway"]["tls"].is_object());
}

#[test]
fn an_older_version_gets_no_key_that_it_does_not_know() {
    for (version, knows) in [("2026.7.1", false), ("2026.8.1", true), ("2026.9.6", true)] {
        let version = OpenClawVersion::parse(version);
        let tree = merged("", &ManagedConfig { version, ..managed() });
        assert_eq!(tree["gateway"].get("nodes").is_some(), knows, "{version:?}");
        assert_eq!(tree.get("skills").is_some(), knows, "{version:?}");
        assert!(tree["plugins"].is_object(), "{version:?}");
    }
}

#[test]
fn a_users_model_stays_when_none_was_chosen() {
    let managed = ManagedConfig { model: None, ..managed() };
    let tree = merged("{agents: {defaults: {model: \"x/y\"}}}", &managed);
    assert_eq!(tree["agents"]["defaults"]["model"], "x/y");
}

#[test]
fn merging_again_changes_nothing() {
    let first = merge("", &managed()).expect("merges").text.expect("changes");
    assert_eq!(merge(&first, &managed()).expect("merges").text, None);
}

#[test]
fn stale_origins_of_ours_go_and_the_users_stay() {
    let mut managed = managed();
    managed.origins = vec!["http://new".into()];
    managed.stale_origins = vec!["http://old".into(), "http://new".into()];
    let user = r#"{"gateway":{"controlUi":{"allowedOrigins":["http://old","http://user"]}}}"#;
    let tree = merged(user, &managed);
    let origins = &tree["gateway"]["controlUi"]["allowedOrigins"];
    assert_eq!(*origins, json!(["http://user", "http://new"]));
}

#[test]
fn a_token_in_the_file_goes_with_a_notice_that_does_not_say_it() {
    let user = r#"{"gateway":{"auth":{"token":"very-secret"}},"tools":{"exec":{"ask":"on"}}}"#;
    let merged = merge(user, &managed()).expect("merges");
    let text = merged.text.expect("changes");
    assert!(!text.contains("very-secret"));
    assert_eq!(merged.notices.len(), 2, "{:?}", merged.notices);
    assert!(!merged.notices.join(" ").contains("very-secret"));
}

#[test]
fn a_broken_file_is_refused() {
    for text in ["{", "[]", "\"x\"", "{a: }", "{\"a\": 1} trailing"] {
        assert!(merge(text, &managed()).is_err(), "{text}");
    }
}

#[test]
fn what_is_in_place_stays_but_for_the_managed_keys() {
    let in_place = || Some("{\"a\": 1}".to_owned());
    let placing = place(in_place(), Some("{b: 2}"), &managed()).expect("merges");
    let text = placing.text.expect("changes");
    assert!(text.contains("\"a\"") && !text.contains("\"b\""));
    assert_eq!(placing.replaced, None);
    let again = place(Some(text), Some("{b: 2}"), &managed()).expect("merges");
    assert_eq!(again.text, None);
}

#[test]
fn the_users_file_is_used_where_nothing_is_in_place() {
    let placing = place(None, Some("{b: 2}"), &managed()).expect("merges");
    assert!(placing.text.expect("writes").contains("\"b\""));
    assert_eq!(placing.replaced, None);
}

#[test]
fn the_users_file_replaces_what_is_in_place_when_it_is_asked_for() {
    let managed = ManagedConfig { users_file: true, ..managed() };
    let in_place = || Some("{\"a\": 1}".to_owned());
    let placing = place(in_place(), Some("{b: 2}"), &managed).expect("merges");
    let text = placing.text.expect("changes");
    assert!(text.contains("\"b\"") && !text.contains("\"a\""));
    assert_eq!(placing.replaced, in_place());
    // Again after an interruption: the old one must not be lost to the new one.
    let again = place(Some(text.clone()), Some("{b: 2}"), &managed).expect("merges");
    assert_eq!((again.text, again.replaced), (None, None));
    // The user's file says what the managed keys say already.
    let same = place(in_place(), Some(&text), &managed).expect("merges");
    assert_eq!(same.text, Some(text));
}

#[test]
fn what_is_no_object_or_list_where_one_is_managed_is_replaced_with_a_notice() {
    let lists = [("controlUi", "gateway.controlUi"), ("trustedProxies", "gateway.trustedProxies")];
    for (key, path) in lists {
        for value in ["true", "\"x\"", "3", "null"] {
            let said = merge(&format!("{{gateway: {{{key}: {value}}}}}"), &managed());
            let said = said.expect("merges");
            assert!(said.notices[0].contains(path), "{value}: {:?}", said.notices);
            let tree: Value = serde_json::from_str(&said.text.expect("changes")).expect("JSON");
            assert_eq!(tree["gateway"]["controlUi"]["allowedOrigins"], json!(managed().origins));
            assert_eq!(tree["gateway"]["trustedProxies"], json!([]));
        }
    }
    let said = merge("{gateway: {controlUi: {allowedOrigins: 'x'}}}", &managed()).expect("merges");
    assert!(said.notices[0].contains("gateway.controlUi.allowedOrigins"), "{:?}", said.notices);
}

#[test]
fn every_key_that_was_the_users_and_is_managed_is_named() {
    let user = r#"{
        gateway: { port: 1, mode: "local" },
        agents: { defaults: { heartbeat: { every: "5m" }, model: "x/y" } },
        tools: { exec: { mode: "full" } },
        discovery: { mdns: { mode: "minimal" } },
        plugins: { entries: { "memory-core": { config: { dreaming: { enabled: true } } } } },
    }"#;
    let said = merge(user, &managed()).expect("merges");
    let [notice] = &said.notices[..] else { panic!("one notice: {:?}", said.notices) };
    for key in [
        "gateway.port (see GATEWAY_PORT)",
        "agents.defaults.heartbeat.every (see HEARTBEAT)",
        "agents.defaults.model.primary (see DEFAULT_MODEL)",
        "tools.exec.mode (see EXEC_ASK)",
        "discovery.mdns.mode",
        "plugins.entries.memory-core.config.dreaming.enabled",
    ] {
        assert!(notice.contains(key), "{key}: {notice}");
    }
    assert!(!notice.contains("gateway.mode"), "{notice}");
    let again = merge(&said.text.expect("changes"), &managed()).expect("merges");
    assert_eq!(again.notices, Vec::<String>::new());
}

#[test]
fn a_model_that_follows_from_the_keys_gives_way_to_the_one_in_the_file() {
    let auto = ManagedConfig { model_is_chosen: false, ..managed() };
    let model = |text: &str, managed: &ManagedConfig| merge(text, managed).expect("merges").model;
    let ours = Some("anthropic/claude-sonnet-5".to_owned());
    assert_eq!(model("", &auto), ours);
    assert_eq!(model("{agents: {defaults: {model: {}}}}", &auto), ours);
    for theirs in ["'x/y'", "{primary: 'x/y', fallbacks: ['z/z']}"] {
        let text = format!("{{agents: {{defaults: {{model: {theirs}}}}}}}");
        assert_eq!(model(&text, &auto).as_deref(), Some("x/y"));
        assert_eq!(model(&text, &managed()), ours, "it was chosen outright");
        // With another key, what followed from the first one is nobody's choice.
        let before = ManagedConfig { last_model: Some("x/y".into()), ..auto.clone() };
        let said = merge(&text, &before).expect("merges");
        assert_eq!((said.model, said.notices), (ours.clone(), Vec::new()));
    }
}

#[test]
fn ranges_and_nodes_that_let_themselves_in_are_told() {
    let user = r#"{gateway: {
        trustedProxies: ["10.0.0.1", "10.0.0.2/32", "fd00::1/128", "10.1.0.0/16", "fd00::/64"],
        nodes: { pairing: { autoApproveCidrs: ["192.168.1.0/24"], sshVerify: { user: "me" } } },
    }}"#;
    let said = merge(user, &managed()).expect("merges");
    let all = said.notices.join("\n");
    assert!(all.contains("ranges (10.1.0.0/16, fd00::/64)"), "{all}");
    assert!(all.contains("autoApproveCidrs"), "{all}");
    assert!(all.contains("gateway.nodes.pairing.sshVerify"), "{all}");
    let tree: Value = serde_json::from_str(&said.text.expect("changes")).expect("JSON");
    assert_eq!(tree["gateway"]["nodes"]["pairing"]["sshVerify"], false);
    assert_eq!(tree["gateway"]["trustedProxies"].as_array().map(Vec::len), Some(5));
}

#[test]
fn a_provider_of_the_users_own_counts_with_its_key_only() {
    let text = r#"{models: {providers: {mine: {apiKey: "k"}, bare: {baseUrl: "http://x"}}}}"#;
    assert!(brings_provider(text, "mine"));
    assert!(!brings_provider(text, "bare") && !brings_provider(text, "other"));
    assert!(!brings_provider("{models: 1}", "mine") && !brings_provider("{", "mine"));
}

#[test]
fn a_file_that_is_nested_without_end_is_refused() {
    let (open, close) = ("{a:[".repeat(50_000), "]}".repeat(50_000));
    assert!(merge(&format!("{open}{close}"), &managed()).is_err());
    assert!(merge(&open, &managed()).is_err());
    assert_eq!(nesting(r#"{"[[\"[": ['{\'{', /* [[ */ {}]} // {{"#), 3);
}

/// Any JSON, its keys mostly those on the way to what is managed.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z/0-9.:]{0,12}".prop_map(Value::from),
    ];
    let keys: Vec<&str> =
        "gateway controlUi allowedOrigins nodes pairing trustedProxies auth mode \
        token autoApproveCidrs agents defaults model primary heartbeat every tools exec ask \
        discovery mdns plugins entries memory-core enabled update auto skills workshop other"
            .split_whitespace()
            .collect();
    leaf.prop_recursive(5, 96, 8, move |inner| {
        let key = prop_oneof![
            9 => proptest::sample::select(keys.clone()).prop_map(str::to_owned),
            1 => "[a-z]{1,4}",
        ];
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => proptest::collection::vec((key, inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// That every leaf of the managed tree stands in the other one.
fn holds(tree: &Value, managed: &Value) -> bool {
    match managed {
        Value::Object(managed) => managed
            .iter()
            .all(|(key, value)| tree.get(key).is_some_and(|found| holds(found, value))),
        leaf => tree == leaf,
    }
}

/// That what the user has, and the managed tree says nothing of, is there still.
fn stays(tree: Option<&Value>, users: &Value, managed: Option<&Value>, path: &str) -> bool {
    const TAKEN: [&str; 6] = [
        "/gateway/auth/token",
        "/gateway/auth/password",
        "/tools/exec/security",
        "/tools/exec/ask",
        "/gateway/controlUi/allowedOrigins",
        "/gateway/trustedProxies",
    ];
    match (users, managed) {
        _ if TAKEN.contains(&path) => true,
        (Value::Object(users), None | Some(Value::Object(_))) => {
            users.iter().all(|(key, value)| {
                let managed = managed.and_then(|managed| managed.get(key));
                let tree = tree.and_then(|tree| tree.get(key));
                stays(tree, value, managed, &format!("{path}/{key}"))
            })
        }
        (users, None) => tree == Some(users),
        (_, Some(_)) => true,
    }
}

proptest! {
    #[test]
    fn any_configuration_can_be_merged(users in tree(), chosen: bool, current: bool) {
        let version = (!current).then(|| OpenClawVersion::new(2026, 7, 1));
        let managed = ManagedConfig { version, model_is_chosen: chosen, ..managed() };
        let said = merge(&users.to_string(), &managed);
        prop_assert_eq!(said.is_ok(), users.is_object());
        if let Ok(said) = said {
            let text = said.text.unwrap_or_else(|| users.to_string());
            let after: Value = serde_json::from_str(&text).expect("is JSON");
            let wanted = managed.tree(&users);
            prop_assert!(holds(&after, &wanted), "{}", after);
            prop_assert!(stays(Some(&after), &users, Some(&wanted), ""), "{}", after);
            for origin in &managed.origins {
                let origins = after["gateway"]["controlUi"]["allowedOrigins"].as_array();
                prop_assert!(origins.expect("a list").contains(&json!(origin)));
            }
            let again = merge(&text, &managed).expect("merges");
            prop_assert_eq!(again.text, None, "it settles");
        }
    }
}

#[test]
fn a_proxy_is_believed_while_it_leads_there_and_the_users_own_always() {
    let proxies = |text: &str, proxy: Option<&str>| {
        let proxies = proxy.map(str::to_owned).into_iter().collect();
        let stale_proxies = vec!["10.9.0.0/16".to_owned()];
        let managed = ManagedConfig { proxies, stale_proxies, ..managed() };
        let merged = merge(text, &managed).expect("merges");
        let text = merged.text.unwrap_or_else(|| text.to_owned());
        (parse(&text).expect("JSON")["gateway"]["trustedProxies"].clone(), text)
    };
    let (with, text) = proxies("", Some(TUNNEL_ADDRESS));
    assert_eq!(with, json!([TUNNEL_ADDRESS]));
    assert_eq!(proxies(&text, Some(TUNNEL_ADDRESS)).0, with, "once");
    assert_eq!(proxies(&text, None).0, json!([]), "it is gone");
    let users = r#"{ gateway: { trustedProxies: ["10.0.0.7"] } }"#;
    let (both, text) = proxies(users, Some(TUNNEL_ADDRESS));
    assert_eq!(both, json!(["10.0.0.7", TUNNEL_ADDRESS]));
    assert_eq!(proxies(&text, None).0, json!(["10.0.0.7"]), "the user's stays");
    let before = r#"{ gateway: { trustedProxies: ["10.9.0.0/16", "10.0.0.7"] } }"#;
    assert_eq!(proxies(before, Some("10.8.0.0/16")).0, json!(["10.0.0.7", "10.8.0.0/16"]));
}
