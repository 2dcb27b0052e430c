//! Tracing: where the program's own log goes.

use tracing_subscriber::EnvFilter;

/// Logs to standard error: of the program itself what the level says, warnings and worse when it
/// says nothing. Libraries do not follow: at `trace` they would show what they send.
pub fn init(level: Option<&str>) {
    let level = level.unwrap_or("warn");
    let filter = EnvFilter::try_new(format!("warn,openclaw_pipeline={level}"))
        .unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second call, in a test, finds the first one's subscriber: that one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .try_init();
}

/// The log of a server: what it does, one object a line unless somebody reads it at a terminal.
pub fn init_server(level: Option<&str>, as_objects: bool) {
    let level = level.unwrap_or("info");
    let filter = EnvFilter::try_new(format!("warn,openclaw_pipeline={level}"))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_target(false).with_ansi(false);
    let _ = if as_objects {
        log.json().flatten_event(true).with_current_span(false).with_span_list(true).try_init()
    } else {
        log.try_init()
    };
}
