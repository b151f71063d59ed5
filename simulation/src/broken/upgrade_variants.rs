//! The broken variants of upgrades.

use super::assigner::{AssignerDefect, break_assigner};
use super::database::{DatabaseDefect, break_database};
use super::upgrades::UpgradeDefect;
use super::variant::{Variant, variant};
use crate::checks::Check;

pub(super) const VARIANTS: &[Variant] = &[
    variant(
        "users are assigned to a warming image",
        Check::AssignedOnlyServed,
        9,
        |world| {
            break_assigner(world, AssignerDefect::AssignsWarming);
        },
    ),
    variant(
        "the build of the client is not checked",
        Check::AssignedRequestedBuild,
        9,
        |world| {
            break_assigner(world, AssignerDefect::IgnoresBuild);
        },
    ),
    variant(
        "two images are current",
        Check::OneCurrentOneWarming,
        2,
        |world| {
            break_database(
                world,
                DatabaseDefect::Upgrade(UpgradeDefect::KeepsPreviousCurrent),
            );
        },
    ),
    variant("two images warm", Check::OneCurrentOneWarming, 1, |world| {
        break_database(
            world,
            DatabaseDefect::Upgrade(UpgradeDefect::KeepsPreviousWarming),
        );
    }),
    variant(
        "images are moved without the fence",
        Check::NoWriteBelowFence,
        204,
        |world| {
            break_database(world, DatabaseDefect::Upgrade(UpgradeDefect::IgnoresFence));
        },
    ),
    variant(
        "the previous image retires early",
        Check::ImagesMoveOnEdges,
        7,
        |world| {
            break_database(
                world,
                DatabaseDefect::Upgrade(UpgradeDefect::RetiresPreviousEarly),
            );
        },
    ),
    variant(
        "reading a region fails its warming image",
        Check::ImagesMovedByPermittedActor,
        1,
        |world| {
            break_database(
                world,
                DatabaseDefect::Upgrade(UpgradeDefect::FailsWarmingOnRead),
            );
        },
    ),
    variant(
        "the app version is misread",
        Check::ImagesMoveForAReason,
        1,
        |world| {
            break_database(
                world,
                DatabaseDefect::Upgrade(UpgradeDefect::MisreadsAppVersion),
            );
        },
    ),
    variant(
        "a warming image is drained",
        Check::WarmingNotDrained,
        16,
        |world| {
            break_database(world, DatabaseDefect::Upgrade(UpgradeDefect::DrainsWarming));
        },
    ),
    variant(
        "each drain also drains the current image",
        Check::UpgradeKeepsFreeSlots,
        1,
        |world| {
            break_database(world, DatabaseDefect::Upgrade(UpgradeDefect::DrainsCurrent));
        },
    ),
    variant("images never retire", Check::Converges, 9, |world| {
        break_database(world, DatabaseDefect::Upgrade(UpgradeDefect::NeverRetires));
    }),
    variant(
        "the surge is added without an upgrade",
        Check::LiveWithinMaximum,
        11,
        |world| {
            break_database(
                world,
                DatabaseDefect::Upgrade(UpgradeDefect::AlwaysAddsSurge),
            );
        },
    ),
];
