//! `POST /v1/plan`: what a launch would make or change, and what it would cost. Nothing is made.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::body::Body;
use super::super::caller::Caller;
use super::super::problem::{Answer, Problem};
use super::super::state::Server;
use super::form::LaunchForm;
use crate::app::{Planned, PlannedChange, Price};
use crate::domain::{Failure, Need};

pub(super) fn routes() -> OpenApiRouter<Server> {
    OpenApiRouter::new().routes(routes!(plan))
}

/// What a launch would come to.
#[derive(Debug, Serialize, ToSchema)]
struct PlanAnswer {
    /// The deployment, which need not be there.
    #[schema(examples("main"))]
    name: String,
    /// Where its machine is, or would be.
    #[schema(examples("ec2"))]
    target: String,
    /// The region of the machine.
    #[schema(examples("us-west-2"))]
    region: String,
    /// The instance type or bundle.
    #[schema(examples("t3.medium"))]
    size: String,
    /// What would become of which resource; empty where nothing would change.
    changes: Vec<ChangeView>,
    /// What the machine costs.
    cost: CostView,
}

/// What would become of a resource.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeView {
    /// `create`, `update`, `delete` or `replace`.
    #[schema(examples("create"))]
    action: &'static str,
    /// What it is, in words.
    #[schema(examples("the instance"))]
    what: String,
    /// Its address in Terraform's module.
    #[schema(examples("aws_instance.gateway"))]
    address: String,
}

/// What a machine costs per month, without traffic and taxes.
#[derive(Debug, Serialize, ToSchema)]
struct CostView {
    /// About how much, in words; `unknown` where a part has no known price.
    #[schema(examples("~$36.4/month"))]
    per_month: String,
    /// The sum in US dollars; null where a part has no known price.
    #[schema(required)]
    usd_per_month: Option<f64>,
    /// The parts that it is made of.
    parts: Vec<PartView>,
    /// The date of the oldest price among them; null where none is known.
    #[schema(required, examples("2025-11-01"))]
    as_of: Option<String>,
}

/// A part of what a machine costs.
#[derive(Debug, Serialize, ToSchema)]
struct PartView {
    /// Of what.
    #[schema(examples("t3.medium"))]
    what: String,
    /// About how much, in words, or `unknown`.
    #[schema(examples("~$30.4/month"))]
    per_month: String,
}

impl From<Planned> for PlanAnswer {
    fn from(planned: Planned) -> Self {
        let Planned { name, target, region, size, changes, cost } = planned;
        let change = |PlannedChange { action, what, address }| ChangeView { action, what, address };
        let Price { per_month, usd_per_month, parts, as_of } = cost;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let part = |it: serde_json::Value| PartView {
            what: text(&it["what"]),
            per_month: text(&it["per_month"]),
        };
        Self {
            name: name.to_string(),
            target: target.to_string(),
            region,
            size,
            changes: changes.into_iter().map(change).collect(),
            cost: CostView {
                per_month,
                usd_per_month,
                parts: parts.into_iter().map(part).collect(),
                as_of,
            },
        }
    }
}

/// See what a launch would make, and what it costs
///
/// Takes what `POST /launch` takes, for the `ec2` and `lightsail` targets, and answers after a few
/// seconds: AWS and Terraform are asked. Where the deployment is there, it is what a launch of it
/// would change. Nothing is made and nothing is recorded.
#[utoipa::path(
    post,
    path = "/v1/plan",
    operation_id = "plan",
    tag = "Deployments",
    request_body = LaunchForm,
    responses((status = 200, description = "What it would come to", body = PlanAnswer)),
)]
async fn plan(
    State(server): State<Server>,
    caller: Caller,
    Body(form): Body<LaunchForm>,
) -> Answer<Json<PlanAnswer>> {
    caller.is_about(form.name.as_deref());
    caller.may(Need::Deploy)?;
    let order = form.order(&server, &caller, false)?;
    if !order.target.has_machine() {
        return Err(Problem::field(
            "target",
            format!("the {} target makes no machine that could be planned", order.target),
        ));
    }
    let (app, cancel) = (server.app().clone(), CancellationToken::new());
    // Whoever goes away ends what was asked on their behalf.
    let _left = cancel.clone().drop_guard();
    let planned = tokio::spawn(async move { app.plan_order(&order, &cancel).await }).await;
    let planned = planned.map_err(|error| Failure::internal(format!("the plan: {error}")))??;
    Ok(Json(planned.into()))
}
