//! Tracing: where the program's own log goes.

use tracing_subscriber::EnvFilter;

/// Logs to standard error, warnings and worse unless `OPENCLAW_PIPELINE_LOG` says otherwise.
pub fn init(filter: Option<&str>) {
    let filter =
        EnvFilter::try_new(filter.unwrap_or("warn")).unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second call, in a test, finds the first one's subscriber: that one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .try_init();
}
