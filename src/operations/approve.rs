//! `approve`: let a browser in by hand.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::approval;
use super::context::{Context, OperationDef, Repeat, StepDef, StepEnd};
use crate::domain::{Aftermath, Failure, OperationKind};
use crate::gateway::{GatewayClient, Pairing};
use crate::targets::Site;

/// What an approval is asked for with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApproveParams {
    /// The request; every one within the ceiling when `None`.
    pub request_id: Option<String>,
}

pub(super) static DEFINITION: OperationDef = OperationDef {
    kind: OperationKind::Approve,
    done: None,
    done_says: |_| String::new(),
    steps: &[CHOOSE, APPROVE],
    recovery: &[],
    changes_from: "approve",
    recovered: Aftermath::Broken,
};

const CHOOSE: StepDef = StepDef {
    name: "choose",
    says: |_| "look who asks to be let in".into(),
    event: None,
    run: choose,
    repeat: Repeat::Never,
};

fn choose<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let params: ApproveParams = c.params()?;
        let site = c.site()?;
        let client = connect(c, &site).await?;
        let choice =
            approval::choose(&site, &Pairing(&client), params.request_id.as_deref()).await?;
        Ok(StepEnd::Done(json!(choice)))
    })
}

const APPROVE: StepDef = StepDef {
    name: "approve",
    says: |_| "let waiting browsers in".into(),
    event: None,
    run: approve,
    repeat: Repeat::Never,
};

fn approve<'a>(c: &'a mut Context<'_>) -> BoxFuture<'a, Result<StepEnd, Failure>> {
    Box::pin(async move {
        let choice = c
            .output("choose")?
            .ok_or_else(|| Failure::failed("the journal lacks what is to be approved"))?;
        let site = c.site()?;
        let client = connect(c, &site).await?;
        let done = approval::by_hand(c.store, &site, &Pairing(&client), choice).await?;
        Ok(StepEnd::Done(json!(done)))
    })
}

/// Connects, and stops trying when the operation is cancelled.
async fn connect(c: &Context<'_>, site: &Site) -> Result<GatewayClient, Failure> {
    let dial = c.target().loopback(site)?;
    tokio::select! {
        client = approval::connect_patiently(&*dial, site) => client,
        () = c.cancel.cancelled() => Err(Failure::interrupted()),
    }
}
