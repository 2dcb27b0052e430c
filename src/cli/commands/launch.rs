//! `launch` and `open`.

use serde_json::json;

use super::super::args::Launch;
use super::super::output::Output;
use super::super::progress::Shown;
use super::Session;
use crate::app::{Access, AccessKind, App, LaunchRequest};
use crate::config::{Sources, Variable};
use crate::domain::{Deployment, DeploymentName, Failure};

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

pub(super) async fn run(session: &Session<'_>, args: &Launch) -> Result<u8, Failure> {
    if let Some(failure) = session.settings.broken() {
        return Err(failure.clone());
    }
    if let Some((_, failure)) = session.settings.problems().into_iter().next() {
        return Err(failure);
    }
    let name = session.name(args.name.as_deref())?;
    let target = args.target.as_deref().map(str::parse).transpose()?;
    let user_config = super::user_config()?;
    let app = session.app()?;
    session.interruptible()?;
    let shown = Shown::new(*session.out);
    let request =
        LaunchRequest { name: name.clone(), target, settings: &session.settings, user_config };
    let launched = app.launch(request, &shown, session.cancel).await?;
    drop(shown);
    if launched.ran_already {
        session.out.say(&format!("{name} runs already."));
    }
    // A link that was printed before may be in use; a person gets a new one by asking for it.
    let access = if args.no_link || launched.ran_already {
        None
    } else {
        if !session.out.is_json() {
            session.out.say("making a link for your browser…");
        }
        Some(app.access(&name).await?)
    };
    report(session.out, &launched.deployment, access.as_ref(), launched.ran_already);
    Ok(0)
}

pub(super) async fn open(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app: App = session.app()?;
    let access = app.access(&name).await?;
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
    out.say(&format!("  stop    openclaw-pipeline stop {name}"));
    out.say(&format!("  remove  openclaw-pipeline destroy {name}"));
}
