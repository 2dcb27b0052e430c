//! Sending calls.
//!
//! Owns the region, the credentials while they are good, and the repeating of calls that AWS had no
//! room for. Every call of this driver may be made twice: it describes, or it makes something be
//! gone, started or stopped. Refuses to repeat one for longer than its deadline.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::credentials;
use super::environment::Environment;
use super::error::{ApiError, CallError, Problem};
use super::http::{Http, Reply, Request, host};
use super::keys::{Keys, Origin};
use super::profile::Profiles;
use super::service::{Call, Service};
use super::sign::{Signed, Signer};
use super::xml;
use crate::domain::{Failure, text};
use crate::exec::wait;
use crate::secrets::Secret;

/// How long one try may take.
const TRY_WITHIN: Duration = Duration::from_secs(20);
/// How long a call may take with all its tries.
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// How often a call is tried.
const TRIES: u32 = 6;
/// How many pages of one list are read: at a thousand things each, more than anybody has.
const PAGES: usize = 100;

/// The pauses between tries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(5) }
    }
}

impl Pace {
    /// The pause after this many tries: doubled each time, and shortened by chance, so that callers
    /// that were turned away together do not come back together.
    pub(super) fn pause(self, tries: u32, chance: u8) -> Duration {
        let whole = self.first.saturating_mul(1 << tries.saturating_sub(1).min(16));
        let whole = whole.min(self.longest);
        whole / 2 + whole.mul_f64(f64::from(chance) / 512.0)
    }
}

/// A number between 0 and 255 that nobody can foresee.
pub(super) fn chance() -> u8 {
    let mut byte = [128];
    // Without randomness the pauses are only less spread out.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// AWS, in one region.
#[derive(Clone)]
pub struct Aws {
    region: String,
    shared: Arc<Shared>,
}

struct Shared {
    environment: Environment,
    profiles: Profiles,
    http: Http,
    keys: Mutex<Option<Keys>>,
    pace: Pace,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Aws {
    /// AWS in this region, or in the one that the environment or the profile names. Nothing is
    /// called yet.
    pub fn new(environment: Environment, region: Option<&str>) -> Result<Self, Failure> {
        Self::paced(environment, region, Pace::default())
    }

    pub(super) fn paced(
        environment: Environment,
        region: Option<&str>,
        pace: Pace,
    ) -> Result<Self, Failure> {
        let profiles = Profiles::load(&environment)?;
        let profile = profiles.get(environment.profile().unwrap_or("default"));
        let region = region
            .or_else(|| environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
            .or_else(|| profile.and_then(|profile| profile.get("region")));
        let Some(region) = region.map(ToOwned::to_owned) else {
            return Err(Failure::prerequisite("no AWS region is named").remedy(
                "set AWS_REGION, for example AWS_REGION=us-east-1, or `region` in ~/.aws/config",
            ));
        };
        super::regions::check_form(&region)?;
        let shared =
            Shared { environment, profiles, http: Http::default(), keys: Mutex::default(), pace };
        Ok(Self { region, shared: Arc::new(shared) })
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The same account in another region.
    pub fn elsewhere(&self, region: &str) -> Self {
        Self { region: region.to_owned(), shared: self.shared.clone() }
    }

    /// Where the credentials came from. They are looked for now if they were not before.
    pub async fn origin(&self) -> Result<Origin, Failure> {
        Ok(self.keys().await.map_err(Failure::from)?.origin)
    }

    pub(super) fn pace(&self) -> Pace {
        self.shared.pace
    }

    /// A call that is answered in XML.
    pub(super) async fn xml<T>(
        &self,
        call: Call,
        read: impl FnOnce(&str) -> Result<T, Failure>,
    ) -> Result<T, CallError> {
        Ok(read(&self.send(&call).await?)?)
    }

    /// A call that is answered in JSON.
    pub(super) async fn json(&self, call: Call) -> Result<Value, CallError> {
        let body = self.send(&call).await?;
        Ok(serde_json::from_str(&body).map_err(|_| xml::unreadable())?)
    }

    /// Every page of a list.
    pub(super) async fn pages<T>(
        &self,
        call: Call,
        read: impl Fn(&str) -> Result<Page<T>, Failure>,
    ) -> Result<Vec<T>, CallError> {
        let (mut items, mut next) = (Vec::new(), None::<String>);
        for _ in 0..PAGES {
            let call = match &next {
                Some(token) => call.clone().page(token),
                None => call.clone(),
            };
            let page = read(&self.send(&call).await?)?;
            items.extend(page.items);
            next = page.next;
            if next.is_none() {
                return Ok(items);
            }
        }
        Err(Failure::failed(format!("{} does not come to an end", call.permission())).into())
    }

    /// Sends a call until AWS has answered it, within the bounds.
    pub(super) async fn send(&self, call: &Call) -> Result<String, CallError> {
        let keys = self.keys().await?;
        self.send_as(call, &keys).await
    }

    async fn send_as(&self, call: &Call, keys: &Keys) -> Result<String, CallError> {
        let end = Instant::now() + CALL_WITHIN;
        let mut tries = 0;
        loop {
            let within = TRY_WITHIN.min(end.saturating_duration_since(Instant::now()));
            let outcome = self.send_once(call, keys, within).await;
            tries += 1;
            let error = match outcome {
                Ok(body) => return Ok(body),
                Err((error, false)) => return Err(error),
                Err((error, true)) => error,
            };
            let pause = self.shared.pace.pause(tries, chance());
            if tries == TRIES || Instant::now() + pause > end {
                return Err(error);
            }
            tracing::debug!(call = call.permission(), tries, "AWS did not answer; trying again");
            wait::back_off(pause).await;
        }
    }

    /// Sends a call once. A failure says whether another try may help.
    async fn send_once(
        &self,
        call: &Call,
        keys: &Keys,
        within: Duration,
    ) -> Result<String, (CallError, bool)> {
        let request = self.request(call, keys, within);
        let request = request.map_err(|failure| (failure.into(), false))?;
        match self.shared.http.send(request).await {
            Ok(reply) if reply.is_success() => Ok(reply.body),
            Ok(reply) => Err(refused(call, &reply, keys)),
            Err(trouble) => Err((trouble.failure.into(), trouble.may_pass)),
        }
    }

    /// Where a service is, and the region that its calls are signed for.
    fn place(&self, service: Service) -> Result<(Url, String), Failure> {
        let (usual, region) = service.host(&self.region);
        let usual = format!("https://{usual}/");
        let environment = &self.shared.environment;
        let said = environment.endpoint(service).or_else(|| self.endpoint_of_profile());
        let url = said.unwrap_or(&usual).parse().map_err(|_| {
            Failure::prerequisite("the endpoint that is set for AWS is no address")
                .remedy("correct AWS_ENDPOINT_URL, or unset it")
        })?;
        Ok((url, region))
    }

    /// A call for somebody else to make while it holds.
    pub(super) async fn presigned(
        &self,
        service: Service,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        holds: Duration,
    ) -> Result<Secret, CallError> {
        let keys = self.keys().await?;
        let (url, region) = self.place(service)?;
        let query = signer(&keys, service, &region).presign(&host(&url), query, headers, holds);
        Ok(Secret::new(format!("{url}?{}", query.expose())))
    }

    fn request(&self, call: &Call, keys: &Keys, within: Duration) -> Result<Request, Failure> {
        let (mut url, region) = self.place(call.service)?;
        let (method, query) = (call.method(), call.query());
        if !call.of_path().is_empty() {
            url.set_path(&format!("{}{}", url.path().trim_end_matches('/'), call.of_path()));
            url.set_query(Some(query.as_str()).filter(|it| !it.is_empty()));
        }
        let headers = call.headers();
        let body = call.body();
        let signer = signer(keys, call.service, &region);
        let host = host(&url);
        let what = Signed { method: method.as_str(), host: &host, path: url.path(), query: &query };
        let added = signer.sign(&what, &headers, body.as_bytes());
        let own = headers.into_iter().map(|(name, value)| (name, Secret::new(value)));
        Ok(Request {
            method,
            headers: own.chain(added).collect(),
            url,
            body,
            within,
            direct: false,
        })
    }

    fn endpoint_of_profile(&self) -> Option<&str> {
        let environment = &self.shared.environment;
        if environment.says_yes("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") {
            return None;
        }
        let profile = environment.profile().unwrap_or("default");
        self.shared.profiles.get(profile)?.get("endpoint_url")
    }

    /// The credentials, found again when their end is near.
    async fn keys(&self) -> Result<Keys, CallError> {
        let mut kept = self.shared.keys.lock().await;
        if let Some(keys) = kept.as_ref().filter(|keys| keys.are_fresh(OffsetDateTime::now_utc())) {
            return Ok(keys.clone());
        }
        let shared = &self.shared;
        let found = credentials::find(&shared.environment, &shared.profiles, &shared.http).await?;
        let mut keys = found.keys;
        for role in found.roles {
            keys = role.read_keys(&self.send_as(&role.call(), &keys).await?)?;
        }
        *kept = Some(keys.clone());
        Ok(keys)
    }
}

/// What signs calls with these keys, now.
fn signer<'a>(keys: &'a Keys, service: Service, region: &'a str) -> Signer<'a> {
    Signer {
        access_key: &keys.access_key,
        secret_key: &keys.secret_key,
        session_token: keys.session_token.as_ref(),
        region,
        service: service.name(),
        at: OffsetDateTime::now_utc(),
    }
}

/// What a refusal is, and whether another try may help.
fn refused(call: &Call, reply: &Reply, keys: &Keys) -> (CallError, bool) {
    let mut error = ApiError::read(call, reply);
    error.message = text::clean(&keys.redactor().redact(&error.message), 300);
    let again = match error.problem() {
        Problem::Throttled | Problem::Service => true,
        _ => reply.status == 429 || reply.status >= 500,
    };
    (CallError::Api(error), again)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
