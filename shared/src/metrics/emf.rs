//! CloudWatch's embedded metric format: a log line that is a JSON object with the values and a
//! description of them, which CloudWatch reads from the log ("Specification: Embedded metric format"
//! in the Amazon CloudWatch user guide).
//!
//! This is written here instead of taken from a crate: those that exist (`metrics_cloudwatch_embedded`,
//! `metrique-writer-format-emf`) are backends of a registry of metrics, with a facade, background
//! tasks or a flush of their own, for what is one object for each batch of values. `assign-user` has
//! to stay small and to start fast.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Batch, Metric, NAMESPACE, STACK};

/// The specification: an array of values has at most 100.
const MOST_VALUES: usize = 100;

/// The lines for a batch: one, or more if a metric has too many values for one.
pub fn lines(batch: &Batch, stack: &str, at: Timestamp) -> Vec<String> {
    let longest = batch.values.iter().map(|(_, values)| values.len()).max();
    (0..longest.unwrap_or(0))
        .step_by(MOST_VALUES)
        .map(|first| line(batch, first, stack, at).to_string())
        .collect()
}

/// The line with the values from `first` on.
fn line(batch: &Batch, first: usize, stack: &str, at: Timestamp) -> Value {
    let mut line = Map::new();
    let mut directives: Vec<Directive> = Vec::new();
    for (metric, values) in &batch.values {
        let values = values.get(first..).unwrap_or_default();
        let values = &values[..values.len().min(MOST_VALUES)];
        match values {
            [] => continue,
            [value] => line.insert(metric.name.to_owned(), json!(value)),
            many => line.insert(metric.name.to_owned(), json!(many)),
        };
        let sets = dimension_sets(metric);
        match directives.iter_mut().find(|known| known.sets == sets) {
            Some(known) => known.metrics.push(*metric),
            None => directives.push(Directive {
                sets,
                metrics: vec![*metric],
            }),
        }
    }
    let directives: Vec<_> = directives.iter().map(Directive::to_json).collect();
    let metadata = json!({
        "Timestamp": at.as_millisecond(),
        "CloudWatchMetrics": directives,
    });
    line.insert("_aws".to_owned(), metadata);
    line.insert(STACK.to_owned(), stack.into());
    for (name, value) in &batch.labels {
        line.insert((*name).to_owned(), value.as_str().into());
    }
    Value::Object(line)
}

/// Metrics with the same sets of dimensions.
struct Directive {
    sets: Vec<Vec<&'static str>>,
    metrics: Vec<Metric>,
}

impl Directive {
    fn to_json(&self) -> Value {
        let definition =
            |metric: &Metric| json!({"Name": metric.name, "Unit": metric.unit.as_str()});
        json!({
            "Namespace": NAMESPACE,
            "Dimensions": self.sets,
            "Metrics": self.metrics.iter().map(definition).collect::<Vec<_>>(),
        })
    }
}

/// A value counts once for each set.
fn dimension_sets(metric: &Metric) -> Vec<Vec<&'static str>> {
    let own = [STACK].into_iter().chain(metric.dimensions.iter().copied());
    let mut sets = vec![own.collect::<Vec<_>>()];
    if metric.of_stack && !metric.dimensions.is_empty() {
        sets.push(vec![STACK]);
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    fn pass() -> Batch {
        Batch::of([(REGION, "us-east-1"), (ALGORITHM, "default")])
    }

    fn parsed(batch: &Batch) -> Vec<Value> {
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let lines = lines(batch, "prod", at);
        let parsed = lines.iter().map(|line| serde_json::from_str(line).unwrap());
        parsed.collect()
    }

    #[test]
    fn line_has_values_dimensions_and_units_at_its_top_level() {
        let batch = pass()
            .with(FREE_SLOTS, 3)
            .with(NO_FREE_SLOT, 0)
            .with(PASS_SECONDS, 0.25);
        let expected = json!({
            "_aws": {
                "Timestamp": 1_700_000_000_123_i64,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "scaling",
                        "Dimensions": [["stack", "region", "algorithm"]],
                        "Metrics": [
                            {"Name": "free_slots", "Unit": "Count"},
                            {"Name": "pass_seconds", "Unit": "Seconds"},
                        ],
                    },
                    {
                        "Namespace": "scaling",
                        "Dimensions": [["stack", "region", "algorithm"], ["stack"]],
                        "Metrics": [{"Name": "no_free_slot", "Unit": "Count"}],
                    },
                ],
            },
            "stack": "prod",
            "region": "us-east-1",
            "algorithm": "default",
            "free_slots": 3.0,
            "no_free_slot": 0.0,
            "pass_seconds": 0.25,
        });
        assert_eq!(parsed(&batch), [expected]);
    }

    #[test]
    fn metric_of_the_stack_alone_has_one_set_of_dimensions() {
        let batch = Batch::of([]).with(UNSERVED_REQUESTS, 1);
        let directives = &parsed(&batch)[0]["_aws"]["CloudWatchMetrics"];
        assert_eq!(directives[0]["Dimensions"], json!([["stack"]]));
    }

    #[test]
    fn values_beyond_a_hundred_are_in_further_lines() {
        let mut batch = pass().with(PASSES, 1);
        batch.add(BOOT_SECONDS, (0..201).map(f64::from));
        let lines = parsed(&batch);
        let counts = lines.iter().map(|line| match &line["boot_seconds"] {
            Value::Array(values) => values.len(),
            _ => 1,
        });
        assert_eq!(counts.collect::<Vec<_>>(), [100, 100, 1]);
        assert_eq!(lines[2]["boot_seconds"], json!(200.0));
        let passes = lines.iter().filter(|line| line.get("passes").is_some());
        assert_eq!(passes.count(), 1, "counted once");
    }

    #[test]
    fn batch_without_values_has_no_line() {
        let mut batch = pass();
        batch.add(BOOT_SECONDS, []);
        assert_eq!(parsed(&batch), [] as [Value; 0]);
    }

    /// The specification: names of 1 to 1024 characters, at most 100 metrics and 30 dimensions.
    #[test]
    fn list_is_within_the_limits_of_the_format() {
        assert!(METRICS.len() <= 100);
        for metric in METRICS {
            assert!(metric.dimensions.len() < 30);
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(metric.name.bytes().all(is_plain), "{}", metric.name);
            let others = METRICS.iter().filter(|other| other.name == metric.name);
            assert_eq!(others.count(), 1, "{}", metric.name);
            let in_seconds = metric.name.ends_with("_seconds");
            assert_eq!(metric.unit == Unit::Seconds, in_seconds, "{}", metric.name);
            let of_users = ["user", "session", "slot_id", "instance"];
            assert!(
                metric
                    .dimensions
                    .iter()
                    .all(|name| !of_users.contains(name))
            );
        }
    }
}
