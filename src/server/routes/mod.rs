//! The calls, one file for each resource.

mod access;
mod approve;
mod deliveries;
mod deployments;
mod event;
mod events;
mod form;
mod health;
mod launch;
mod lifecycle;
mod logs;
mod metrics;
mod operations;
mod plan;
mod status;
mod tokens;
mod tunnel;
mod webhooks;

use utoipa_axum::router::OpenApiRouter;

use super::state::Server;

/// Every call with its description.
pub(super) fn all() -> OpenApiRouter<Server> {
    OpenApiRouter::new()
        .merge(launch::routes())
        .merge(plan::routes())
        .merge(approve::routes())
        .merge(status::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(event::routes())
        .merge(deployments::routes())
        .merge(lifecycle::routes())
        .merge(tunnel::routes())
        .merge(access::routes())
        .merge(logs::routes())
        .merge(operations::routes())
        .merge(events::routes())
        .merge(tokens::routes())
        .merge(webhooks::routes())
        .merge(deliveries::routes())
}
