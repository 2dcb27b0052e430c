//! `webhooks`: where events are sent, what became of them, and sending them again.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::args::{ReplayArgs, Webhooks};
use super::super::output::table;
use super::Session;
use crate::app::endpoints::{
    AskedFilter, Delivery, DeliveryStatus, EndpointReport, EndpointStatus, ReplayWanted,
};
use crate::app::{App, AuditRecord};
use crate::domain::{Failure, Principal, text};
use crate::secrets::Secret;

pub(super) fn run(session: &Session<'_>, webhooks: Webhooks) -> Result<u8, Failure> {
    let app = session.app()?;
    match webhooks {
        Webhooks::List => list(session, &app),
        Webhooks::Add { url, events, names } => {
            add(session, &app, &url, &AskedFilter { events, names })
        }
        Webhooks::Remove { id } => remove(session, &app, &id),
        Webhooks::Enable { id } => enable(session, &app, &id),
        Webhooks::RotateSecret { id } => rotate(session, &app, &id),
        Webhooks::Deliveries { id, status, limit } => {
            deliveries(session, &app, &id, status.as_deref(), limit)
        }
        Webhooks::Replay(args) => replay(session, &app, &args),
    }
}

/// Who the audit log says it was.
fn record(action: &str) -> AuditRecord {
    AuditRecord::of(&Principal::operator(), action).from_address("command line")
}

fn list(session: &Session<'_>, app: &App) -> Result<u8, Failure> {
    let endpoints = app.endpoints(&Principal::operator())?;
    session.out.answer(&json!({ "items": endpoints }), || {
        if endpoints.is_empty() {
            return "There is no endpoint yet: the first serve makes the one that FRONTEND_URL \
                    names. Add another one: openclaw-pipeline webhooks add URL"
                .into();
        }
        let heading = ["ID", "URL", "EVENTS", "NAMES", "STATUS", "PENDING", "DEAD"];
        table(&heading, &endpoints.iter().map(row).collect::<Vec<_>>())
    });
    Ok(0)
}

fn row(report: &EndpointReport) -> Vec<String> {
    let endpoint = &report.endpoint;
    let all = |listed: Option<String>| listed.unwrap_or_else(|| "all".into());
    let events = endpoint.filter.events.as_ref().map(|it| joined(it));
    let names = endpoint.filter.names.as_ref().map(|it| joined(it));
    let status = match (endpoint.status, &endpoint.reason) {
        (EndpointStatus::Enabled, _) => "enabled".into(),
        (EndpointStatus::Disabled, None) => "disabled".into(),
        (EndpointStatus::Disabled, Some(why)) => format!("disabled: {}", text::clean(why, 60)),
    };
    let (pending, dead) = (report.pending.to_string(), report.dead.to_string());
    let (id, url) = (endpoint.id.clone(), text::clean(&endpoint.url, 80));
    vec![id, url, all(events), all(names), status, pending, dead]
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn add(session: &Session<'_>, app: &App, url: &str, filter: &AskedFilter) -> Result<u8, Failure> {
    let by = Principal::operator();
    let filter = filter.read()?;
    let (made, secret) = app.add_endpoint(&by, url, filter, &record("webhooks.create"), None)?;
    let id = &made.endpoint.id;
    shown_once(session, &made, &secret, id)?;
    session.out.say(&format!(
        "It is told of what happens from now on. Earlier events: openclaw-pipeline webhooks replay \
         {id} --from 1 --to N"
    ));
    Ok(0)
}

/// A secret on standard output, alone, so that it can be put where it belongs.
fn shown_once<T: Serialize>(
    session: &Session<'_>,
    made: &T,
    secret: &Secret,
    id: &str,
) -> Result<(), Failure> {
    if session.out.is_json() {
        let mut value = serde_json::to_value(made)
            .map_err(|error| Failure::failed(format!("the endpoint: {error}")))?;
        value["secret"] = secret.expose().into();
        session.out.object(&value);
        return Ok(());
    }
    session.out.line(secret.expose());
    session.out.say(&format!(
        "This is the secret that events to the endpoint {id} are signed with, shown this once: \
         give it to the receiver"
    ));
    Ok(())
}

fn remove(session: &Session<'_>, app: &App, id: &str) -> Result<u8, Failure> {
    let removed = app.remove_endpoint(&Principal::operator(), id, &record("webhooks.delete"))?;
    app.sweep_endpoints()?;
    session.out.answer(&json!({ "removed": removed }), || format!("the endpoint {id} is removed"));
    Ok(0)
}

fn enable(session: &Session<'_>, app: &App, id: &str) -> Result<u8, Failure> {
    let enabled = app.enable_endpoint(&Principal::operator(), id, &record("webhooks.enable"))?;
    session.out.answer(&enabled, || {
        format!("the endpoint {id} is enabled; {} deliveries wait for serve", enabled.pending)
    });
    Ok(0)
}

fn rotate(session: &Session<'_>, app: &App, id: &str) -> Result<u8, Failure> {
    let by = Principal::operator();
    let secret = app.rotate_endpoint_secret(&by, id, &record("webhooks.rotate_secret"), None)?;
    shown_once(session, &app.endpoint(&by, id)?, &secret, id)?;
    session.out.say("For a day events are signed with the one before as well.");
    Ok(0)
}

fn deliveries(
    session: &Session<'_>,
    app: &App,
    id: &str,
    status: Option<&str>,
    limit: usize,
) -> Result<u8, Failure> {
    let read = |given: &str| {
        DeliveryStatus::parse(given).ok_or_else(|| {
            let shown = text::clean(given, 40);
            Failure::bad_input(format!("--status is pending, delivered or dead; {shown:?} is not"))
                .remedy("leave it out for all")
        })
    };
    let status = status.map(read).transpose()?;
    let by = Principal::operator();
    let (found, more) = app.deliveries(&by, id, status, None, limit.clamp(1, 10_000))?;
    session.out.answer(&json!({ "items": found }), || {
        if found.is_empty() {
            return "There is none.".into();
        }
        let rows: Vec<Vec<String>> = found.iter().map(delivery).collect();
        let heading = ["ID", "EVENT", "TYPE", "DEPLOYMENT", "STATUS", "TRIES", "QUEUED", "WHY"];
        table(&heading, &rows)
    });
    if more.is_some() && !session.out.is_json() {
        session.out.say("There are more: --limit shows them.");
    }
    Ok(0)
}

fn delivery(it: &Delivery) -> Vec<String> {
    vec![
        it.id.clone(),
        it.sequence.to_string(),
        it.kind.clone(),
        it.name.clone(),
        it.status.as_str().into(),
        it.attempts.to_string(),
        it.created_at.clone(),
        text::clean(it.last_error.as_deref().unwrap_or_default(), 80),
    ]
}

fn replay(session: &Session<'_>, app: &App, args: &ReplayArgs) -> Result<u8, Failure> {
    let wanted = match (&args.event, args.from, args.to) {
        (Some(event), ..) => ReplayWanted::Event(event.clone()),
        (None, Some(from), Some(to)) => ReplayWanted::Range { from, to, dead: args.dead },
        (None, ..) => {
            return Err(Failure::bad_input("a replay needs --event, or --from and --to")
                .remedy("openclaw-pipeline webhooks replay --help shows them"));
        }
    };
    let by = Principal::operator();
    let begun = app.replay(&by, &args.id, &wanted, &record("webhooks.replay"), None)?;
    let value: Value = serde_json::to_value(&begun)
        .map_err(|error| Failure::failed(format!("the replay: {error}")))?;
    session.out.answer(&value, || {
        format!(
            "the replay {} is queued, from event {} to {}; serve sends it",
            begun.id, begun.from_sequence, begun.to_sequence
        )
    });
    Ok(0)
}
