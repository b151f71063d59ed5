//! What happened, one short line each. Lines are kept only when they will be printed.

use std::collections::VecDeque;
use std::fmt;

use jiff::Timestamp;
use testing::NOW;

/// The end matters to a reader: what went wrong and what led to it.
const KEPT: usize = 20_000;

#[derive(Debug, Default)]
pub struct Trace {
    lines: Option<VecDeque<String>>,
    step: u64,
    at: Option<Timestamp>,
}

impl Trace {
    /// Formatting costs more than most steps, so that nothing is formatted unless `kept` is set.
    pub fn new(kept: bool) -> Self {
        Self {
            lines: kept.then(VecDeque::new),
            step: 0,
            at: None,
        }
    }

    /// Starts a new step.
    pub fn step(&mut self, at: Timestamp) {
        self.step += 1;
        self.at = Some(at);
    }

    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Adds a line to the trace, if lines are kept.
    pub fn line(&mut self, text: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else {
            return;
        };
        if lines.len() == KEPT {
            lines.pop_front();
        }
        let at = At(self.at.unwrap_or(NOW));
        lines.push_back(format!("{:>6} {at} {}", self.step, text()));
    }

    /// The last `most` lines, in order.
    pub fn last(&self, most: usize) -> Vec<String> {
        let lines = self.lines.iter().flatten();
        let skipped = self
            .lines
            .as_ref()
            .map_or(0, |all| all.len().saturating_sub(most));
        lines.skip(skipped).cloned().collect()
    }
}

/// Minutes and seconds since the start of the run.
struct At(Timestamp);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.duration_since(NOW).as_millis();
        let (minutes, rest) = (millis / 60_000, millis % 60_000);
        write!(f, "{minutes:>3}:{:02}.{:03}", rest / 1000, rest % 1000)
    }
}
