//! What the credentials may do where there are no dry runs: on Lightsail, and with roles.
//!
//! Owns what is called there to make and to remove things, what IAM is told of each call when it is
//! asked to evaluate the caller's own policies, and how its answer is read. Refuses to refuse: only
//! what IAM denies outright is missing. Whoever may not ask, whom IAM has no policies of (root and
//! federated users), and an answer that is late or is none, leave everything undecided.
//!
//! What keeps a denial from being a false one:
//!
//! - Each action is asked about on the ARN of a thing of its kind, never on `*`, which only a policy
//!   for everything would match. On Lightsail the ARN ends in an id that nobody knows before: a
//!   policy that allows what does not exist yet cannot name ids, so it matches a made-up one, too. A
//!   role's ARN is known.
//! - What is done to things of two kinds is asked about on each, and missing if denied on both.
//! - The region and the tags are told as they will be: tags that are being given, or that the thing
//!   has by then, never both, because a policy may insist on a thing that has none yet.
//! - What may be so and is not known, as a second factor at signing in, is told as if it were.
//! - A denial under conditions on what IAM was not told is undecided. So is one by the organization:
//!   IAM does not simulate the conditions of its policies, and a bound on regions is such a one.
//!
//! IAM refuses to evaluate some actions together and does not say which; then each is asked alone.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use roxmltree::Node;

use super::client::{Aws, Page};
use super::error::{ApiError, CallError, Missing};
use super::identity::Identity;
use super::permissions::Permissions;
use super::service::{Call, Service};
use super::xml;
use crate::domain::Failure;

/// How long all of it may take. What AWS refuses later costs an operation, and this a moment.
const WITHIN: Duration = Duration::from_secs(5);
/// The id of a thing on Lightsail that is not there.
const SOME_ID: &str = "00000000-0000-4000-8000-000000000000";

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Making {
    /// The name of the role and of its profile.
    pub name: String,
    /// The tags that everything will carry: policies may insist on them.
    pub tags: Vec<(String, String)>,
}

/// How the tags come into a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tags {
    /// The call gives them.
    Given,
    /// The thing has them by then.
    There,
    /// Not at all.
    None,
}

/// What is asked in one call: some actions, on one thing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    service: Service,
    kind: &'static str,
    tags: Tags,
    actions: &'static [&'static str],
}

/// What Terraform and its provider call for `terraform/lightsail`. What lists everything is tried.
pub(super) const LIGHTSAIL: [Question; 6] = [
    lightsail("Instance", Tags::Given, &["CreateInstances"]),
    lightsail("KeyPair", Tags::None, &["ImportKeyPair"]),
    lightsail("KeyPair", Tags::Given, &["TagResource"]),
    lightsail("KeyPair", Tags::There, &["GetKeyPair", "DeleteKeyPair"]),
    lightsail(
        "StaticIp",
        Tags::None,
        &["AllocateStaticIp", "GetStaticIp", "AttachStaticIp", "DetachStaticIp", "ReleaseStaticIp"],
    ),
    lightsail(
        "Instance",
        Tags::There,
        &[
            "GetInstance",
            "GetInstancePortStates",
            "GetOperation",
            "PutInstancePublicPorts",
            "CloseInstancePublicPorts",
            "AttachStaticIp",
            "DetachStaticIp",
            "DeleteInstance",
        ],
    ),
];

/// What they and a sweep call for the role of `terraform/ec2/server.tf`. AWS asks for the tagging, too,
/// where something is made with tags, and for the passing where a role is put to use.
const ROLE: [Question; 5] = [
    iam("role", Tags::Given, &["CreateRole", "TagRole"]),
    iam("role", Tags::There, &["PassRole"]),
    iam(
        "role",
        Tags::There,
        &[
            "ListRoles",
            "GetRole",
            "ListRolePolicies",
            "ListAttachedRolePolicies",
            "ListInstanceProfilesForRole",
            "PutRolePolicy",
            "GetRolePolicy",
            "DeleteRolePolicy",
            "DeleteRole",
        ],
    ),
    iam("instance-profile", Tags::Given, &["CreateInstanceProfile", "TagInstanceProfile"]),
    iam(
        "instance-profile",
        Tags::There,
        &[
            "ListInstanceProfiles",
            "GetInstanceProfile",
            "AddRoleToInstanceProfile",
            "RemoveRoleFromInstanceProfile",
            "DeleteInstanceProfile",
        ],
    ),
];

const fn lightsail(kind: &'static str, tags: Tags, actions: &'static [&'static str]) -> Question {
    Question { service: Service::Lightsail, kind, tags, actions }
}

const fn iam(kind: &'static str, tags: Tags, actions: &'static [&'static str]) -> Question {
    Question { service: Service::Iam, kind, tags, actions }
}

/// Something that IAM is told about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) key: String,
    kind: &'static str,
    pub(super) values: Vec<String>,
}

impl Context {
    fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), kind: "string", values: vec![value.into()] }
    }
}

impl Question {
    pub(super) fn permissions(&self) -> impl Iterator<Item = String> {
        let service = self.service.name();
        self.actions.iter().map(move |action| format!("{service}:{action}"))
    }

    /// The ARN of what is asked about.
    pub(super) fn resource(&self, whose: &Whose<'_>, region: &str, name: &str) -> String {
        let Whose { partition, account, .. } = whose;
        let kind = self.kind;
        match self.service {
            Service::Iam => format!("arn:{partition}:iam::{account}:{kind}/{name}"),
            service => {
                let service = service.name();
                format!("arn:{partition}:{service}:{region}:{account}:{kind}/{SOME_ID}")
            }
        }
    }

    /// What IAM is told about its calls.
    pub(super) fn context(&self, region: &str, tags: &[(String, String)]) -> Vec<Context> {
        let (_, region) = self.service.host(region);
        let yes = |key| Context { kind: "boolean", ..Context::text(key, "true") };
        let mut all = vec![Context::text("aws:RequestedRegion", region)];
        // Whether a session was begun with a second factor is not known here.
        all.extend(["aws:SecureTransport", "aws:MultiFactorAuthPresent"].map(yes));
        let each = |prefix: &'static str| {
            tags.iter().map(move |(key, value)| Context::text(format!("{prefix}/{key}"), value))
        };
        match self.tags {
            Tags::Given => {
                all.extend(each("aws:RequestTag"));
                let values = tags.iter().map(|(key, _)| key.clone()).collect();
                all.push(Context { key: "aws:TagKeys".into(), kind: "stringList", values });
            }
            Tags::There => {
                all.extend(each("aws:ResourceTag"));
                if self.service == Service::Iam {
                    all.extend(each("iam:ResourceTag"));
                }
            }
            Tags::None => {}
        }
        if self.actions == ["PassRole"] {
            all.push(Context::text("iam:PassedToService", "ec2.amazonaws.com"));
        }
        all
    }
}

/// Whose policies are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whose<'a> {
    partition: &'a str,
    account: &'a str,
    /// The role of a session; else it is the user who calls.
    role: Option<&'a str>,
}

impl<'a> Whose<'a> {
    /// Of whoever calls, if IAM has policies of theirs.
    pub(super) fn of(arn: &'a str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':').skip(1);
        let (partition, service) = (parts.next()?, parts.next()?);
        let (account, caller) = (parts.nth(1)?, parts.next()?);
        let (kind, rest) = caller.split_once('/')?;
        let role = match (service, kind) {
            ("iam", "user") => None,
            ("sts", "assumed-role") => Some(rest.split('/').next()?),
            _ => return None,
        };
        Some(Self { partition, account, role })
    }
}

/// What IAM says to one action.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Allowed,
    Denied,
    Undecided(String),
}

/// An action and what is said to it.
type Said = (String, Verdict);

impl Aws {
    /// What IAM lets the caller do of what a launch on Lightsail calls.
    pub async fn simulated_lightsail(&self, making: &Making) -> Permissions {
        self.simulated(&LIGHTSAIL, making).await
    }

    /// What IAM lets the caller do of what a server's machine with a role calls.
    pub async fn simulated_role(&self, making: &Making) -> Permissions {
        self.simulated(&ROLE, making).await
    }

    async fn simulated(&self, questions: &[Question], making: &Making) -> Permissions {
        let all = async {
            let who = self.identity().await.map_err(|error| Failure::from(error).message)?;
            let whose = Whose::of(&who.arn).ok_or("IAM has no policies of this caller")?;
            let source = self.source(&who, &whose).await;
            let asked = questions.iter().map(|it| self.ask(it, &source, &whose, making));
            Ok::<_, String>(join_all(asked).await.concat())
        };
        let actions: Vec<String> = questions.iter().flat_map(Question::permissions).collect();
        let said = match tokio::time::timeout(WITHIN, all).await {
            Ok(Ok(said)) => said,
            Ok(Err(why)) => undecided(&actions, &why),
            Err(_) => undecided(&actions, "IAM did not answer in time"),
        };
        gathered(&said)
    }

    /// The ARN of the user or role whose policies they are. A session does not tell its role's path.
    async fn source(&self, who: &Identity, whose: &Whose<'_>) -> String {
        let Some(role) = whose.role else { return who.arn.clone() };
        let call = Call::form(Service::Iam, "GetRole").with("RoleName", role);
        let read = |body: &str| {
            let document = xml::parse(body)?;
            let role = xml::find(document.root(), "Role").ok_or_else(xml::unreadable)?;
            xml::text(role, &["Arn"]).ok_or_else(xml::unreadable)
        };
        let Whose { partition, account, .. } = whose;
        let usual = || format!("arn:{partition}:iam::{account}:role/{role}");
        self.xml(call, read).await.unwrap_or_else(|_| usual())
    }

    /// What IAM says to a question.
    async fn ask(
        &self,
        question: &Question,
        source: &str,
        whose: &Whose<'_>,
        making: &Making,
    ) -> Vec<Said> {
        let mut call = Call::form(Service::Iam, "SimulatePrincipalPolicy")
            .with("PolicySourceArn", source)
            .with("ResourceArns.member.1", question.resource(whose, self.region(), &making.name));
        let context = question.context(self.region(), &making.tags);
        for (number, Context { key, kind, values }) in (1..).zip(context) {
            let entry = format!("ContextEntries.member.{number}");
            call = call.with(format!("{entry}.ContextKeyName"), key);
            call = call.with(format!("{entry}.ContextKeyType"), kind);
            for (number, value) in (1..).zip(values) {
                call = call.with(format!("{entry}.ContextKeyValues.member.{number}"), value);
            }
        }
        let actions: Vec<String> = question.permissions().collect();
        match self.evaluate(&call, &actions).await {
            Err(CallError::Api(error)) if are_not_asked_together(&error) && actions.len() > 1 => {
                let alone = actions.chunks(1).map(|one| async {
                    let said = self.evaluate(&call, one).await;
                    said.unwrap_or_else(|error| undecided(one, &Failure::from(error).message))
                });
                join_all(alone).await.concat()
            }
            Ok(said) => said,
            Err(error) => undecided(&actions, &Failure::from(error).message),
        }
    }

    /// What is said to these actions: of each at least that nothing is.
    async fn evaluate(&self, call: &Call, actions: &[String]) -> Result<Vec<Said>, CallError> {
        let named = (1..).zip(actions);
        let call = named.fold(call.clone(), |call, (number, action)| {
            call.with(format!("ActionNames.member.{number}"), action)
        });
        let said = self.pages(call, read).await?;
        let to = |action: &String| {
            let said = said.iter().filter(|it| it.0.eq_ignore_ascii_case(action)).cloned();
            let said: Vec<Said> = said.map(|(_, verdict)| (action.clone(), verdict)).collect();
            if said.is_empty() {
                undecided(std::slice::from_ref(action), "IAM does not say")
            } else {
                said
            }
        };
        Ok(actions.iter().flat_map(to).collect())
    }
}

fn are_not_asked_together(error: &ApiError) -> bool {
    error.code == "InvalidInput" && error.message.contains("Actions")
}

/// One page of the answer.
fn read(body: &str) -> Result<Page<Said>, Failure> {
    let document = xml::parse(body)?;
    let root = document.root();
    let results = xml::find(root, "EvaluationResults").ok_or_else(xml::unreadable)?;
    let said = |it| Some((xml::text(it, &["EvalActionName"])?, verdict(it)));
    let items = xml::items(results).into_iter().filter_map(said).collect();
    Ok(Page { items, next: xml::next_page(root) })
}

/// What one action's evaluation comes to, as a whole and on the resource.
fn verdict(evaluation: Node<'_, '_>) -> Verdict {
    let texts = |name: &'static str| {
        let named = evaluation.descendants().filter(move |it| it.tag_name().name() == name);
        named.filter_map(|it| xml::text(it, &[]))
    };
    let decisions: Vec<String> =
        texts("EvalDecision").chain(texts("EvalResourceDecision")).collect();
    if decisions.iter().any(|it| it == "allowed") {
        return Verdict::Allowed;
    }
    if decisions.is_empty() || !decisions.iter().all(|it| it.ends_with("Deny")) {
        return Verdict::Undecided("IAM says neither yes nor no".into());
    }
    let unknown = xml::lists(evaluation, "MissingContextValues");
    if let Some(key) = unknown.into_iter().find_map(|it| xml::text(it, &[])) {
        return Verdict::Undecided(format!("it depends on {key}"));
    }
    if texts("AllowedByOrganizations").any(|it| it == "false") {
        return Verdict::Undecided("the organization's conditions are not simulated".into());
    }
    Verdict::Denied
}

fn undecided(actions: &[String], why: &str) -> Vec<Said> {
    actions.iter().map(|it| (it.clone(), Verdict::Undecided(why.to_owned()))).collect()
}

/// What is allowed on one thing is not missing; nor is what is not denied on each.
fn gathered(said: &[Said]) -> Permissions {
    let mut verdicts: BTreeMap<&str, Vec<&Verdict>> = BTreeMap::new();
    for (action, verdict) in said {
        verdicts.entry(action).or_default().push(verdict);
    }
    let mut found = Permissions::default();
    for (action, verdicts) in verdicts {
        let why = verdicts.iter().find_map(|it| match it {
            Verdict::Undecided(why) => Some(why.clone()),
            _ => None,
        });
        let action = action.to_owned();
        if verdicts.contains(&&Verdict::Allowed) {
            found.allowed.push(action);
        } else if let Some(why) = why {
            tracing::debug!(action, why, "IAM does not decide it");
            found.undecided.push((action, why));
        } else {
            found.missing.push(Missing { action, resource: None });
        }
    }
    found
}

#[cfg(test)]
#[path = "simulated_tests.rs"]
mod tests;
