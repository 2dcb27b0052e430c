//! Finding credentials.
//!
//! Owns the order in which places are asked. It is the order of Terraform's AWS provider, so that
//! both act as the same identity: the environment, the profile (the role it takes, its keys, its
//! program), the container, the instance. Refuses what it would get wrong: a profile that signs in
//! or asks for a code is named with the way round it, and nothing else is tried in its place.

use std::time::Duration;

use super::environment::Environment;
use super::http::Http;
use super::keys::{Keys, Origin};
use super::metadata;
use super::profile::{Profile, Profiles, absent};
use super::roles::{self, Chain, Place, Role};
use crate::domain::{Failure, text};
use crate::exec::Cmd;
use crate::secrets::Secret;

/// How long a profile's program may take: somebody may have to touch a key.
const PROCESS_WITHIN: Duration = Duration::from_secs(60);
/// What of the environment a profile's program is given beside what every child gets.
const PROCESS_SEES: [&str; 6] = [
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
];

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The credentials of the first place that has some.
    pub(super) keys: Keys,
    /// The roles that are taken with them, one after the other.
    pub(super) roles: Vec<Role>,
}

/// The credentials, from the first place that has some, and what is to be made of them.
pub(super) async fn find(
    environment: &Environment,
    profiles: &Profiles,
    http: &Http,
) -> Result<Found, Failure> {
    let alone = |keys| Found { keys, roles: Vec::new() };
    if let Some(keys) = in_environment(environment) {
        return Ok(alone(keys));
    }
    if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
        return Err(unsupported("AWS_WEB_IDENTITY_TOKEN_FILE asks for a web identity", None));
    }
    let asked = environment.profile();
    let name = asked.unwrap_or("default");
    if profiles.get(name).is_none() {
        if asked.is_some() {
            return Err(absent(name, profiles));
        }
        let keys = metadata::find(environment, http).await?;
        return keys.map(alone).ok_or_else(|| none(environment, name));
    }
    let Chain { roles, place } = roles::follow(profiles, name)?;
    let keys = match place {
        Place::Environment => in_environment(environment),
        Place::Machine => metadata::find(environment, http).await?,
        Place::Profile(name) => {
            let profile = profiles.get(&name).ok_or_else(|| absent(&name, profiles))?;
            match in_profile(environment, &name, profile).await? {
                Some(keys) => Some(keys),
                None => metadata::find(environment, http).await?,
            }
        }
    };
    match keys {
        Some(keys) => Ok(Found { keys, roles }),
        None => Err(none(environment, name)),
    }
}

fn in_environment(environment: &Environment) -> Option<Keys> {
    let access_key = environment.first(&["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"])?;
    let secret_key = environment.first(&["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"])?;
    Some(Keys {
        access_key: access_key.to_owned(),
        secret_key: Secret::new(secret_key),
        session_token: environment.get("AWS_SESSION_TOKEN").map(Secret::new),
        ends: None,
        origin: Origin::Environment,
    })
}

async fn in_profile(
    environment: &Environment,
    name: &str,
    profile: &Profile,
) -> Result<Option<Keys>, Failure> {
    let what = |does: &str| format!("the AWS profile {} {does}", text::clean(name, 64));
    if let (Some(access_key), Some(secret_key)) =
        (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key"))
    {
        return Ok(Some(Keys {
            access_key: access_key.to_owned(),
            secret_key: Secret::new(secret_key),
            session_token: profile.get("aws_session_token").map(Secret::new),
            ends: None,
            origin: Origin::Profile(name.to_owned()),
        }));
    }
    if profile.has_any(&["web_identity_token_file"]) {
        return Err(unsupported(&what("asks for a web identity"), Some(name)));
    }
    if profile.has_any(&["sso_session", "sso_start_url", "sso_account_id", "login_session"]) {
        return Err(unsupported(&what("signs in (SSO)"), Some(name)));
    }
    match profile.get("credential_process") {
        Some(line) => run(environment, name, line).await.map(Some),
        None => Ok(None),
    }
}

/// Runs a profile's program. It is started as it is written, without a shell.
async fn run(environment: &Environment, name: &str, line: &str) -> Result<Keys, Failure> {
    let shown = text::clean(name, 64);
    let failed = |why: String| {
        Failure::prerequisite(format!("the credential_process of the AWS profile {shown} {why}"))
            .remedy("run it by hand to see what it says, and correct it in ~/.aws/config")
    };
    let words = words(line).ok_or_else(|| failed("has an open quote".into()))?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(failed("is empty".into()));
    };
    let mut cmd = Cmd::new(program);
    cmd.args(arguments).deadline(PROCESS_WITHIN);
    for variable in PROCESS_SEES {
        if let Some(value) = environment.get(variable) {
            cmd.env(variable, value);
        }
    }
    let output = cmd.output().await.map_err(|error| failed(format!("did not run: {error}")))?;
    if !output.success() {
        // What it printed on its standard output may be half of a secret.
        let mut lines = output.stderr.lines().map(|line| text::clean(line.trim(), 200));
        let last = lines.rfind(|line| !line.is_empty());
        let why = last.unwrap_or_else(|| output.status.to_string());
        return Err(failed(format!("failed: {why}")));
    }
    Keys::read(&output.stdout, Origin::Process(name.to_owned()))
        .ok_or_else(|| failed("answered with something that is no credentials".into()))
}

/// The words of a command: blanks part them, quotes and backslashes hold them together.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

pub(super) fn unsupported(what: &str, profile: Option<&str>) -> Failure {
    let option = match profile {
        Some(name) => format!(" --profile {}", text::clean(name, 64)),
        None => String::new(),
    };
    Failure::prerequisite(format!("{what}, which this program cannot do itself")).remedy(format!(
        "hand its credentials over: eval \"$(aws configure export-credentials{option} --format \
         env)\", or name a profile with credential_process = aws configure export-credentials{option}"
    ))
}

fn none(environment: &Environment, profile: &str) -> Failure {
    let files = [environment.credentials_file(), environment.config_file()];
    let files: Vec<String> =
        files.into_iter().flatten().map(|path| path.display().to_string()).collect();
    let files = if files.is_empty() { String::new() } else { format!(" ({})", files.join(", ")) };
    Failure::prerequisite(format!(
        "there are no AWS credentials: none in the environment, none for the profile {}{files}, \
         and none on this machine",
        text::clean(profile, 64)
    ))
    .remedy(
        "give them in one of three ways: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or run \
         `aws configure` and name the profile in AWS_PROFILE; or run on an EC2 instance or in a \
         container that has a role",
    )
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
