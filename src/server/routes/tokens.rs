//! Tokens, and the audit log: the administrator's.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::{Asked, Named};
use super::super::caller::{Caller, Start};
use super::super::gate::Recorded;
use super::super::json::Json;
use super::super::page;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use super::super::views::{NameBeginning, Page};
use crate::app::tokens::{AuditFilter, AuditRecord, NewToken, TokenRecord};
use crate::app::{AuditOutcome, Repeated};
use crate::domain::access::expiry;
use crate::domain::{Failure, Limits, Need, Scope, TargetKind};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, revoke))
        .routes(routes!(audit))
}

/// How much a token may have. What is left out has no limit.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenLimits)]
struct LimitsView {
    /// Deployments at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployments: Option<u32>,
    /// Launches at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    launches: Option<u32>,
    /// What its deployments may cost a month together, in US dollars. A target on this machine has
    /// no price; a machine whose price is not known is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monthly_price: Option<u32>,
    /// Where deployments may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    targets: Option<Vec<TargetKind>>,
    /// Of which sizes machines may be. A target on this machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sizes: Option<Vec<String>>,
    /// In which regions machines may stand. A target on this machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<String>>,
}

impl From<LimitsView> for Limits {
    fn from(it: LimitsView) -> Self {
        Self {
            deployments: it.deployments,
            launches: it.launches,
            monthly_price: it.monthly_price,
            targets: it.targets,
            sizes: it.sizes,
            regions: it.regions,
        }
    }
}

impl From<&Limits> for LimitsView {
    fn from(it: &Limits) -> Self {
        Self {
            deployments: it.deployments,
            launches: it.launches,
            monthly_price: it.monthly_price,
            targets: it.targets.clone(),
            sizes: it.sizes.clone(),
            regions: it.regions.clone(),
        }
    }
}

/// What a token is good for: `read`, `deploy`, `connect`, `destroy`, `admin`, `events:NAME`.
#[derive(ToSchema)]
#[schema(as = Scope, pattern = "^(read|deploy|connect|destroy|admin|events:[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?)$")]
#[expect(dead_code, reason = "it says what the text of a scope looks like")]
struct ScopeText(String);

/// A token, without its text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
struct TokenView {
    /// Its id, which is no secret.
    id: String,
    /// What people call it.
    label: String,
    /// What it is good for.
    #[schema(value_type = Vec<ScopeText>)]
    scopes: Vec<String>,
    /// How the names begin that it reaches; null is all of them.
    #[schema(required)]
    name_prefix: Option<String>,
    /// How much it may have.
    limits: LimitsView,
    /// Whether the server's own provider credentials may go into what it launches.
    server_credentials: bool,
    /// When it was made, RFC 3339 UTC.
    created_at: String,
    /// By whom.
    created_by: String,
    /// When it ends; null when it does not.
    #[schema(required)]
    expires_at: Option<String>,
    /// When it was last used, up to a minute late.
    #[schema(required)]
    last_used_at: Option<String>,
    /// When it was revoked.
    #[schema(required)]
    revoked_at: Option<String>,
}

impl From<&TokenRecord> for TokenView {
    fn from(it: &TokenRecord) -> Self {
        Self {
            id: it.id.clone(),
            label: it.label.clone(),
            scopes: it.scopes.iter().map(Scope::to_string).collect(),
            name_prefix: it.name_prefix.as_ref().map(ToString::to_string),
            limits: LimitsView::from(&it.limits),
            server_credentials: it.server_credentials,
            created_at: it.created_at.clone(),
            created_by: it.created_by.clone(),
            expires_at: it.expires_at.clone(),
            last_used_at: it.last_used_at.clone(),
            revoked_at: it.revoked_at.clone(),
        }
    }
}

/// A token with its text, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct NewTokenView {
    /// The token.
    #[serde(flatten)]
    record: TokenView,
    /// Its text.
    token: String,
}

/// A token to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    /// What it is for: 1 to 80 visible characters.
    #[schema(examples("front end"), min_length = 1, max_length = 80)]
    label: String,
    /// What it is good for.
    #[schema(value_type = Vec<ScopeText>, min_items = 1, max_items = 64)]
    scopes: Vec<String>,
    /// How the names begin that it reaches.
    #[schema(value_type = Option<NameBeginning>)]
    name_prefix: Option<String>,
    /// How much it may have.
    #[serde(default)]
    #[schema(required = false)]
    limits: LimitsView,
    /// Whether the server's own provider credentials may go into what it launches.
    #[serde(default)]
    server_credentials: bool,
    /// When it ends: RFC 3339, or a time from now such as `30d`, `12h`, `90m`.
    #[schema(examples("30d"))]
    expires_at: Option<String>,
}

impl TokenBody {
    fn read(self) -> Answer<NewToken> {
        let wrong =
            |field: &'static str| move |failure: Failure| Problem::field(field, failure.message);
        let scopes = self.scopes.iter().map(|scope| scope.parse()).collect::<Result<_, _>>();
        let ends = self.expires_at.as_deref().map(|end| expiry(end, OffsetDateTime::now_utc()));
        let prefix = self.name_prefix.as_deref().map(str::parse).transpose();
        Ok(NewToken {
            label: self.label,
            scopes: scopes.map_err(wrong("scopes"))?,
            name_prefix: prefix.map_err(wrong("name_prefix"))?,
            limits: self.limits.into(),
            server_credentials: self.server_credentials,
            expires_at: ends.transpose().map_err(wrong("expires_at"))?,
        })
    }
}

/// A page of something.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// At most so many, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// List tokens
///
/// Newest first, revoked and expired ones included.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    operation_id = "list_tokens",
    tag = "Administration",
    params(Which),
    responses((status = 200, description = "A page of them", body = Page<TokenView>)),
)]
async fn list(
    State(server): State<Server>,
    caller: Caller,
    Asked(which): Asked<Which>,
) -> Answer<Json<Page<TokenView>>> {
    let limit = page::limit(which.limit)?;
    caller.may(Need::Tokens)?;
    let before = page::cursor(which.cursor.as_deref(), "tokens")?;
    let (found, next) = server.app().tokens(&caller.principal, before, limit)?;
    Ok(Json(Page {
        items: found.iter().map(TokenView::from).collect(),
        next_cursor: next.map(|place| page::cursor_at("tokens", &place.to_string())),
    }))
}

/// Make a token
///
/// Its text is shown in this answer, and never again: an answer that was lost cannot be had again
/// with the same `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "create_token",
    tag = "Administration",
    request_body = TokenBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "With the same key, no \
           second token is made")),
    responses((status = 201, description = "The token", body = NewTokenView)),
)]
async fn create(State(server): State<Server>, start: Start<TokenBody>) -> Answer<Response> {
    let Start { caller, body, key, .. } = start;
    caller.may(Need::Tokens)?;
    let status = StatusCode::CREATED;
    if let Some(key) = &key
        && let Some(before) = server.app().answered(key)?
    {
        return Err(Repeated::not_again(&before).into());
    }
    let new = body.read()?;
    let record = caller.record(status.as_u16());
    let (record, text) =
        server.app().create_token(&caller.principal, &new, &record, key.as_ref())?;
    let view = NewTokenView { record: TokenView::from(&record), token: text.expose().to_owned() };
    let mut response = (status, Json(view)).into_response();
    response.extensions_mut().insert(Recorded);
    Ok(response)
}

/// See a token
#[utoipa::path(
    get,
    path = "/v1/tokens/{id}",
    operation_id = "get_token",
    tag = "Administration",
    params(("id" = String, Path, description = "The token")),
    responses((status = 200, description = "The token, without its text", body = TokenView)),
)]
async fn show(
    State(server): State<Server>,
    caller: Caller,
    Named(id): Named<String>,
) -> Answer<Json<TokenView>> {
    Ok(Json(TokenView::from(&server.app().token(&caller.principal, &id)?)))
}

/// Revoke a token
///
/// It and its sessions are good for nothing from now on. Revoking it again changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    operation_id = "revoke_token",
    tag = "Administration",
    params(("id" = String, Path, description = "The token")),
    responses((status = 200, description = "The token as it stands now", body = TokenView)),
)]
async fn revoke(
    State(server): State<Server>,
    caller: Caller,
    Named(id): Named<String>,
) -> Answer<Response> {
    let record = caller.record(StatusCode::OK.as_u16());
    let revoked = server.app().revoke_token(&caller.principal, &id, &record)?;
    let mut response = Json(TokenView::from(&revoked)).into_response();
    response.extensions_mut().insert(Recorded);
    Ok(response)
}

/// A line of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditRecord)]
struct AuditView {
    /// Its place in the log.
    sequence: i64,
    /// When, RFC 3339 UTC.
    at: String,
    /// Who: a token's id, `configured` for `OPENCLAW_PIPELINE_API_TOKEN`, `operator` for commands
    /// on the server's machine, `open`, or nothing where nobody showed who they are.
    actor: String,
    /// What people call them.
    actor_label: String,
    /// Where they came from.
    address: String,
    /// What they asked for.
    #[schema(examples("POST /launch"))]
    action: String,
    /// Of which deployment, or what else it was about.
    #[schema(required)]
    name: Option<String>,
    /// How it ended: `allowed`, `denied` or `failed`.
    #[schema(value_type = String, examples("allowed"))]
    outcome: AuditOutcome,
    /// The status of the answer; 0 for a command.
    status: u16,
    /// The id of the request.
    request_id: String,
    /// Why, or what more there is to know.
    detail: String,
    /// How often: denials that are alike are one line a minute.
    times: u32,
}

impl From<AuditRecord> for AuditView {
    fn from(it: AuditRecord) -> Self {
        Self {
            sequence: it.sequence,
            at: it.at,
            actor: it.actor,
            actor_label: it.actor_label,
            address: it.address,
            action: it.action,
            name: it.name,
            outcome: it.outcome,
            status: it.status,
            request_id: it.request_id,
            detail: it.detail,
            times: it.times,
        }
    }
}

/// Which lines of the audit log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichLines {
    /// At most so many, 1 to 200; 50 when left out.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// Of this principal.
    actor: Option<String>,
    /// About this deployment.
    name: Option<String>,
    /// That ended so: `allowed`, `denied` or `failed`.
    #[param(pattern = "^(allowed|denied|failed)$")]
    outcome: Option<String>,
}

/// Read the audit log
///
/// Who did what, and what was not let; newest first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "list_audit",
    tag = "Administration",
    params(WhichLines),
    responses((status = 200, description = "A page of it", body = Page<AuditView>)),
)]
async fn audit(
    State(server): State<Server>,
    caller: Caller,
    Asked(which): Asked<WhichLines>,
) -> Answer<Json<Page<AuditView>>> {
    let limit = page::limit(which.limit)?;
    let outcome = which.outcome.as_deref().map(str::parse).transpose();
    let outcome = outcome.map_err(|failure: Failure| Problem::field("outcome", failure.message))?;
    let filter = AuditFilter {
        actor: which.actor.as_deref(),
        name: which.name.as_deref(),
        outcome,
        before: page::cursor(which.cursor.as_deref(), "audit")?,
        limit,
    };
    let (found, next) = server.app().audit(&caller.principal, &filter)?;
    Ok(Json(Page {
        items: found.into_iter().map(AuditView::from).collect(),
        next_cursor: next.map(|place| page::cursor_at("audit", &place.to_string())),
    }))
}
