//! The states of an upgrade before an invocation.

use std::collections::BTreeMap;

use shared::assign::AppVersion;
use shared::ids::{ClientSha, ImageId};
use shared::model::{Image, ImageState, Instance};
use testing::{ENVIRONMENT, at, image, instance};

use super::setup::{add_instance, add_unbooted, buffer, record_observed, region, step_until_busy};
use crate::builds::upgrade_event;
use crate::simulation::Simulation;

const NEW: &str = "ami-00000002";

fn add_image(simulation: &mut Simulation, image: Image) {
    let tables = &mut simulation.world.database.rows().tables;
    tables.add_image(&region(), image);
}

/// Sets the app version to the commit of an image.
fn set_app_version(simulation: &mut Simulation, id: &str) {
    let version = AppVersion {
        version: "1.0".to_owned(),
        client_sha: image(id, ImageState::Current).client_sha,
    };
    let tables = &mut simulation.world.database.rows().tables;
    tables.app_versions.insert(ENVIRONMENT.to_owned(), version);
}

fn instance_of_new_image(id: &str) -> Instance {
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

/// An upgrade was requested: the new image warms, with these instances.
fn warming(simulation: &mut Simulation, ids: &[&str]) {
    record_observed(simulation);
    buffer(simulation);
    add_image(
        simulation,
        Image {
            since: at(-60),
            ..image(NEW, ImageState::Warming)
        },
    );
    for id in ids {
        add_instance(simulation, &instance_of_new_image(id));
    }
}

/// No upgrade is requested yet, and the app version names the new image.
pub(super) fn upgrade_not_requested(simulation: &mut Simulation) {
    buffer(simulation);
    set_app_version(simulation, NEW);
}

/// Another image warms, and has to give way to the new one.
pub(super) fn another_image_warming(simulation: &mut Simulation) {
    buffer(simulation);
    set_app_version(simulation, NEW);
    let other = "ami-00000001";
    add_image(simulation, image(other, ImageState::Warming));
    let row = Instance {
        image_id: other.into(),
        client_sha: format!("sha-of-{other}").as_str().into(),
        ..instance("i-3")
    };
    add_instance(simulation, &row);
}

pub(super) fn upgrade_requested(simulation: &mut Simulation) {
    warming(simulation, &[]);
    set_app_version(simulation, NEW);
}

pub(super) fn new_image_warm(simulation: &mut Simulation) {
    warming(simulation, &["i-3", "i-4"]);
    set_app_version(simulation, NEW);
}

/// The new image is warm, and the app version does not name it yet.
pub(super) fn new_image_warm_old_app_version(simulation: &mut Simulation) {
    warming(simulation, &["i-3", "i-4"]);
    set_app_version(simulation, "ami-1");
}

pub(super) fn upgrade_past_deadline(simulation: &mut Simulation) {
    new_image_warm_old_app_version(simulation);
    let tables = &mut simulation.world.database.rows().tables;
    if let Some(image) = tables.images.get_mut(&(region(), NEW.into())) {
        image.since = at(-300);
    }
}

/// The only instance of the new image did not boot.
pub(super) fn new_image_did_not_boot(simulation: &mut Simulation) {
    warming(simulation, &[]);
    add_unbooted(simulation, instance_of_new_image("i-3"));
}

/// The new image is current, and the previous one bakes with its buffer.
pub(super) fn swapped(simulation: &mut Simulation, named: &str, since: i64) {
    warming(simulation, &["i-3", "i-4"]);
    set_app_version(simulation, named);
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

pub(super) fn app_version_reverted(simulation: &mut Simulation) {
    swapped(simulation, "ami-1", -30);
}

/// Requests the upgrade; `retried` repeats it when there was no answer.
pub(super) fn request_upgrade(simulation: &mut Simulation) {
    let sha: ClientSha = image(NEW, ImageState::Warming).client_sha;
    let images = BTreeMap::from([(region(), ImageId::from(NEW))]);
    simulation.reconcile("image upgrade", upgrade_event(&sha, &images));
    simulation.process_outside_changes();
}

/// The app version is changed while the new image is warm.
pub(super) fn set_app_version_to_new(simulation: &mut Simulation) {
    set_app_version(simulation, NEW);
    step_until_busy(simulation);
}
