//! Every metric. The documentation's table, the names in Prometheus, the alarms, the dashboards and
//! the tests are compared with this list.

use super::{ALGORITHM, CODE, Kind, Metric, REASON, REGION, Unit};

/// The dimensions of what passes measure.
const OF_PASS: &[&str] = &[REGION, ALGORITHM];

macro_rules! metrics {
    ($($constant:ident $name:literal $kind:ident $unit:ident $dimensions:expr
        $(, $flag:ident)* => $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: Metric = Metric {
                $($flag: true,)*
                ..metric($name, Kind::$kind, Unit::$unit, $dimensions, $meaning)
            };
        )*

        /// All metrics, in the order of the documentation.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

const fn metric(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    dimensions: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric {
        name,
        unit,
        kind,
        dimensions,
        of_stack: false,
        is_scraped: false,
        meaning,
    }
}

metrics! {
    // Of assign-user
    ASSIGNS "assigns" Counter Count &[REGION], of_stack =>
        "Slots that were assigned. A repeated request that got the same slot again is not counted.";
    TIME_TO_SLOT "time_to_slot_seconds" Distribution Seconds &[REGION], of_stack =>
        "How long each of these users was in line; 0 for those who were served at once.";
    REFUSALS "refusals" Counter Count &[REASON] =>
        "Requests for a slot that were refused. Clients in line ask again every few seconds, and each time counts.";
    UNSERVED_REQUESTS "unserved_requests" Counter Count &[], of_stack =>
        "Refusals that are the service's: `NO_INSTANCE_AVAILABLE`, `NO_IMAGE_SERVED`, `SERVICE_UNAVAILABLE`.";
    // Of passes: what they observe
    FREE_SLOTS "free_slots" Gauge Count OF_PASS, is_scraped =>
        "Free slots of the current image.";
    TARGET_SLOTS "target_slots" Gauge Count OF_PASS, is_scraped =>
        "Free slots that the region should have; 0 while it is disabled.";
    STARTING_SLOTS "starting_slots" Gauge Count OF_PASS, is_scraped =>
        "Slots of the current image's instances that start.";
    OCCUPIED_SLOTS "occupied_slots" Gauge Count OF_PASS, is_scraped =>
        "Slots that have a user.";
    USERS_IN_LINE "users_in_line" Gauge Count OF_PASS, is_scraped =>
        "Users in line who are demand of the region.";
    LIVE_INSTANCES "live_instances" Gauge Count OF_PASS, is_scraped =>
        "What `max_instances` bounds: rows, machines, and launches under way.";
    UNHEALTHY_INSTANCES "unhealthy_instances" Gauge Count OF_PASS =>
        "Instances whose agent is silent or that did not come up in time; replicas that do not answer or are in error.";
    NO_FREE_SLOT "no_free_slot" Gauge Count OF_PASS, of_stack, is_scraped =>
        "1 if the region should have free slots and has none, else 0.";
    LAUNCHES_BLOCKED "launches_blocked" Gauge Count OF_PASS, of_stack =>
        "1 if a pass needed instances and launched none: no capacity, a wrong setting, a limit, or EC2's refusal. Else 0.";
    STUCK_DRAINS "stuck_drains" Gauge Count OF_PASS, of_stack =>
        "Instances that have drained for longer than `drain_seconds` and still have users.";
    STUCK_UPGRADES "stuck_upgrades" Gauge Count OF_PASS, of_stack =>
        "Upgrades that failed in this pass, app versions that no image serves, and retired images that have users for too long.";
    STALE_SECONDS "stale_seconds" Gauge Seconds OF_PASS, of_stack, is_scraped =>
        "The age of the region's newest decision when a pass began.";
    DAY_COST "day_cost" Gauge None OF_PASS =>
        "What the machine time of today, in UTC, has cost so far, as far as it has prices: a day's maximum is the day's cost.";
    MONTH_COST "month_cost" Gauge None OF_PASS =>
        "The same of the calendar month.";
    UNPRICED_SECONDS "unpriced_seconds" Gauge Seconds OF_PASS =>
        "Machine time of the calendar month without a price: what it cost is unknown.";
    // Of passes: what happened since the decision before
    LAUNCHES "launches" Counter Count OF_PASS =>
        "Instances that EC2 launched.";
    LAUNCH_FAILURES "launch_failures" Counter Count &[REGION, ALGORITHM, CODE] =>
        "Launches that EC2 did not carry out, by its error code.";
    BOOT_SECONDS "boot_seconds" Distribution Seconds OF_PASS =>
        "From the launch of each instance until its agent registered it.";
    DIED_YOUNG "instances_died_young" Counter Count OF_PASS =>
        "Instances that ended, or were announced to end, before they had served.";
    EMPTY_INSTANCE_SECONDS "empty_instance_seconds" Counter Seconds OF_PASS =>
        "The time that instances were `ACTIVE` without a user. Their state at a pass counts for the time since the decision before.";
    DRAINS "drains" Counter Count OF_PASS =>
        "Instances that began to drain, whoever drained them.";
    // Of passes themselves
    PASSES "passes" Counter Count OF_PASS =>
        "Passes, failed ones included. A pass that found the region locked is not counted.";
    FAILED_PASSES "failed_passes" Counter Count OF_PASS =>
        "Passes that could not observe the region or decide.";
    PASS_SECONDS "pass_seconds" Distribution Seconds OF_PASS =>
        "The time that each pass took.";
    LOCK_WAITS "lock_waits" Counter Count OF_PASS =>
        "Passes that found the region locked and left it to the lock's holder.";
    LOCK_LOSSES "lock_losses" Counter Count OF_PASS =>
        "Passes that lost the region's lock before they were done.";
    ALERTS "alerts" Counter Count OF_PASS =>
        "Problems that passes found, each time. The SNS topic gets a lasting one every half hour only.";
    // Of events
    EVENTS_SEEN "events_seen" Counter Count &[REGION] =>
        "Events of Hasura and EC2 that marked the region for a pass.";
    EVENTS_REPEATED "events_repeated" Counter Count &[REGION] =>
        "Events that had come before.";
}
