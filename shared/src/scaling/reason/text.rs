//! The text of a reason, as logs and stored decisions have it. It names the setting that an
//! operator can change.

use std::fmt;

use super::Reason;
use crate::words::quoted;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowTarget {
                target,
                waiting,
                free,
                starting,
            } => write!(
                f,
                "free {free} and starting {starting} are below target {target} + waiting {waiting}"
            ),
            Self::IntentOpen { unrecorded_count } => {
                write!(
                    f,
                    "recorded by an earlier pass; instances without a row: {unrecorded_count}"
                )
            }
            Self::IntentTooOld { hours } => {
                write!(
                    f,
                    "recorded {hours} h ago: its instances are looked up, but it is not launched again"
                )
            }
            Self::AtMaximum {
                missing_slots,
                live,
                max,
            } => write!(
                f,
                "{missing_slots} slots are missing, but {live} of at most {max} instances are live (max_instances)"
            ),
            Self::StepBound { wanted, step } => {
                write!(
                    f,
                    "{wanted} instances are needed, but one pass launches at most {step} (scale_up_step)"
                )
            }
            Self::BudgetHoldsLaunch {
                missing_slots,
                spent,
                budget,
                currency,
                until,
            } => write!(
                f,
                "{missing_slots} slots are missing, but {spent} {currency} of this month's {budget} are \
                 spent: nothing is launched until {until}, and users who have a slot keep it \
                 (monthly_budget, limit_to_budget)"
            ),
            Self::BudgetUsed {
                percent,
                spent,
                budget,
                currency,
            } => write!(
                f,
                "{spent} {currency} of this month's {budget} are spent, {percent} % or more \
                 (monthly_budget)"
            ),
            Self::BudgetWithoutPrices { budget } => write!(
                f,
                "the region has a budget of {budget} and no prices: load them into table `prices`"
            ),
            Self::TimeWithoutPrice { hours } => write!(
                f,
                "{hours} machine-hours of this month have no price, and the budget counts without \
                 them: load their prices into table `prices`"
            ),
            Self::NoImage => f.write_str("the region has no CURRENT image in table `images`"),
            Self::AppVersionUnknown { client_sha } => write!(
                f,
                "no image of the region was built for {client_sha}, which the app version names: \
                 clients that update are refused. Correct app_versions.client_sha, or request an \
                 image for it"
            ),
            Self::AppVersionNotServed {
                image,
                state,
                client_sha,
            } => write!(
                f,
                "{image} is {state}, and the app version names its {client_sha}: clients that update \
                 are refused. Correct app_versions.client_sha, or request an image for it"
            ),
            Self::AppVersionWarms { image, client_sha } => write!(
                f,
                "{image} still warms, and the app version names its {client_sha} already: clients \
                 that update are refused until it is current"
            ),
            Self::NoLaunchChoice => f.write_str("the region's `launch_choices` are empty"),
            Self::SettingInvalid {
                row,
                column,
                problem,
                choices_left,
            } => write!(
                f,
                "table `regions`, row {row}, column `{column}`: {problem}; {}",
                if *choices_left {
                    "the other launch choices are used"
                } else {
                    "nothing is launched until it is corrected"
                }
            ),
            Self::NoCapacity { until, why } => {
                f.write_str(
                    "EC2 has no capacity for any launch choice, or its instances do not live",
                )?;
                if !why.is_empty() {
                    write!(f, " ({why})")?;
                }
                write!(f, "; the next attempt is after {until}")
            }
            Self::LaunchesDie {
                pool,
                image,
                instances,
                first,
                why,
                until,
            } => {
                match instances {
                    1 => write!(f, "{first} of {pool}")?,
                    n => write!(f, "{n} instances of {pool}, {first} among them,")?,
                }
                if let Some(image) = image {
                    write!(f, " on image {image}")?;
                }
                write!(
                    f,
                    " did not live: {why}; the next launch there is after {until}"
                )
            }
            Self::PoolHasLived { pool } => write!(f, "an instance of {pool} has lived"),
            Self::LaunchLimit {
                launched,
                limit,
                until,
            } => write!(
                f,
                "{launched} instances were launched within an hour, of at most {limit} \
                 (launches_per_hour): fewer or none are launched until {until}. Find out why so many \
                 were needed"
            ),
            Self::NeededAgain { missing } => {
                write!(
                    f,
                    "{missing} slots are missing, and its agent does not know of the drain"
                )
            }
            Self::BufferFull {
                target,
                free,
                starting,
            } => {
                write!(
                    f,
                    "free {free} and starting {starting} meet the target of {target}"
                )
            }
            Self::TargetSized {
                target,
                seconds,
                arrivals_tenths,
                ends_tenths,
                spread_tenths,
                safety_tenths,
                goal,
            } => write!(
                f,
                "target {target}: in the {seconds} s that a new slot takes, {} users arrive and {} \
                 sessions end; spread {} x {}; goal {} % (stock_out_goal)",
                Tenths(*arrivals_tenths),
                Tenths(*ends_tenths),
                Tenths(*spread_tenths),
                Tenths(*safety_tenths),
                percent_of_one_in(*goal)
            ),
            Self::TargetWithoutHistory { target } => write!(
                f,
                "target {target}, the floor (target_free): nobody came lately, or no boot \
                 has been measured yet"
            ),
            Self::Paused => f.write_str("the region is paused"),
            Self::TargetScheduled {
                target,
                schedule,
                kind,
                from,
                until,
                set_by,
                note,
            } => {
                let kind = kind.as_str();
                write!(
                    f,
                    "the target is {target}: {kind} of schedule {schedule}, from {from} until {until}, \
                     set by {}",
                    quoted(set_by)
                )?;
                if note.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {}", quoted(note))
                }
            }
            Self::ScheduleInvalid { schedule, problem } => {
                write!(f, "schedule {schedule} does not count: {problem}")
            }
            Self::Surplus { target, free } => {
                write!(f, "free {free} meets the target of {target} without it")
            }
            Self::OverMaximum { live, max } => {
                write!(
                    f,
                    "{live} live instances exceed the maximum of {max} (max_instances)"
                )
            }
            Self::ImageNotServed { image } => write!(f, "image {image} is no longer served"),
            Self::ImageUnknown { image } => write!(
                f,
                "image {image} has no row in table `images`: the instance is kept, and not counted as free"
            ),
            Self::TokenAges { hours_left } => {
                write!(f, "its agent's newest token ends in {hours_left} h")
            }
            Self::KeyRotates => {
                f.write_str("its agent's newest token is signed with a key that is replaced")
            }
            Self::TokenNotTaken { hours } => write!(
                f,
                "its agent has not used its next token for {hours} h, and is lost when the one in use \
                 ends: drain the instance, and update the host agent of its image"
            ),
            Self::RenewalsLeft { instances } => {
                write!(f, "{instances} tokens are left to renew by the next passes")
            }
            Self::AgentRevoked { occupied } => write!(
                f,
                "its agent's token is revoked; {} on it",
                users(*occupied)
            ),
            Self::ImageBelowTarget {
                state,
                target,
                free,
                starting,
            } => write!(
                f,
                "free {free} and starting {starting} of this {state} image are below target {target}"
            ),
            Self::MakesRoom { state } => write!(
                f,
                "at max_instances: a more important image needs the room of this {state} one"
            ),
            Self::FirstImage => f.write_str(
                "the region's first image, and an instance of it is ACTIVE or none is needed",
            ),
            Self::Warm { free, named: true } => {
                write!(
                    f,
                    "warm (free {free}), and the app version names its client_sha"
                )
            }
            Self::Warm { free, named: false } => {
                write!(f, "warm (free {free}), and the region has swap_when_warm")
            }
            Self::WayBack => f.write_str("the app version names its client_sha again"),
            Self::BakedLongEnough { seconds } => {
                write!(f, "replaced {seconds} s ago (bake_seconds)")
            }
            Self::UpgradeTooLate {
                seconds,
                free,
                demand,
            } => write!(
                f,
                "only free {free} of {demand} after {seconds} s (upgrade_seconds): the old image stays"
            ),
            Self::UpgradeNotNamed {
                seconds,
                client_sha,
            } => write!(
                f,
                "warm, but no app version named {client_sha} within {seconds} s \
                 (upgrade_seconds): the old image stays"
            ),
            Self::UpgradeDying { instance } => write!(
                f,
                "{instance} of this image did not become ACTIVE or was lost, and no other is healthy: \
                 the old image stays"
            ),
            Self::NoRoomForUpgrade { live, max } => write!(
                f,
                "no room for an instance of it: {live} of at most {max} instances are live \
                 (max_instances + upgrade_surge): the old image stays"
            ),
            Self::StillWarming {
                image,
                free,
                demand,
                starting,
            } => write!(
                f,
                "upgrade to {image}: free {free} of {demand}, starting {starting}"
            ),
            Self::AwaitsAppVersion { image, client_sha } => write!(
                f,
                "upgrade to {image}: warm, waiting for the app version to name {client_sha}"
            ),
            Self::StillBaking { image, until } => {
                write!(f, "{image} is kept for a rollback until {until}")
            }
            Self::UsersOnRetiredImage {
                image,
                users: there,
                seconds,
            } => write!(
                f,
                "{} still on {image}, retired {seconds} s ago (old_image_seconds)",
                users(*there)
            ),
            Self::ReplicasBelowMinimum {
                min,
                free,
                starting,
            } => write!(
                f,
                "available {free} and creating {starting} are below the minimum of {min}"
            ),
            Self::ReplicasSuffice {
                min,
                free,
                starting,
            } => write!(
                f,
                "available {free} and creating {starting} meet the minimum of {min}"
            ),
            Self::ReplicasAtMaximum { missing, live, max } => write!(
                f,
                "capacity {missing} is missing, but {live} of at most {max} replicas are live (max_instances)"
            ),
            Self::ReplicaTerminated => f.write_str("it reports that it is terminated"),
            Self::ReplicaInError { state } => {
                write!(f, "in error: it is {state} at EC2")
            }
            Self::ReplicaSurplus { min, free } => write!(
                f,
                "idle, and available {free} exceeds the minimum of {min} by a whole replica"
            ),
            Self::ReplicaUnknownFor { seconds } => {
                write!(
                    f,
                    "its status is unknown for {seconds} s (replica_unknown_seconds)"
                )
            }
            Self::ReplicaGuard { unknown, most } => write!(
                f,
                "guard: {unknown} replicas are unknown at once, more than {most}: none is \
                 replaced. Check the network path to them, then invoke reconcile with \
                 {{\"regions\":[…],\"approve_mass_removal\":true}}"
            ),
            Self::ReplicaImage => {
                f.write_str("replicas are neither warmed nor kept for a rollback")
            }
            Self::AddressOfDeleted => f.write_str("the replica that carries it is deleted"),
            Self::AddressOfGone => f.write_str("EC2 terminates the replica that carries it"),
            Self::AddressOfUnknown => {
                f.write_str("the status of the replica that carries it is unknown")
            }
            Self::AddressFree => f.write_str("it is free"),
            Self::AddressMoveNotListed { seconds } => write!(
                f,
                "a pass recorded this {seconds} s ago, and EC2 does not list it yet"
            ),
            Self::AddressesWithoutReplica { free, unknown } => write!(
                f,
                "every healthy replica has an address: {free} are free or become free, {unknown} are on \
                 replicas with unknown status"
            ),
            Self::AddressElsewhere { ip, carrier } => write!(
                f,
                "{ip} has the pool's tag, but {carrier}, which is not a replica, carries it: not moved"
            ),
            Self::AddressesOnOne { count } => {
                write!(f, "it carries {count} addresses of the pool: not moved")
            }
            Self::AddressPoolEmpty { tag } => {
                write!(f, "no Elastic IP has the tag {tag} (replica_address_tag)")
            }
            Self::AddressesUnknown { why } => write!(f, "no address is moved: {why}"),
            Self::UnknownReplicas { count } => write!(f, "replicas with unknown status: {count}"),
            Self::Interrupted { occupied } => write!(
                f,
                "EC2 reclaims it within two minutes (spot interruption warning); {} on it",
                users(*occupied)
            ),
            Self::RebalanceAdvised { occupied } => write!(
                f,
                "EC2 may reclaim it soon (rebalance recommendation); {} on it",
                users(*occupied)
            ),
            Self::NotReplacedYet { occupied } => write!(
                f,
                "EC2 may reclaim it soon (rebalance recommendation): kept until it is replaced, not \
                 counted as free; {} on it",
                users(*occupied)
            ),
            Self::MaxAgeReached { seconds, occupied } => write!(
                f,
                "{seconds} s old (max_age_seconds), and replaced; {} on it",
                users(*occupied)
            ),
            Self::OldNotReplacedYet { occupied } => write!(
                f,
                "too old (max_age_seconds): kept until it is replaced, not counted as free; {} on it",
                users(*occupied)
            ),
            Self::OccupiedOnOldImage { occupied } => {
                write!(
                    f,
                    "kept: {} on an image that is no longer served",
                    users(*occupied)
                )
            }
            Self::LeftByAgent { says, occupied } => write!(
                f,
                "its agent took it out of service: {says}; {} on it",
                users(*occupied)
            ),
            Self::LeaveHeld { says } => write!(
                f,
                "its agent wants to take it out of service, and too many of the region have left: {says}"
            ),
            Self::LeavesHeld { instances, says } => write!(
                f,
                "{instances} more instances want to leave than may within an hour (3, or a tenth of \
                 the region), and stay in service. Is their image bad, or the check? The first says: \
                 {says}. Drain them by hand if they are broken"
            ),
            Self::SessionsEndQuickly {
                users: failed,
                connected: true,
                seconds,
                occupied,
            } => write!(
                f,
                "the sessions of {failed} users in a row ended within {seconds} s (quick_end_seconds), \
                 and those on other instances did not; {} on it",
                users(*occupied)
            ),
            Self::SessionsEndQuickly {
                users: failed,
                connected: false,
                occupied,
                ..
            } => write!(
                f,
                "{failed} users in a row could not connect to it, and those of other instances could; \
                 {} on it",
                users(*occupied)
            ),
            Self::SuspectKept {
                users: failed,
                draining: 0,
            } => write!(
                f,
                "fails its users, {failed} in a row, but it is kept: no other instance serves its image"
            ),
            Self::SuspectKept {
                users: failed,
                draining,
            } => write!(
                f,
                "fails its users, {failed} in a row, but it is kept: {draining} others drain for the \
                 same reason. Drain it by hand if it is broken"
            ),
            Self::SessionsEndQuicklyEverywhere {
                instances,
                others,
                first,
                seconds,
            } => write!(
                f,
                "sessions end within {seconds} s (quick_end_seconds), or users cannot connect, on \
                 {instances} instances, {first} first, and only {others} others are known to do better: \
                 none is replaced. Is the image bad? If sessions are that short, set quick_end_seconds \
                 to 0"
            ),
            Self::DrainedAndStillThere { seconds } => {
                write!(f, "draining and empty, but still running after {seconds} s")
            }
            Self::DrainDeadline { seconds, occupied } => write!(
                f,
                "draining for {seconds} s (drain_deadline_seconds), and its agent has not ended its \
                 sessions: terminated with {}",
                users(*occupied)
            ),
            Self::NeverCameUp { seconds } => {
                write!(f, "not ACTIVE {seconds} s after its launch (boot_seconds)")
            }
            Self::Lost {
                silent_seconds,
                occupied,
            } => write!(
                f,
                "lost: no heartbeat for {silent_seconds} s (lost_seconds); {} on it",
                users(*occupied)
            ),
            Self::Committed => f.write_str("its row is TERMINATING, but EC2 has not terminated it"),
            Self::DownAtEc2 {
                state,
                status,
                occupied,
                state_reason,
            } => {
                write!(
                    f,
                    "{state} at EC2 while its row is {status} with {}",
                    users(*occupied)
                )?;
                match state_reason {
                    Some(reason) => write!(f, "; EC2's reason: {reason}"),
                    None => Ok(()),
                }
            }
            Self::OrphanOf {
                launch: Some(launch),
                age_seconds,
            } => write!(
                f,
                "no row, launch {launch} is closed, and it is {age_seconds} s old"
            ),
            Self::OrphanOf {
                launch: None,
                age_seconds,
            } => {
                write!(
                    f,
                    "no row, no launch in its tags, and it is {age_seconds} s old"
                )
            }
            Self::DrainingOccupied { occupied, seconds } => {
                write!(
                    f,
                    "draining for {seconds} s, kept because of {}",
                    users(*occupied)
                )
            }
            Self::Silent {
                silent_seconds,
                occupied,
            } => write!(
                f,
                "no heartbeat for {silent_seconds} s: not counted as free; {} on it",
                users(*occupied)
            ),
            Self::YoungOrphan { age_seconds } => write!(
                f,
                "no row and no open launch, but only {age_seconds} s old: kept, because listings lag"
            ),
            Self::Guard {
                gone,
                orphaned,
                lost,
                allowed,
            } => write!(
                f,
                "guard: {gone} gone, {orphaned} orphaned and {lost} silent at once, more than \
                 {allowed}: none is removed. Check EC2 and the database, then invoke reconcile \
                 with {{\"regions\":[…],\"approve_mass_removal\":true}}"
            ),
            Self::NotListed => f.write_str("a complete EC2 listing does not contain it"),
            Self::ListedAgain => f.write_str("EC2 lists it again"),
            Self::TerminatedAtEc2 => f.write_str("EC2 reports it as terminated"),
            Self::MissingAndUnknown { seconds } => {
                write!(f, "missing for {seconds} s, and EC2 does not know its id")
            }
            Self::MissingStill { seconds } => write!(f, "missing for {seconds} s"),
            Self::NotListedButKnown { seconds } => write!(
                f,
                "missing from listings for {seconds} s, but EC2 knows its id: were its tags removed?"
            ),
            Self::MissingButBeating { seconds } => write!(
                f,
                "missing from EC2 for {seconds} s, but its agent sends heartbeats: are the \
                 functions in the right AWS account?"
            ),
            Self::AddressOfEc2 { ip } => {
                write!(f, "EC2 gave it {ip}, which users get (address_source)")
            }
            Self::NoPublicAddress {
                instances,
                first,
                subnet,
            } => {
                match instances {
                    1 => write!(f, "{first} has no public address")?,
                    n => write!(
                        f,
                        "{n} instances have no public address, {first} among them"
                    )?,
                }
                if let Some(subnet) = subnet {
                    write!(f, ": subnet {subnet} assigns none")?;
                }
                f.write_str(
                    ". Users get public addresses (address_source), so an instance without one does \
                     not register. Let the subnet assign public addresses, associate Elastic IPs, or \
                     change address_source",
                )
            }
            Self::NotClaimed => f.write_str("allocated, but nobody connected within claim_seconds"),
            Self::LimitComes => f.write_str("a limit of the session or a drain's deadline comes"),
            Self::SessionsNotEnded {
                sessions,
                instances,
                first,
            } => write!(
                f,
                "sessions that agents have not ended in time: {sessions}, on {instances} instances, \
                 {first} among them. Are the agents of a version that ends sessions?"
            ),
        }
    }
}

pub(super) fn users(occupied: u32) -> String {
    match occupied {
        1 => "1 user".to_owned(),
        n => format!("{n} users"),
    }
}

/// A number of tenths, as in `4.6`.
struct Tenths(u32);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

/// One in so many as a percentage with at most three decimals.
fn percent_of_one_in(number: u32) -> f64 {
    (100_000.0 / f64::from(number.max(1))).round() / 1000.0
}
