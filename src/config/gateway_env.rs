//! Further variables for the gateway: `OPENCLAW_ENV_FILE` and `--env KEY=VALUE`.
//!
//! Owns which variables a user may hand to the gateway. Refuses the managed ones: what the
//! program sets itself, and what would change how the gateway is run instead of what it knows.
//! Every value is a secret; they are sealed like credentials.

use std::path::Path;

use super::variables::Variable;
use crate::domain::{Failure, FailureKind, credential::CREDENTIALS, text};
use crate::secrets::{Secret, envfile};

/// The most variables that are taken.
pub const MAX_VARIABLES: usize = 200;
/// The longest value, in bytes: what a line of Docker's environment files carries with its key.
pub const MAX_VALUE: usize = 65_000;

/// Names that say how a program is run. Handing one over could replace the gateway's code.
const MANAGED: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "TMPDIR",
    "HOSTNAME",
    "ENV",
    "BASH_ENV",
    "IFS",
    "NODE_OPTIONS",
    "NODE_PATH",
];
const MANAGED_PREFIXES: [&str; 4] = ["OPENCLAW_", "XDG_", "LD_", "DYLD_"];

/// What the gateway gets besides its credentials.
#[derive(Debug, Clone, Default)]
pub struct GatewayEnv {
    /// The variables, each once, in the order in which they were given.
    pub variables: Vec<(String, Secret)>,
    /// What the reader should know.
    pub notices: Vec<String>,
}

/// Checks a variable that a user hands to the gateway.
pub fn check(key: &str, value: &str) -> Result<Secret, Failure> {
    if !envfile::is_key(key) {
        // Not echoed: it may be a value that lost its key.
        return Err(Failure::bad_input(
            "a variable for the gateway has a name of letters, digits and _, which does not start \
             with a digit; one of those given has not",
        )
        .remedy("write it as KEY=VALUE"));
    }
    if let Some(why) = managed(key) {
        return Err(Failure::bad_input(format!(
            "{key} is no variable that can be handed to the gateway: {why}"
        ))
        .remedy(if Variable::by_name(key).is_some() {
            format!("set {key} in the environment or in .env instead")
        } else {
            format!("leave {key} out")
        }));
    }
    if value.contains('\0') || value.len() > MAX_VALUE {
        return Err(Failure::bad_input(format!(
            "{key} is at most {MAX_VALUE} bytes without NUL; the value given is not"
        ))
        .remedy("give a shorter value, or put a file into the gateway's state"));
    }
    Ok(Secret::new(value))
}

fn managed(key: &str) -> Option<&'static str> {
    if Variable::by_name(key).is_some() {
        return Some("it is a setting of this program");
    }
    let credential = |key| CREDENTIALS.iter().any(|c| c.gateway_variable == key);
    if credential(key) {
        return Some("the program sets it from the provider credentials");
    }
    let upper = key.to_ascii_uppercase();
    if MANAGED.contains(&upper.as_str())
        || MANAGED_PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
    {
        return Some("it says how the gateway is run, which the program manages");
    }
    None
}

/// The variables of a file and of the command line; the latter win.
pub fn collect(file: Option<&Path>, flags: &[Secret]) -> Result<GatewayEnv, Failure> {
    let mut env = GatewayEnv::default();
    if let Some(path) = file {
        let read = envfile::load(path).map_err(|failure| {
            let mut failure = failure.context(Variable::EnvFile.name());
            // The deployment is not what is missing: the setting is wrong.
            if failure.kind == FailureKind::NotFound {
                failure.kind = FailureKind::BadInput;
            }
            failure
        })?;
        env.notices.extend(read.notices);
        for entry in read.entries {
            let value = check(&entry.key, entry.value.expose()).map_err(|failure| {
                failure.context(format!("{} line {}", path.display(), entry.line))
            })?;
            env.variables.push((entry.key, value));
        }
    }
    for flag in flags {
        let Some((key, value)) = flag.expose().split_once('=') else {
            return Err(Failure::bad_input("--env takes KEY=VALUE; one of those given has no =")
                .remedy("write --env KEY=VALUE, or put the variable into OPENCLAW_ENV_FILE"));
        };
        let value = check(key, value).map_err(|failure| failure.context("--env"))?;
        if let Some(known) = env.variables.iter_mut().find(|(known, _)| known == key) {
            env.notices.push(format!(
                "{} is given more than once; the last --env is used",
                text::clean(key, 80)
            ));
            known.1 = value;
        } else {
            env.variables.push((key.to_owned(), value));
        }
    }
    if env.variables.len() > MAX_VARIABLES {
        return Err(Failure::bad_input(format!(
            "the gateway takes at most {MAX_VARIABLES} further variables; {} are given",
            env.variables.len()
        ))
        .remedy("leave out what the gateway does not need"));
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_names_are_refused() {
        for key in [
            "PATH",
            "path",
            "HOME",
            "NODE_OPTIONS",
            "LD_PRELOAD",
            "DYLD_INSERT_LIBRARIES",
            "OPENCLAW_GATEWAY_TOKEN",
            "OPENCLAW_ANYTHING",
            "openclaw_anything",
            "ANTHROPIC_OAUTH_TOKEN",
            "ANTHROPIC_API_KEY",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "GATEWAY_PORT",
            "NAME",
            "name",
            "XDG_CACHE_HOME",
        ] {
            let failure = check(key, "s3cr3t").expect_err(key);
            assert!(failure.message.contains(key), "{failure}");
            assert!(!failure.message.contains("s3cr3t"), "{failure}");
            assert!(failure.remedy.is_some());
        }
        for key in ["TELEGRAM_BOT_TOKEN", "DEEPSEEK_API_KEY", "NODE_EXTRA_CA_CERTS", "TZ"] {
            check(key, "x").expect(key);
        }
    }

    #[test]
    fn what_is_no_pair_is_refused_without_an_echo() {
        for flag in ["s3cr3t", "=s3cr3t", "s3-cr3t=x", "1s3cr3t=x", "s3 cr3t=x"] {
            let failure = collect(None, &[Secret::new(flag)]).expect_err(flag);
            assert!(!failure.message.contains("cr3t"), "{failure}");
        }
        assert!(check("A", "x\0").is_err());
        assert!(check("A", &"x".repeat(MAX_VALUE + 1)).is_err());
    }

    #[test]
    fn the_command_line_wins_over_the_file_with_a_notice() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("gateway.env");
        std::fs::write(&path, "A=file\nB='x y'\nA=file again\n").expect("written");
        let flags = [Secret::new("A=flag=1"), Secret::new("C=")];
        let env = collect(Some(&path), &flags).expect("collected");
        let pairs: Vec<(&str, &str)> =
            env.variables.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
        assert_eq!(pairs, [("B", "x y"), ("A", "flag=1"), ("C", "")]);
        assert_eq!(env.notices.len(), 2, "{:?}", env.notices);
    }

    #[test]
    fn a_files_failures_name_file_and_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("gateway.env");
        let failure = collect(Some(&path), &[]).expect_err("absent");
        assert!(failure.message.contains("OPENCLAW_ENV_FILE"), "{failure}");
        std::fs::write(&path, "A=1\nPATH=/x\n").expect("written");
        let failure = collect(Some(&path), &[]).expect_err("managed");
        assert!(failure.message.contains("gateway.env line 2"), "{failure}");
    }

    #[test]
    fn their_number_is_bounded() {
        let flags: Vec<Secret> =
            (0..=MAX_VARIABLES).map(|i| Secret::new(format!("K{i}=v"))).collect();
        assert!(collect(None, &flags).is_err());
        assert!(collect(None, &flags[1..]).is_ok());
    }
}
