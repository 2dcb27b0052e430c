//! A tunnel on a machine: its host name, and that nothing else leads to the gateway.
//!
//! Owns the wait until it leads somewhere, and the look from outside at the plain port. Refuses a
//! host name that is none, whoever says it.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::time::Instant;

use super::{MachineTarget, reach, route};
use crate::domain::{Failure, tunnel};
use crate::exec::wait;
use crate::gateway::{Dial as _, TcpDial, probe};
use crate::targets::container::{Seen, metrics_port};
use crate::targets::{Site, Tunnels, Work};

/// How long a tunnel may take until it leads somewhere.
const UP_DEADLINE: Duration = Duration::from_secs(120);
/// How long a look at the port that nobody is to reach may take, and how long it may be reached
/// still: a firewall's rule that is gone holds a moment longer.
const CLOSED_DEADLINE: Duration = Duration::from_secs(60);
/// The pause between two looks.
const AGAIN: Duration = Duration::from_millis(500);

/// What its figures tell of a quick one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Quick {
    hostname: String,
}

/// What they tell of any.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ready {
    ready_connections: u32,
}

impl MachineTarget {
    /// The host name that a tunnel has now; `None` while it leads nowhere.
    async fn host_now(&self, site: &Site) -> Result<Option<String>, Failure> {
        let port = metrics_port(site.port()?);
        let way = route::Forwarded::new(reach::machine(site)?, port);
        let host = format!("127.0.0.1:{port}");
        let Ok((_, ready)) = probe::read(&way, &host, "/ready").await else { return Ok(None) };
        let ready: Ready = serde_json::from_slice(&ready).unwrap_or_default();
        if ready.ready_connections == 0 {
            return Ok(None);
        }
        if let Some(named) = named(site) {
            return Ok(Some(named.to_owned()));
        }
        let Ok((_, quick)) = probe::read(&way, &host, "/quicktunnel").await else {
            return Ok(None);
        };
        let quick: Quick = serde_json::from_slice(&quick).unwrap_or_default();
        if quick.hostname.is_empty() {
            return Ok(None);
        }
        tunnel::quick_host(&quick.hostname).map(Some)
    }

    /// Why a tunnel leads nowhere.
    async fn trouble(&self, site: &Site, what: &str) -> Failure {
        let says = match self.engine_of(site) {
            Ok(engine) => engine.tunnel_says(site).await,
            Err(failure) => failure.message,
        };
        let name = &site.deployment.name;
        let remedy = if named(site).is_some() {
            "check OPENCLAW_PIPELINE_TUNNEL_TOKEN, and that the tunnel is there at its account"
                .to_owned()
        } else {
            format!(
                "check that the machine reaches Cloudflare (outbound TCP and UDP 7844, 443); for \
                 another way in: openclaw-pipeline expose {name} http"
            )
        };
        Failure::failed(format!("{what}; cloudflared says: {says}")).remedy(remedy)
    }
}

/// The host name that is its own.
fn named(site: &Site) -> Option<&str> {
    site.deployment.spec.machine.as_ref()?.tunnel_host.as_deref()
}

#[async_trait]
impl Tunnels for MachineTarget {
    async fn raise(&self, site: &Site, work: Work<'_>) -> Result<String, Failure> {
        let engine = self.engine(site).await?;
        engine.raise_tunnel(site, work).await?;
        let deadline = Instant::now() + UP_DEADLINE;
        loop {
            if let Some(host) = self.host_now(site).await? {
                return Ok(host);
            }
            if engine.tunnel(site).await? == Seen::Failing {
                return Err(self.trouble(site, "the tunnel's program does not stay up").await);
            }
            if Instant::now() > deadline {
                let what = format!("the tunnel led nowhere within {} s", UP_DEADLINE.as_secs());
                return Err(self.trouble(site, &what).await);
            }
            work.progress.amount(0, 0, "waiting for the tunnel's connection and its host name");
            tokio::select! {
                () = wait::back_off(AGAIN) => {}
                () = work.cancel.cancelled() => return Err(Failure::interrupted()),
            }
        }
    }

    async fn host(&self, site: &Site) -> Result<Option<String>, Failure> {
        self.engine(site).await?;
        self.host_now(site).await
    }

    async fn lower(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        self.engine(site).await?.lower_tunnel(site, work).await
    }

    async fn closed(&self, site: &Site, work: Work<'_>) -> Result<(), Failure> {
        let (address, port) = (reach::known(site)?.address, site.port()?);
        let way = TcpDial::new((address, port).into());
        let deadline = Instant::now() + CLOSED_DEADLINE;
        while way.dial().await.is_ok() {
            if Instant::now() > deadline {
                return Err(Failure::failed(format!(
                    "the plain port is still reached from here, at {address}:{port}"
                ))
                .remedy("look at the machine's firewall at AWS for a rule of somebody else's"));
            }
            work.progress.amount(0, 0, "waiting until the plain port is closed");
            tokio::select! {
                () = wait::back_off(AGAIN) => {}
                () = work.cancel.cancelled() => return Err(Failure::interrupted()),
            }
        }
        Ok(())
    }
}
