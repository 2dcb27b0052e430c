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
