//! The broken variants, apart from those of upgrades.

use std::time::Duration;

use super::assigner::{AssignerDefect, break_assigner, break_line};
use super::database::{DatabaseDefect, break_database};
use super::ec2::{Ec2Defect, break_ec2};
use super::line::LineDefect;
use super::table::{TableDefect, break_table};
use super::variant::{Variant, variant};
use crate::checks::Check;

pub(super) const VARIANTS: &[Variant] = &[
    // Users
    variant(
        "a slot that is held is given to another user",
        Check::SlotHasOneUser,
        17,
        |world| {
            break_assigner(world, AssignerDefect::IgnoresHolder);
        },
    ),
    variant(
        "the limit of slots per user is not checked",
        Check::UserLimit,
        4,
        |world| {
            break_assigner(world, AssignerDefect::IgnoresLimit);
        },
    ),
    variant(
        "a repeated request is not recognised",
        Check::RepeatedRequestSameSlot,
        75,
        |world| {
            break_assigner(world, AssignerDefect::IgnoresRepetition);
        },
    ),
    variant(
        "a session stays on a silent instance",
        Check::AssignedOnlyInService,
        5,
        |world| {
            break_assigner(world, AssignerDefect::KeepsSilentInstance);
        },
    ),
    variant(
        "assigning ignores the state of the instance",
        Check::AssignedOnlyInService,
        1,
        |world| {
            break_assigner(world, AssignerDefect::IgnoresInstanceState);
        },
    ),
    variant(
        "short sessions do not matter to assigning",
        Check::HonestSlotsFirst,
        28,
        |world| {
            break_assigner(world, AssignerDefect::IgnoresShortSessions);
        },
    ),
    // The line
    variant(
        "a newcomer gets the slot that somebody in line waits for",
        Check::NobodyOvertaken,
        1,
        |world| {
            break_line(world, LineDefect::IgnoresLine);
        },
    ),
    variant(
        "whoever asks again goes to the end of the line",
        Check::NobodyOvertaken,
        208,
        |world| {
            break_line(world, LineDefect::ForgetsFirstRefusal);
        },
    ),
    variant(
        "a user joins only the line of the nearest region",
        Check::NobodyOvertaken,
        174,
        |world| {
            break_line(world, LineDefect::JoinsNearestOnly);
        },
    ),
    variant(
        "users who have left keep their places",
        Check::NoFreeSlotKept,
        9,
        |world| {
            break_line(world, LineDefect::KeepsLeft);
        },
    ),
    variant(
        "a user who is served stays in another line",
        Check::ServedUserLeavesLines,
        1,
        |world| {
            break_line(world, LineDefect::KeepsServedElsewhere);
        },
    ),
    variant(
        "nobody knows how long a user waited",
        Check::ServedUserLeavesLines,
        1,
        |world| {
            break_line(world, LineDefect::ForgetsWaiting);
        },
    ),
    variant(
        "the first in line is at place 0",
        Check::PlaceIsTrue,
        1,
        |world| {
            break_line(world, LineDefect::CountsPlaceFromZero);
        },
    ),
    variant(
        "a user is demand in each of their regions",
        Check::DemandOnce,
        2,
        |world| {
            break_database(world, DatabaseDefect::CountsAllInLine);
        },
    ),
    // The history
    variant(
        "sessions that nobody claims are not in the history",
        Check::EachInHistoryOnce,
        1,
        |world| {
            break_database(world, DatabaseDefect::ForgetsUnclaimed);
        },
    ),
    variant(
        "an instance that is gone is in the history twice",
        Check::EachInHistoryOnce,
        1,
        |world| {
            break_database(world, DatabaseDefect::RecordsInstancesTwice);
        },
    ),
    // Drain and terminate
    variant(
        "occupied instances are drained",
        Check::OccupiedNotDrained,
        4,
        |world| {
            break_database(world, DatabaseDefect::DrainsOccupied);
        },
    ),
    variant(
        "heartbeats are ignored",
        Check::OccupiedNotTerminated,
        3,
        |world| {
            break_database(world, DatabaseDefect::IgnoresHeartbeats);
        },
    ),
    variant(
        "a drain ends sessions before its deadline",
        Check::OccupiedNotTerminated,
        9,
        |world| {
            break_database(world, DatabaseDefect::IgnoresDeadline);
        },
    ),
    variant(
        "sessions end without a warning",
        Check::EndsByLimitWithWarning,
        2,
        |world| {
            break_database(world, DatabaseDefect::EndsWithoutWarning);
        },
    ),
    variant(
        "TERMINATING is not written",
        Check::TerminateOnlyIfCommitted,
        1,
        |world| {
            break_database(world, DatabaseDefect::WritesNoTerminating);
        },
    ),
    variant(
        "EC2 lists all machines as terminated, without the guard",
        Check::NothingRunningRemoved,
        2,
        |world| {
            break_ec2(world, Ec2Defect::ListsAllAsTerminated);
        },
    ),
    variant(
        "rows are removed before their machines",
        Check::NothingRunningRemoved,
        27,
        |world| {
            break_database(world, DatabaseDefect::RemovesRowsEarly);
        },
    ),
    variant(
        "recording overwrites existing rows",
        Check::StatesGoForward,
        5,
        |world| {
            break_database(world, DatabaseDefect::OverwritesRows);
        },
    ),
    // Launch
    variant(
        "passes do not know which pools rest",
        Check::RestingPoolNotLaunched,
        1,
        |world| {
            break_table(world, TableDefect::ReturnsNoRefusals);
        },
    ),
    variant(
        "passes do not know what was launched in the last hour",
        Check::LaunchesWithinHour,
        41,
        |world| {
            break_table(world, TableDefect::ReturnsNoLaunches);
        },
    ),
    variant(
        "drains are taken back whatever the agents know",
        Check::StatesGoForward,
        3,
        |world| {
            break_database(world, DatabaseDefect::ReopensTooLate);
        },
    ),
    variant(
        "each attempt of a launch has another token",
        Check::OneLaunchPerIntent,
        4,
        |world| {
            break_ec2(world, Ec2Defect::NewTokenEachAttempt);
        },
    ),
    variant(
        "a resumed launch has another token",
        Check::OneLaunchPerIntent,
        5,
        |world| {
            break_table(world, TableDefect::RecordsAnotherToken);
        },
    ),
    variant(
        "all launches have one token",
        Check::OneLaunchPerIntent,
        3,
        |world| {
            break_ec2(world, Ec2Defect::OneTokenForAll);
        },
    ),
    variant(
        "the intent is not written",
        Check::LaunchOnlyIfRecorded,
        1,
        |world| {
            break_table(world, TableDefect::RecordsNoIntent);
        },
    ),
    variant(
        "the rows of a launch are not written",
        Check::ClosedOnlyWithRows,
        1,
        |world| {
            break_database(world, DatabaseDefect::RecordsNoRows);
        },
    ),
    variant(
        "max_instances is misread",
        Check::LiveWithinMaximum,
        1,
        |world| {
            break_database(world, DatabaseDefect::MisreadsMaximum);
        },
    ),
    variant(
        "open intents are not read",
        Check::LiveWithinMaximum,
        5,
        |world| {
            break_table(world, TableDefect::ReturnsNoIntents);
        },
    ),
    variant(
        "intents are closed before their launches",
        Check::MachinesWithinMaximum,
        91,
        |world| {
            break_table(world, TableDefect::ClosesIntentsEarly);
        },
    ),
    variant(
        "machines without a row are not listed",
        Check::Converges,
        3,
        |world| {
            break_ec2(world, Ec2Defect::HidesStrays);
        },
    ),
    // Wake
    variant(
        "event ids are recorded as seen too early",
        Check::WakeBeforeEventSeen,
        8,
        |world| {
            break_table(world, TableDefect::RecordsSeenEarly);
        },
    ),
    variant(
        "the wake mark is not read after the release",
        Check::WakeNotLost,
        1,
        |world| {
            break_table(world, TableDefect::FindsNoWakeMark);
        },
    ),
    variant(
        "a wake mark is cleared that nobody has read",
        Check::WakeNotLost,
        22,
        |world| {
            break_table(world, TableDefect::ClearsAnyMark);
        },
    ),
    // Lock and fence
    variant(
        "the lock is granted to everyone",
        Check::OneLockHolder,
        1,
        |world| {
            break_table(world, TableDefect::GrantsToEveryone);
        },
    ),
    variant(
        "leases expire without a margin",
        Check::OneLockHolder,
        86,
        |world| {
            break_table(world, TableDefect::IgnoresClockMargin);
        },
    ),
    variant(
        "the fence is not checked",
        Check::NoWriteBelowFence,
        11,
        |world| {
            break_database(world, DatabaseDefect::IgnoresFence);
        },
    ),
    variant(
        "writes to the table do not check the lock",
        Check::NoWriteWithoutLock,
        19,
        |world| {
            break_table(world, TableDefect::IgnoresLock);
        },
    ),
    variant(
        "a pass never sees its lease expire",
        Check::NoEc2CallWithoutLock,
        13,
        |world| {
            world.clocks_stand_still = true;
            world.limits.lease = Duration::from_secs(12);
        },
    ),
    // The functions themselves
    variant("the code panics", Check::FunctionsRespond, 1, |world| {
        break_database(world, DatabaseDefect::Panics);
    }),
];
