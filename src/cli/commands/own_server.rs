//! `server`: the pipeline server on a machine of its own.

use serde_json::json;

use super::super::args::{OfServer, OwnServer};
use super::super::progress::Shown;
use super::super::terminal;
use super::Session;
use crate::app::{App, LeftBehind, LogOptions, OwnServerRequest, OwnServerWork, certificate_here};
use crate::config::{Sources, Variable};
use crate::domain::{Deployment, DeploymentName, Failure, Reach, TargetKind};
use crate::secrets::Secret;

/// The settings among the arguments.
pub(super) fn flags(mut sources: Sources, args: &OfServer) -> Sources {
    for (variable, value) in [
        (Variable::Region, &args.region),
        (Variable::SshCidr, &args.ssh_cidr),
        (Variable::OwnServerCidr, &args.server_cidr),
    ] {
        if let Some(value) = value {
            sources = sources.flag(variable, value.clone());
        }
    }
    sources
}

pub(super) async fn run(
    session: &Session<'_>,
    args: OwnServer,
    on: Option<TargetKind>,
) -> Result<u8, Failure> {
    match args {
        OwnServer::FullSetup(of) => bring(session, &of, on, OwnServerWork::FullSetup).await,
        OwnServer::Setup(of) => bring(session, &of, on, OwnServerWork::Setup).await,
        OwnServer::Deploy(of) => bring(session, &of, on, OwnServerWork::Deploy).await,
        OwnServer::Logs { follow, tail } => {
            refuse_other(session, on)?;
            logs(session, LogOptions { tail, follow }).await
        }
        OwnServer::Url => {
            refuse_other(session, on)?;
            url(session)
        }
        OwnServer::Destroy { yes, leave_machines } => {
            refuse_other(session, on)?;
            destroy(session, yes, leave_machines).await
        }
        OwnServer::Begin { installation } => {
            let token = App::begin_here(&session.settings, &installation)?;
            session.out.object(&json!({ "token": token.expose() }));
            Ok(0)
        }
        OwnServer::Certificate { dir, names } => {
            let fingerprint = certificate_here(&dir, &names)?;
            session.out.object(&json!({ "fingerprint": fingerprint }));
            Ok(0)
        }
    }
}

/// Refuses the other cloud's make targets.
fn refuse_other(session: &Session<'_>, on: Option<TargetKind>) -> Result<(), Failure> {
    let known = session.app()?.known_server()?.spec.target;
    match on {
        Some(on) if on != known => {
            Err(Failure::conflict(format!("the pipeline server's machine is on {known}")))
        }
        _ => Ok(()),
    }
}

async fn bring(
    session: &Session<'_>,
    args: &OfServer,
    on: Option<TargetKind>,
    how: OwnServerWork,
) -> Result<u8, Failure> {
    if let Some((_, failure)) = session.settings.problems().into_iter().next() {
        return Err(failure);
    }
    let app = session.app()?;
    session.interruptible()?;
    let reach = match args {
        OfServer { https: true, .. } => Some(Reach::Https),
        OfServer { insecure_http: true, .. } => Some(Reach::Http),
        OfServer { tunnel_only: true, .. } => Some(Reach::Tunnel),
        _ => None,
    };
    let size = args.size.clone();
    let request = OwnServerRequest { on, size, reach, settings: &session.settings };
    let shown = Shown::bringing_server(*session.out);
    let brought = app.bring_server(&request, how, &shown, session.cancel).await?;
    drop(shown);
    if brought.ran_already {
        session.out.say(
            "The pipeline server runs already; openclaw-pipeline server deploy brings it, and its \
             machine, to what the settings say.",
        );
    }
    report(session, &app, &brought.deployment, brought.token.as_ref())?;
    Ok(0)
}

fn report(
    session: &Session<'_>,
    app: &App,
    deployment: &Deployment,
    token: Option<&Secret>,
) -> Result<(), Failure> {
    let (facts, machine) = (&deployment.facts, deployment.facts.machine.as_ref());
    let server = facts.server.as_ref();
    let fingerprint = server.and_then(|it| it.fingerprint.clone());
    let tunnel = server.filter(|it| it.reach == Reach::Tunnel).map(|_| app.server_tunnel());
    let tunnel = tunnel.transpose()?;
    let value = json!({
        "name": deployment.name,
        "status": deployment.status,
        "target": deployment.spec.target,
        "address": machine.map(|it| it.address),
        "url": deployment.server_url(),
        "version": server.map(|it| it.version.clone()),
        "certificate_sha256": fingerprint,
        "installation": deployment
            .spec
            .machine
            .as_ref()
            .and_then(|it| Some(it.server.as_ref()?.installation.clone())),
        "tunnel": tunnel,
        "token": token.map(Secret::expose),
    });
    session.out.answer(&value, || deployment.server_url().unwrap_or_default());
    if session.out.is_json() {
        return Ok(());
    }
    let say = |text: &str| session.out.say(text);
    if let Some(fingerprint) = &fingerprint {
        say(&format!(
            "Its certificate's SHA-256 fingerprint; a client has to be shown this one and no other:\n  \
             {fingerprint}"
        ));
    }
    if server.is_some_and(|it| it.reach == Reach::Http) {
        say("It answers over plain HTTP: whoever is on the way can read tokens.");
    }
    if let Some(tunnel) = &tunnel {
        say(&format!("It is reached while this runs:\n  {tunnel}"));
    }
    match (token, server) {
        (Some(token), _) => {
            say("Its token, shown this once; it may do everything there:");
            session.out.line(token.expose());
        }
        (None, None) => say("The machine is ready. Next: openclaw-pipeline server deploy"),
        _ => {}
    }
    if server.is_some() {
        say("");
        say("  logs    openclaw-pipeline server logs -f");
        say("  deploy  openclaw-pipeline server deploy");
        say("  remove  openclaw-pipeline server destroy");
    }
    Ok(())
}

fn url(session: &Session<'_>) -> Result<u8, Failure> {
    let app = session.app()?;
    let deployment = app.known_server()?;
    if deployment.facts.server.is_none() {
        return Err(Failure::not_found("the pipeline server was not deployed yet")
            .remedy("openclaw-pipeline server deploy"));
    }
    report(session, &app, &deployment, None)?;
    Ok(0)
}

async fn logs(session: &Session<'_>, options: LogOptions) -> Result<u8, Failure> {
    let follow = options.follow;
    let (mut cmd, secrets) = session.app()?.server_logs(options).await?;
    session.stoppable()?;
    super::logs::shown(session, &mut cmd, &secrets, follow).await
}

async fn destroy(session: &Session<'_>, yes: bool, leave: bool) -> Result<u8, Failure> {
    let app = session.app()?;
    let known = app.known_server()?;
    let left = app.left_behind().await?;
    refuse_to_leave(session, &left, leave)?;
    let name = DeploymentName::server();
    let removes = "this removes the pipeline server's machine with everything on it";
    let line = format!(
        "This removes the pipeline server's machine ({}) with everything on it: its deployments' \
         records, tokens and backups.",
        known.spec.target
    );
    terminal::confirm(session.out, name.as_str(), yes, (removes, &[&line]))?;
    session.interruptible()?;
    let shown = Shown::new(*session.out);
    let operation = app.destroy_server(&shown, session.cancel).await?;
    drop(shown);
    let message = app.outcome(&operation)?;
    let answer = json!({ "name": name, "operation": operation, "left": left, "message": message });
    session.out.answer(&answer, || message);
    Ok(0)
}

/// Refuses to leave anything behind that nobody will know of, unless that was said; lists it either
/// way.
fn refuse_to_leave(session: &Session<'_>, left: &LeftBehind, leave: bool) -> Result<(), Failure> {
    if left.is_nothing() {
        return Ok(());
    }
    let lines = left.lines();
    if leave {
        session.out.say("Left behind, and nobody's any more once the server is gone:");
        for line in &lines {
            session.out.say(&format!("  {line}"));
        }
        return Ok(());
    }
    Err(Failure::conflict(format!(
        "without the server, this would be left, go on to cost, and be nobody's: {}",
        lines.join("; ")
    ))
    .remedy(
        "remove it there first (DELETE /v1/deployments/NAME, or the console), or say \
         --leave-machines",
    ))
}
