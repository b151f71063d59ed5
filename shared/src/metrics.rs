//! Metrics: what the service counts and measures of itself, without any data of a user.
//!
//! [`list`] names all of them. Functions record [`Batch`]es of values, and [`emf`] writes each as log
//! lines from which CloudWatch reads the values, so that a metric costs no call. [`pass`] derives
//! those of a pass from what the pass has read and done anyway.

mod emf;
mod list;
mod pass;

use std::fmt;

pub use emf::lines;
pub use list::*;
pub use pass::{Measured, of_pass};

/// The namespace of all metrics in CloudWatch.
pub const NAMESPACE: &str = "scaling";

/// What the name of each metric begins with in Prometheus.
pub const PROMETHEUS_PREFIX: &str = "scaling_";

/// The dimension that separates stacks in one account. Every metric has it.
pub const STACK: &str = "stack";
/// The name of a region.
pub const REGION: &str = "region";
/// The region's algorithm; `unknown` where a pass ended before it had read it.
pub const ALGORITHM: &str = "algorithm";
/// EC2's error code.
pub const CODE: &str = "code";
/// The error of a refusal.
pub const REASON: &str = "reason";

/// A metric, as the documentation, the alarms and the dashboards name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// In snake_case. The same in CloudWatch and, with a prefix, in Prometheus.
    pub name: &'static str,
    pub unit: Unit,
    pub kind: Kind,
    /// The dimensions of its values, beside [`STACK`].
    pub dimensions: &'static [&'static str],
    /// Whether its values also count for the stack as a whole, with [`STACK`] as the only dimension:
    /// alarms cannot know the regions, which are rows.
    pub of_stack: bool,
    /// Whether `GET /metrics` of `status` has it.
    pub is_scraped: bool,
    pub meaning: &'static str,
}

/// CloudWatch's units, those that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Seconds,
    /// Money, in the currency of a region's prices.
    None,
}

impl Unit {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Seconds => "Seconds",
            Self::None => "None",
        }
    }
}

/// How values of a metric are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A state: the average or the extremes of its values say something, the sum does not.
    Gauge,
    /// What happened: the sum.
    Counter,
    /// One value for each thing that happened: the percentiles.
    Distribution,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Distribution => "distribution",
        }
    }
}

/// Values of metrics that have the same dimensions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    labels: Vec<(&'static str, String)>,
    values: Vec<(Metric, Vec<f64>)>,
}

impl Batch {
    /// A batch whose values have these dimensions.
    pub fn of<const N: usize>(labels: [(&'static str, &str); N]) -> Self {
        let labels = labels.map(|(name, value)| {
            // CloudWatch drops a metric with an empty dimension.
            let value = if value.is_empty() { "unknown" } else { value };
            (name, value.to_owned())
        });
        Self {
            labels: labels.into(),
            values: Vec::new(),
        }
    }

    #[must_use]
    pub fn with(mut self, metric: Metric, value: impl Into<f64>) -> Self {
        self.add(metric, [value.into()]);
        self
    }

    /// Adds values, if there are any.
    pub fn add(&mut self, metric: Metric, values: impl IntoIterator<Item = f64>) {
        let values: Vec<_> = values.into_iter().collect();
        if !values.is_empty() {
            self.values.push((metric, values));
        }
    }

    /// The values of a metric.
    pub fn values(&self, metric: Metric) -> &[f64] {
        let mut all = self.values.iter();
        all.find(|(known, _)| *known == metric)
            .map_or(&[], |(_, values)| values)
    }

    pub fn labels(&self) -> &[(&'static str, String)] {
        &self.labels
    }
}

/// Where functions record metrics. Recording cannot fail, and calls nobody.
pub trait Metrics: fmt::Debug + Send + Sync {
    fn record(&self, batch: Batch);
}
