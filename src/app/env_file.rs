//! The `.env` of a working directory: making one, making it anew, and putting it away.
//!
//! Owns how the file comes to be, and what of a user's `openclaw.json` has a variable. Refuses to
//! lose one: what was there lies beside it afterwards, under a name that nothing had. Nothing here
//! says a value; what is told are names.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::config::example::env_filled;
use crate::config::{Settings, Sources, Variable};
use crate::domain::credential::CREDENTIALS;
use crate::domain::{Failure, Provider, text};
use crate::secrets::private::create_private;
use crate::secrets::{Secret, token, write_private};
use crate::targets::rendering;

/// How many old files are kept before one has to be looked at.
const OLD_MAX: u32 = 1000;

/// What has a variable, apart from the section `env`.
const KNOWN: [(&str, Variable); 5] = [
    ("agents.defaults.model", Variable::DefaultModel),
    ("agents.defaults.heartbeat.every", Variable::Heartbeat),
    ("tools.exec.mode", Variable::ExecAsk),
    ("gateway.port", Variable::GatewayPort),
    ("gateway.auth.token", Variable::GatewayToken),
];

/// The file itself.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(".env")
}

/// What a file was made from.
#[derive(Debug, Default, Serialize)]
pub struct Made {
    /// Where the file that was there before lies now.
    pub old: Option<PathBuf>,
    /// What was taken over: variable and where it stood.
    pub taken: Vec<Taken>,
    /// What has a variable and was not taken over, and why.
    pub left: Vec<Left>,
    /// Whether the gateway's token is a new one.
    pub new_token: bool,
}

/// A value that was taken over.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// The variable.
    pub variable: &'static str,
    /// Where it stood in `openclaw.json`.
    pub from: String,
}

/// A value that was not taken over.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Where it stands in `openclaw.json`.
    pub from: String,
    /// Why it was not taken over.
    pub why: String,
}

/// Makes the file with a new token; one that is there is kept. Whether it was made.
pub fn init(directory: &Path) -> Result<bool, Failure> {
    let path = path(directory);
    refuse_directory(&path)?;
    let text = env_filled(&[(Variable::GatewayToken, token::generate_token())])?;
    create_private(&path, text.as_bytes())
}

/// Makes the file anew; says where the one that was there lies now.
pub fn reset(directory: &Path) -> Result<Made, Failure> {
    let text = env_filled(&[(Variable::GatewayToken, token::generate_token())])?;
    let old = replace(directory, &text)?;
    Ok(Made { old, new_token: true, ..Made::default() })
}

/// Makes the file from the text of an `openclaw.json`.
pub fn from_config(directory: &Path, config: &str) -> Result<Made, Failure> {
    let tree = rendering::parse(config)?;
    let (mut values, mut made) = read(&tree);
    if !values.iter().any(|(variable, _)| *variable == Variable::GatewayToken) {
        values.push((Variable::GatewayToken, token::generate_token()));
        made.new_token = true;
    }
    made.old = replace(directory, &env_filled(&values)?)?;
    Ok(made)
}

/// Puts the file away; says where it lies now, or that there was none.
pub fn remove(directory: &Path) -> Result<Option<PathBuf>, Failure> {
    let path = path(directory);
    let old = keep_copy(&path)?;
    if old.is_some() {
        fs::remove_file(&path).map_err(|error| {
            Failure::failed(format!("{} cannot be removed: {error}", path.display()))
                .remedy("check that you may write in the directory")
        })?;
    }
    Ok(old)
}

/// The copy comes first, so that there is no instant without the old text.
fn replace(directory: &Path, text: &str) -> Result<Option<PathBuf>, Failure> {
    let path = path(directory);
    let old = keep_copy(&path)?;
    write_private(&path, text.as_bytes())?;
    Ok(old)
}

/// Copies the file to the first of `.env.old`, `.env.old.1`, … that is free.
fn keep_copy(path: &Path) -> Result<Option<PathBuf>, Failure> {
    refuse_directory(path)?;
    let bytes = match fs::read(path) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::failed(format!("{} cannot be read: {error}", path.display()))
                .remedy(format!("check who owns {}", path.display())));
        }
    };
    for number in 0..OLD_MAX {
        let name = if number == 0 { ".env.old".into() } else { format!(".env.old.{number}") };
        let old = path.with_file_name(name);
        if create_private(&old, &bytes)? {
            return Ok(Some(old));
        }
    }
    Err(Failure::conflict(format!("there are {OLD_MAX} old .env files already"))
        .remedy("remove those that you do not need: .env.old*"))
}

/// Python projects keep a virtual environment under this name.
fn refuse_directory(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::conflict(format!("{} is a directory", path.display()))
            .remedy("use another working directory, or move it away"));
    }
    Ok(())
}

/// What of a configuration has a variable. A key of the configuration's own wins over its section
/// `env`, which the gateway reads last, too.
fn read(tree: &Value) -> (Vec<(Variable, Secret)>, Made) {
    let mut reading = Reading::default();
    for (at, variable) in KNOWN {
        let found = tree.pointer(&format!("/{}", at.replace('.', "/")));
        match (variable, found) {
            (_, None | Some(Value::Null)) => {}
            // `model: "provider/id"` is the short form of `model: {primary: …}`.
            (Variable::DefaultModel, Some(Value::Object(model))) => {
                if let Some(primary) = model.get("primary") {
                    reading.take(variable, format!("{at}.primary"), primary);
                }
            }
            (_, Some(value)) => reading.take(variable, at.to_owned(), value),
        }
    }
    // The older form has the variables in the section itself.
    let section = tree.get("env").and_then(Value::as_object);
    let inner = section.and_then(|section| section.get("vars")).and_then(Value::as_object);
    let pairs = |at: &'static str, object: Option<&serde_json::Map<String, Value>>| {
        let skipped = |key: &String| at == "env" && (key == "vars" || key == "shellEnv");
        object
            .into_iter()
            .flatten()
            .filter(|(key, _)| !skipped(key))
            .map(|(key, value)| {
                (format!("{at}.{}", text::clean(key, 80)), key.clone(), value.clone())
            })
            .collect::<Vec<_>>()
    };
    for (from, key, value) in pairs("env.vars", inner).into_iter().chain(pairs("env", section)) {
        let by_gateway = CREDENTIALS.iter().find(|known| known.gateway_variable == key);
        let name = by_gateway.map_or(key.as_str(), |known| known.variable);
        match Variable::by_name(name) {
            Some(variable) => reading.take(variable, from, &value),
            None => reading.leave(
                from,
                "it is no setting of this program; a launch hands it over with openclaw.json, or \
                 from the file that OPENCLAW_ENV_FILE names",
            ),
        }
    }
    (reading.values, reading.made)
}

#[derive(Default)]
struct Reading {
    values: Vec<(Variable, Secret)>,
    made: Made,
}

impl Reading {
    fn leave(&mut self, from: String, why: impl Into<String>) {
        self.made.left.push(Left { from, why: why.into() });
    }

    fn take(&mut self, variable: Variable, from: String, value: &Value) {
        let name = variable.name();
        if self.values.iter().any(|(known, _)| *known == variable) {
            return self.leave(from, format!("{name} has its value already"));
        }
        match setting(variable, value) {
            Ok(value) => {
                self.values.push((variable, value));
                self.made.taken.push(Taken { variable: name, from });
            }
            Err(why) => self.leave(from, why),
        }
    }
}

/// The value as the variable spells it, by the variable's own rule.
fn setting(variable: Variable, value: &Value) -> Result<Secret, String> {
    let given = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err("it is no plain text; where it refers to, only the gateway knows".into()),
    };
    if given.contains("${") {
        return Err("it refers to a variable; set that one instead".into());
    }
    let spelled = match (variable, given.as_str()) {
        (Variable::ExecAsk, "ask") => "on".to_owned(),
        (Variable::ExecAsk, "deny" | "allowlist" | "auto") => {
            return Err("EXEC_ASK says ask (on) or full (off) only".into());
        }
        (Variable::ExecAsk, "full") | (Variable::Heartbeat, "0m" | "0s" | "0h" | "0") => {
            "off".to_owned()
        }
        _ => given,
    };
    // The sources hold this value alone: nothing else may be blamed for what it says.
    let sources = Sources::new("/").env(variable.name(), spelled.clone());
    let settings = Settings::resolve(&sources).map_err(|failure| failure.message)?;
    let checked = if variable == Variable::DefaultModel {
        // Its provider's key need not stand in the same file.
        let every: Vec<Provider> = CREDENTIALS.iter().map(|known| known.provider).collect();
        settings.model_with(&every, &every).map(drop)
    } else {
        settings.check(variable)
    };
    checked.map(|()| Secret::new(spelled)).map_err(|failure| failure.message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::secrets::envfile;

    fn value(directory: &Path, key: &str) -> Option<String> {
        let file = envfile::load(&path(directory)).expect("reads back");
        file.get(key).map(|entry| entry.value.expose().to_owned()).filter(|it| !it.is_empty())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn one_that_is_there_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(init(dir.path()).expect("makes"));
        let token = value(dir.path(), "OPENCLAW_GATEWAY_TOKEN").expect("a token");
        assert!(token::check_token(&token).is_ok());
        assert_eq!(mode(&path(dir.path())), 0o600);
        assert!(!init(dir.path()).expect("keeps"));
        assert_eq!(value(dir.path(), "OPENCLAW_GATEWAY_TOKEN"), Some(token));
    }

    #[test]
    fn nothing_is_lost() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = |name: &str| fs::read_to_string(dir.path().join(name)).expect("is there");
        assert_eq!(remove(dir.path()).expect("none there is fine"), None);
        fs::write(path(dir.path()), "A=1\n").expect("writes");
        let made = reset(dir.path()).expect("resets");
        assert_eq!(made.old, Some(dir.path().join(".env.old")));
        let second = fs::read_to_string(path(dir.path())).expect("is there");
        assert_eq!(remove(dir.path()).expect("removes"), Some(dir.path().join(".env.old.1")));
        assert_eq!((old(".env.old"), old(".env.old.1")), ("A=1\n".into(), second));
        assert_eq!(mode(&dir.path().join(".env.old")), 0o600, "whatever it was before");
        assert!(!path(dir.path()).exists());
    }

    #[test]
    fn a_directory_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(path(dir.path())).expect("makes");
        assert!(init(dir.path()).is_err());
        assert!(reset(dir.path()).is_err());
        assert!(remove(dir.path()).is_err());
    }

    #[test]
    fn a_configuration_becomes_variables() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = from_config(
            dir.path(),
            r#"{
                gateway: { port: 19000, auth: { token: "a token with blanks, of some length" } },
                agents: { defaults: { model: "anthropic/claude-sonnet-5",
                                      heartbeat: { every: "0m" } } },
                tools: { exec: { mode: "full" } },
                env: { vars: { ANTHROPIC_OAUTH_TOKEN: "sk-oat", TELEGRAM_BOT_TOKEN: "123:abc",
                               GATEWAY_PORT: "1", XAI_API_KEY: "${MINE}" },
                       OPENAI_API_KEY: "sk-$-#", shellEnv: { enabled: true } },
            }"#,
        )
        .expect("is read");
        let value = |key| value(dir.path(), key);
        assert_eq!(value("GATEWAY_PORT").as_deref(), Some("19000"));
        assert_eq!(value("DEFAULT_MODEL").as_deref(), Some("anthropic/claude-sonnet-5"));
        assert_eq!(value("HEARTBEAT").as_deref(), Some("off"));
        assert_eq!(value("EXEC_ASK").as_deref(), Some("off"));
        assert_eq!(value("CLAUDE_CODE_OAUTH_TOKEN").as_deref(), Some("sk-oat"));
        assert_eq!(value("OPENAI_API_KEY").as_deref(), Some("sk-$-#"));
        assert_eq!(value("XAI_API_KEY"), None);
        assert!(made.new_token && value("OPENCLAW_GATEWAY_TOKEN").is_some());
        let left: Vec<&str> = made.left.iter().map(|left| left.from.as_str()).collect();
        assert_eq!(
            left,
            [
                "gateway.auth.token",
                "env.vars.TELEGRAM_BOT_TOKEN",
                "env.vars.GATEWAY_PORT",
                "env.vars.XAI_API_KEY"
            ]
        );
        let told = serde_json::to_string(&made).expect("is JSON");
        for secret in ["with blanks", "sk-", "123:abc"] {
            assert!(!told.contains(secret), "{secret}");
        }
    }

    #[test]
    fn a_broken_configuration_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(path(dir.path()), "A=1\n").expect("writes");
        assert!(from_config(dir.path(), "{").is_err());
        assert_eq!(fs::read_to_string(path(dir.path())).expect("is there"), "A=1\n");
    }
}
