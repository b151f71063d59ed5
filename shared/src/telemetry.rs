//! Structured logs: one JSON object a line, as CloudWatch Logs Insights reads them.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Installs the subscriber; a second call in one process keeps the first.
///
/// `level` is a `tracing` filter (`info`, `shared=debug,warn`); one that cannot be read
/// falls back to `info`, because a mistyped log level is no reason to refuse users.
pub fn init(level: &str) {
    let (filter, mistyped) = match EnvFilter::try_new(level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let installed = tracing_subscriber::registry()
        .with(filter)
        .with(
            fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .with_ansi(false),
        )
        .try_init();
    if let (Ok(()), Some(error)) = (installed, mistyped) {
        tracing::warn!(%error, "LOG_LEVEL cannot be read; logging at `info`");
    }
}
