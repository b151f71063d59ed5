//! The broken variants, apart from those of upgrades.

use std::time::Duration;

use super::assigner::{AssignerDefect, break_assigner};
use super::database::{DatabaseDefect, break_database};
use super::ec2::{Ec2Defect, break_ec2};
use super::table::{TableDefect, break_table};
use super::variant::{Variant, variant};
use crate::checks::Check;

pub(super) const VARIANTS: &[Variant] = &[
    // Users
    variant(
        "a slot that is held is given to another user",
        Check::SlotHasOneUser,
        3,
        |world| {
            break_assigner(world, AssignerDefect::IgnoresHolder);
        },
    ),
    variant(
        "the limit of slots per user is not checked",
        Check::UserLimit,
        5,
        |world| {
            break_assigner(world, AssignerDefect::IgnoresLimit);
        },
    ),
    variant(
        "a repeated request is not recognised",
        Check::RepeatedRequestSameSlot,
        3,
        |world| {
            break_assigner(world, AssignerDefect::IgnoresRepetition);
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
    // Drain and terminate
    variant(
        "occupied instances are drained",
        Check::OccupiedNotDrained,
        312,
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
        18,
        |world| {
            break_database(world, DatabaseDefect::OverwritesRows);
        },
    ),
    // Launch
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
        4,
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
        4,
        |world| {
            break_table(world, TableDefect::ReturnsNoIntents);
        },
    ),
    variant(
        "intents are closed before their launches",
        Check::MachinesWithinMaximum,
        93,
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
        6,
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
        28,
        |world| {
            break_database(world, DatabaseDefect::IgnoresFence);
        },
    ),
    variant(
        "writes to the table do not check the lock",
        Check::NoWriteWithoutLock,
        3,
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
