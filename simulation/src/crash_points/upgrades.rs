//! Upgrades, at each of their moments.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use shared::assign::AppVersion;
use shared::ids::{ClientSha, ImageId};
use shared::model::{Image, ImageState, Instance};
use shared::settings::Upgrades;
use testing::{ENVIRONMENT, at, image, instance};

use super::furnish::{add, buffer, never_came_up_of, region, watched};
use crate::rollouts::upgrade_event;
use crate::simulation::Simulation;

const NEW: &str = "ami-00000002";

/// Whole upgrades happen while all comes to rest. Both are longer than a wish may be late: one that
/// arrives when its upgrade is over begins it anew.
pub(super) fn bounds() -> Upgrades {
    Upgrades {
        surge: 0,
        deadline: SignedDuration::from_mins(4),
        swap_when_warm: false,
        bake: SignedDuration::from_mins(2),
        old_image: Some(SignedDuration::from_mins(1)),
    }
}

fn add_image(simulation: &mut Simulation, image: Image) {
    let tables = &mut simulation.world.database.rows().tables;
    tables.add_image(&region(), image);
}

/// The app version names an image's commit.
fn name(simulation: &mut Simulation, id: &str) {
    let version = AppVersion {
        version: "1.0".to_owned(),
        client_sha: image(id, ImageState::Current).client_sha,
    };
    let tables = &mut simulation.world.database.rows().tables;
    tables.app_versions.insert(ENVIRONMENT.to_owned(), version);
}

fn of_new(id: &str) -> Instance {
    let Image {
        id: image_id,
        client_sha,
        ..
    } = image(NEW, ImageState::Warming);
    Instance {
        image_id,
        client_sha,
        ..instance(id)
    }
}

/// An upgrade was asked for: the new image warms, with its instances.
fn warming(simulation: &mut Simulation, ids: &[&str]) {
    watched(simulation);
    buffer(simulation);
    add_image(
        simulation,
        Image {
            since: at(-60),
            ..image(NEW, ImageState::Warming)
        },
    );
    for id in ids {
        add(simulation, &of_new(id));
    }
}

/// Nothing is asked for yet, and whoever asks has named it.
pub(super) fn to_be_asked_for(simulation: &mut Simulation) {
    buffer(simulation);
    name(simulation, NEW);
}

/// Another one warms, and gives way.
pub(super) fn another_warms(simulation: &mut Simulation) {
    buffer(simulation);
    name(simulation, NEW);
    let other = "ami-00000001";
    add_image(simulation, image(other, ImageState::Warming));
    let row = Instance {
        image_id: other.into(),
        client_sha: format!("sha-of-{other}").as_str().into(),
        ..instance("i-3")
    };
    add(simulation, &row);
}

pub(super) fn asked_for(simulation: &mut Simulation) {
    warming(simulation, &[]);
    name(simulation, NEW);
}

pub(super) fn warm(simulation: &mut Simulation) {
    warming(simulation, &["i-3", "i-4"]);
    name(simulation, NEW);
}

/// All is warm, and clients are told just now.
pub(super) fn warm_and_not_named(simulation: &mut Simulation) {
    warming(simulation, &["i-3", "i-4"]);
    name(simulation, "ami-1");
}

pub(super) fn late(simulation: &mut Simulation) {
    warm_and_not_named(simulation);
    let tables = &mut simulation.world.database.rows().tables;
    if let Some(image) = tables.images.get_mut(&(region(), NEW.into())) {
        image.since = at(-300);
    }
}

/// Its only instance did not come up.
pub(super) fn flawed(simulation: &mut Simulation) {
    warming(simulation, &[]);
    never_came_up_of(simulation, of_new("i-3"));
}

/// The new image is current, and the one before bakes with its buffer.
pub(super) fn swapped(simulation: &mut Simulation, named: &str, since: i64) {
    warming(simulation, &["i-3", "i-4"]);
    name(simulation, named);
    let tables = &mut simulation.world.database.rows().tables;
    let mut set = |id: &str, state, since| {
        if let Some(image) = tables.images.get_mut(&(region(), id.into())) {
            (image.state, image.since) = (state, at(since));
        }
    };
    set("ami-1", ImageState::Baking, since);
    set(NEW, ImageState::Current, since);
}

pub(super) fn baked(simulation: &mut Simulation) {
    swapped(simulation, NEW, -300);
}

pub(super) fn turned_back(simulation: &mut Simulation) {
    swapped(simulation, "ami-1", -30);
}

/// Somebody asks, and again if nobody answered.
pub(super) fn ask(simulation: &mut Simulation) {
    let sha: ClientSha = image(NEW, ImageState::Warming).client_sha;
    let images = BTreeMap::from([(region(), ImageId::from(NEW))]);
    simulation.reconcile("image upgrade", upgrade_event(&sha, &images));
    simulation.follow_up_now();
}

/// The app version is changed while an image is warm.
pub(super) fn names_new(simulation: &mut Simulation) {
    name(simulation, NEW);
    super::kinds::until_busy(simulation);
}
