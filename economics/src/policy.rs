//! What is compared: ways to set a region, each with one parameter.
//!
//! The algorithms themselves are `shared`'s, and a policy is what an operator would write into the
//! region's row. A further algorithm needs one more entry in [`POLICIES`].

use shared::settings::{ADAPTIVE, RegionSettings, defaults};

use crate::frontier::Goal;

/// A way to set a region, with a parameter to be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// One word, for tables and options.
    pub name: &'static str,
    /// What the parameter is.
    pub parameter: &'static str,
    /// The parameters that are played for a frontier, with increasing cost.
    pub parameters: &'static [u32],
    /// What an operator sets who has this goal; none if that has to be found out.
    pub of_goal: fn(&Goal) -> Option<u32>,
    set: fn(&mut RegionSettings, u32),
}

/// Slots to keep free. Each is about a third more than the one before.
const TARGETS: &[u32] = &[
    2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024,
];

/// Goals: one user in this many may wait. As targets, they cost more the further down the list.
const GOALS: &[u32] = &[20, 50, 100, 200, 500, 1000, 2000, 5000];

pub static POLICIES: [Policy; 3] = [
    Policy {
        name: "fixed",
        parameter: "target_free",
        parameters: TARGETS,
        of_goal: |_| None,
        set: |settings, target| {
            settings.target_free = target;
            settings.scale_up_step = 0;
            settings.scale_down_step = 0;
        },
    },
    Policy {
        name: "fixed-by-one",
        parameter: "target_free",
        parameters: TARGETS,
        of_goal: |_| None,
        set: |settings, target| {
            settings.target_free = target;
            settings.scale_up_step = default_of("scale_up_step");
            settings.scale_down_step = default_of("scale_down_step");
        },
    },
    Policy {
        name: "adaptive",
        parameter: "stock_out_goal",
        parameters: GOALS,
        of_goal: |goal| Some((1.0 / goal.not_at_once).round() as u32),
        set: |settings, goal| {
            ADAPTIVE.clone_into(&mut settings.algorithm);
            // What a small region needs in any case: one instance of two slots.
            settings.target_free = 2;
            settings.stock_out_goal = goal;
        },
    },
];

impl Policy {
    /// The policy with this name, if there is one.
    pub fn named(name: &str) -> Option<&'static Self> {
        POLICIES.iter().find(|policy| policy.name == name)
    }

    /// Sets a region whose other columns are set already.
    pub fn set(&self, settings: &mut RegionSettings, parameter: u32) {
        (self.set)(settings, parameter);
    }
}

/// The number that a column has if an operator does not set it.
fn default_of(column: &str) -> u32 {
    let number = defaults().get(column).and_then(serde_json::Value::as_u64);
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_steps_are_one_instance_a_pass() {
        let mut settings = testing::settings();
        Policy::named("fixed-by-one").unwrap().set(&mut settings, 7);
        assert_eq!(settings.target_free, 7);
        assert_eq!((settings.scale_up_step, settings.scale_down_step), (1, 1));
        Policy::named("fixed").unwrap().set(&mut settings, 8);
        assert_eq!(settings.target_free, 8);
        assert_eq!((settings.scale_up_step, settings.scale_down_step), (0, 0));
    }
}
