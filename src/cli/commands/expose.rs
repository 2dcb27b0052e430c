//! `expose`, and what a person is told of a page that others on the way can read.

use super::super::output::Output;
use super::{Session, verbs};
use crate::app::{Exposure, Order, refuse_without_machine};
use crate::domain::{Deployment, Expose, Failure, TargetKind};

pub(super) async fn run(
    session: &Session<'_>,
    name: &str,
    who: Option<&str>,
) -> Result<u8, Failure> {
    // With one word, the deployment is the one that the settings name.
    let (name, who) = match who {
        Some(who) => (Some(name), who),
        None => (None, name),
    };
    let who: Expose = who.parse().map_err(|failure: Failure| {
        failure.remedy("openclaw-pipeline expose NAME tunnel, http, operator or none")
    })?;
    let exposure = Exposure::to(who, &session.settings)?;
    let app = session.app()?;
    let of = session.name(name)?;
    let deployment = app.deployment(&of)?;
    refuse_without_machine(&of, deployment.spec.target)?;
    let code = verbs::simple(session, Order::Expose(exposure), name).await?;
    warn(session.out, &app.deployment(&of)?);
    Ok(code)
}

/// Warns of a page over plain HTTP, with the command that makes a tunnel.
pub(super) fn warn(out: &Output, deployment: &Deployment) {
    if out.is_json() || !deployment.is_readable_on_its_way() {
        return;
    }
    let name = &deployment.name;
    if deployment.spec.target.has_machine() {
        out.say(&format!(
            "Warning: plain HTTP can be read on its way. For HTTPS: openclaw-pipeline expose {name} \
             tunnel"
        ));
    } else if deployment.spec.target == TargetKind::Eks {
        out.say(&format!(
            "Warning: plain HTTP can be read on its way. openclaw-pipeline tunnel {name} is a way \
             that nobody reads; an ingress or a Gateway with a certificate is HTTPS for everybody \
             (OPENCLAW_PIPELINE_INGRESS_CLASS, OPENCLAW_PIPELINE_GATEWAY_CLASS)."
        ));
    } else {
        out.say(
            "Warning: plain HTTP can be read on its way. A gateway on ec2 or lightsail can have a \
             tunnel with HTTPS.",
        );
    }
}

/// The same of a list, once for all.
pub(super) fn warn_of_all(out: &Output, deployments: &[Deployment]) {
    let mut readable = deployments.iter().filter(|it| it.is_readable_on_its_way());
    match (readable.next(), readable.next()) {
        (Some(one), None) => warn(out, one),
        (Some(_), Some(_)) if !out.is_json() => out.say(
            "Warning: plain HTTP can be read on its way. For HTTPS where there is a machine: \
             openclaw-pipeline expose NAME tunnel",
        ),
        _ => {}
    }
}
