//! Who makes a request, and what they may.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedMutexGuard;

use super::body::{self, RawBody};
use super::gate::Told;
use super::problem::{Answer, Problem};
use super::session;
use super::state::Server;
use crate::app::rate;
use crate::app::{AuditOutcome, AuditRecord, AuthError, IdempotencyKey, OwnerLimits};
use crate::domain::{Deployment, DeploymentName, Need, Principal, PrincipalKind, Scope};
use crate::secrets::Secret;

/// How long a request waits until the same one that came before it is on record, or answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// When to come again after that, in seconds.
const COME_AGAIN_S: u64 = 10;

/// By what a caller is known. Whoever follows for longer than a request lasts is looked at by it
/// again.
#[derive(Debug, Clone)]
pub enum Shown {
    /// Nothing, where none is asked for.
    Nothing,
    /// A token.
    Token(Secret),
    /// A session's secret.
    Session(Secret),
}

impl Shown {
    /// What a request shows.
    pub fn by(headers: &HeaderMap) -> Answer<Self> {
        if let Some(header) = headers.get(header::AUTHORIZATION) {
            let token = header.to_str().ok().and_then(bearer).ok_or_else(|| {
                Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "the Authorization header is to be: Bearer, a blank, and the token",
                )
            })?;
            return Ok(Self::Token(Secret::new(token)));
        }
        Ok(session::secret(headers).map_or(Self::Nothing, Self::Session))
    }

    /// Whose it is; `None` where a token is missing.
    pub fn whose(&self, server: &Server) -> Result<Option<Arc<Principal>>, AuthError> {
        let authenticator = server.authenticator();
        match self {
            Self::Token(token) => authenticator.authenticate(token.expose()).map(Some),
            Self::Session(secret) => authenticator.authenticate_session(secret.expose()).map(Some),
            Self::Nothing => {
                let open =
                    server.is_loopback() && authenticator.is_open().map_err(AuthError::Failed)?;
                Ok(open.then(|| server.open_principal()))
            }
        }
    }

    /// Whether it is still good. A store that does not answer takes nobody's right away.
    pub fn is_good(&self, server: &Server) -> bool {
        match self.whose(server) {
            Ok(principal) => principal.is_some(),
            Err(AuthError::Failed(_)) => true,
            Err(AuthError::Unknown | AuthError::Expired | AuthError::Revoked) => false,
        }
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who makes a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub principal: Arc<Principal>,
    /// By what they are known.
    pub shown: Shown,
    /// From where.
    pub address: IpAddr,
    /// The request's id.
    pub request_id: Arc<str>,
    /// What the audit log calls what they ask for.
    pub action: Arc<str>,
    /// What the call itself knows of it.
    pub(super) told: Told,
}

impl Caller {
    /// Refuses unless they may do what needs this.
    pub fn may(&self, need: Need<'_>) -> Answer<()> {
        Ok(self.principal.may(need)?)
    }

    /// Refuses unless they may do what needs one of these.
    pub fn may_any(&self, needs: &[Need<'_>]) -> Answer<()> {
        Ok(self.principal.may_any(needs)?)
    }

    /// What the request's body says that it is about, for the line of a request that is refused.
    pub fn is_about(&self, given: Option<&str>) {
        self.told.is_about(given.unwrap_or("main"));
    }

    /// A name as the caller gave it. One that breaks the rule, or is out of their reach, is no
    /// name of anything to them.
    pub fn named(&self, given: &str) -> Answer<DeploymentName> {
        let name: Option<DeploymentName> = given.parse().ok();
        name.filter(|name| self.principal.reaches(name)).ok_or_else(|| {
            let shown = crate::domain::text::clean(given, 60);
            Problem::not_found(format!("there is no deployment {shown}"))
                .remedy("GET /v1/deployments lists what there is")
        })
    }

    /// A deployment as the caller named it.
    pub fn deployment(&self, server: &Server, given: &str) -> Answer<Deployment> {
        let name = self.named(given)?;
        Ok(server.app().deployment(&name)?)
    }

    /// Counts an event that they post. A token that is good for a deployment's events alone stands
    /// on that deployment's machine, with whatever runs there.
    pub fn take(&self, server: &Server, name: &DeploymentName) -> Answer<()> {
        let scopes = &self.principal.scopes;
        if scopes.iter().all(|scope| matches!(scope, Scope::Events(_))) {
            let caller = rate::Caller::Event(&self.principal.id, name.as_str());
            server.rate().take(caller, std::time::Instant::now()).map_err(super::gate::too_many)?;
        }
        Ok(())
    }

    /// The line of the audit log that comes along with what they begin.
    pub fn record(&self, status: u16) -> AuditRecord {
        AuditRecord::of(&self.principal, &self.action)
            .from_address(self.address.to_string())
            .ended(AuditOutcome::Allowed, status)
            .in_request(self.request_id.as_ref())
    }

    /// Whose a launch is, and how much they may have. The operator's own have no limit.
    pub fn owner(&self) -> Option<OwnerLimits> {
        let token = matches!(self.principal.kind, PrincipalKind::Token | PrincipalKind::Session);
        token.then(|| OwnerLimits {
            owner: self.principal.id.clone(),
            deployments: self.principal.limits.deployments,
            launches: self.principal.limits.launches,
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "nobody is known"))
    }
}

/// A call that starts work: who makes it, what it says, and the key by which it may be sent again.
#[derive(Debug)]
pub struct Start<T> {
    /// Who makes it.
    pub caller: Caller,
    /// What it says; nothing is an empty object.
    pub body: T,
    /// The key by which it may be sent again.
    pub key: Option<IdempotencyKey>,
    /// Whoever sends it again meanwhile waits for it: what it begins would be in the other's way
    /// before it is on record.
    turn: Option<OwnedMutexGuard<()>>,
}

impl<T> Start<T> {
    /// Lets those go on that sent it again: it is on record.
    pub fn is_on_record(&mut self) {
        drop(self.turn.take());
    }
}

impl<T: DeserializeOwned + Send> FromRequest<Server> for Start<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, server: &Server) -> Answer<Self> {
        let (mut parts, inner) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, server).await?;
        let declared = body::require_json(&parts.headers);
        let (headers, method, uri) =
            (parts.headers.clone(), parts.method.clone(), parts.uri.clone());
        let request = Request::from_parts(parts, inner);
        let RawBody(bytes) = RawBody::from_request(request, server).await?;
        let key = key(&caller, &headers, &method, &uri, &bytes)?;
        let body = if bytes.is_empty() {
            body::parse(b"{}")?
        } else {
            declared?;
            body::parse(&bytes)?
        };
        Ok(Self { turn: turn(server, key.as_ref()).await?, caller, body, key })
    }
}

/// The turn among those that send the same request.
async fn turn(
    server: &Server,
    key: Option<&IdempotencyKey>,
) -> Answer<Option<OwnedMutexGuard<()>>> {
    let Some(key) = key else { return Ok(None) };
    if !matches!(server.app().answered(key), Ok(None)) {
        // It is on record, or the key is another request's: the route says what became of it.
        return Ok(None);
    }
    if let Some(turn) = server.keys().wait(&key.name(), PATIENCE).await {
        return Ok(Some(turn));
    }
    let why = "an earlier request with this Idempotency-Key is not answered yet; send it again";
    Err(Problem::new(StatusCode::CONFLICT, why).retry_after(COME_AGAIN_S))
}

/// What the caller may send again under the same key.
fn key(
    caller: &Caller,
    headers: &HeaderMap,
    method: &Method,
    uri: &Uri,
    body: &[u8],
) -> Answer<Option<IdempotencyKey>> {
    let mut given = headers.get_all("idempotency-key").iter();
    let (first, second) = (given.next(), given.next());
    let Some(first) = first else { return Ok(None) };
    let text = first.to_str().ok().filter(|_| second.is_none()).ok_or_else(|| {
        Problem::field("Idempotency-Key", "it is one line of printable ASCII, given once")
    })?;
    let path = uri.path_and_query().map_or("", |it| it.as_str());
    let key = IdempotencyKey::new(&caller.principal.id, text, method.as_str(), path, body)?;
    Ok(Some(key))
}
