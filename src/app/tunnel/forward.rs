//! A port here, forwarded to a gateway's pod by its cluster's API.
//!
//! Owns a connection there for each one here, so many at once. A pod that is another one by now is
//! found again with the next connection.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{App, TunnelTold, answers, is_free, taken};
use crate::domain::{DeploymentName, Failure};
use crate::gateway::Dial;

/// How many connections are forwarded at once.
const AT_ONCE: usize = 128;

impl App {
    pub(super) async fn forward(
        &self,
        name: &DeploymentName,
        port: Option<u16>,
        told: &(dyn Fn(&TunnelTold) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let site = self.site(name)?;
        let own = site.port()?;
        let local = port.unwrap_or(own);
        if !is_free(local) {
            return Err(taken(name, local, own));
        }
        let dial: Arc<dyn Dial> = self.target(&site).loopback(&site)?.into();
        // What never was open is no broken connection.
        drop(dial.dial().await.map_err(|error| unreached(name, &error))?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, local)).await?;
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        let (broke, mut broken) = tokio::sync::mpsc::channel(1);
        let mut is_broken = false;
        let up = |answers| TunnelTold::Up {
            url: format!("http://127.0.0.1:{local}/"),
            answers,
            for_browsers: local == own,
        };
        let mut first = std::pin::pin!(answers(local));
        let mut is_told = false;
        loop {
            let (stream, _) = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                it = &mut first, if !is_told => {
                    is_told = true;
                    told(&up(it));
                    continue;
                }
                Some(why) = broken.recv() => {
                    match why {
                        Some(why) if !is_broken => {
                            is_broken = true;
                            told(&TunnelTold::Broken { why, again_in: Duration::ZERO });
                        }
                        None if is_broken => {
                            is_broken = false;
                            told(&up(true));
                        }
                        _ => {}
                    }
                    continue;
                }
                accepted = listener.accept() => accepted?,
            };
            let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else { continue };
            let (dial, broke) = (Arc::clone(&dial), broke.clone());
            tokio::spawn(async move {
                let ended = carry(&*dial, stream).await;
                let _ = broke.try_send(ended.err().map(|error| error.to_string()));
                drop(seat);
            });
        }
    }
}

/// Copies between a connection here and one there. That one of them ended is no failure; that the
/// other side was not reached is.
async fn carry(dial: &dyn Dial, mut here: TcpStream) -> std::io::Result<()> {
    let mut there = dial.dial().await?;
    here.set_nodelay(true)?;
    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
    Ok(())
}

fn unreached(name: &DeploymentName, error: &std::io::Error) -> Failure {
    let why = crate::domain::text::clean(&error.to_string(), 300);
    Failure::failed(format!("the gateway's pod is not reached: {why}"))
        .remedy(format!("openclaw-pipeline doctor {name} says what the matter is"))
}
