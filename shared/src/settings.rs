//! A region's settings: one row of the table `regions`, checked and typed.
//!
//! A row arrives as one JSON object (`to_jsonb` of the row). A new setting therefore needs no
//! GraphQL field and no mapping: a migration adds the column, a field here reads it, and one row of
//! [`TABLE`] gives its default, its variable and its meaning. The documentation and the migrations
//! are checked against that table. A stack without a database makes the same object from
//! environment variables.

mod addresses;
mod columns;
mod launch_choices;
mod launching;
mod replicas;
mod schedules;
mod shapes;
mod table;
#[cfg(test)]
mod tests;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;

pub use addresses::AddressSource;
pub use columns::BadSetting;
pub use launch_choices::{LaunchChoice, Selector};
pub use replicas::{AddressTag, Protocol, ReplicaSettings, StatusApi};
pub use schedules::{BadSchedule, Schedule, ScheduleKind};
pub use table::{Columns, Kind, NONE, REQUIRED, Setting, TABLE, defaults, overlay};

use crate::ids::RegionName;
use launching::{LAUNCH_CHOICES, LaunchColumns};

/// SimpleScaleVM's algorithm. Its launch choices need no `capacity`, because replicas have no
/// slots.
pub const REPLICA: &str = "replica";

/// The algorithm that sizes its target by the region's users.
pub const ADAPTIVE: &str = "adaptive";

/// One row of `regions`, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RegionSettings {
    #[serde(deserialize_with = "columns::region_name")]
    pub name: RegionName,
    pub enabled: bool,
    pub paused: bool,
    pub algorithm: String,
    #[serde(deserialize_with = "columns::count")]
    pub target_free: u32,
    /// `adaptive`: at most one user in this many is to wait.
    #[serde(deserialize_with = "columns::count")]
    pub stock_out_goal: u32,
    /// `adaptive`: the target never exceeds this many slots, unless the floor does.
    #[serde(deserialize_with = "columns::optional_count")]
    pub target_ceiling: Option<u32>,
    /// How often the schedule runs a pass.
    #[serde(deserialize_with = "columns::count")]
    pub pass_seconds: u32,
    #[serde(deserialize_with = "columns::count")]
    pub max_instances: u32,
    /// Instances launched in one pass at most; 0 means no limit.
    #[serde(deserialize_with = "columns::count")]
    pub scale_up_step: u32,
    /// Surplus instances drained in one pass at most; 0 means no limit.
    #[serde(deserialize_with = "columns::count")]
    pub scale_down_step: u32,
    /// Instances launched within an hour at most; 0 means no limit. None: see
    /// [`RegionSettings::launch_limit`].
    #[serde(deserialize_with = "columns::optional_count")]
    pub launches_per_hour: Option<u32>,
    /// A session that ends within this many seconds ended quickly; 0 switches the rules about that off.
    #[serde(deserialize_with = "columns::count")]
    pub quick_end_seconds: u32,
    /// Slots that an instance may replace within a minute before they cool down; 0 means no limit.
    /// None: six for each of its slots.
    #[serde(deserialize_with = "columns::optional_count")]
    pub replacements_per_minute: Option<u32>,
    /// A user in line who has not asked for this many seconds has left the line.
    #[serde(deserialize_with = "columns::count")]
    pub line_seconds: u32,
    /// Those that can work, in order of preference. This column and the next three are needed by
    /// launches only.
    #[serde(skip)]
    pub launch_choices: Vec<LaunchChoice>,
    #[serde(skip)]
    pub security_groups: Vec<Selector>,
    #[serde(skip)]
    pub instance_profile: Option<String>,
    #[serde(skip)]
    pub user_data_template: Option<String>,
    /// What is wrong with the columns that only launches need, one entry for each column. The region
    /// goes on without launches, or with the launch choices that are left.
    #[serde(skip)]
    pub launch_problems: Vec<BadSetting>,
    /// What the table `schedules` has for the region. Passes go on without those that cannot work.
    #[serde(skip)]
    pub schedules: Vec<Schedule>,
    #[serde(skip)]
    pub schedule_problems: Vec<BadSchedule>,
    /// The address that users get.
    #[serde(skip)]
    pub addresses: AddressSource,
    /// The groups below are read one by one: serde's `flatten` would hide the name of a bad column.
    #[serde(skip)]
    pub timeouts: Timeouts,
    #[serde(skip)]
    pub upgrades: Upgrades,
    #[serde(skip)]
    pub endings: Endings,
    #[serde(skip)]
    pub budget: Budget,
    /// For the algorithm [`REPLICA`] only.
    #[serde(skip)]
    pub replicas: ReplicaSettings,
}

/// How long a region waits for each thing before it acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Timeouts {
    /// With an older heartbeat, an instance gets no users and its slots do not count as free.
    #[serde(rename = "heartbeat_seconds", deserialize_with = "columns::seconds")]
    pub heartbeat: SignedDuration,
    /// With an older heartbeat, an instance is lost.
    #[serde(rename = "lost_seconds", deserialize_with = "columns::seconds")]
    pub lost: SignedDuration,
    /// The limit from launch to `ACTIVE`.
    #[serde(rename = "boot_seconds", deserialize_with = "columns::seconds")]
    pub boot: SignedDuration,
    /// An empty draining instance has this long to shut itself down.
    #[serde(rename = "drain_seconds", deserialize_with = "columns::seconds")]
    pub drain: SignedDuration,
    /// The time between two complete listings that must both miss an instance.
    #[serde(rename = "missing_seconds", deserialize_with = "columns::seconds")]
    pub missing: SignedDuration,
    /// An unknown machine is left alone below this age, because listings lag.
    #[serde(rename = "orphan_seconds", deserialize_with = "columns::seconds")]
    pub orphan: SignedDuration,
}

/// How a region moves to a new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Upgrades {
    /// Instances beyond `max_instances` while two images run side by side.
    #[serde(rename = "upgrade_surge", deserialize_with = "columns::count")]
    pub surge: u32,
    /// An upgrade that is not warm after this time has failed.
    #[serde(rename = "upgrade_seconds", deserialize_with = "columns::seconds")]
    pub deadline: SignedDuration,
    /// The new image becomes current as soon as it is warm, whatever the app version names.
    pub swap_when_warm: bool,
    /// How long the previous image stays ready for a roll-back.
    #[serde(rename = "bake_seconds", deserialize_with = "columns::seconds")]
    pub bake: SignedDuration,
    /// Users who are still on a retired image after this time are reported; none: never.
    #[serde(
        rename = "old_image_seconds",
        deserialize_with = "columns::optional_seconds"
    )]
    pub old_image: Option<SignedDuration>,
}

/// When sessions and instances end at the latest. What is none is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Endings {
    /// The longest session, from the connection of its user.
    #[serde(
        rename = "max_session_seconds",
        deserialize_with = "columns::optional_seconds"
    )]
    pub max_session: Option<SignedDuration>,
    /// The longest time without activity of a user, where agents report activity.
    #[serde(
        rename = "max_idle_seconds",
        deserialize_with = "columns::optional_seconds"
    )]
    pub max_idle: Option<SignedDuration>,
    /// How long before the end of a session its agent is told at the latest.
    #[serde(rename = "end_warning_seconds", deserialize_with = "columns::seconds")]
    pub warning: SignedDuration,
    /// The longest time of a drain until its sessions end. See [`crate::model::DrainCause::has_deadline`].
    #[serde(
        rename = "drain_deadline_seconds",
        deserialize_with = "columns::optional_seconds"
    )]
    pub drain_deadline: Option<SignedDuration>,
    /// Older instances are replaced.
    #[serde(
        rename = "max_age_seconds",
        deserialize_with = "columns::optional_seconds"
    )]
    pub max_age: Option<SignedDuration>,
}

/// What a region may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Budget {
    /// In a calendar month in UTC, in the currency of the region's prices. None: there is no budget.
    #[serde(
        rename = "monthly_budget",
        deserialize_with = "columns::optional_count"
    )]
    pub monthly: Option<u32>,
    /// Nothing is launched in the rest of a month whose budget is spent.
    #[serde(rename = "limit_to_budget")]
    pub limits_launches: bool,
}

/// What `launches_per_hour` adds to twice the maximum if it is not set, so that small regions can
/// replace theirs several times.
const LAUNCHES_OF_SMALL_REGION: u32 = 20;

impl RegionSettings {
    /// How many instances a pass launches at most; none without a bound.
    pub fn launch_step(&self) -> Option<u32> {
        self.step(self.scale_up_step)
    }

    /// How many surplus instances a pass drains at most; none without a bound.
    pub fn drain_step(&self) -> Option<u32> {
        self.step(self.scale_down_step)
    }

    /// A target that moves is followed at once: for `adaptive`, the columns' default of 1 is no bound.
    fn step(&self, step: u32) -> Option<u32> {
        let is_default = step == 1 && self.algorithm == ADAPTIVE;
        (step > 0 && !is_default).then_some(step)
    }

    /// How many instances may be launched within an hour; none without a limit. By default it is
    /// enough to fill the region and to replace all of it once.
    pub fn launch_limit(&self) -> Option<u32> {
        match self.launches_per_hour {
            Some(0) => None,
            Some(limit) => Some(limit),
            None => Some(
                self.max_instances
                    .saturating_mul(2)
                    .saturating_add(LAUNCHES_OF_SMALL_REGION),
            ),
        }
    }

    /// Reads a row. Columns that are missing or null have the default of [`TABLE`], if there is
    /// one.
    ///
    /// A column that only launches need is not an error: see `launch_problems`.
    ///
    /// # Errors
    /// Names the first invalid column, and what its value must be.
    pub fn from_columns(row: &Columns) -> Result<Self, BadSetting> {
        let mut row = Value::Object(overlay(defaults(), row));
        let replicas = ReplicaSettings::read(&row)?;
        let has_replicas = row.get("algorithm").and_then(Value::as_str) == Some(REPLICA);
        if has_replicas && let Some(choices) = row.get_mut("launch_choices") {
            launch_choices::fill_in_capacity(choices, replicas.capacity);
        }
        let launching = LaunchColumns::read(&row, !has_replicas);
        let (schedules, schedule_problems) = schedules::read(&row);
        let settings = Self {
            launch_choices: launching.choices,
            security_groups: launching.security_groups,
            instance_profile: launching.instance_profile,
            user_data_template: launching.user_data_template,
            launch_problems: launching.problems,
            schedules,
            schedule_problems,
            addresses: AddressSource::read(&row)?,
            timeouts: columns::read(&row)?,
            upgrades: columns::read(&row)?,
            endings: columns::read(&row)?,
            budget: columns::read(&row)?,
            replicas,
            ..columns::read(&row)?
        };
        let Timeouts {
            heartbeat,
            lost,
            boot,
            ..
        } = settings.timeouts;
        if lost <= heartbeat {
            return Err(BadSetting {
                column: "lost_seconds",
                problem: format!("{} must be more than heartbeat_seconds", lost.as_secs()),
            });
        }
        if let Some(age) = settings.endings.max_age.filter(|age| *age <= boot) {
            return Err(BadSetting {
                column: "max_age_seconds",
                problem: format!("{} must be more than boot_seconds", age.as_secs()),
            });
        }
        Ok(settings)
    }

    /// Everything that is wrong with a row: an invalid column that fails every pass, or columns that
    /// keep the region from launching.
    pub fn problems(row: &Columns) -> Vec<BadSetting> {
        match Self::from_columns(row) {
            Ok(settings) => settings.launch_problems,
            Err(error) => vec![error],
        }
    }

    /// Whether nothing keeps the region from launching but, perhaps, a lack of choices. A choice that
    /// cannot work leaves the others; without one of its security groups, a machine could be open to
    /// everybody.
    pub fn can_launch(&self) -> bool {
        self.launch_problems
            .iter()
            .all(|problem| problem.column == LAUNCH_CHOICES)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        columns::default_group()
    }
}

impl Default for Endings {
    fn default() -> Self {
        columns::default_group()
    }
}

impl Default for Budget {
    fn default() -> Self {
        columns::default_group()
    }
}

impl Default for Upgrades {
    fn default() -> Self {
        columns::default_group()
    }
}
