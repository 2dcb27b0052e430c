//! The credentials that a machine of AWS's has: a container's, an instance's.
//!
//! Owns both services. They stand on the machine itself, so no proxy is asked. An instance's is
//! asked by session token (`IMDSv2`) alone. Refuses to send a container's token to an address that is
//! neither the machine's own nor encrypted.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Method, Url};

use super::environment::Environment;
use super::http::{Http, Reply, Request, host};
use super::keys::{Keys, Origin};
use crate::domain::Failure;
use crate::secrets::envfile;

/// How long an answer may take. The services stand on the machine; elsewhere nobody answers.
const WITHIN: Duration = Duration::from_secs(2);
/// Where a container's credentials stand.
const CONTAINER: &str = "169.254.170.2";
/// Where an instance's do.
const INSTANCE: &str = "169.254.169.254";
/// How long a session with an instance's service is good, in seconds.
const SESSION_S: &str = "300";

/// The credentials of the machine, if it has a service that gives some.
pub(super) async fn find(environment: &Environment, http: &Http) -> Result<Option<Keys>, Failure> {
    if let Some(request) = container(environment)? {
        return of_container(http, request).await.map(Some);
    }
    if environment.says_yes("AWS_EC2_METADATA_DISABLED") {
        return Ok(None);
    }
    let said = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let base = said.map_or_else(|| format!("http://{INSTANCE}"), ToOwned::to_owned);
    of_instance(http, base.trim_end_matches('/')).await
}

/// What a container's credentials are asked for with.
fn container(environment: &Environment) -> Result<Option<Request>, Failure> {
    let url = match environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        Some(path) => format!("http://{CONTAINER}{path}"),
        None => match environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            Some(url) => url.to_owned(),
            None => return Ok(None),
        },
    };
    let url = parse(&url, "AWS_CONTAINER_CREDENTIALS_FULL_URI")?;
    if !is_safe(&url) {
        return Err(Failure::prerequisite(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI leads to another machine without encryption",
        )
        .remedy("set it to an https address, or to one of the machine itself"));
    }
    let mut request = Request::get(url, WITHIN);
    let file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    if let Some(path) = file {
        let token = envfile::read_text(path.as_ref())
            .map_err(|failure| failure.context("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))?;
        request = request.header("authorization", token.trim());
    } else if let Some(token) = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN") {
        request = request.header("authorization", token);
    }
    Ok(Some(request))
}

async fn of_container(http: &Http, request: Request) -> Result<Keys, Failure> {
    let host = host(&request.url);
    let unusable = |why: String| {
        Failure::prerequisite(format!("the container's AWS credentials cannot be had: {why}"))
            .remedy("check the role of the task or the pod")
    };
    let reply = http.send_patiently(&request).await;
    let reply = reply.map_err(|trouble| unusable(trouble.failure.message))?;
    if !reply.is_success() {
        return Err(unusable(format!("{host} answers {}", reply.status)));
    }
    Keys::read(&reply.body, Origin::Container)
        .ok_or_else(|| unusable(format!("{host} answers with something else")))
}

async fn of_instance(http: &Http, base: &str) -> Result<Option<Keys>, Failure> {
    let session = Request {
        method: Method::PUT,
        ..Request::get(metadata(base, "api/token")?, WITHIN)
            .header("x-aws-ec2-metadata-token-ttl-seconds", SESSION_S)
    };
    // Nobody there: this is no instance, or one that is told to keep it to itself.
    let Ok(session) = http.send_patiently(&session).await else { return Ok(None) };
    if !session.is_success() {
        return Ok(None);
    }
    let ask = async |path: &str| -> Result<Reply, Failure> {
        let url = metadata(base, &format!("meta-data/iam/security-credentials/{path}"))?;
        let request =
            Request::get(url, WITHIN).header("x-aws-ec2-metadata-token", session.body.trim());
        Ok(http.send_patiently(&request).await?)
    };
    let roles = ask("").await?;
    let Some(role) = roles.body.lines().next().filter(|_| roles.is_success()) else {
        return Ok(None);
    };
    let reply = ask(role.trim()).await?;
    match Keys::read(&reply.body, Origin::Instance) {
        Some(keys) if reply.is_success() => Ok(Some(keys)),
        _ => Err(Failure::prerequisite(
            "the instance has a role, and its service does not give the credentials",
        )
        .remedy("check the role and its instance profile in IAM, then try again")),
    }
}

fn metadata(base: &str, path: &str) -> Result<Url, Failure> {
    parse(&format!("{base}/latest/{path}"), "AWS_EC2_METADATA_SERVICE_ENDPOINT")
}

fn parse(url: &str, variable: &str) -> Result<Url, Failure> {
    url.parse().map_err(|_| {
        Failure::prerequisite(format!("{variable} is no address"))
            .remedy(format!("correct {variable}, or unset it"))
    })
}

/// Whether a token may be sent there.
fn is_safe(url: &Url) -> bool {
    const NEAR: [&str; 3] = [CONTAINER, "169.254.170.23", "fd00:ec2::23"];
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme() == "https" || loopback || host == "localhost" || NEAR.contains(&bare)
}
