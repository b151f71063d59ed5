//! Builders of ordinary values, of which a test changes what it is about.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use shared::model::{
    AddressListing, AddressMoves, Image, ImageState, Instance, InstanceStatus, Machine,
    MachineState, SlotCounts,
};
use shared::scaling::Snapshot;
use shared::settings::{
    LaunchChoice, RegionSettings, ReplicaSettings, Selector, Timeouts, Upgrades,
};

/// The environment whose app version the fakes return.
pub const ENVIRONMENT: &str = "dev";

/// 2026-01-01T12:00:00Z, the time at which every test begins.
pub const NOW: Timestamp = Timestamp::constant(1_767_268_800, 0);

/// How long before [`NOW`] a built instance was launched.
pub const BOOT: SignedDuration = SignedDuration::from_hours(1);

/// The time `seconds` after [`NOW`].
pub fn at(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

/// A region with target 4, maximum 10, no limit on steps, two slots an instance and two subnets.
pub fn settings() -> RegionSettings {
    let choice = |subnet: &str| LaunchChoice {
        spot: false,
        instance_type: "c5.large".to_owned(),
        capacity: 2,
        subnet: Selector::Id(subnet.to_owned()),
    };
    RegionSettings {
        name: "us-east-1".into(),
        enabled: true,
        paused: false,
        algorithm: "default".to_owned(),
        target_free: 4,
        max_instances: 10,
        scale_up_step: 0,
        scale_down_step: 0,
        launch_choices: vec![choice("subnet-a"), choice("subnet-b")],
        security_groups: vec![],
        instance_profile: None,
        user_data_template: None,
        timeouts: Timeouts::default(),
        upgrades: Upgrades::default(),
        replicas: ReplicaSettings::default(),
    }
}

pub fn image(id: &str, state: ImageState) -> Image {
    Image {
        id: id.into(),
        client_sha: format!("sha-of-{id}").into(),
        state,
        since: NOW - BOOT,
    }
}

/// An `ACTIVE`, healthy instance on `ami-1`, with two free slots.
pub fn instance(id: &str) -> Instance {
    Instance {
        id: id.into(),
        launch_id: format!("launch-of-{id}").into(),
        image_id: "ami-1".into(),
        client_sha: "sha-of-ami-1".into(),
        capacity: 2,
        status: InstanceStatus::Active,
        launched_at: NOW - BOOT,
        active_at: Some(NOW - BOOT),
        draining_since: None,
        missing_since: None,
        beat_at: Some(NOW),
        resumed_at: None,
        notice: None,
        slots: SlotCounts {
            waiting: 2,
            occupied: 0,
            unclaimed: 0,
        },
    }
}

/// The running machine of an instance.
pub fn machine(instance: &Instance) -> Machine {
    Machine {
        id: instance.id.clone(),
        state: MachineState::Running,
        launched_at: instance.launched_at,
        launch_id: Some(instance.launch_id.clone()),
        image_id: instance.image_id.clone(),
        client_sha: instance.client_sha.clone(),
        instance_type: "c5.large".to_owned(),
        capacity: instance.capacity,
        address: None,
    }
}

/// A snapshot with these instances, all of them running at EC2, and `ami-1` as current image.
pub fn snapshot(instances: impl IntoIterator<Item = Instance>) -> Snapshot {
    let instances: BTreeMap<_, _> = instances
        .into_iter()
        .map(|instance| (instance.id.clone(), instance))
        .collect();
    Snapshot {
        settings: settings(),
        images: vec![image("ami-1", ImageState::Current)],
        machines: instances
            .values()
            .map(|i| (i.id.clone(), machine(i)))
            .collect(),
        instances,
        unknown_to_ec2: BTreeSet::new(),
        open_intents: vec![],
        refusals: vec![],
        waiting: 0,
        answers: BTreeMap::new(),
        unknown_since: BTreeMap::new(),
        addresses: AddressListing::Off,
        address_moves: AddressMoves::new(),
        app_sha: None,
        watched_since: Timestamp::UNIX_EPOCH,
        renew_after: SignedDuration::from_hours(24 * 27),
        mass_removal_approved: false,
    }
}
