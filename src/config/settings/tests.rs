//! Tests of the settings: precedence, origins, typed readings, notices.

use super::*;
use crate::domain::FailureKind;
use crate::domain::approval::{DEFAULT_DEVICES, DEFAULT_WINDOW_S};

const TOKEN: &str = "0123456789abcdef-s3cr3t";

fn sources() -> Sources {
    Sources::new("/w").env("HOME", "/home/u")
}

fn resolved(sources: &Sources) -> Settings {
    Settings::resolve(sources).expect("resolved")
}

fn dotenv(text: &str) -> Settings {
    resolved(&sources().dotenv(text))
}

#[test]
fn without_anything_there_are_defaults() {
    let settings = resolved(&sources());
    assert_eq!(settings.name().expect("name").as_str(), "main");
    assert!(settings.gateway_token().expect("token").is_none());
    assert_eq!(settings.port().expect("port"), None);
    assert_eq!(settings.bind().expect("bind").to_string(), "127.0.0.1");
    assert!(settings.credentials().expect("credentials").is_empty());
    assert_eq!(settings.model().expect("model"), None);
    assert_eq!(settings.exec_ask().expect("exec"), ExecAsk::On);
    assert_eq!(settings.heartbeat().expect("heartbeat"), "0m");
    assert_eq!(settings.approval().expect("approval"), ApprovalPolicy::default());
    assert_eq!(settings.image().expect("image"), super::super::variables::DEFAULT_IMAGE);
    assert_eq!(settings.version().expect("version"), "2026.9.6");
    assert_eq!(settings.memory_mib().expect("memory"), 2048);
    assert_eq!(
        settings.data_directory().expect("data"),
        Path::new("/home/u/.local/share/openclaw-pipeline")
    );
    assert_eq!(
        settings.key_file().expect("key"),
        Path::new("/home/u/.config/openclaw-pipeline/sealing.key")
    );
    assert!(settings.gateway_env().expect("env").variables.is_empty());
    assert!(settings.notices().is_empty());
    assert!(settings.problems().is_empty());
    assert_eq!((DEFAULT_WINDOW_S, DEFAULT_DEVICES), (600, 3));
}

#[test]
fn the_stronger_place_wins_and_is_remembered() {
    let mut all = sources()
        .flag(Variable::GatewayPort, "1001")
        .env("GATEWAY_PORT", "1002")
        .dotenv("# c\nGATEWAY_PORT=1003")
        .config("/c/config.env", "\n\nGATEWAY_PORT=1004");
    let seen = |sources: &Sources| {
        let settings = resolved(sources);
        let port = settings.port().expect("port").map_or(0, u32::from);
        (port, settings.origin(Variable::GatewayPort))
    };
    assert_eq!(seen(&all), (1001, Origin::Flag));
    all.flags.clear();
    assert_eq!(seen(&all), (1002, Origin::Environment));
    // An empty value counts as none.
    all = all.env("GATEWAY_PORT", "");
    assert_eq!(seen(&all), (1003, Origin::DotEnv { line: 2 }));
    all = all.dotenv("GATEWAY_PORT=");
    assert_eq!(seen(&all), (1004, Origin::ConfigFile { line: 3 }));
    all.config = None;
    assert_eq!(seen(&all), (0, Origin::Default));
}

#[test]
fn a_wrong_value_is_refused_where_it_is_read_and_says_where_it_stands() {
    let settings = dotenv("GATEWAY_PORT=abc\nHEARTBEAT=30\nOPENCLAW_PIPELINE_VERSION=latest");
    let failure = settings.port().expect_err("abc");
    assert!(failure.message.contains("from: .env line 1"), "{failure}");
    assert!(settings.memory_mib().is_ok(), "others can be read");
    let wrong: Vec<Variable> = settings.problems().into_iter().map(|(v, _)| v).collect();
    assert_eq!(wrong, [Variable::GatewayPort, Variable::Heartbeat, Variable::Version]);
}

#[test]
fn an_awkward_dotenv_is_read_as_it_is_meant() {
    let text = format!(
        "\u{feff}# comment\r\nexport OPENCLAW_GATEWAY_TOKEN=\"{TOKEN}\"\r\nGATEWAY_PORT = 2000 # here\r\n\
         OPENAI_API_KEY='sk-$1'\r\nXAI_API_KEY=\r\nGATEWAY_PORT=2001\r\nANTHROPIC_APIKEY=s3cr3t\r\n\
         TELEGRAM_BOT_TOKEN=s3cr3t\r\n"
    );
    let settings = dotenv(&text);
    assert_eq!(settings.gateway_token().expect("token").expect("given").expose(), TOKEN);
    assert_eq!(settings.port().expect("port"), Some(2001));
    let credentials = settings.credentials().expect("credentials");
    assert_eq!(credentials.len(), 1);
    assert_eq!(credentials[0].1.expose(), "sk-$1");
    let notices = settings.notices();
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert!(notices[0].contains("line 3 and again on line 6"), "{notices:?}");
    assert!(notices[1].contains("line 7") && notices[1].contains("ANTHROPIC_API_KEY"));
    assert!(notices[2].contains("TELEGRAM_BOT_TOKEN (line 8)"), "{notices:?}");
    assert!(notices.iter().all(|notice| notice.contains("/w/.env")));
    assert!(!format!("{notices:?} {settings:?}").contains("s3cr3t"));
}

#[test]
fn of_a_malformed_file_nothing_is_used_and_its_path_and_line_are_told() {
    let settings = dotenv("A=1\ns3cr3t\nEXEC_ASK=off\n  export name='x");
    let failure = settings.broken().expect("malformed");
    assert!(failure.message.starts_with("/w/.env: line 2: "), "{failure}");
    assert!(!failure.message.contains("s3cr3t"), "{failure}");
    // What it seems to set is not replaced by something weaker; the rest is as if it were not
    // there.
    assert!(settings.exec_ask().is_err() && settings.name().is_err());
    assert_eq!(settings.port().expect("port"), None);
    let wrong: Vec<Variable> = settings.problems().into_iter().map(|(v, _)| v).collect();
    assert_eq!(wrong, [Variable::Name, Variable::ExecAsk]);
    let stronger = sources().dotenv("EXEC_ASK='").env("EXEC_ASK", "off");
    assert_eq!(resolved(&stronger).exec_ask().expect("the environment"), ExecAsk::Off);
    let both = sources().dotenv("EXEC_ASK=off").config("/c/config.env", "EXEC_ASK='");
    assert_eq!(resolved(&both).exec_ask().expect(".env"), ExecAsk::Off);
    let settings = resolved(&sources().config("/c/config.env", "A='"));
    let failure = settings.broken().expect("malformed");
    assert!(failure.message.starts_with("/c/config.env: line 1"), "{failure}");
}

#[test]
fn a_dotenv_with_secrets_that_others_can_read_is_noted() {
    let mut shared = sources().dotenv(format!("OPENCLAW_GATEWAY_TOKEN={TOKEN}"));
    shared.dotenv.as_mut().expect("set").shared = true;
    assert!(resolved(&shared).notices()[0].contains("chmod 600"));
    let mut harmless = sources().dotenv("GATEWAY_PORT=2000\nOPENAI_API_KEY=");
    harmless.dotenv.as_mut().expect("set").shared = true;
    assert!(resolved(&harmless).notices().is_empty());
}

#[test]
fn a_preset_name_is_ignored_and_a_chosen_one_is_not() {
    let wsl = sources().env("NAME", "DESKTOP-4711");
    let settings = resolved(&wsl);
    assert_eq!(settings.name().expect("main").as_str(), "main");
    assert!(settings.notices()[0].contains("DESKTOP-4711"));
    let settings = resolved(&wsl.clone().dotenv("NAME=team"));
    assert_eq!(settings.name().expect("team").as_str(), "team");
    let settings = resolved(&wsl.clone().env("name", "other"));
    assert_eq!(settings.name().expect("other").as_str(), "other");
    let settings = resolved(&sources().env("NAME", "preset").env("name", "chosen"));
    assert_eq!(settings.name().expect("chosen").as_str(), "chosen");
    // What nobody presets is never replaced by another deployment's name.
    for wrong in [
        sources().flag(Variable::Name, "Prod_1"),
        sources().env("name", "Prod_1"),
        sources().dotenv("NAME=Prod_1"),
    ] {
        let failure = resolved(&wrong).name().expect_err("refused");
        assert!(failure.message.contains("1 to 40"), "{failure}");
    }
}

#[test]
fn tokens_are_checked() {
    for bad in ["short", "with blank in the midst of it", "0123456789abcdef\nX"] {
        let failure =
            resolved(&sources().env("OPENCLAW_GATEWAY_TOKEN", bad)).gateway_token().expect_err(bad);
        assert!(failure.message.contains("OPENCLAW_GATEWAY_TOKEN"), "{failure}");
        assert!(failure.message.contains("from: environment"), "{failure}");
        assert!(!failure.message.contains(bad), "{failure}");
    }
}

#[test]
fn credentials_come_in_the_order_of_their_table() {
    let settings = dotenv("OPENAI_API_KEY=o\nCLAUDE_CODE_OAUTH_TOKEN=c\nGEMINI_API_KEY=g");
    let credentials = settings.credentials().expect("credentials");
    let names: Vec<&str> = credentials.iter().map(|(c, _)| c.variable).collect();
    assert_eq!(names, ["CLAUDE_CODE_OAUTH_TOKEN", "GEMINI_API_KEY", "OPENAI_API_KEY"]);
    let failure = dotenv("OPENAI_API_KEY='a b'").credentials().expect_err("a blank");
    assert!(failure.message.contains("OPENAI_API_KEY"), "{failure}");
}

#[test]
fn models_are_chosen_and_need_a_credential() {
    let model = |text: &str| dotenv(text).model();
    let chosen = |text: &str| model(text).expect(text).expect(text).model;
    assert_eq!(chosen("GEMINI_API_KEY=g"), "google/gemini-3.5-flash");
    assert_eq!(chosen("OPENAI_API_KEY=o\nDEFAULT_MODEL=gpt-5.5"), "openai/gpt-5.5");
    assert_eq!(
        chosen("OPENAI_API_KEY=o\nGEMINI_API_KEY=g\nDEFAULT_PROVIDER=openai"),
        "openai/gpt-5.5"
    );
    assert_eq!(chosen("DEFAULT_MODEL=deepseek/chat"), "deepseek/chat");
    assert_eq!(chosen("DEFAULT_MODEL=llama\nDEFAULT_PROVIDER=ollama"), "ollama/llama");
    let retired = model("ANTHROPIC_API_KEY=a\nDEFAULT_MODEL=claude-sonnet-4-5-20250929");
    assert!(retired.expect("replaced").expect("a model").notice.is_some());
    for (text, said) in [
        ("DEFAULT_MODEL=claude-opus-5", "no credential of anthropic"),
        ("GEMINI_API_KEY=g\nDEFAULT_MODEL=gpt-5.5", "no credential of openai"),
        ("GEMINI_API_KEY=g\nDEFAULT_PROVIDER=openai", "without a credential"),
        ("DEFAULT_PROVIDER=ollama", "DEFAULT_MODEL"),
        ("DEFAULT_PROVIDER='a b'\nDEFAULT_MODEL=x", "DEFAULT_PROVIDER"),
        ("DEFAULT_MODEL=llama", "cannot be told"),
        ("DEFAULT_MODEL='a b'", "DEFAULT_MODEL"),
        ("DEFAULT_MODEL='$(id)'", "DEFAULT_MODEL"),
    ] {
        let failure = model(text).expect_err(text);
        assert!(failure.message.contains(said), "{failure}");
        assert!(failure.remedy.is_some(), "{text}");
    }
    let stored = dotenv("DEFAULT_MODEL=gpt-5.5").model_with(&[Provider::OpenAi], &[]);
    assert_eq!(stored.expect("stored").expect("a model").model, "openai/gpt-5.5");
}

#[test]
fn approval_is_said_by_two_variables() {
    let mode = |sources: &Sources| resolved(sources).approval().map(|policy| policy.mode);
    for (text, expected) in [
        ("SKIP_APPROVAL=true", ApprovalMode::Off),
        ("SKIP_APPROVAL=1", ApprovalMode::Off),
        ("SKIP_APPROVAL=no", ApprovalMode::Auto),
        ("OPENCLAW_PIPELINE_APPROVAL=ask", ApprovalMode::Ask),
        ("SKIP_APPROVAL=true\nOPENCLAW_PIPELINE_APPROVAL=ask", ApprovalMode::Ask),
        ("SKIP_APPROVAL=false\nOPENCLAW_PIPELINE_APPROVAL=off", ApprovalMode::Off),
    ] {
        assert_eq!(mode(&sources().dotenv(text)).expect(text), expected, "{text}");
    }
    let both = "SKIP_APPROVAL=true\nOPENCLAW_PIPELINE_APPROVAL=auto";
    let failure = mode(&sources().dotenv(both)).expect_err("a conflict");
    assert!(failure.message.contains(".env line 1, .env line 2"), "{failure}");
    let stronger = sources().dotenv("SKIP_APPROVAL=true").flag(Variable::Approval, "auto");
    assert_eq!(mode(&stronger).expect("the flag"), ApprovalMode::Auto);
    assert!(resolved(&stronger).notices()[0].contains("command line wins"));
    let stronger = sources().dotenv("OPENCLAW_PIPELINE_APPROVAL=auto").env("SKIP_APPROVAL", "yes");
    assert_eq!(mode(&stronger).expect("the environment"), ApprovalMode::Off);
    assert!(mode(&sources().dotenv("SKIP_APPROVAL=perhaps")).is_err());
    assert!(mode(&sources().dotenv("OPENCLAW_PIPELINE_APPROVAL=never")).is_err());
    let policy =
        dotenv("OPENCLAW_PIPELINE_APPROVAL_WINDOW=90s\nOPENCLAW_PIPELINE_APPROVAL_DEVICES=1")
            .approval()
            .expect("a policy");
    assert_eq!((policy.window_s, policy.devices), (90, 1));
}

#[test]
fn low_ports_and_open_addresses_are_noted() {
    let notices = dotenv("GATEWAY_PORT=80\nGATEWAY_BIND=0.0.0.0").notices();
    assert_eq!(notices.len(), 2, "{notices:?}");
}

#[test]
fn paths_start_where_they_were_said() {
    let settings = resolved(
        &sources()
            .dotenv("OPENCLAW_PIPELINE_HOME=data")
            .config("/c/config.env", "OPENCLAW_PIPELINE_KEY_FILE=keys/k"),
    );
    assert_eq!(settings.data_directory().expect("data"), Path::new("/w/data"));
    assert_eq!(settings.key_file().expect("key"), Path::new("/c/keys/k"));
    let inside = dotenv("OPENCLAW_PIPELINE_HOME=d\nOPENCLAW_PIPELINE_KEY_FILE=d/key");
    let failure = inside.key_file().expect_err("inside");
    assert!(failure.message.contains("outside"), "{failure}");
    let homeless = resolved(&Sources::new("/w"));
    assert!(homeless.data_directory().is_err());
}

#[test]
fn the_gateways_own_variables_are_collected() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("gw.env"), "TELEGRAM_BOT_TOKEN=t").expect("written");
    let settings = resolved(
        &Sources::new(directory.path())
            .dotenv("OPENCLAW_ENV_FILE=gw.env")
            .gateway_flag("DISCORD_BOT_TOKEN=d"),
    );
    let env = settings.gateway_env().expect("collected");
    let keys: Vec<&str> = env.variables.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["TELEGRAM_BOT_TOKEN", "DISCORD_BOT_TOKEN"]);
    let absent = dotenv("OPENCLAW_ENV_FILE=/nowhere/gw.env");
    let failure = absent.gateway_env().expect_err("absent");
    assert!(failure.message.contains("OPENCLAW_ENV_FILE"), "{failure}");
    assert_eq!(failure.kind, FailureKind::BadInput);
    assert_eq!(absent.problems().len(), 1);
}

#[test]
fn unknown_names_of_ours_in_the_environment_are_noted() {
    let settings = resolved(&sources().env("OPENCLAW_PIPELINE_HOEM", "x"));
    assert!(settings.notices()[0].contains("did you mean OPENCLAW_PIPELINE_HOME"));
}
