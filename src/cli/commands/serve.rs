//! `serve`.

use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::super::args::Serve;
use super::Session;
use crate::app::App;
use crate::app::rate::RateLimits;
use crate::config::{Origin, Settings, Sources, Variable};
use crate::domain::Failure;
use crate::server::{Options, Running, Said};

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

/// A server's log: what it does, as objects unless somebody reads it at a terminal.
pub(super) fn log(settings: &Settings) {
    let said = settings.origin(Variable::Log) != Origin::Default;
    let level = settings.log().ok().filter(|_| said);
    crate::telemetry::init_server(level.as_deref(), !super::super::terminal::is_interactive());
}

pub(super) async fn run(session: &Session<'_>, args: &Serve) -> Result<u8, Failure> {
    let app: App = session.app()?;
    let options = Options {
        settings: session.settings.clone(),
        said: Said { behind_tls_proxy: args.behind_tls_proxy, insecure_http: args.insecure_http },
        grace: Duration::from_secs(args.grace),
        rate: RateLimits::default(),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let running = Running::begin(app, options).await?;
    let url = running.url();
    session.out.answer(&json!({ "url": url, "pid": std::process::id() }), || url.clone());
    if running.is_open()? {
        session.out.say(
            "It asks for no token: whoever uses this machine may launch and look. Set \
             OPENCLAW_PIPELINE_API_TOKEN, or make a token: openclaw-pipeline tokens create",
        );
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
                    .and_then(|settings| running.reload(settings));
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
    session.out.say("stopping: what runs may come to its end; once more to leave at once");
    tokio::select! {
        () = running.end() => {}
        _ = terminate.recv() => super::leave(*session.out),
        _ = interrupt.recv() => super::leave(*session.out),
    }
    session.out.say("stopped; what was not done is gone on with at the next start");
    Ok(0)
}
