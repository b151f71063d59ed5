//! CloudWatch alarms of a template, evaluated as CloudWatch does ("Alarm evaluation" in its user
//! guide): the values of each period become one data point by the statistic, and the alarm goes off
//! when enough of the last data points breach its threshold. Where a period has no values, the alarm
//! says what counts instead.

use serde_json::Value;

/// An alarm, with the parameters of its template filled in.
#[derive(Clone, Debug)]
pub struct Alarm {
    statistic: Statistic,
    period_minutes: usize,
    evaluation_periods: usize,
    datapoints_to_alarm: usize,
    is_below: bool,
    threshold: f64,
    missing: Missing,
}

#[derive(Clone, Copy, Debug)]
enum Statistic {
    Sum,
    Maximum,
}

#[derive(Clone, Copy, Debug)]
enum Missing {
    Breaching,
    NotBreaching,
}

impl Alarm {
    /// The alarm with these properties. `number` gives the value of a property that may be a reference.
    ///
    /// # Panics
    /// When the alarm uses what this does not evaluate.
    pub fn of(properties: &Value, number: impl Fn(&Value) -> f64) -> Self {
        let whole = |name: &str| {
            let value = properties[name].as_u64();
            usize::try_from(value.unwrap_or_else(|| panic!("{name}: {properties:#}"))).expect(name)
        };
        let period = whole("Period");
        assert_eq!(period % 60, 0, "whole minutes: {properties:#}");
        Self {
            statistic: match properties["Statistic"].as_str() {
                Some("Sum") => Statistic::Sum,
                Some("Maximum") => Statistic::Maximum,
                other => panic!("Statistic: {other:?}"),
            },
            period_minutes: period / 60,
            evaluation_periods: whole("EvaluationPeriods"),
            datapoints_to_alarm: whole("DatapointsToAlarm"),
            is_below: match properties["ComparisonOperator"].as_str() {
                Some("LessThanThreshold") => true,
                Some("GreaterThanOrEqualToThreshold") => false,
                other => panic!("ComparisonOperator: {other:?}"),
            },
            threshold: number(&properties["Threshold"]),
            missing: match properties["TreatMissingData"].as_str() {
                Some("breaching") => Missing::Breaching,
                Some("notBreaching") => Missing::NotBreaching,
                other => panic!("TreatMissingData: {other:?}"),
            },
        }
    }

    /// Whether the alarm goes off at some time of this series: the values of each minute, oldest
    /// first. It is evaluated once enough data points are there to fill its range.
    pub fn fires(&self, minutes: &[Vec<f64>]) -> bool {
        let periods = minutes.chunks_exact(self.period_minutes);
        let breaches: Vec<_> = periods.map(|period| self.is_breached(period)).collect();
        breaches
            .windows(self.evaluation_periods)
            .any(|range| range.iter().filter(|it| **it).count() >= self.datapoints_to_alarm)
    }

    fn is_breached(&self, period: &[Vec<f64>]) -> bool {
        let values = period.iter().flatten().copied();
        let point = match self.statistic {
            Statistic::Sum => values.reduce(|sum, value| sum + value),
            Statistic::Maximum => values.reduce(f64::max),
        };
        match (point, self.missing) {
            (None, missing) => matches!(missing, Missing::Breaching),
            (Some(point), _) if self.is_below => point < self.threshold,
            (Some(point), _) => point >= self.threshold,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn alarm(missing: &str) -> Alarm {
        let properties = json!({
            "Statistic": "Sum", "Period": 120, "EvaluationPeriods": 3, "DatapointsToAlarm": 2,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": 3,
            "TreatMissingData": missing,
        });
        Alarm::of(&properties, |threshold| threshold.as_f64().unwrap())
    }

    fn series(minutes: &[Option<f64>]) -> Vec<Vec<f64>> {
        minutes
            .iter()
            .map(|value| value.iter().copied().collect())
            .collect()
    }

    #[test]
    fn enough_points_of_the_range_have_to_breach() {
        let alarm = alarm("notBreaching");
        let [low, high] = [[Some(1.0), Some(1.0)], [Some(1.0), Some(2.0)]];
        let of = |points: &[[Option<f64>; 2]]| alarm.fires(&series(points.as_flattened()));
        assert!(!of(&[low, low, low, low]));
        assert!(!of(&[high, low, low, high]), "not within one range");
        assert!(of(&[high, low, high]));
        assert!(of(&[low, low, high, high]));
        assert!(!of(&[high, high]), "the range is not full yet");
    }

    #[test]
    fn missing_points_count_as_the_alarm_says() {
        let nothing = series(&[None; 6]);
        assert!(alarm("breaching").fires(&nothing));
        assert!(!alarm("notBreaching").fires(&nothing));
    }
}
