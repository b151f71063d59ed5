//! Structured logs: one JSON object a line, as CloudWatch Logs Insights reads them.

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{fmt, prelude::*};

/// Targets that log secrets at `debug` or `trace`: the runtime logs whole events with users'
/// tokens, and HTTP clients log what they send.
const QUIET: [&str; 6] = [
    "lambda_runtime",
    "hyper",
    "hyper_util",
    "h2",
    "rustls",
    "aws",
];

/// Installs the subscriber; a second call in one process keeps the first.
///
/// `level` is a list of targets and levels (`info`, `warn,shared=debug`). An invalid list falls
/// back to `info`, because a mistyped log level must not stop the service.
pub fn init(level: &str) {
    let (filter, invalid) = match level.parse::<Targets>() {
        Ok(filter) => (filter, None),
        Err(error) => (Targets::new().with_default(LevelFilter::INFO), Some(error)),
    };
    let filter = QUIET.iter().fold(filter, |filter, target| {
        if filter.would_enable(target, &Level::DEBUG) {
            filter.with_target(*target, LevelFilter::INFO)
        } else {
            filter
        }
    });
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
    if let (Ok(()), Some(error)) = (installed, invalid) {
        tracing::warn!(%error, "LOG_LEVEL is invalid, `info` is used");
    }
}
