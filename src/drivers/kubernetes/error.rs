//! What a cluster refuses, and why it does not answer.
//!
//! Owns the kinds of problem, as the API's own status says them, and what is to be done about each.
//! Refuses to hand on what a cluster says but as clean, bounded text.

use kube::core::Status;

use crate::domain::{Failure, text};

/// The longest word of a cluster's, in characters.
const WORDS: usize = 400;

/// What the matter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Nobody answers there, or not to the end.
    Unreachable,
    /// The cluster does not know who asks.
    Unauthenticated,
    /// Whoever asks may not.
    Forbidden,
    /// A quota of the namespace is used up.
    Quota,
    /// There is no such thing.
    NotFound,
    /// It is there already, or somebody else changed it, or has the field.
    Conflict,
    /// The object is none that the cluster takes.
    Invalid,
    /// The cluster is too busy, or being started: another time it may.
    Busy,
    /// Anything else.
    Other,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What the matter is.
    pub problem: Problem,
    /// The cluster's own words, or those of the way there.
    pub words: String,
    /// Whether it was not done: nobody was there who could have taken it, or who it was put away by.
    pub(super) was_not_done: bool,
    server: String,
}

impl ApiError {
    pub(super) fn new(problem: Problem, words: &str, server: &str) -> Self {
        let (words, server) = (words.to_owned(), server.to_owned());
        Self { problem, words, was_not_done: false, server }
    }

    pub(super) fn of(error: &kube::Error, server: &str) -> Self {
        let (problem, words) = match error {
            kube::Error::Api(status) => (problem(status), text::clean(&status.message, WORDS)),
            kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => {
                (Problem::Unreachable, words(error))
            }
            kube::Error::UpgradeConnection(_) => (Problem::Busy, words(error)),
            _ => (Problem::Other, words(error)),
        };
        // A server that has too much to do puts a call away before it looks at it.
        let is_undone =
            matches!(error, kube::Error::Api(status) if is_not_up(status) || status.code == 429);
        let was_not_done = is_undone || is_refused(error);
        Self { problem, words, was_not_done, server: server.to_owned() }
    }

    /// Whether it may be another time.
    pub fn may_pass(&self) -> bool {
        matches!(self.problem, Problem::Unreachable | Problem::Busy)
    }
}

/// Whether nobody listened.
fn is_refused(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The innermost cause, which the ones around it repeat.
pub(super) fn words(error: &kube::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    text::clean(&last.to_string(), WORDS)
}

/// Whether an API server that has just started refuses, as if it were forbidden, because it does not
/// reach itself yet: what looks an object over asks it. Nothing was done then.
fn is_not_up(status: &Status) -> bool {
    let signs = ["not yet ready to handle request", "dial tcp"];
    status.code == 403 && signs.iter().any(|it| status.message.contains(it))
}

fn problem(status: &Status) -> Problem {
    match (status.code, status.reason.as_str()) {
        (401, _) => Problem::Unauthenticated,
        (403, _) if status.message.contains("exceeded quota") => Problem::Quota,
        (403, _) if is_not_up(status) => Problem::Busy,
        (403, _) => Problem::Forbidden,
        (404, _) => Problem::NotFound,
        (409, _) => Problem::Conflict,
        (400 | 422, _) => Problem::Invalid,
        (429 | 500 | 502 | 503 | 504, _) => Problem::Busy,
        _ => Problem::Other,
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let ApiError { problem, words, server, .. } = error;
        match problem {
            Problem::Unreachable => Self::prerequisite(format!(
                "the cluster at {server} does not answer: {words}"
            ))
            .remedy(
                "check the network, that the cluster is up, and that the address of the context in \
                 the kubeconfig is its own (kubectl cluster-info asks the same); to the one that \
                 openclaw-pipeline cluster apply made, that lets the address in that you have now",
            ),
            Problem::Unauthenticated => Self::prerequisite(format!(
                "the cluster at {server} does not know who asks: the credentials are missing, wrong or \
                 expired"
            ))
            .remedy(
                "sign in again, or make the kubeconfig anew (on EKS: aws eks update-kubeconfig); the \
                 cluster that openclaw-pipeline cluster apply made takes the AWS credentials that this \
                 ran with last, or that admin_arns names, of a machine whose clock is right",
            ),
            Problem::Forbidden => Self::prerequisite(format!("the cluster refuses: {words}"))
                .remedy(
                    "ask whoever administers it for that right (docs/kubernetes.md has the role \
                     that is needed), then try again",
                ),
            Problem::Quota => Self::prerequisite(format!("the cluster refuses: {words}"))
                .remedy("raise the quota, or remove what uses it up, then try again"),
            Problem::NotFound => Self::not_found(format!("the cluster says: {words}")),
            Problem::Conflict => Self::conflict(format!("the cluster says: {words}")),
            Problem::Invalid => Self::failed(format!("the cluster does not take it: {words}")),
            Problem::Busy => Self::failed(format!("the cluster takes no calls just now: {words}"))
                .remedy("try again in a minute"),
            Problem::Other => Self::failed(format!("the cluster at {server}: {words}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, message: &str) -> ApiError {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        ApiError::of(&kube::Error::Api(Box::new(status)), "https://cluster.example/")
    }

    #[test]
    fn each_refusal_has_its_kind() {
        for (code, message, problem) in [
            (401, "Unauthorized", Problem::Unauthenticated),
            (403, "namespaces is forbidden: User \"u\" cannot create", Problem::Forbidden),
            (403, "pods \"a\" is forbidden: exceeded quota: small", Problem::Quota),
            (403, "pods \"a\" is forbidden: not yet ready to handle request", Problem::Busy),
            (404, "pods \"a\" not found", Problem::NotFound),
            (409, "Apply failed with 1 conflict", Problem::Conflict),
            (422, "spec.replicas: Invalid value", Problem::Invalid),
            (503, "the server is currently unable", Problem::Busy),
            (418, "I am a teapot", Problem::Other),
        ] {
            assert_eq!(said(code, message).problem, problem, "{code}");
        }
    }

    #[test]
    fn one_that_does_not_reach_itself_yet_has_done_nothing() {
        let error = said(
            403,
            "pods \"a\" is forbidden: Get \"https://cluster.example:6443/api/v1/namespaces/a/limitranges\": \
             dial tcp 192.0.2.1:6443: connect: connection refused",
        );
        assert!(error.may_pass() && error.was_not_done);
        let denied = said(403, "pods is forbidden: User \"u\" cannot create");
        assert!(!denied.may_pass() && !denied.was_not_done);
    }

    #[test]
    fn what_a_cluster_says_is_bounded_and_clean() {
        let error = said(403, &format!("no\u{1b}[31m{}", "x".repeat(10_000)));
        assert!(!error.words.contains('\u{1b}') && error.words.chars().count() <= WORDS + 1);
        let failure = Failure::from(error);
        assert!(failure.remedy.expect("one").contains("right"));
    }
}
