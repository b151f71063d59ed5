//! The answer of `/metrics`: gauges of every region in the text format of Prometheus ("Text-based
//! format", version 0.0.4, in "Exposition formats" of its documentation).
//!
//! They are what the overview shows. Counters are in CloudWatch only: this function keeps nothing from
//! which it could count.

use std::fmt::{self, Write};

use jiff::Timestamp;
use shared::metrics::{
    ALGORITHM, FREE_SLOTS, LIVE_INSTANCES, METRICS, Metric, NO_FREE_SLOT, OCCUPIED_SLOTS,
    PROMETHEUS_PREFIX, REGION, STALE_SECONDS, STARTING_SLOTS, TARGET_SLOTS, USERS_IN_LINE,
};

use crate::model::{RegionStatus, Status};

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of all regions.
pub(crate) fn text(status: &Status) -> String {
    let mut text = String::new();
    for metric in METRICS.iter().filter(|metric| metric.is_scraped) {
        // Writing to a string does not fail.
        let _ = write_metric(&mut text, metric, status);
    }
    text
}

fn write_metric(text: &mut String, metric: &Metric, status: &Status) -> fmt::Result {
    let name = metric.name;
    let help = escaped(metric.meaning, false);
    writeln!(text, "# HELP {PROMETHEUS_PREFIX}{name} {help}")?;
    writeln!(text, "# TYPE {PROMETHEUS_PREFIX}{name} gauge")?;
    for region in &status.regions {
        // What is not known has no sample.
        if let Some(value) = value(metric, region, status.now) {
            let of = escaped(region.region.as_str(), true);
            let algorithm = escaped(&region.algorithm, true);
            writeln!(
                text,
                "{PROMETHEUS_PREFIX}{name}{{{REGION}=\"{of}\",{ALGORITHM}=\"{algorithm}\"}} {value}"
            )?;
        }
    }
    Ok(())
}

fn value(metric: &Metric, region: &RegionStatus, now: Option<Timestamp>) -> Option<f64> {
    let last = region.last_decision.as_ref();
    let figure = |name| last.and_then(|last| last.past.figure(name));
    let count = match *metric {
        FREE_SLOTS => region.free,
        TARGET_SLOTS => Some(region.target),
        STARTING_SLOTS => region.starting,
        OCCUPIED_SLOTS => region.occupied,
        USERS_IN_LINE => Some(region.waiting),
        LIVE_INSTANCES => figure("live"),
        NO_FREE_SLOT => region.free.map(|free| {
            let is_needed = region.target > 0 || region.waiting > 0;
            u32::from(free == 0 && is_needed)
        }),
        STALE_SECONDS => {
            let age = now?.duration_since(last?.past.at);
            return Some(age.as_secs_f64().max(0.0));
        }
        _ => None,
    };
    count.map(f64::from)
}

/// A backslash and a line break are escaped; in the value of a label, a quotation mark, too.
fn escaped(text: &str, is_label: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str(r"\\"),
            '\n' => escaped.push_str(r"\n"),
            '"' if is_label => escaped.push_str("\\\""),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped_as_the_format_says() {
        let text = "a\\b\n\"c\"";
        assert_eq!(escaped(text, true), r#"a\\b\n\"c\""#);
        assert_eq!(escaped(text, false), r#"a\\b\n"c""#);
    }
}
