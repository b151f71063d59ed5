//! Metrics as log lines: CloudWatch reads the values from them.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use shared::clock::Clock;
use shared::metrics::{Batch, Metrics, lines};
use tracing_subscriber::fmt::MakeWriter;

use crate::SystemClock;
use crate::telemetry::Escaped;

/// Writes metrics to the log beside `tracing`, whatever `LOG_LEVEL` is: the format needs the whole
/// line, and values must not end because an operator wants fewer lines.
pub struct MetricLog<W = fn() -> io::Stdout> {
    stack: String,
    clock: Arc<dyn Clock>,
    writer: Escaped<W>,
}

impl<W> fmt::Debug for MetricLog<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricLog")
            .field("stack", &self.stack)
            .finish_non_exhaustive()
    }
}

impl MetricLog {
    /// The metrics of a stack, in the log of the function.
    pub fn new(stack: impl Into<String>) -> Self {
        Self {
            stack: stack.into(),
            clock: Arc::new(SystemClock),
            writer: Escaped(io::stdout),
        }
    }
}

impl<W> Metrics for MetricLog<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync,
{
    /// A line that cannot be written is dropped: nothing would read an error about it.
    fn record(&self, batch: Batch) {
        for mut line in lines(&batch, &self.stack, self.clock.now()) {
            line.push('\n');
            // In one call: lines of other threads must not come in between.
            let _ = self.writer.make_writer().write(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::metrics::{CODE, LAUNCH_FAILURES, PASSES};
    use testing::FakeClock;

    use super::*;
    use crate::telemetry::tests::Written;

    #[test]
    fn line_is_one_json_object_without_hidden_characters() {
        let written = Written::default();
        let metrics = MetricLog {
            stack: "prod".to_owned(),
            clock: Arc::new(FakeClock::default()),
            writer: Escaped(written.clone()),
        };
        metrics.record(Batch::of([]).with(PASSES, 1));
        metrics.record(Batch::of([(CODE, "a\nb\u{202e}c")]).with(LAUNCH_FAILURES, 1));
        let text = written.text();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["passes"], json!(1.0));
        assert_eq!(lines[0]["stack"], "prod");
        let now = FakeClock::default().now().as_millisecond();
        assert_eq!(lines[0]["_aws"]["Timestamp"], json!(now));
        assert_eq!(lines[1]["code"], r"a\nb\u{202e}c");
    }
}
