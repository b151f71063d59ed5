//! Builders of ordinary values, of which a test changes what it is about.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use shared::model::{
    AddressListing, AddressMoves, CapacityPool, EndCounts, Image, ImageState, Instance,
    InstanceStatus, LaunchTally, Machine, MachineState, Refusal, SessionEnds, SlotCounts,
};
use shared::scaling::{Snapshot, TokenPolicy};
use shared::settings::{
    AddressSource, Budget, Endings, LaunchChoice, RegionSettings, ReplicaSettings, Schedule,
    ScheduleKind, Selector, Timeouts, Upgrades,
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
        stock_out_goal: 1000,
        target_ceiling: None,
        pass_seconds: 60,
        max_instances: 10,
        scale_up_step: 0,
        scale_down_step: 0,
        launches_per_hour: Some(0),
        quick_end_seconds: 10,
        replacements_per_minute: None,
        line_seconds: 15,
        launch_choices: vec![choice("subnet-a"), choice("subnet-b")],
        security_groups: vec![],
        instance_profile: None,
        user_data_template: None,
        launch_problems: vec![],
        schedules: vec![],
        schedule_problems: vec![],
        addresses: AddressSource::Private,
        timeouts: Timeouts::default(),
        upgrades: Upgrades::default(),
        endings: Endings::default(),
        budget: Budget::default(),
        replicas: ReplicaSettings::default(),
    }
}

/// A schedule that is in force every day between two times in UTC.
///
/// # Panics
/// If these are not times.
#[allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
pub fn schedule(id: i64, kind: ScheduleKind, slots: u32, (from, until): (&str, &str)) -> Schedule {
    Schedule {
        id,
        kind,
        slots,
        days: Weekday::Monday.cycle_forward().take(7).collect(),
        from: from.parse().unwrap(),
        until: until.parse().unwrap(),
        zone: TimeZone::UTC,
        valid_from: None,
        valid_until: None,
        set_by: "ann".to_owned(),
        note: String::new(),
    }
}

/// EC2's refusal of a type in a subnet, for all images.
pub fn refusal(spot: bool, instance_type: &str, subnet: &str, until: Timestamp) -> Refusal {
    Refusal {
        pool: CapacityPool {
            spot,
            instance_type: instance_type.to_owned(),
            subnet_id: subnet.to_owned(),
        },
        image: None,
        at: NOW,
        until,
        rests: 1,
        why: "no capacity".to_owned(),
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
        pool: Some(CapacityPool {
            spot: false,
            instance_type: "c5.large".to_owned(),
            subnet_id: "subnet-a".to_owned(),
        }),
        capacity: 2,
        status: InstanceStatus::Active,
        launched_at: NOW - BOOT,
        running_at: None,
        active_at: Some(NOW - BOOT),
        draining_since: None,
        drain_cause: None,
        leave_reason: None,
        missing_since: None,
        beat_at: Some(NOW),
        resumed_at: None,
        notice: None,
        token: None,
        ip_addr: None,
        private_ip: None,
        public_ip: None,
        slots: SlotCounts {
            waiting: 2,
            occupied: 0,
            unclaimed: 0,
        },
        sessions: SessionEnds::default(),
        ends: EndCounts::default(),
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
        subnet_id: Some("subnet-a".to_owned()),
        spot: false,
        capacity: instance.capacity,
        address: None,
        public_address: None,
        state_reason: None,
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
        launches: LaunchTally::default(),
        waiting: 0,
        lines: vec![],
        flow: None,
        spending: None,
        answers: BTreeMap::new(),
        unknown_since: BTreeMap::new(),
        addresses: AddressListing::Off,
        address_moves: AddressMoves::new(),
        app_sha: None,
        watched_since: Timestamp::UNIX_EPOCH,
        tokens: Some(TokenPolicy {
            key: "key-1".into(),
            is_rotating: false,
            valid_for: SignedDuration::from_hours(24 * 30),
        }),
        mass_removal_approved: false,
    }
}
