//! The four recorded traces that may lie beside a checkout, read as their README says.

use std::path::Path;

use crate::random::LogNormal;
use crate::trace::{Counts, Trace, TraceError};
use crate::workload::Reading;

const DAY: f64 = 86_400.0;
/// Sessions at a time on average.
const LOAD: f64 = 200.0;
/// Of sessions, in seconds.
const MEAN: f64 = 1200.0;

/// How a trace is measured.
enum Measured {
    /// After a warm-up of this many days.
    AfterDays(f64),
    /// It is short: stretched until its own requests make the load, and played this often. The first
    /// time is the warm-up.
    Repeated(u32),
}

const RECORDED: [(&str, Measured); 4] = [
    ("nyc_taxi", Measured::AfterDays(7.0)),
    ("azure_conv", Measured::Repeated(4)),
    ("elb", Measured::AfterDays(0.0)),
    ("twitter_amzn", Measured::AfterDays(7.0)),
];

/// Those of the four that are in this directory.
///
/// # Errors
/// When one of them cannot be read.
pub fn found_in(
    directory: &Path,
    boots: LogNormal,
    slots: u32,
) -> Result<Vec<Reading>, TraceError> {
    let mut readings = vec![];
    for (name, measured) in RECORDED {
        let path = directory.join(format!("{name}.csv"));
        if !path.exists() {
            continue;
        }
        let trace = Trace::read(&path)?;
        let (trace, warm_up) = match (trace, measured) {
            (Trace::Counts(counts), Measured::Repeated(times)) => {
                let long = repeated(counts, times);
                let warm_up = long.end / f64::from(times);
                (Trace::Counts(long), warm_up)
            }
            (trace, Measured::AfterDays(days)) => (trace, days * DAY),
            (trace @ Trace::Arrivals(_), Measured::Repeated(_)) => (trace, 0.0),
        };
        readings.push(Reading {
            name: name.to_owned(),
            trace,
            load: Some(LOAD),
            sessions: LogNormal::of_mean(MEAN, 1.0),
            boots,
            slots,
            warm_up,
        });
    }
    Ok(readings)
}

fn repeated(counts: Counts, times: u32) -> Counts {
    let lasts = counts.total() * MEAN / LOAD;
    let factor = lasts / counts.end;
    counts.stretched(factor).repeated(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_trace_is_stretched_to_the_load() {
        // 100 requests make 200 sessions of 1,200 s at a time within 600 s.
        let counts = Counts::of(vec![(0.0, 40.0), (30.0, 60.0)]).unwrap();
        let long = repeated(counts, 4);
        assert_eq!(long.end, 2400.0);
        assert_eq!(long.total(), 400.0);
    }

    #[test]
    fn directory_without_traces_has_none() {
        let boots = LogNormal::of_quantiles(60.0, 120.0);
        let found = found_in(Path::new("no such directory"), boots, 2).unwrap();
        assert!(found.is_empty());
    }
}
