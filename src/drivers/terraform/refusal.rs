//! What it means that a run failed.
//!
//! Owns telling the cloud's refusals apart by what they say, so that each has its own remedy.

use super::messages::{Diagnostic, Message, Said};
use crate::domain::text::clean;
use crate::domain::{Failure, FailureKind};
use crate::exec::Output;

/// How much of an error is told, in characters.
const CHARS: usize = 600;

/// What is said where something is there already: the one conflict that another look may end.
const NAME_TAKEN: &str = "the account has something else of this name";

/// Whether a run failed because something is there already that it was to make.
pub fn is_name_taken(failure: &Failure) -> bool {
    failure.kind == FailureKind::Conflict && failure.message.contains(NAME_TAKEN)
}

/// A refusal by what it says, and what is to be done.
struct Known {
    /// What it has in it, in lower case; any of these.
    signs: &'static [&'static str],
    kind: FailureKind,
    what: &'static str,
    remedy: &'static str,
}

const KNOWN: [Known; 10] = [
    Known {
        signs: &[
            "no valid credential sources",
            "failed to refresh cached credentials",
            "unable to locate credentials",
        ],
        kind: FailureKind::Prerequisite,
        what: "there are no AWS credentials",
        remedy: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    },
    Known {
        signs: &[
            "invalidclienttokenid",
            "signaturedoesnotmatch",
            "expiredtoken",
            "authfailure",
            "unrecognizedclientexception",
            "requestexpired",
        ],
        kind: FailureKind::Prerequisite,
        what: "AWS does not take these credentials",
        remedy: "renew them, and check AWS_PROFILE and this machine's clock",
    },
    Known {
        signs: &["unauthorizedoperation", "accessdenied", "not authorized to perform"],
        kind: FailureKind::Prerequisite,
        what: "these credentials may not do this",
        remedy: "give them the permission that is named, then go on",
    },
    Known {
        signs: &["insufficientinstancecapacity", "insufficient capacity"],
        kind: FailureKind::Failed,
        what: "AWS has no such machine free there now",
        remedy: "try again later, or with another size or region",
    },
    // Before the quotas: RequestLimitExceeded is none.
    Known {
        signs: &["requestlimitexceeded", "throttl", "rate exceeded", "toomanyrequests", "slowdown"],
        kind: FailureKind::Failed,
        what: "AWS takes no more calls just now",
        remedy: "go on in a few minutes; other programs of the account share its limits",
    },
    Known {
        signs: &[
            "vcpulimitexceeded",
            "addresslimitexceeded",
            "instancelimitexceeded",
            "limitexceeded",
            "quota",
            // Lightsail has no code for it: InvalidInputException, with this in its words.
            "maximum limit of lightsail",
            "reached the maximum number of",
        ],
        kind: FailureKind::Failed,
        what: "the account's quota is used up",
        remedy: "destroy what is not needed, or have the quota raised (AWS: Service Quotas)",
    },
    Known {
        signs: &[
            "already exists",
            "already in use",
            "invalidkeypair.duplicate",
            "invalidgroup.duplicate",
            "invalidsubnet.conflict",
            "resource.alreadyassociated",
        ],
        kind: FailureKind::Conflict,
        what: NAME_TAKEN,
        remedy: "launch under another name, or remove what is there",
    },
    Known {
        signs: &["error acquiring the state lock"],
        kind: FailureKind::Conflict,
        what: "another run holds the lock of this deployment's state",
        remedy: "wait until it has ended, then go on",
    },
    Known {
        signs: &["no such host", "connection refused", "i/o timeout", "context deadline exceeded"],
        kind: FailureKind::Failed,
        what: "AWS did not answer",
        remedy: "check the network, then go on",
    },
    Known {
        signs: &["no space left on device"],
        kind: FailureKind::Failed,
        what: "this machine's disk is full",
        remedy: "free some space, then go on",
    },
];

/// Why a run failed.
pub(super) fn of(errors: &[Diagnostic], output: &Output) -> Failure {
    let Some(first) = errors.first() else {
        return Failure::failed(format!("terraform: {}", output.last_line()));
    };
    let told: Vec<String> = errors.iter().map(told).collect();
    let all = told.join("; ");
    let said = all.to_lowercase();
    let message = clean(&all, CHARS);
    let known = KNOWN.iter().find(|known| known.signs.iter().any(|sign| said.contains(sign)));
    match known {
        Some(Known { kind, what, remedy, .. }) => {
            Failure::new(*kind, format!("{what}: {message}")).remedy(*remedy)
        }
        None if first.summary.contains("Invalid value for variable") => {
            let file = first.range.as_ref().map_or("", |range| range.filename.as_str());
            Failure::bad_input(message).remedy(where_to_correct(file))
        }
        None => Failure::failed(format!("terraform: {message}")),
    }
}

/// Where a value is corrected that a module does not take. The user's file has Terraform's own form;
/// what the program writes is JSON, and is written anew from the settings.
fn where_to_correct(file: &str) -> String {
    let path = std::path::Path::new(file);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.extension().is_some_and(|it| it == "json") {
        return format!(
            "it stands among the program's own values ({name}), which are written anew by each \
             launch: correct the setting that it comes from, such as GATEWAY_PORT, EXPOSE or \
             OPENCLAW_PIPELINE_SSH_CIDR"
        );
    }
    "correct it in the deployment's terraform.tfvars".into()
}

fn told(diagnostic: &Diagnostic) -> String {
    let Diagnostic { summary, detail, address, .. } = diagnostic;
    let about = address.as_deref().map(|it| format!(" ({it})")).unwrap_or_default();
    if detail.is_empty() {
        format!("{summary}{about}")
    } else {
        format!("{summary}{about}: {detail}")
    }
}

/// Why a module was not initialised.
pub(super) fn of_init(output: &Output) -> Failure {
    let failure = of(&errors(output), output).context("terraform init");
    if failure.remedy.is_some() {
        return failure;
    }
    failure.remedy(
        "check that this machine reaches the Terraform registry, or name a mirror in the file that \
         TF_CLI_CONFIG_FILE names",
    )
}

/// Why a directory was not joined to a bucket.
pub(super) fn of_backend(output: &Output, at: &str) -> Failure {
    let failure = of(&errors(output), output).context(format!("the state in {at}"));
    if failure.remedy.is_some() {
        return failure;
    }
    failure.remedy(
        "check that the bucket is there, that OPENCLAW_PIPELINE_STATE_REGION is its region, and that \
         these credentials may read and write there",
    )
}

/// Why a call failed that says so in plain text.
pub(super) fn of_output(call: &str, output: &Output) -> Failure {
    let said = Diagnostic { summary: output.last_line(), ..Diagnostic::default() };
    of(&[said], output).context(call)
}

fn errors(output: &Output) -> Vec<Diagnostic> {
    let diagnostics = output.stdout.lines().filter_map(Message::parse);
    diagnostics
        .filter_map(|it| match it.said {
            Said::Diagnostic(diagnostic) if diagnostic.is_error() => Some(diagnostic),
            _ => None,
        })
        .collect()
}
