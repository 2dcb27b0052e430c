//! The console's session: a token exchanged for a cookie that no script can read, and a key that no
//! other server is sent.
//!
//! Owns how the session's secret travels: half of it in the cookie, the other half in a header that
//! the console's own scripts set. Refuses one half alone: a browser sends the cookie to every port of
//! the host, so that a gateway on the same machine gets it; what a script keeps for one origin goes
//! to that one, and is of no use without the cookie.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::caller::Caller;
use super::gate::Told;
use super::json::Json;
use super::problem::{Answer, Problem};
use super::state::Server;
use crate::app::AuthError;
use crate::domain::{Principal, PrincipalKind};
use crate::secrets::Secret;

/// The cookie's name.
pub(super) const COOKIE: &str = "openclaw_pipeline_session";
/// The header that has the other half.
pub(super) const KEY_HEADER: &str = "x-session-key";
/// How much of the secret stands in the cookie: its beginning and 132 bits; 126 are left for the key.
const IN_COOKIE: usize = 26;

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(show, open, close))
}

/// The session's secret, if the request has both halves of it.
pub(super) fn secret(headers: &HeaderMap) -> Option<Secret> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|it| it.trim().split_once('='));
    let cookie = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value).next()?;
    let key = headers.get(KEY_HEADER)?.to_str().ok()?;
    Some(Secret::new(format!("{cookie}{key}")))
}

fn set_cookie(server: &Server, value: &str, lasts_s: Option<u32>) -> Answer<HeaderValue> {
    let secure = if server.is_tls() { "; Secure" } else { "" };
    let age = lasts_s.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    let text = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
    HeaderValue::from_str(&text).map_err(|_| Problem::bad_request("no cookie can be made of this"))
}

/// A token to sign in with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// The token.
    #[schema(value_type = String)]
    token: Secret,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
struct SessionView {
    /// Who.
    principal: PrincipalView,
    /// When the session ends, RFC 3339 UTC; null where none was opened just now.
    #[schema(required)]
    expires_at: Option<String>,
    /// The session's key, shown once: what `X-Session-Key` is to say beside the cookie. Null where
    /// none was opened just now.
    #[schema(required, value_type = Option<String>)]
    key: Option<String>,
}

/// Somebody who is known.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Principal)]
struct PrincipalView {
    /// The token's id; `configured` for `OPENCLAW_PIPELINE_API_TOKEN`, `operator` for commands on
    /// the server's machine, and `open` on a server that asks for no token.
    id: String,
    /// What people call it.
    label: String,
    /// How they showed who they are: `token`, `session`, `operator` or `open`.
    #[schema(value_type = String, examples("session"))]
    kind: PrincipalKind,
    /// What they may.
    scopes: Vec<String>,
    /// How the names begin that they reach; null is all of them.
    #[schema(required)]
    name_prefix: Option<String>,
}

impl PrincipalView {
    fn of(principal: &Principal) -> Self {
        Self {
            id: principal.id.clone(),
            label: principal.label.clone(),
            kind: principal.kind,
            scopes: principal.scopes.iter().map(ToString::to_string).collect(),
            name_prefix: principal.name_prefix.as_ref().map(ToString::to_string),
        }
    }
}

/// See who is signed in
#[utoipa::path(
    get,
    path = "/v1/session",
    operation_id = "get_session",
    tag = "Sessions",
    responses((status = 200, description = "Who makes this request", body = SessionView)),
)]
async fn show(caller: Caller) -> Json<SessionView> {
    let principal = PrincipalView::of(&caller.principal);
    Json(SessionView { principal, expires_at: None, key: None })
}

/// Sign in
///
/// Exchanges a token for a cookie and a key, which last twelve hours. Only both of them together are
/// a session: the key goes into the header `X-Session-Key`. Changes are taken from the console's own
/// pages only.
#[utoipa::path(
    post,
    path = "/v1/session",
    operation_id = "open_session",
    tag = "Sessions",
    security(()),
    request_body = SignIn,
    responses((status = 200, description = "Signed in", body = SessionView)),
)]
async fn open(
    State(server): State<Server>,
    address: super::listen::Peer,
    Extension(told): Extension<Told>,
    headers: HeaderMap,
    Body(sign_in): Body<SignIn>,
) -> Answer<Response> {
    let now = std::time::Instant::now();
    // From another page, it would sign somebody in to what they did not choose.
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
        && site != "none"
    {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "signing in is for the console's own pages",
        ));
    }
    let address = address.0.to_canonical();
    server.rate().may_try(address, now).map_err(super::gate::too_many)?;
    let known = server.authenticator().authenticate(sign_in.token.expose());
    let principal = known.map_err(|error| match error {
        AuthError::Failed(failure) => failure.into(),
        error => {
            server.rate().failed(address, now);
            Problem::new(StatusCode::UNAUTHORIZED, error.to_string())
        }
    })?;
    told.is_by(&principal);
    let (secret, expires_at) = server.authenticator().open_session(&principal)?;
    let (cookie, key) = secret.expose().split_at(IN_COOKIE);
    let lasts_s = crate::app::SESSION_HOURS * 3600;
    let cookie = set_cookie(&server, cookie, u32::try_from(lasts_s).ok())?;
    let view = SessionView {
        principal: PrincipalView::of(&principal),
        expires_at: Some(expires_at),
        key: Some(key.to_owned()),
    };
    let mut response = Json(view).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Sign out
#[utoipa::path(
    delete,
    path = "/v1/session",
    operation_id = "close_session",
    tag = "Sessions",
    responses((status = 204, description = "Signed out")),
)]
async fn close(
    State(server): State<Server>,
    headers: HeaderMap,
    _caller: Caller,
) -> Answer<Response> {
    if let Some(secret) = secret(&headers) {
        server.authenticator().close_session(secret.expose())?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::SET_COOKIE, set_cookie(&server, "", Some(0))?);
    Ok(response)
}
