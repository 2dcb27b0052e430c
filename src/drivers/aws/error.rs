//! What AWS refuses, and what it means for the reader.
//!
//! Owns the reading of an error's answer in each protocol, and the one table from AWS's codes to a
//! failure with a remedy. Terraform reports the same codes, so the table takes a code and a text
//! wherever they come from. Refuses to repeat what AWS says about a signature: it quotes the
//! request.

use serde_json::Value;

use super::http::Reply;
use super::service::Call;
use super::xml;
use crate::domain::{Failure, text};

/// How long AWS's own words may be, in characters.
const WORDS_MAX: usize = 300;

/// What AWS said instead of doing what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What needs permission: `ec2:RunInstances`.
    pub permission: String,
    /// AWS's code.
    pub code: String,
    /// AWS's words, cleaned.
    pub message: String,
}

/// Why a call has no answer.
#[derive(Debug, Clone)]
pub enum CallError {
    /// AWS refused it.
    Api(ApiError),
    /// It did not come to that: no credentials, no connection.
    Other(Failure),
}

/// What kind of refusal a code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// A permission is missing.
    Denied,
    /// The keys are nobody's, or signed wrongly.
    WrongCredentials,
    /// The keys were right once.
    ExpiredCredentials,
    /// This machine's clock is not AWS's.
    Clock,
    /// The account has not agreed to the service or the region, or is not ready for use.
    NotOptedIn,
    /// The account may have no more of it.
    Quota,
    /// AWS has no more of it just now.
    Capacity,
    /// Somebody has the name.
    NameTaken,
    /// What was named is not there.
    NotFound,
    /// Something else still uses it.
    InUse,
    /// Too many calls.
    Throttled,
    /// AWS's own fault.
    Service,
    /// Everything was right, and nothing was to be done.
    DryRun,
    /// Anything else.
    Other,
}

/// What kind of refusal a code is.
pub fn problem(code: &str, message: &str) -> Problem {
    match code {
        "DryRunOperation" => Problem::DryRun,
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedException"
        | "Client.UnauthorizedOperation" => Problem::Denied,
        // A clock that is wrong shows as a signature that is.
        "SignatureDoesNotMatch" | "InvalidSignatureException"
            if message.contains("expired") || message.contains("not yet current") =>
        {
            Problem::Clock
        }
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => Problem::Clock,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            Problem::ExpiredCredentials
        }
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "AuthFailure"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "InvalidAccessKeyId"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "UnauthenticatedException" => Problem::WrongCredentials,
        "OptInRequired"
        | "SubscriptionRequiredException"
        | "AccountSetupInProgressException"
        | "RegionDisabledException"
        | "PendingVerification"
        | "Blocked"
        | "AccountDisabledException" => Problem::NotOptedIn,
        "LimitExceeded"
        | "LimitExceededException"
        | "ServiceQuotaExceededException"
        | "RouteTableLimitExceeded"
        | "MaxSpotInstanceCountExceeded" => Problem::Quota,
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "EC2ThrottledException"
        | "PriorRequestNotComplete"
        | "SlowDown" => Problem::Throttled,
        code if code.ends_with("LimitExceeded") => Problem::Quota,
        "Unsupported" => Problem::Capacity,
        code if code.starts_with("Insufficient") && code.ends_with("Capacity") => Problem::Capacity,
        "EntityAlreadyExists" | "EntityAlreadyExistsException" => Problem::NameTaken,
        // Lightsail has one code for every input that it does not take.
        "InvalidInputException" if message.contains("already in use") => Problem::NameTaken,
        code if code.ends_with(".Duplicate") => Problem::NameTaken,
        "NoSuchEntity"
        | "NotFoundException"
        | "NoSuchResourceException"
        | "ResourceNotFoundException"
        | "NatGatewayNotFound"
        // It was let go before.
        | "Gateway.NotAttached"
        | "DoesNotExist" => Problem::NotFound,
        code if code.ends_with(".NotFoundException") => Problem::NotFound,
        // What EKS says now and then of a cluster that has just gone.
        "ClientException" if message.contains("No cluster found") => Problem::NotFound,
        code if code.ends_with(".NotFound") => Problem::NotFound,
        "DependencyViolation"
        | "DeleteConflict"
        | "ResourceInUseException"
        | "VolumeInUse"
        | "InvalidIPAddress.InUse"
        | "IncorrectState"
        | "IncorrectInstanceState" => Problem::InUse,
        "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "Unavailable"
        | "ServiceException"
        | "ServerInternal" => Problem::Service,
        code if code.starts_with("HTTP 5") => Problem::Service,
        _ => Problem::Other,
    }
}

impl ApiError {
    /// Reads an answer that is not a success.
    pub(super) fn read(call: &Call, reply: &Reply) -> Self {
        let (code, message) = in_json(reply)
            .or_else(|| in_xml(&reply.body))
            .unwrap_or_else(|| (format!("HTTP {}", reply.status), String::new()));
        Self {
            permission: call.permission(),
            code: text::clean(&code, 80),
            message: text::clean(without_blob(&message), WORDS_MAX),
        }
    }

    /// What kind of refusal it is.
    pub fn problem(&self) -> Problem {
        problem(&self.code, &self.message)
    }

    /// The permission that is missing and what for, as far as AWS says.
    pub fn missing(&self) -> Missing {
        let said = self.message.split("not authorized to perform: ").nth(1);
        let word = |text: &str| {
            let end = text.find(|c: char| c.is_whitespace()).unwrap_or(text.len());
            text[..end].trim_end_matches(['.', ',']).to_owned()
        };
        let action = said.map(word).filter(|it| it.contains(':'));
        let resource = said.and_then(|it| it.split("on resource: ").nth(1)).map(word);
        Missing {
            action: action.unwrap_or_else(|| self.permission.clone()),
            resource: resource.filter(|it| !it.is_empty()),
        }
    }
}

/// A permission that the credentials lack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// What it allows: `ec2:RunInstances`.
    pub action: String,
    /// What it would have to allow it on, if AWS says.
    pub resource: Option<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.resource {
            Some(resource) => write!(f, "{} on {resource}", self.action),
            None => f.write_str(&self.action),
        }
    }
}

fn in_xml(body: &str) -> Option<(String, String)> {
    let document = xml::parse(body).ok()?;
    let error = xml::find(document.root(), "Error")?;
    Some((xml::text(error, &["Code"])?, xml::text(error, &["Message"]).unwrap_or_default()))
}

fn in_json(reply: &Reply) -> Option<(String, String)> {
    let fields: Value = serde_json::from_str(&reply.body).ok()?;
    let said = fields["__type"].as_str().or_else(|| fields["code"].as_str());
    let code = said.or(reply.error_type.as_deref())?;
    // com.amazonaws.lightsail#NotFoundException:http://…
    let code = code.rsplit('#').next()?.split(':').next()?;
    let message = fields["message"].as_str().or_else(|| fields["Message"].as_str());
    Some((code.to_owned(), message.unwrap_or_default().to_owned()))
}

/// AWS's words without what only AWS can read.
fn without_blob(message: &str) -> &str {
    message.split("Encoded authorization failure message").next().unwrap_or(message).trim()
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Api(error) => error.into(),
            CallError::Other(failure) => failure,
        }
    }
}

impl From<ApiError> for CallError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

impl CallError {
    /// What kind of refusal it is, if AWS gave one.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Api(error) => Some(error.problem()),
            Self::Other(_) => None,
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        explain(&error)
    }
}

/// The failure that a refusal is.
pub fn explain(error: &ApiError) -> Failure {
    let (code, permission) = (&error.code, &error.permission);
    let words =
        if error.message.is_empty() { code.clone() } else { format!("{} ({code})", error.message) };
    match error.problem() {
        Problem::Denied => {
            let missing = error.missing();
            Failure::prerequisite(format!("the AWS credentials do not allow {missing}")).remedy(
                format!("allow {} to this user or role in IAM, then try again", missing.action),
            )
        }
        Problem::WrongCredentials => {
            Failure::prerequisite(format!("AWS does not know these credentials ({code})")).remedy(
                "check that access key and secret key belong together and are active in IAM; with \
                 temporary ones AWS_SESSION_TOKEN has to be set, too",
            )
        }
        Problem::ExpiredCredentials => {
            Failure::prerequisite(format!("the AWS credentials have expired ({code})"))
                .remedy("sign in again, or make new temporary credentials, then try again")
        }
        Problem::Clock => Failure::prerequisite(format!(
            "AWS refuses the call because of its time: this machine's clock is wrong ({code})"
        ))
        .remedy("set the clock (timedatectl set-ntp true), then try again"),
        Problem::NotOptedIn => {
            Failure::prerequisite(format!("the AWS account is not ready for {permission}: {words}"))
                .remedy(
                    "open the AWS console with this account: finish its sign-up, or enable the \
                     region or the service there",
                )
        }
        Problem::Quota => {
            let (name, quota) = quota(code);
            Failure::prerequisite(format!("the AWS account's quota is used up ({name}): {words}"))
                .remedy(format!(
                    "raise it in the Service Quotas console ({quota}), remove what is not needed, \
                     or take a smaller size or another region"
                ))
        }
        Problem::Capacity => Failure::failed(format!("AWS has none to give just now: {words}"))
            .remedy("take another zone, another size or another region, or try again later"),
        Problem::NameTaken => {
            Failure::conflict(format!("the name is taken in the account: {words}"))
                .remedy("take another name, or remove what has it if it is not needed")
        }
        Problem::NotFound => Failure::not_found(format!("AWS does not have it: {words}"))
            .remedy("check the name and the region"),
        Problem::InUse => Failure::conflict(format!("AWS still uses it: {words}"))
            .remedy("try again when what uses it is gone"),
        Problem::Throttled => Failure::failed(format!("AWS takes no more calls just now: {words}"))
            .remedy("try again in a minute; other programs of the account share its limits"),
        Problem::Service => Failure::failed(format!("AWS failed at {permission}: {words}"))
            .remedy("try again later"),
        Problem::DryRun | Problem::Other => {
            Failure::failed(format!("AWS refused {permission}: {words}"))
                .remedy("see what AWS says about it, correct it, then try again")
        }
    }
}

/// What a quota's code is about, and where it is raised.
fn quota(code: &str) -> (&'static str, &'static str) {
    match code {
        "VcpuLimitExceeded" => (
            "vCPUs of running instances",
            "Amazon EC2, Running On-Demand Standard instances, L-1216C47A",
        ),
        "AddressLimitExceeded" => ("elastic IPs", "Amazon EC2, EC2-VPC Elastic IPs, L-0263D0A3"),
        "InstanceLimitExceeded" => ("instances", "Amazon EC2"),
        "VolumeLimitExceeded" | "MaxIOPSLimitExceeded" => ("volumes", "Amazon EBS"),
        "SecurityGroupLimitExceeded" => ("security groups", "Amazon VPC, L-E79EC296"),
        _ => ("what AWS names", "of the service that AWS names"),
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
