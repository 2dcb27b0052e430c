//! Who asks, and what they may.
//!
//! Owns scopes, the names that a token reaches, its limits, and the answer to "may they": pure
//! functions of a principal and a need. Refuses to let one scope imply another, except that
//! `admin` is all of them, and says with each denial what is missing and who can give it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::name::{self, DeploymentName};
use super::{Failure, FailureKind, text};

mod limits;

pub use limits::{LIMIT_ITEMS_MAX, Limits, Wanted};

/// The longest label of a token, in characters.
pub const LABEL_MAX: usize = 80;
/// The most scopes of one token: the five, and an `events:NAME` for each of many deployments.
pub const SCOPES_MAX: usize = 64;
/// The longest life of a token with an end: what is longer is a slip of the pen.
const EXPIRY_MAX: Duration = Duration::days(3650);

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Looking: every GET but the audit log and tokens.
    Read,
    /// Launching, and everything that changes a deployment but does not remove it.
    Deploy,
    /// Getting in: the access call, approvals, devices.
    Connect,
    /// Removing deployments and backups.
    Destroy,
    /// All of them, and alone: tokens, webhooks, the audit log, protection.
    Admin,
    /// Posting the events of one deployment.
    Events(DeploymentName),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Deploy => f.write_str("deploy"),
            Self::Connect => f.write_str("connect"),
            Self::Destroy => f.write_str("destroy"),
            Self::Admin => f.write_str("admin"),
            Self::Events(name) => write!(f, "events:{name}"),
        }
    }
}

impl FromStr for Scope {
    type Err = Failure;

    fn from_str(given: &str) -> Result<Self, Failure> {
        match given {
            "read" => Ok(Self::Read),
            "deploy" => Ok(Self::Deploy),
            "connect" => Ok(Self::Connect),
            "destroy" => Ok(Self::Destroy),
            "admin" => Ok(Self::Admin),
            other => match other.strip_prefix("events:") {
                Some(name) => name
                    .parse()
                    .map(Self::Events)
                    .map_err(|error| Failure::bad_input(format!("events:NAME: {error}"))),
                None => Err(Failure::bad_input(format!(
                    "a scope is read, deploy, connect, destroy, admin or events:NAME; {:?} is \
                     none of them",
                    text::clean(other, 40)
                ))),
            },
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = Failure;

    fn try_from(text: String) -> Result<Self, Failure> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

/// How every name begins that a token reaches. To the token, the others do not exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePrefix(String);

impl NamePrefix {
    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name begins with it.
    pub fn covers(&self, name: &DeploymentName) -> bool {
        name.as_str().starts_with(&self.0)
    }
}

impl FromStr for NamePrefix {
    type Err = Failure;

    fn from_str(given: &str) -> Result<Self, Failure> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = (1..=name::MAX_LENGTH).contains(&given.len())
            && given.chars().all(plain)
            && !given.starts_with('-');
        if valid {
            return Ok(Self(given.to_owned()));
        }
        Err(Failure::bad_input(format!(
            "a name prefix is 1 to {} of a-z, 0-9 and -, starting with a letter or digit; {:?} is \
             not",
            name::MAX_LENGTH,
            text::clean(given, 60)
        )))
    }
}

impl TryFrom<String> for NamePrefix {
    type Error = Failure;

    fn try_from(text: String) -> Result<Self, Failure> {
        text.parse()
    }
}

impl From<NamePrefix> for String {
    fn from(prefix: NamePrefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for NamePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How somebody showed who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// By a token.
    Token,
    /// By the console's cookie, which stands for a token.
    Session,
    /// By the socket that only the server's own user can open.
    Operator,
    /// Not at all: a server on loopback without a token.
    Open,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's id, also behind a session; `operator` and `open` for those without one.
    pub id: String,
    /// What people call it.
    pub label: String,
    /// How they showed who they are.
    pub kind: PrincipalKind,
    /// What they may.
    pub scopes: BTreeSet<Scope>,
    /// How the names begin that they reach; `None` is all of them.
    pub name_prefix: Option<NamePrefix>,
    /// How much they may have.
    pub limits: Limits,
    /// Whether the server's own provider credentials may go into what they launch.
    pub server_credentials: bool,
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need<'a> {
    /// To look.
    Read,
    /// To change a deployment.
    Deploy,
    /// To decide about a browser.
    Approve,
    /// To get a link that lets a browser in.
    Access,
    /// To remove something.
    Destroy,
    /// To post an event of a deployment.
    Event(&'a DeploymentName),
    /// To see, make and revoke tokens.
    Tokens,
    /// What else is the administrator's: webhooks, the audit log, protection.
    Admin,
}

impl Need<'_> {
    /// The scope that meets it.
    pub fn scope(self) -> Scope {
        match self {
            Self::Read => Scope::Read,
            Self::Deploy => Scope::Deploy,
            Self::Approve | Self::Access => Scope::Connect,
            Self::Destroy => Scope::Destroy,
            Self::Event(name) => Scope::Events(name.clone()),
            Self::Tokens | Self::Admin => Scope::Admin,
        }
    }

    /// What is not offered to whoever comes without a token, loopback or not: any program and any
    /// user of the machine can be that.
    fn without_token(self) -> Result<(), Denied> {
        match self {
            Self::Tokens => Err(Denied::WithoutToken("tokens")),
            Self::Access => Err(Denied::WithoutToken("the access link")),
            Self::Destroy => Err(Denied::WithoutToken("removal")),
            Self::Read | Self::Deploy | Self::Approve | Self::Event(_) | Self::Admin => Ok(()),
        }
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The token lacks a scope.
    #[error("this needs the scope {0}, which the token does not have")]
    Scope(Scope),
    /// It is not offered without a token.
    #[error("a server without a token does not offer {0}")]
    WithoutToken(&'static str),
    /// The token's limits say no.
    #[error("the token's limits say no: {0}")]
    Limit(String),
}

impl Denied {
    /// What to do next.
    pub fn remedy(&self) -> String {
        match self {
            Self::Scope(scope @ Scope::Events(name)) => format!(
                "use a token that has it; an administrator makes one: openclaw-pipeline tokens \
                 create --label LABEL --events {name} (scope {scope})"
            ),
            Self::Scope(scope) => format!(
                "use a token that has it; an administrator makes one: openclaw-pipeline tokens \
                 create --label LABEL --scope {scope}"
            ),
            Self::WithoutToken(_) => "start the server with OPENCLAW_PIPELINE_API_TOKEN, or use \
                                      the command line on its machine"
                .to_owned(),
            Self::Limit(_) => "remove what is no longer needed, or have an administrator make a \
                               token with other limits"
                .to_owned(),
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::new(FailureKind::Forbidden, denied.to_string()).remedy(denied.remedy())
    }
}

impl Principal {
    /// Whoever comes to a server on loopback that has no token.
    pub fn open() -> Self {
        Self::unlimited("open", "anybody on this machine", PrincipalKind::Open)
    }

    /// The server's own user, by the socket that nobody else can open.
    pub fn operator() -> Self {
        Self::unlimited("operator", "the operator", PrincipalKind::Operator)
    }

    /// Somebody with every scope and no limit.
    pub fn unlimited(id: &str, label: &str, kind: PrincipalKind) -> Self {
        Self {
            id: id.to_owned(),
            label: label.to_owned(),
            kind,
            scopes: BTreeSet::from([Scope::Admin]),
            name_prefix: None,
            limits: Limits::default(),
            server_credentials: true,
        }
    }

    /// Whether they may do what needs this. Names out of their reach are another question:
    /// [`Principal::reaches`].
    pub fn may(&self, need: Need<'_>) -> Result<(), Denied> {
        if self.kind == PrincipalKind::Open {
            need.without_token()?;
        }
        let scope = need.scope();
        if self.scopes.contains(&Scope::Admin) || self.scopes.contains(&scope) {
            Ok(())
        } else {
            Err(Denied::Scope(scope))
        }
    }

    /// Whether they may do what needs one of these; otherwise why not the first.
    pub fn may_any(&self, needs: &[Need<'_>]) -> Result<(), Denied> {
        let mut first = None;
        for need in needs {
            match self.may(*need) {
                Ok(()) => return Ok(()),
                Err(denied) => _ = first.get_or_insert(denied),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Whether a name exists for them.
    pub fn reaches(&self, name: &DeploymentName) -> bool {
        self.name_prefix.as_ref().is_none_or(|prefix| prefix.covers(name))
    }
}

/// Checks the scopes of a token to be: some, not endless, and none that its prefix makes void.
pub fn check_scopes(
    scopes: &BTreeSet<Scope>,
    name_prefix: Option<&NamePrefix>,
) -> Result<(), Failure> {
    if scopes.is_empty() {
        return Err(Failure::bad_input("a token needs at least one scope")
            .remedy("name what it is for: read, deploy, connect, destroy, admin or events:NAME"));
    }
    if scopes.len() > SCOPES_MAX {
        return Err(Failure::bad_input(format!("a token has at most {SCOPES_MAX} scopes")));
    }
    let Some(prefix) = name_prefix else { return Ok(()) };
    // It would reach other people's names by what it makes.
    if scopes.contains(&Scope::Admin) {
        return Err(Failure::bad_input(
            "a token of scope admin has no name prefix: it could make \
                                       one without",
        )
        .remedy("leave the prefix out, or name the other scopes"));
    }
    let outside = scopes.iter().find_map(|scope| match scope {
        Scope::Events(name) if !prefix.covers(name) => Some(name),
        _ => None,
    });
    match outside {
        Some(name) => Err(Failure::bad_input(format!(
            "the scope events:{name} is for a name that does not begin with {prefix}"
        ))),
        None => Ok(()),
    }
}

/// Checks what a token is to be called.
pub fn check_label(label: &str) -> Result<(), Failure> {
    let fits = (1..=LABEL_MAX).contains(&label.chars().count());
    // What a terminal or a page would show otherwise than it is.
    let clean = text::clean(label, LABEL_MAX) == label;
    if fits && clean && label.trim() == label {
        return Ok(());
    }
    Err(Failure::bad_input(format!(
        "a label is 1 to {LABEL_MAX} visible characters on one line, without a blank at its ends"
    ))
    .remedy("say what the token is for, such as \"front end\""))
}

/// When a token ends: a moment (RFC 3339), or how long from now (`30d`, `12h`, `90m`).
pub fn expiry(given: &str, now: OffsetDateTime) -> Result<OffsetDateTime, Failure> {
    let refuse = |why: &str| {
        Err(Failure::bad_input(format!(
            "an expiry is a moment such as 2031-01-31T00:00:00Z, or a time from now such as 30d, \
             12h or 90m; {:?} {why}",
            text::clean(given, 40)
        )))
    };
    let end = match OffsetDateTime::parse(given, &Rfc3339) {
        Ok(moment) => Some(moment.to_offset(time::UtcOffset::UTC)),
        Err(_) => from_now(given).and_then(|length| now.checked_add(length)),
    };
    match end {
        None => refuse("is neither"),
        Some(end) if end <= now => refuse("is over"),
        Some(end) if end - now > EXPIRY_MAX => refuse("is more than ten years away"),
        Some(end) => Ok(end),
    }
}

fn from_now(given: &str) -> Option<Duration> {
    let number: u32 = given.get(..given.len().checked_sub(1)?)?.parse().ok()?;
    let number = i64::from(number);
    match given.chars().last()? {
        'm' => Some(Duration::minutes(number)),
        'h' => Some(Duration::hours(number)),
        'd' => Some(Duration::days(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
