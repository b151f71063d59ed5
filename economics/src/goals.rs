//! What `adaptive` is to reach: its cost beside the clairvoyant's on the recorded traces, in three settings,
//! with the one configuration that every region has.

use std::fmt::Write;

use crate::frontier::{Goal, Results};
use crate::policy::Policy;
use crate::table::ratio;

/// Boots and instances, with what may be missed and what it may cost.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Half of the boots take this many seconds, and 95 % at most twice as many.
    pub boot: f64,
    pub slots: u32,
    pub goal: Goal,
    /// By trace, as multiples of the clairvoyant's cost.
    pub most: [(&'static str, f64); 4],
}

const fn most(nyc: f64, azure: f64, elb: f64, twitter: f64) -> [(&'static str, f64); 4] {
    [
        ("nyc_taxi", nyc),
        ("azure_conv", azure),
        ("elb", elb),
        ("twitter_amzn", twitter),
    ]
}

pub static SETTINGS: [Setting; 3] = [
    Setting {
        boot: 60.0,
        slots: 2,
        goal: Goal { not_at_once: 0.001 },
        most: most(1.08, 1.08, 1.15, 1.12),
    },
    Setting {
        boot: 60.0,
        slots: 8,
        goal: Goal { not_at_once: 0.001 },
        most: most(1.10, 1.10, 1.22, 1.15),
    },
    Setting {
        boot: 300.0,
        slots: 2,
        goal: Goal { not_at_once: 0.01 },
        most: most(1.14, 1.14, 1.50, 1.27),
    },
];

/// The heading and a row for each trace: what `adaptive` costs with the goal as its setting, and what the
/// cheapest parameter of each other policy does that reaches the goal on this trace.
pub fn text(setting: &Setting, results: &[Results], policies: &[&'static Policy]) -> String {
    let percent = 100.0 * setting.goal.not_at_once;
    let mut text = format!(
        "Boots of {:.0} s, {} slots an instance, at most {percent} % not served at once\n\n",
        setting.boot, setting.slots
    );
    let _ = write!(text, "{:<14}{:>6}", "trace", "goal");
    for policy in policies {
        let _ = write!(text, "{:>20}{:>10}", policy.name, "not");
    }
    text.push('\n');
    for result in results {
        let mut goals = setting.most.iter();
        let goal = goals.find(|(trace, _)| *trace == result.workload);
        let goal = goal.map_or_else(String::new, |(_, most)| format!("{most:.2}"));
        let _ = write!(text, "{:<14}{goal:>6}", result.workload);
        for (policy, frontier) in policies.iter().zip(&result.frontiers) {
            let own = (policy.of_goal)(&setting.goal);
            let point = match own {
                Some(own) => frontier.at(own),
                None => frontier.best(&setting.goal),
            };
            let Some(point) = point else {
                let _ = write!(text, "{:>20}{:>10}", "not reached", "");
                continue;
            };
            let cost = ratio(point.outcome.machine_time(), result.foresight.clairvoyant);
            let share = 100.0 * point.outcome.share_not_at_once();
            let cost = match own {
                Some(_) => format!("{cost:.3}"),
                None => format!("{cost:.3} with {}", point.parameter),
            };
            let _ = write!(text, "{cost:>20}{:>10}", format!("{share:.3} %"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clairvoyant::{Foresight, Session};
    use crate::frontier::{Frontier, Point};
    use crate::outcome::{Outcome, Time};

    fn point(parameter: u32, hours: i64, not_at_once: u64) -> Point {
        let outcome = Outcome {
            measured: Session { begin: 0, end: 1 },
            slots: 2,
            users: 10_000,
            not_at_once,
            gave_up: 0,
            waits: vec![],
            time: Time {
                used: 2 * hours,
                ..Time::default()
            },
            launches: 0,
            passes: 0,
            served: vec![],
        };
        Point { parameter, outcome }
    }

    #[test]
    fn adaptive_is_shown_at_its_goal_and_others_at_their_best() {
        let policies = ["adaptive", "fixed"].map(|name| Policy::named(name).unwrap());
        let points = [
            vec![point(1000, 107, 12), point(2000, 109, 4)],
            vec![point(8, 101, 900), point(16, 106, 9), point(24, 110, 1)],
        ];
        let frontiers = policies.iter().zip(points);
        let result = Results {
            workload: "nyc_taxi".to_owned(),
            foresight: Foresight {
                clairvoyant: 100,
                lower_bound: 99,
            },
            frontiers: frontiers
                .map(|(policy, points)| Frontier { policy, points })
                .collect(),
        };
        let text = text(&SETTINGS[0], &[result], &policies);
        let row: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
        let expected = [
            "nyc_taxi", "1.08", "1.070", "0.120", "%", "1.060", "with", "16", "0.090", "%",
        ];
        assert_eq!(row, expected);
    }
}
