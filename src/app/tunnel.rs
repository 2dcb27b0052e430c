//! A way to a gateway elsewhere that nobody can read: a port here, forwarded to the gateway's loopback
//! there, by SSH to its machine, or by its cluster's API to its pod.
//!
//! Owns keeping it open. Refuses a local gateway, which needs none, and a machine that shows another
//! key than the one it is known by. A page is let in from the gateway's own port alone, so another
//! local port is for other programs.

mod forward;

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::App;
use crate::config::tool_variable;
use crate::domain::{DeploymentName, Failure};
use crate::drivers::ssh::Refusal;
use crate::exec::{Cmd, ExecError, wait};
use crate::gateway::{TcpDial, probe};

/// The first pause before a connection that broke is made again; it doubles.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// How long a gateway is waited for behind a new connection: one that restarts comes back.
const ANSWERS: Duration = Duration::from_secs(20);
/// How many ports above the gateway's are looked at for a free one.
const NEAR: u16 = 100;

/// What a tunnel says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelTold {
    /// It is open.
    Up {
        /// The gateway's page here.
        url: String,
        /// Whether the gateway answers there.
        answers: bool,
        /// Whether a browser's page is let in from there.
        for_browsers: bool,
    },
    /// It broke, and is made again.
    Broken {
        /// Why.
        why: String,
        /// When.
        again_in: Duration,
    },
}

impl App {
    /// Keeps a port of this machine's loopback forwarded to a gateway, until it is cancelled.
    pub async fn tunnel(
        &self,
        name: &DeploymentName,
        port: Option<u16>,
        told: &(dyn Fn(&TunnelTold) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        if self.deployment(name)?.spec.cluster.is_some() {
            return self.forward(name, port, told, cancel).await;
        }
        let site = self.site_with_machine(name)?;
        let own = site.port()?;
        let local = port.unwrap_or(own);
        if !is_free(local) {
            return Err(taken(name, local, own));
        }
        let machine = self.maker(&site)?.ssh(&site)?;
        let (mut was_up, mut pause) = (false, AGAIN);
        loop {
            let mut cmd = machine.forward(local, own);
            cmd.cancel_on(cancel);
            let ended = {
                let mut child = std::pin::pin!(cmd.output());
                tokio::select! {
                    ended = &mut child => ended,
                    answers = answers(local) => {
                        (was_up, pause) = (true, AGAIN);
                        told(&TunnelTold::Up {
                            url: format!("http://127.0.0.1:{local}/"),
                            answers,
                            for_browsers: local == own,
                        });
                        child.await
                    }
                }
            };
            let refusal = match ended {
                Err(ExecError::Cancelled(_)) => return Ok(()),
                _ if cancel.is_cancelled() => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok(output) => Refusal::of(&output.stderr),
            };
            // What never was open is no broken connection, and no key gets right by waiting.
            if !was_up || matches!(refusal, Refusal::HostKey | Refusal::KeyIsOpen(_)) {
                return Err(refusal.into());
            }
            told(&TunnelTold::Broken { why: Failure::from(refusal).message, again_in: pause });
            tokio::select! {
                () = wait::back_off(pause) => {}
                () = cancel.cancelled() => return Ok(()),
            }
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }
}

/// Waits until the port is forwarded, and then for the gateway; answers whether that came.
async fn answers(local: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, local);
    // The client listens once the other side has taken the key.
    while tokio::net::TcpStream::connect(address).await.is_err() {
        wait::back_off(Duration::from_millis(100)).await;
    }
    let (dial, host) = (TcpDial::new(address.into()), format!("127.0.0.1:{local}"));
    let (dial, host) = (&dial, &host);
    let started = wait::until(ANSWERS, || async move { probe::startup(dial, host).await.ok() });
    started.await.is_some()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn taken(name: &DeploymentName, port: u16, own: u16) -> Failure {
    let listens = format!("end what listens there (ss -ltnp 'sport = :{port}' shows it)");
    let free = (1..NEAR).filter_map(|step| own.checked_add(step)).find(|port| is_free(*port));
    let other = free.map_or_else(String::new, |free| {
        format!("; for a program that is no browser: openclaw-pipeline tunnel {name} --port {free}")
    });
    Failure::conflict(format!(
        "port {port} of this machine is taken, and a browser's page is let in from port {own} alone"
    ))
    .remedy(listens + &other)
}

/// Has the desktop's browser open an address; whether there is one to be asked.
pub fn open_browser(url: &str) -> bool {
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| tool_variable(name).is_some());
    let Ok(nowhere) = OpenOptions::new().write(true).open("/dev/null") else { return false };
    let mut cmd = Cmd::new("xdg-open");
    cmd.allow(&["DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "BROWSER"]);
    cmd.allow_prefix("XDG_").arg(url);
    desktop && cmd.detached(&nowhere).is_ok()
}
