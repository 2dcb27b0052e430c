//! The tunnel in front of a gateway: starting one, and going back to the plain port.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::Named;
use super::super::caller::Start;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use super::super::views::OperationView;
use super::lifecycle::{Nothing, order};
use crate::app::{Exposure, Order, refuse_without_machine};
use crate::config::Variable;
use crate::domain::{Expose, Need};
use crate::secrets::Secret;

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(start, stop))
}

/// Which tunnel. A quick one when nothing is said.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TunnelBody {
    /// The host name of a named Cloudflare tunnel; `token` goes with it.
    #[schema(examples("ai.example.com"))]
    hostname: Option<String>,
    /// The token of that tunnel, which leads to `http://openclaw-gateway:18789`.
    #[schema(value_type = Option<String>)]
    token: Option<Secret>,
}

/// Put a tunnel in front of a gateway
///
/// For gateways on machines of their own (`ec2`, `lightsail`). A Cloudflare tunnel is started beside
/// the gateway, its page is let in and proven over HTTPS, and told as `cloudflare_ready`; then the
/// plain port is closed to the world. Where anything fails, the way that worked before is left. A
/// quick tunnel has a new host name at each start: where it leads to the gateway under another one,
/// that is proven and told, too.
#[utoipa::path(
    post,
    path = "/v1/deployments/{name}/tunnel",
    operation_id = "start_tunnel",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body get \
         the same answer again, for a day"),
    ),
    request_body = TunnelBody,
    responses((status = 202, description = "It is being set up", body = OperationView)),
)]
async fn start(
    State(server): State<Server>,
    Named(name): Named<String>,
    mut asked: Start<TunnelBody>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    let TunnelBody { hostname, token } = std::mem::take(&mut asked.body);
    let deployment = asked.caller.deployment(&server, &name)?;
    refuse_without_machine(&deployment.name, deployment.spec.target)?;
    let fields = [
        (Variable::TunnelHost, "hostname", hostname.map(Secret::new)),
        (Variable::TunnelToken, "token", token),
    ];
    let named = fields.iter().filter_map(|(it, _, given)| Some((*it, given.clone()?)));
    let settings = server.live().settings.for_request(named, Vec::new(), false);
    let exposure = Exposure::to(Expose::Tunnel, &settings).map_err(|failure| {
        let field = fields.iter().find(|(it, ..)| failure.message.starts_with(it.name()));
        let message = fields
            .iter()
            .fold(failure.message.clone(), |text, (it, field, _)| text.replace(it.name(), field));
        Problem::field(
            field.map_or("hostname", |(_, field, _)| field),
            message.replace(" (from: request)", ""),
        )
    })?;
    order(&server, &name, &asked, Order::Expose(exposure)).await
}

/// Take the tunnel away
///
/// The gateway is reached over plain HTTP again, which can be read on its way.
#[utoipa::path(
    delete,
    path = "/v1/deployments/{name}/tunnel",
    operation_id = "stop_tunnel",
    tag = "Deployments",
    params(
        ("name" = String, Path, description = "The deployment"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gets the same \
         answer again, for a day"),
    ),
    responses((status = 202, description = "It is being taken away", body = OperationView)),
)]
async fn stop(
    State(server): State<Server>,
    Named(name): Named<String>,
    asked: Start<Nothing>,
) -> Answer<Response> {
    asked.caller.may(Need::Deploy)?;
    let exposure = Exposure { who: Expose::Http, named: None, image: None };
    order(&server, &name, &asked, Order::Expose(exposure)).await
}
