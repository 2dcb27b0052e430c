//! Which port a deployment gets.
//!
//! Owns choosing one, and giving way where it turns out to be somebody else's: two installations may
//! choose the same one at the same moment, and nothing listens there before the gateway does.
//! Refuses to replace a port that the user named, and to give way with one at which the gateway
//! worked once: its owner has links to it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use super::context::{Context, StepEnd};
use super::steps::{self, Rise};
use crate::config::variables::DEFAULT_PORT;
use crate::domain::{Failure, TargetKind};
use crate::targets::{NotUp, port_taken};

/// How far apart the ports of two deployments are: a gateway's browser control opens ports up to
/// 110 above its own.
const PORT_STEP: u16 = 120;
/// How often a launch gives way. Of those who want one port, one gets it each time: this is enough
/// for six, and a machine on which it is not has another trouble than its ports.
const MOST_MOVES: usize = 5;

/// The port: the one asked for, or the one it had, or the next free one.
pub(super) fn choose(c: &mut Context<'_>, runs: bool) -> Result<u16, Failure> {
    let had = c.deployment.facts.port;
    let bind = c.deployment.spec.bind;
    if c.deployment.spec.target.has_own_address() {
        let port = c.deployment.spec.port.or(had).unwrap_or(DEFAULT_PORT);
        c.change_facts(|facts| facts.port = Some(port))?;
        return Ok(port);
    }
    if let Some(port) = c.deployment.spec.port {
        let own = runs && had == Some(port);
        return if take(c, port, own)? { Ok(port) } else { Err(port_taken(bind, port)) };
    }
    let first = had.unwrap_or(DEFAULT_PORT);
    if take(c, first, runs && had.is_some())? {
        return Ok(first);
    }
    let port = next_free(c, DEFAULT_PORT)?.ok_or_else(|| port_taken(bind, first))?;
    c.sink.progress().note(&format!("port {first} is taken; using {port}"));
    Ok(port)
}

/// Takes the first port after this one that is free.
fn next_free(c: &mut Context<'_>, after: u16) -> Result<Option<u16>, Failure> {
    let mut last = after;
    while let Some(port) = last.checked_add(PORT_STEP) {
        if take(c, port, false)? {
            return Ok(Some(port));
        }
        last = port;
    }
    Ok(None)
}

/// Takes a port that is free, or the deployment's own. It is recorded as this deployment's at once:
/// nothing listens there for seconds, and another launch looks for one too.
fn take(c: &mut Context<'_>, port: u16, own: bool) -> Result<bool, Failure> {
    let taken = (own || can_listen(c, port)?) && c.store.reserve_port(&c.lease, port)?;
    if taken {
        c.deployment.facts.port = Some(port);
    }
    Ok(taken)
}

fn can_listen(c: &Context<'_>, port: u16) -> Result<bool, Failure> {
    let bind = c.deployment.spec.bind;
    for address in [bind, Ipv4Addr::LOCALHOST.into()] {
        match TcpListener::bind((address, port)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                return Err(Failure::bad_input(format!(
                    "GATEWAY_BIND is {bind}, which is no address of this machine"
                ))
                .remedy("name an address of this machine (ip address shows them), or 0.0.0.0"));
            }
            // The engine may open what this user may not.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                if c.deployment.spec.target == TargetKind::Process {
                    return Err(Failure::bad_input(format!(
                        "port {port} cannot be opened by this user: {error}"
                    ))
                    .remedy("choose a GATEWAY_PORT from 1024 on"));
                }
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Writes the configuration for the port that is recorded, where an executor was killed between
/// taking it and that.
pub(super) async fn catch_up(c: &mut Context<'_>) -> Result<(), Failure> {
    let origin = c.site()?.origin()?;
    if !c.deployment.facts.managed_origins.contains(&origin) {
        configure(c).await?;
    }
    Ok(())
}

/// Writes the configuration again. What the user should know of it was told the first time, and
/// that the port is another one is told already.
async fn configure(c: &mut Context<'_>) -> Result<(), Failure> {
    steps::write_configuration(c, false).await.map(drop)
}

/// Does `first`. Where the port turns out to be somebody else's, and may be replaced, takes another
/// one and does `again`.
pub(super) async fn giving_way(
    c: &mut Context<'_>,
    first: for<'a> fn(&'a mut Context<'_>) -> Rise<'a>,
    again: for<'a> fn(&'a mut Context<'_>) -> Rise<'a>,
) -> Result<StepEnd, Failure> {
    let mut ended = first(c).await;
    for _ in 0..MOST_MOVES {
        match ended {
            Err(NotUp::PortTaken(failure)) if may_move(c) => move_on(c, failure).await?,
            ended => return Ok(ended?),
        }
        ended = again(c).await;
    }
    Ok(ended?)
}

/// Whether nobody named the port, and the gateway never worked there.
fn may_move(c: &Context<'_>) -> bool {
    c.deployment.spec.port.is_none() && c.deployment.facts.proven_at.is_none()
}

/// Gives the deployment the next free port. The gateway that lost its own is ended first: it would
/// go on trying. From when the port is recorded, whoever goes on after a death goes on with it.
async fn move_on(c: &mut Context<'_>, lost: Failure) -> Result<(), Failure> {
    steps::stop(c).await?;
    if c.cancel.is_cancelled() {
        return Err(Failure::interrupted());
    }
    // Not the next after the default: where the engine runs in another network than this program,
    // a port that it refused looks free from here.
    let before = c.site()?.port()?;
    let port = next_free(c, before)?.ok_or(lost)?;
    c.sink.progress().note(&format!("port {before} was taken meanwhile; using {port}"));
    configure(c).await
}
