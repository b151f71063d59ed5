//! Worlds in which one thing is broken on purpose, so that each check is seen to fail.
//!
//! A broken variant sits behind the gates, in place of what it wraps. Nothing of it is in the
//! code under test; where the code itself would have to be wrong, a port that does what the
//! wrong code would have done stands in for it.

mod assigner;
mod database;
mod ec2;
mod table;
mod upgrades;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::checks::Check;
use crate::world::World;

use assigner::{Assigning, BadAssigner};
use database::{BadDatabase, Writing};
use ec2::{BadEc2, Launching};
use table::{BadTable, Locking};

/// One thing that is wrong, and the check that has to find it.
#[derive(Clone, Copy)]
pub struct Variant {
    pub name: &'static str,
    pub found_by: Check,
    /// Found it once: tried first.
    pub seed: u64,
    pub break_it: fn(&mut World),
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn variant(
    name: &'static str,
    found_by: Check,
    seed: u64,
    break_it: fn(&mut World),
) -> Variant {
    Variant {
        name,
        found_by,
        seed,
        break_it,
    }
}

fn assigner(world: &mut World, how: Assigning) {
    let inner = world.behind.assigner.clone();
    world.behind.assigner = Arc::new(BadAssigner {
        inner,
        database: world.database.clone(),
        clock: world.clock.clone(),
        how,
    });
}

fn database(world: &mut World, how: Writing) {
    let inner = world.behind.database.clone();
    let tables = world.database.clone();
    world.behind.database = Arc::new(BadDatabase::new(inner, tables, how));
}

fn table(world: &mut World, how: Locking) {
    let bad = Arc::new(BadTable::new(world.store.clone(), how));
    world.behind.lock = bad.clone();
    world.behind.log = bad;
}

fn ec2(world: &mut World, how: Launching) {
    let inner = world.behind.hosts.clone();
    let database = world.database.clone();
    world.behind.hosts = Arc::new(BadEc2::new(inner, database, how));
}

/// All that there are.
pub fn variants() -> impl Iterator<Item = &'static Variant> {
    VARIANTS.iter().chain(upgrades::VARIANTS)
}

const VARIANTS: &[Variant] = &[
    // Users
    variant(
        "a slot is given away that somebody holds",
        Check::SlotHasOneUser,
        2,
        |world| {
            assigner(world, Assigning::ByIdOnly);
        },
    ),
    variant(
        "nobody counts a user's slots",
        Check::UserLimit,
        11,
        |world| {
            assigner(world, Assigning::WithoutLimit);
        },
    ),
    variant(
        "a repeated request is not recognised",
        Check::RepeatedRequestSameSlot,
        3,
        |world| {
            assigner(world, Assigning::AsIfNew);
        },
    ),
    variant(
        "assigning looks at no instance's state",
        Check::AssignedOnlyInService,
        3,
        |world| {
            assigner(world, Assigning::AnyState);
        },
    ),
    // Leaving
    variant(
        "draining does not lock out users",
        Check::OccupiedNotDrained,
        219,
        |world| {
            database(world, Writing::DrainsOccupied);
        },
    ),
    variant(
        "agents are not heard",
        Check::OccupiedNotTerminated,
        11,
        |world| {
            database(world, Writing::HearsNoAgent);
        },
    ),
    variant(
        "the end is not committed",
        Check::TerminateOnlyCommitted,
        3,
        |world| {
            database(world, Writing::CommitsNothing);
        },
    ),
    variant(
        "EC2's view is wrong, and the guard is off",
        Check::NothingLivingRemoved,
        2,
        |world| {
            ec2(world, Launching::SaysAllAreGone);
        },
    ),
    variant(
        "rows go before their machines",
        Check::NothingLivingRemoved,
        4,
        |world| {
            database(world, Writing::RemovesAtOnce);
        },
    ),
    variant(
        "recording overwrites what there is",
        Check::StatesGoForward,
        6,
        |world| {
            database(world, Writing::RecordsAnew);
        },
    ),
    // Launching
    variant(
        "each attempt has a token of its own",
        Check::OneLaunchPerIntent,
        4,
        |world| {
            ec2(world, Launching::FreshTokens);
        },
    ),
    variant(
        "a resumed launch has another token",
        Check::OneLaunchPerIntent,
        4,
        |world| {
            table(world, Locking::KeepsAnotherToken);
        },
    ),
    variant("one token for all launches", Check::Settles, 3, |world| {
        ec2(world, Launching::FixedToken);
    }),
    variant(
        "the intent is not written",
        Check::LaunchOnlyRecorded,
        1,
        |world| {
            table(world, Locking::RecordsNoIntent);
        },
    ),
    variant(
        "rows are not written",
        Check::ClosedOnlyWhenCovered,
        1,
        |world| {
            database(world, Writing::RecordsNoRows);
        },
    ),
    variant(
        "the maximum is misread",
        Check::LiveWithinMaximum,
        1,
        |world| {
            database(world, Writing::MisreadsMaximum);
        },
    ),
    variant(
        "open intents are forgotten",
        Check::LiveWithinMaximum,
        5,
        |world| {
            table(world, Locking::ForgetsIntents);
        },
    ),
    variant(
        "intents are closed before they are done",
        Check::MachinesWithinMaximum,
        129,
        |world| {
            table(world, Locking::ClosesAtOnce);
        },
    ),
    variant(
        "machines without a row are not seen",
        Check::Settles,
        3,
        |world| {
            ec2(world, Launching::HidesStrays);
        },
    ),
    // Waking
    variant(
        "ids are seen too early",
        Check::WakeBeforeSeen,
        6,
        |world| {
            table(world, Locking::SeesTooEarly);
        },
    ),
    variant(
        "the mark is not read again",
        Check::WakeNotLost,
        1,
        |world| {
            table(world, Locking::NeverWanted);
        },
    ),
    variant(
        "a mark is cleared that nobody has read",
        Check::WakeNotLost,
        22,
        |world| {
            table(world, Locking::ClearsAnyMark);
        },
    ),
    // Locking
    variant(
        "the lock is granted to everybody",
        Check::OneHolder,
        1,
        |world| {
            table(world, Locking::GrantsAlways);
        },
    ),
    variant("no margin for clocks", Check::OneHolder, 11, |world| {
        table(world, Locking::WithoutMargin);
    }),
    variant("no fence", Check::NoWriteBelowFence, 6, |world| {
        database(world, Writing::WithoutFence);
    }),
    variant(
        "the table does not check the lock",
        Check::NoWriteWithoutLock,
        11,
        |world| {
            table(world, Locking::WritesUnchecked);
        },
    ),
    variant(
        "the lease is not looked at",
        Check::NoAskWithoutLock,
        13,
        |world| {
            world.clocks_stand_still = true;
            world.limits.lease = Duration::from_secs(12);
        },
    ),
    // The functions themselves
    variant("the code panics", Check::Answers, 1, |world| {
        database(world, Writing::Panics);
    }),
];
