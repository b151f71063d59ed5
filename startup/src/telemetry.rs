//! Structured logs: one JSON object a line, as CloudWatch Logs Insights reads them.
//!
//! Whatever an operator sets, other crates log nothing below `info`: the Lambda runtime logs whole
//! events with users' tokens there, and clients of HTTP and AWS log what they send. No text can
//! break a line or hide a part of it. If the invocation belongs to a trace that is recorded, each
//! line has its id (`xray_trace_id`).

mod escape;
mod traced;

use std::panic::{self, PanicHookInfo};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{ParseError, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{fmt, prelude::*};

pub(crate) use escape::Escaped;
use traced::Traced;

/// The crates of this workspace that functions consist of: only they may log at `debug` and `trace`.
/// A list of what is allowed, because nobody knows all that dependencies log.
const OWN_CRATES: [&str; 17] = [
    "account_adapter",
    "assign_user",
    "aws_settings",
    "dynamodb_adapter",
    "ec2_adapter",
    "hasura_adapter",
    "hasura_event",
    "http_client",
    "instance_state_change",
    "lambda_adapter",
    "reconcile",
    "replica_http_adapter",
    "shared",
    "sns_adapter",
    "startup",
    "status",
    "wiring",
];

/// Installs the subscriber; a second call in one process keeps the first.
///
/// `level` is a list of targets and levels (`info`, `warn,shared=debug`). An invalid list falls
/// back to `info`, because a mistyped log level must not stop the service.
pub fn init(level: &str) {
    let (subscriber, invalid) = subscriber(level, std::io::stdout);
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return;
    }
    // Rust's own hook writes the panic's text as it is, which may quote a text from outside.
    panic::set_hook(Box::new(log_panic));
    if let Some(error) = invalid {
        tracing::warn!(%error, "LOG_LEVEL is invalid, `info` is used");
    }
}

/// The subscriber with this filter, and why the filter is invalid.
pub fn subscriber<W>(level: &str, writer: W) -> (impl Subscriber + use<W>, Option<ParseError>)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (targets, invalid) = match level.parse::<Targets>() {
        Ok(targets) => (targets, None),
        Err(error) => (Targets::new().with_default(LevelFilter::INFO), Some(error)),
    };
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_ansi(false)
        .with_writer(Escaped(Traced(writer)));
    let subscriber = tracing_subscriber::registry()
        .with(targets)
        .with(filter_fn(may_be_logged))
        .with(lines);
    (subscriber, invalid)
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let own = || {
        let target = metadata.target();
        let crate_name = target.split_once("::").map_or(target, |(name, _)| name);
        OWN_CRATES.contains(&crate_name)
    };
    *metadata.level() <= Level::INFO || own()
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    tracing::error!(
        error = panic.payload_as_str().unwrap_or("a panic without a text"),
        "panicked at {}",
        place.as_deref().unwrap_or("an unknown place")
    );
}

#[cfg(test)]
pub(crate) mod tests;
