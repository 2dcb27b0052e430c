//! `launch` and `open`.

use serde_json::json;

use super::super::args::Launch;
use super::super::output::Output;
use super::super::progress::Shown;
use super::{Session, expose};
use crate::app::{Access, AccessKind, App, LaunchRequest, Launched};
use crate::config::{Sources, Variable};
use crate::domain::{Deployment, DeploymentName, Expose, Failure};

/// The settings among the arguments.
pub(super) fn flags(mut sources: Sources, args: &Launch) -> Sources {
    let flags = [
        (Variable::GatewayPort, &args.port),
        (Variable::GatewayBind, &args.bind),
        (Variable::DefaultModel, &args.model),
        (Variable::DefaultProvider, &args.provider),
        (Variable::ExecAsk, &args.exec_ask),
        (Variable::Heartbeat, &args.heartbeat),
        (Variable::Image, &args.image),
        (Variable::Version, &args.version),
        (Variable::Memory, &args.memory),
        (Variable::Region, &args.region),
        (Variable::Size, &args.size),
        (Variable::Expose, &args.expose),
        (Variable::SshCidr, &args.ssh_cidr),
        (Variable::KubeContext, &args.context),
        (Variable::StorageClass, &args.storage_class),
        (Variable::IngressClass, &args.ingress_class),
        (Variable::GatewayClass, &args.gateway_class),
        (Variable::IngressHost, &args.ingress_host),
        (Variable::Approval, &args.approval),
        (Variable::ApprovalWindow, &args.approval_window),
        (Variable::ApprovalDevices, &args.approval_devices),
        (Variable::EnvFile, &args.env_file),
    ];
    for (variable, value) in flags {
        if let Some(value) = value {
            sources = sources.flag(variable, value.clone());
        }
    }
    args.env.iter().fold(sources, |sources, pair| sources.gateway_flag(pair.clone()))
}

/// Which kind of launch is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// What runs is left as it is.
    Launch,
    /// What is there is brought to what the settings say.
    Deploy,
    /// The same, and where nothing is there, it is launched.
    Apply,
}

pub(super) async fn run(session: &Session<'_>, args: &Launch, how: How) -> Result<u8, Failure> {
    refuse_broken(session)?;
    let name = session.name(args.name.as_deref())?;
    let target = args.target.as_deref().map(str::parse).transpose()?;
    let user_config = super::user_config()?;
    let app = session.app()?;
    session.interruptible()?;
    let existing = app.deployment(&name).ok().map(|deployment| deployment.spec.target);
    let shown = Shown::launching(*session.out, existing.or(target));
    let request =
        LaunchRequest { name: name.clone(), target, settings: &session.settings, user_config };
    let launched = match how {
        How::Apply if existing.is_none() => app.launch(request, &shown, session.cancel).await?,
        How::Launch => app.launch(request, &shown, session.cancel).await?,
        How::Deploy | How::Apply => app.deploy(request, &shown, session.cancel).await?,
    };
    drop(shown);
    end(session, &app, &launched, args.no_link).await
}

/// Refuses settings of which one cannot be used.
pub(super) fn refuse_broken(session: &Session<'_>) -> Result<(), Failure> {
    if let Some(failure) = session.settings.broken() {
        return Err(failure.clone());
    }
    session.settings.problems().into_iter().next().map_or(Ok(()), |(_, failure)| Err(failure))
}

/// Says what a launch led to.
pub(super) async fn end(
    session: &Session<'_>,
    app: &App,
    launched: &Launched,
    no_link: bool,
) -> Result<u8, Failure> {
    let name = &launched.deployment.name;
    if launched.ran_already {
        session.out.say(&format!("{name} runs already."));
    }
    // A link that was printed before may be in use; a person gets a new one by asking for it.
    let access = if no_link || launched.ran_already {
        None
    } else {
        if !session.out.is_json() {
            session.out.say("making a link for your browser…");
        }
        Some(Box::pin(app.access(name)).await?)
    };
    report(session.out, &launched.deployment, access.as_ref(), launched.ran_already);
    Ok(0)
}

pub(super) async fn open(
    session: &Session<'_>,
    name: Option<&str>,
    by_tunnel: bool,
) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app: App = session.app()?;
    let deployment = app.deployment(&name)?;
    if by_tunnel && deployment.spec.target.is_local() {
        return Err(Failure::conflict(format!("{name} runs on this machine; it needs no tunnel"))
            .remedy(format!("openclaw-pipeline url {name} gives its link")));
    }
    let access = app.access_by(&name, by_tunnel).await?;
    session.out.answer(
        &json!({
            "url": access.url.expose(),
            "expires_at": access.expires_at,
            "kind": access.kind,
            "readable_on_its_way": access.readable_on_its_way,
        }),
        || access.url.expose().to_owned(),
    );
    if !session.out.is_json() {
        session.out.say(about(&access));
        about_the_way(session.out, &deployment, by_tunnel);
    }
    Ok(0)
}

/// What the user should know of a link before it is used.
fn about(access: &Access) -> &'static str {
    match access.kind {
        AccessKind::OneTime if access.readable_on_its_way => {
            "It lets one browser in, once, within ten minutes. It goes over plain HTTP: whoever is \
             on the way can read it."
        }
        AccessKind::SharedToken if access.readable_on_its_way => {
            "It carries the gateway's token, over plain HTTP: whoever is on the way can read it, \
             and whoever has it controls the gateway."
        }
        AccessKind::OneTime => "It lets one browser in, once, within ten minutes.",
        AccessKind::SharedToken => {
            "It carries the gateway's token: whoever has it controls the gateway."
        }
    }
}

/// How a gateway on a machine is reached so that nobody on the way can read what goes there.
fn about_the_way(out: &Output, deployment: &Deployment, by_tunnel: bool) {
    let name = &deployment.name;
    let Some(machine) = &deployment.spec.machine else { return expose::warn(out, deployment) };
    let by_ssh = machine.expose == Expose::None
        || (machine.expose == Expose::Tunnel && deployment.tunnel().is_none());
    if by_ssh || by_tunnel {
        out.say(&format!(
            "It works while this runs on the machine of the browser: openclaw-pipeline tunnel {name}"
        ));
    } else if deployment.tunnel().is_none() {
        expose::warn(out, deployment);
        out.say(&format!(
            "Or by SSH, which nobody else reaches: openclaw-pipeline tunnel {name}, and \
             openclaw-pipeline url {name} --tunnel for its link."
        ));
    }
}

fn report(out: &Output, deployment: &Deployment, access: Option<&Access>, ran_already: bool) {
    let name: &DeploymentName = &deployment.name;
    let value = json!({
        "name": name,
        "status": deployment.status,
        "target": deployment.spec.target,
        "address": deployment.url(),
        "addresses_elsewhere": deployment.urls_elsewhere(),
        "version": deployment.facts.gateway_version,
        "ran_already": ran_already,
        "url": access.map(|access| access.url.expose()),
        "expires_at": access.and_then(|access| access.expires_at.clone()),
        "kind": access.map(|access| access.kind),
        "readable_on_its_way": access.map(|access| access.readable_on_its_way),
    });
    out.answer(&value, || match access {
        Some(access) => access.url.expose().to_owned(),
        None => deployment.url().unwrap_or_default(),
    });
    if out.is_json() {
        return;
    }
    if let Some(access) = access {
        out.say(about(access));
    }
    about_the_way(out, deployment, false);
    out.say("");
    if access.is_none() {
        out.say(&format!("  link    openclaw-pipeline open {name}"));
    }
    let elsewhere = deployment.urls_elsewhere();
    if !elsewhere.is_empty() {
        out.say(&format!("  from another machine, one of: {}", elsewhere.join(" ")));
        out.say(&format!(
            "          (a browser there is let in by: openclaw-pipeline approve {name})"
        ));
    }
    out.say(&format!("  logs    openclaw-pipeline logs -f {name}"));
    if deployment.spec.target.has_machine() {
        out.say(&format!(
            "  shell   openclaw-pipeline shell {name} (--host: on the machine itself)"
        ));
    }
    out.say(&format!("  stop    openclaw-pipeline stop {name}"));
    out.say(&format!("  remove  openclaw-pipeline destroy {name}"));
}
