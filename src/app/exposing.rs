//! Who reaches a gateway that runs: changing that, and following a tunnel whose host name is a new
//! one.
//!
//! Owns what such an order begins with. Refuses it where there is no machine of the deployment's
//! own, and begins nothing by itself but what makes a recorded address true again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::App;
use super::orders::{Order, Planned, to_value};
use crate::config::Settings;
use crate::domain::{Deployment, DeploymentName, Expose, Failure, Operation, TargetKind};
use crate::operations::vault::Slot;
use crate::operations::{ExposeParams, Sink, Told};
use crate::secrets::Secret;
use crate::targets::Progress;

/// How long a look at a tunnel's host name may take: it goes by SSH.
const LOOK_DEADLINE: Duration = Duration::from_secs(20);

/// Who is to reach a gateway.
#[derive(Debug, Clone)]
pub struct Exposure {
    /// Who.
    pub who: Expose,
    /// A named tunnel's host name and its token; what is recorded stays where there is none.
    pub named: Option<(String, Secret)>,
    /// The image of the tunnel's program; what is recorded stays where there is none.
    pub image: Option<String>,
}

impl Exposure {
    /// To somebody, with what the settings say of a tunnel.
    pub fn to(who: Expose, settings: &Settings) -> Result<Self, Failure> {
        let (named, image) = (settings.named_tunnel()?, settings.tunnel_image()?);
        Ok(Self { who, named, image })
    }

    /// The same as is recorded of a tunnel.
    fn again() -> Self {
        Self { who: Expose::Tunnel, named: None, image: None }
    }
}

/// Refuses a tunnel where none can be put in front of a gateway.
pub fn refuse_without_machine(name: &DeploymentName, target: TargetKind) -> Result<(), Failure> {
    if target.has_machine() {
        return Ok(());
    }
    let here = match target {
        TargetKind::Eks => format!(
            "here, openclaw-pipeline deploy {name} --expose none, operator or http, or a class of \
             ingresses or Gateways, says who reaches it"
        ),
        _ => "here, GATEWAY_BIND says who reaches it".to_owned(),
    };
    Err(Failure::bad_input(format!(
        "{name} is on the {target} target, and who reaches a gateway is chosen on machines of their \
         own"
    ))
    .remedy(format!("launch on ec2 or lightsail for a tunnel; {here}")))
}

impl App {
    pub(super) fn plan_exposure(
        &self,
        name: &DeploymentName,
        exposure: Exposure,
        done: Option<Operation>,
    ) -> Result<Planned, Failure> {
        refuse_without_machine(name, self.deployment(name)?.spec.target)?;
        let why = "whoever reaches it is proven to";
        let deployment = self.unless_stopped(name, why)?;
        let mut spec = deployment.spec.clone();
        let machine = spec.machine.as_mut().filter(|_| deployment.facts.machine.is_some());
        let machine = machine.ok_or_else(|| {
            Failure::conflict(format!("{name} has no machine yet"))
                .remedy(format!("openclaw-pipeline launch {name}"))
        })?;
        machine.expose = exposure.who;
        spec.bind = exposure.who.published_on();
        let mut secrets = None;
        if exposure.who == Expose::Tunnel {
            machine.tunnel_image = exposure.image.or(machine.tunnel_image.take());
            if let Some((host, token)) = exposure.named {
                let mut known = self.engine().vault().open(self.store(), &deployment.id)?;
                machine.tunnel_host = Some(host);
                known.tunnel_token = Some(token);
                secrets = Some(known);
            }
        }
        let params = to_value(&ExposeParams { spec })?;
        let Some(secrets) = secrets else { return Ok(Planned::unless_done(params, done)) };
        let sealed = self.sealed(&deployment, Slot::Next, &secrets)?;
        Ok(Planned::Begin { params, sealed, notices: Vec::new() })
    }

    /// Whether a tunnel that a gateway is reached through leads to it under another host name than
    /// the recorded one, as it does after its program was started anew.
    async fn has_moved(&self, deployment: &Deployment) -> bool {
        let Some(tunnel) = deployment.tunnel() else { return false };
        let site = self.unopened(deployment);
        let Some(tunnels) = self.target(&site).tunnels() else { return false };
        let host = tokio::time::timeout(LOOK_DEADLINE, tunnels.host(&site)).await;
        matches!(host, Ok(Ok(Some(host))) if host != tunnel.host)
    }

    /// Follows a tunnel that leads to a gateway under a new host name: the page there is let in,
    /// proven and announced, as an operation. A server begins it, and whoever runs a command waits
    /// for its end. Answers whether it was followed to its end.
    pub(super) async fn follow_tunnel(&self, deployment: &Deployment) -> bool {
        let name = &deployment.name;
        if !matches!(self.store().active_operation(name), Ok(None))
            || !self.has_moved(deployment).await
        {
            return false;
        }
        let order = Order::Expose(Exposure::again());
        let followed = if self.is_server() {
            self.begin_order(name, order, Vec::new()).await.map(|_| false)
        } else {
            let cancel = CancellationToken::new();
            self.order(name, order, &Unheard, &cancel).await.map(|_| true)
        };
        followed.unwrap_or_else(|failure| {
            tracing::warn!(%name, "the tunnel's new host name could not be followed: {failure}");
            false
        })
    }
}

/// Nobody looks.
pub(super) struct Unheard;

impl Progress for Unheard {
    fn amount(&self, _done: u64, _total: u64, _what: &str) {}

    fn note(&self, _line: &str) {}
}

impl Sink for Unheard {
    fn tell(&self, _told: &Told<'_>) {}

    fn progress(&self) -> &dyn Progress {
        self
    }
}
