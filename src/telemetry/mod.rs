//! What the program says of itself: its log, its figures, its traces.
//!
//! Owns where these go and the form that they have there. Refuses to know what they are about: it
//! names no other module, so that any may name it.

mod lines;
pub mod metrics;
mod process;
pub mod traces;

use std::time::Duration;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::{fmt, reload};

use lines::{Objects, Shown, TOLD_ELSEWHERE};
use traces::Traces;

/// How long what was not told yet may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Logs to standard error: of the program itself what the level says, warnings and worse when it
/// says nothing. Libraries do not follow: at `trace` they would show what they send.
pub fn init(level: Option<&str>) {
    let level = level.unwrap_or("warn");
    let own = format!("warn,{TOLD_ELSEWHERE}=off,openclaw_pipeline={level}");
    let filter = EnvFilter::try_new(own).unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second call, in a test, finds the first one's subscriber: that one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .try_init();
}

/// The form of a server's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For somebody who reads along.
    Text,
    /// One JSON object a line, for programs.
    Objects,
}

/// A server's log and traces, as long as it lives.
#[derive(Debug)]
pub struct Observed {
    shown: reload::Handle<Shown, Registry>,
    traces: Option<Traces>,
}

impl Observed {
    /// Begins the log, and the traces where a collector's base URL is given.
    pub fn begin(level: Option<&str>, form: Form, collector: Option<&str>) -> Result<Self, String> {
        let begun = collector.map(Traces::begin).transpose()?;
        let (log, shown) = log(level, form, std::io::stderr);
        let subscriber = Registry::default().with(log).with(begun.as_ref().map(Traces::layer));
        // A second call, in a test, finds the first one's subscriber: that one stays.
        let _ = tracing::subscriber::set_global_default(subscriber);
        Ok(Self { shown, traces: begun })
    }

    /// Shows from now on what this level says.
    pub fn show(&self, level: Option<&str>) {
        // Without its subscriber, in a test, there is nothing to show.
        let _ = self.shown.reload(Shown::from(level));
    }

    /// Tells what was not told yet, as far as that takes no longer than two seconds.
    pub async fn end(self) {
        if let Some(traces) = self.traces {
            let told = tokio::task::spawn_blocking(move || traces.end(LAST_WORDS));
            let _ = tokio::time::timeout(LAST_WORDS, told).await;
        }
    }
}

/// The layer that writes the log, and what changes its level.
fn log<S, W>(
    level: Option<&str>,
    form: Form,
    writer: W,
) -> (impl Layer<S> + Send + Sync, reload::Handle<Shown, S>)
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let (shown, handle) = reload::Layer::new(Shown::from(level));
    let layer = fmt::layer().with_writer(writer).with_target(false).with_ansi(false);
    let layer = match form {
        Form::Text => layer.boxed(),
        Form::Objects => layer.fmt_fields(JsonFields::new()).event_format(Objects).boxed(),
    };
    (layer.with_filter(shown), handle)
}

impl From<Option<&str>> for Shown {
    fn from(level: Option<&str>) -> Self {
        Self(level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that the subscriber of a server without traces looks at.
    fn most(level: &str) -> Option<LevelFilter> {
        let (log, _) = log(Some(level), Form::Objects, std::io::sink);
        let none: Option<&Traces> = None;
        Registry::default().with(log).with(none.map(Traces::layer)).max_level_hint()
    }

    #[test]
    fn what_nobody_sees_costs_nothing() {
        assert_eq!(most("info"), Some(LevelFilter::INFO));
        assert_eq!(most("debug"), Some(LevelFilter::DEBUG));
        assert_eq!(most("off"), Some(LevelFilter::INFO), "the spans");
    }
}
