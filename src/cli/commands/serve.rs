//! `serve`.

use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::super::args::Serve;
use super::super::terminal;
use super::Session;
use crate::app::rate::RateLimits;
use crate::app::{AT_ONCE, App};
use crate::config::{Origin, Settings, Sources, Variable};
use crate::domain::Failure;
use crate::secrets::Secret;
use crate::server::{Options, Running, Said};
use crate::telemetry::{Form, Observed};

/// The settings' sources with the command line's values.
pub(super) fn flags(mut sources: Sources, args: &Serve) -> Sources {
    for (variable, value) in [
        (Variable::ServerPort, &args.port),
        (Variable::ServerBind, &args.bind),
        (Variable::TlsCert, &args.tls_cert),
        (Variable::TlsKey, &args.tls_key),
    ] {
        if let Some(value) = value {
            sources = sources.flag(variable, value.clone());
        }
    }
    sources
}

/// The log, as objects unless somebody reads it at a terminal, and the traces.
fn observe(settings: &Settings) -> Result<Observed, Failure> {
    let form = if terminal::is_interactive() { Form::Text } else { Form::Objects };
    let collector = settings.otlp_endpoint()?;
    Observed::begin(level(settings).as_deref(), form, collector.as_deref()).map_err(Failure::failed)
}

/// The log's level, where one was said.
fn level(settings: &Settings) -> Option<String> {
    let said = settings.origin(Variable::Log) != Origin::Default;
    settings.log().ok().filter(|_| said)
}

/// Takes settings that were read anew.
fn reload(running: &Running, observed: &Observed, settings: &Settings) -> Result<(), Failure> {
    let level = level(settings);
    running.reload(settings)?;
    observed.show(level.as_deref());
    Ok(())
}

/// Tells somebody who reads, or the log, which is objects where nobody does.
fn tell(session: &Session<'_>, text: &str) {
    if super::super::terminal::is_interactive() {
        session.out.say(text);
    } else {
        tracing::info!("{text}");
    }
}

/// The secret of the front end's webhooks is shown once, and only to somebody who reads: a log
/// keeps what it is told.
fn tell_secret(say: &dyn Fn(&str), front_end: &str, secret: &Secret) {
    say(&format!("Events go to {front_end}, signed with a secret that was made now."));
    say(&if super::super::terminal::is_interactive() {
        format!("This is it, shown this once: {}", secret.expose())
    } else {
        "For one to give to the front end: openclaw-pipeline webhooks rotate-secret ID, with the \
         ID that openclaw-pipeline webhooks list shows; or set OPENCLAW_PIPELINE_WEBHOOK_SECRET"
            .into()
    });
}

/// How long a command waits for the front end to take its events; what it does not take waits for
/// the next server.
const TELLING: Duration = Duration::from_secs(5);

/// Tells the front end what a command did, where the settings name one outright and no server
/// does so.
pub(super) async fn tell_front_end(session: &Session<'_>) {
    if session.settings.origin(Variable::FrontendUrl) == Origin::Default {
        return;
    }
    let told = match session.app() {
        Ok(app) => app.deliver_now(&session.settings, TELLING).await,
        Err(failure) => Err(failure),
    };
    match told {
        Ok(None) => {}
        Ok(Some(secret)) => {
            let front_end = session.settings.frontend_url().unwrap_or_default();
            tell_secret(&|text| session.out.say(text), &front_end, &secret);
        }
        Err(failure) => session.out.say(&format!(
            "note: the front end was not told of everything, which waits for the next time: \
             {failure}"
        )),
    }
}

pub(super) async fn run(session: &Session<'_>, args: &Serve) -> Result<u8, Failure> {
    let observed = observe(&session.settings)?;
    let app: App = session.app()?;
    let options = Options {
        settings: session.settings.clone(),
        said: Said { behind_tls_proxy: args.behind_tls_proxy, insecure_http: args.insecure_http },
        grace: Duration::from_secs(args.grace),
        rate: RateLimits::default(),
        at_once: AT_ONCE,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let running = Running::begin(app, options).await?;
    let url = running.url();
    session.out.answer(&json!({ "url": url, "pid": std::process::id() }), || url.clone());
    if !super::super::terminal::is_interactive() {
        tracing::info!(url, "the server listens");
    }
    if running.is_open()? {
        tell(
            session,
            "It asks for no token: whoever uses this machine may launch and look. Set \
             OPENCLAW_PIPELINE_API_TOKEN, or make a token: openclaw-pipeline tokens create --label \
             NAME --scope admin",
        );
    }
    if let (front_end, Some(secret)) = running.frontend() {
        tell_secret(&|text| tell(session, text), front_end, secret);
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                let read = Sources::from_process().map(|sources| flags(sources, args));
                let reloaded = read
                    .and_then(|sources| Settings::resolve(&sources))
                    .and_then(|settings| reload(&running, &observed, &settings));
                match reloaded {
                    Ok(()) => tracing::info!("the settings were read anew"),
                    Err(failure) => tracing::error!(
                        "the settings could not be read anew, and stay as they are: {failure}"
                    ),
                }
            }
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tell(session, "stopping: what runs may come to its end; once more to leave at once");
    tokio::select! {
        () = running.end() => {}
        _ = terminate.recv() => super::leave(*session.out),
        _ = interrupt.recv() => super::leave(*session.out),
    }
    observed.end().await;
    tell(session, "stopped; what was not done is gone on with at the next start");
    Ok(0)
}
