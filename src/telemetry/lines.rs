//! The lines of a server's log.
//!
//! Owns which lines there are, and the form of a line as an object: what its spans know (the ids of
//! the request and the operation, the step) stands beside what it says itself, so that one filter
//! finds everything about one of them. Refuses to write anything but printable ASCII: a device may
//! call itself whatever it likes, and neither ends a line nor moves a cursor.

use std::fmt;

use serde_json::{Map, Number, Value};
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// The crate's own targets.
const OWN: &str = env!("CARGO_CRATE_NAME");
/// A library whose warnings are not shown: what it says of a call to a cluster that was lost, the
/// caller says, or makes the call again.
pub(super) const TOLD_ELSEWHERE: &str = "kube_client";
/// The longest text in a line, in characters. Whatever is longer was meant for a file.
const TEXT_MAX: usize = 4096;
/// The fields that a line has by itself.
const FIXED: [&str; 2] = ["timestamp", "level"];

/// What is shown: the program's own lines from a level on, and the warnings of libraries. Spans are
/// no lines; they are known whatever the level is, so that a warning has its ids.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown(pub(super) LevelFilter);

impl Shown {
    fn shows(self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.target().strip_prefix(OWN);
        let own = own.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let level = *metadata.level();
        if !own {
            let is_told = !metadata.target().starts_with(TOLD_ELSEWHERE);
            return metadata.is_event() && is_told && level <= Level::WARN;
        }
        level <= self.0 || (metadata.is_span() && level <= Level::INFO)
    }
}

impl<S> Filter<S> for Shown {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.shows(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.shows(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.max(LevelFilter::INFO))
    }
}

/// One JSON object a line.
pub(super) struct Objects;

impl<S, N> FormatEvent<S, N> for Objects
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line(Map::new());
        line.put("timestamp", now());
        line.put("level", event.metadata().level().as_str());
        line.put("message", "");
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && let Ok(known) = serde_json::from_str::<Map<String, Value>>(fields)
            {
                known.into_iter().for_each(|(name, value)| line.told(&name, value));
            }
        }
        event.record(&mut line);
        let text = serde_json::to_string(&line.0).map_err(|_| fmt::Error)?;
        write_plain(&mut writer, &text)?;
        writer.write_char('\n')
    }
}

/// Now, RFC 3339 UTC with milliseconds.
fn now() -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// Writes JSON with every character beyond printable ASCII as an escape. Such characters stand in
/// its strings alone.
fn write_plain(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| !matches!(c, ' '..='~')) {
        writer.write_str(&rest[..at])?;
        for half in c.encode_utf16(&mut [0; 2]) {
            write!(writer, "\\u{half:04x}")?;
        }
        rest = &rest[at + c.len_utf8()..];
    }
    writer.write_str(rest)
}

/// A line in the making.
struct Line(Map<String, Value>);

impl Line {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// What a span or the event says. What is nearer counts.
    fn told(&mut self, name: &str, value: Value) {
        let value = match value {
            Value::String(text) => Value::String(cut(text)),
            other => other,
        };
        if !FIXED.contains(&name) {
            self.put(name, value);
        }
    }
}

/// A text of bounded length; `…` marks a cut.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.told(field.name(), Number::from_f64(value).map_or(Value::Null, Value::Number));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.told(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.told(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.told(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.told(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.told(field.name(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use proptest::prelude::*;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::registry::Registry;
    use tracing_subscriber::reload;

    use super::*;
    use crate::telemetry::{Form, log};

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        fn text(&self) -> String {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            String::from_utf8(bytes).expect("text")
        }

        fn line(&self) -> Value {
            serde_json::from_str(&self.text()).expect("one object")
        }
    }

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, work: impl FnOnce(&Written, &reload::Handle<Shown, Registry>)) {
        let written = Written::default();
        let to = written.clone();
        let (layer, handle) = log(Some(level), Form::Objects, move || to.clone());
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            work(&written, &handle);
        });
    }

    #[test]
    fn the_ids_stand_beside_what_a_line_says() {
        logged("info", |written, _| {
            let none: Option<&str> = None;
            let request = tracing::info_span!("request", request_id = "r1", route = none);
            let _in = request.entered();
            let operation = tracing::info_span!("operation", operation_id = %"o1", kind = "launch");
            let _in = operation.entered();
            let outcome = tracing::field::Empty;
            let step = tracing::info_span!("step", step = "fetch", outcome);
            step.in_scope(|| {
                tracing::info!(took_ms = 7, kind = "another", level = 3, "it is there");
            });
            step.record("outcome", "succeeded");
            let line = written.line();
            let expected = ["timestamp", "level", "message", "request_id", "kind", "operation_id"];
            let names: Vec<&String> = line.as_object().expect("an object").keys().collect();
            assert_eq!(names[..6], expected, "the same order in every line");
            assert_eq!(line["message"], "it is there");
            assert_eq!((&line["level"], &line["took_ms"]), (&"INFO".into(), &7.into()));
            assert_eq!((&line["request_id"], &line["operation_id"]), (&"r1".into(), &"o1".into()));
            assert_eq!((&line["step"], &line["kind"]), (&"fetch".into(), &"another".into()));
            assert!(line.get("route").is_none() && line.get("outcome").is_none(), "{line}");
            step.in_scope(|| tracing::warn!("more"));
            assert_eq!(written.line()["outcome"], "succeeded");
        });
    }

    #[test]
    fn a_warning_has_its_ids_whatever_the_level_is() {
        logged("error", |written, _| {
            let request = tracing::info_span!("request", request_id = "r1");
            request.in_scope(|| {
                tracing::warn!("not shown");
                tracing::error!(target: "a_library", "shown");
            });
            assert_eq!(written.line()["request_id"], "r1");
        });
    }

    #[test]
    fn the_level_can_be_changed() {
        logged("warn", |written, handle| {
            let said = |level: &str| {
                handle.reload(Shown::from(Some(level))).expect("it lives");
                tracing::debug!("one");
                tracing::info!(target: "a_library", "never");
                tracing::info!(target: "openclaw_pipelines", "never");
                tracing::error!("two");
                written.text().lines().count()
            };
            assert_eq!([said("warn"), said("debug"), said("off"), said("info")], [1, 2, 0, 1]);
        });
    }

    #[test]
    fn long_texts_are_cut() {
        logged("info", |written, _| {
            tracing::info!(output = "ä".repeat(5000), "{}", "x".repeat(5000));
            let line = written.line();
            let length = |name: &str| line[name].as_str().expect("a text").chars().count();
            assert_eq!([length("message"), length("output")], [TEXT_MAX + 1; 2]);
        });
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_of_plain_text(
            said in "\\PC{0,40}", inner in any::<String>(), outer in any::<String>(),
            number in any::<f64>(),
        ) {
            logged("info", |written, _| {
                let span = tracing::info_span!("request", request_id = outer.as_str());
                span.in_scope(|| tracing::info!(device = ?inner, name = inner, number, "{said}"));
                let text = written.text();
                let line = text.strip_suffix('\n').expect("an end");
                assert!(line.chars().all(|c| matches!(c, ' '..='~')), "{line:?}");
                let line: Value = serde_json::from_str(line).expect("an object");
                assert_eq!(line["message"].as_str(), Some(said.as_str()));
                assert_eq!(line["name"].as_str(), Some(inner.as_str()));
                assert_eq!(line["request_id"].as_str(), Some(outer.as_str()));
                assert!(line["number"].is_number() || !number.is_finite());
            });
        }
    }
}
