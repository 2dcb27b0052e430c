//! `plan` and `infra`.

use std::path::PathBuf;

use serde_json::json;

use super::super::args::{Infra, OfMachine};
use super::super::output::{table, to_do};
use super::super::progress::Shown;
use super::{Session, destroy, launch};
use crate::app::{App, MachineRequest, Planned};
use crate::config::{Sources, Variable};
use crate::domain::Failure;

/// The settings among the arguments.
pub(super) fn flags(mut sources: Sources, args: &OfMachine) -> Sources {
    let flags = [
        (Variable::Region, &args.region),
        (Variable::Size, &args.size),
        (Variable::Expose, &args.expose),
        (Variable::SshCidr, &args.ssh_cidr),
        (Variable::GatewayPort, &args.port),
    ];
    for (variable, value) in flags {
        if let Some(value) = value {
            sources = sources.flag(variable, value.clone());
        }
    }
    sources
}

/// The program, and whose machine is meant.
fn asked<'a>(
    session: &'a Session<'_>,
    args: &OfMachine,
) -> Result<(App, MachineRequest<'a>), Failure> {
    let request = MachineRequest {
        name: session.name(args.name.as_deref())?,
        target: args.target.as_deref().map(str::parse).transpose()?,
        settings: &session.settings,
    };
    Ok((session.app()?, request))
}

pub(super) async fn run(session: &Session<'_>, args: Infra) -> Result<u8, Failure> {
    match args {
        Infra::CreateKey(of) => create_key(session, &of).await,
        Infra::DeleteKey(of) => delete_key(session, &of).await,
        Infra::Config(of) => config(session, &of).await,
        Infra::Init(of) => init(session, &of).await,
        Infra::Plan(of) => plan(session, &of).await,
        Infra::Apply(mut args) => {
            let known = session.app()?.deployment(&session.name(args.name.as_deref())?);
            if known.is_err() && args.target.is_none() {
                args.target = Some("ec2".into());
            }
            Box::pin(launch::run(session, &args, launch::How::Apply)).await
        }
        Infra::Show(named) => show(session, named.name.as_deref()).await,
        Infra::Destroy { name, yes } => {
            let how = destroy::How { yes, ..destroy::How::default() };
            session.app()?.refuse_without_machine(&session.name(name.as_deref())?)?;
            destroy::run(session, name.as_deref(), how).await
        }
    }
}

async fn create_key(session: &Session<'_>, args: &OfMachine) -> Result<u8, Failure> {
    let (app, request) = asked(session, args)?;
    let path = app.make_key(&request, &Shown::quiet(*session.out)).await?;
    session.out.answer(&json!({ "name": request.name, "key": path }), || lines(&[path]));
    Ok(0)
}

async fn delete_key(session: &Session<'_>, args: &OfMachine) -> Result<u8, Failure> {
    let (app, request) = asked(session, args)?;
    let removed = app.remove_key(&request, &Shown::quiet(*session.out)).await?;
    session.out.answer(&json!({ "name": request.name, "removed": removed }), || {
        if removed.is_empty() { "There is no key.".into() } else { lines(&removed) }
    });
    Ok(0)
}

async fn config(session: &Session<'_>, args: &OfMachine) -> Result<u8, Failure> {
    let (app, request) = asked(session, args)?;
    let (path, kept) = app.write_values(&request, &Shown::quiet(*session.out)).await?;
    session
        .out
        .answer(&json!({ "name": request.name, "path": path, "kept": kept }), || lines(&[path]));
    if kept && !session.out.is_json() {
        session.out.say("It was there, and is kept as it is.");
    }
    Ok(0)
}

async fn init(session: &Session<'_>, args: &OfMachine) -> Result<u8, Failure> {
    let (app, request) = asked(session, args)?;
    session.stoppable()?;
    let path = app.init_module(&request, session.cancel).await?;
    session.out.answer(&json!({ "module": path }), || lines(&[path]));
    Ok(0)
}

fn lines(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n")
}

pub(super) async fn plan(session: &Session<'_>, args: &OfMachine) -> Result<u8, Failure> {
    let (app, request) = asked(session, args)?;
    session.stoppable()?;
    if !session.out.is_json() {
        session.out.say("Asking AWS and Terraform; nothing is made…");
    }
    let shown = Shown::quiet(*session.out);
    let planned = app.plan_machine(&request, &shown, session.cancel).await?;
    session.out.answer(&planned, || as_text(&planned));
    Ok(0)
}

fn as_text(planned: &Planned) -> String {
    let Planned { name, target, region, size, changes, cost } = planned;
    let mut text = format!("{name} on {target} in {region}, {size}\n\n");
    if changes.is_empty() {
        text.push_str("Nothing would change.\n");
    } else {
        text.push_str(&to_do(changes));
    }
    text.push('\n');
    let cell = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<_> =
        cost.parts.iter().map(|part| vec![cell(&part["what"]), cell(&part["per_month"])]).collect();
    rows.push(vec!["in sum".into(), cost.per_month.clone()]);
    text.push_str(&table(&["COSTS", "ABOUT"], &rows));
    let about = match &cost.as_of {
        Some(date) => format!(
            "Prices of {date} or newer, without traffic, taxes and what the model's provider asks for."
        ),
        None => "No price is known for it; AWS says what it asks for.".to_owned(),
    };
    text + &about
}

async fn show(session: &Session<'_>, name: Option<&str>) -> Result<u8, Failure> {
    let name = session.name(name)?;
    let app = session.app()?;
    app.refuse_other_state(&app.deployment(&name)?, &session.settings)?;
    session.stoppable()?;
    let shown = Shown::quiet(*session.out);
    let held = app.held(&name, &shown, session.cancel).await?;
    if session.out.is_json() {
        session.out.object(&held);
        return Ok(0);
    }
    if held.resources.is_empty() {
        session.out.line("The state holds nothing.");
        return Ok(0);
    }
    let text = app.shown_state(&name, &shown, session.cancel).await?;
    session.out.line(&text);
    Ok(0)
}
