//! Rules of the flow of users, and of the safety factor that is tuned to it.

use jiff::SignedDuration;

use super::Flaw;
use crate::database::steps::Action;

pub(super) fn flaws() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result(
            "users who come do not tune the safety factor",
            |was, now, step, _| {
                if matches!(step.action, Action::BeginPass(_)) {
                    now.safety_factors.clone_from(&was.safety_factors);
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "the safety factor is tuned twice to the same users",
            |tables, step| {
                if matches!(step.action, Action::BeginPass(_)) {
                    for factor in tables.safety_factors.values_mut() {
                        factor.counted_until -= SignedDuration::from_mins(1);
                    }
                }
            },
            // In the region of the pass, the time is now again.
            |was, now, step, _| {
                if let Action::BeginPass(fence) = &step.action {
                    for (region, factor) in &mut now.safety_factors {
                        let before = was.safety_factors.get(region);
                        if *region != fence.region
                            && let Some(before) = before
                        {
                            *factor = *before;
                        }
                    }
                }
            },
        ),
    ]
}
