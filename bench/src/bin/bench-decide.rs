//! Times decisions, and prints the section of the report as JSON.
//!
//! A program of its own, because only optimised code says something, and a release build of all
//! that `bench` needs would compile the AWS SDK once more.

use std::time::Duration;

use scaling_bench::{Quantity, Row, Samples, Section};
use shared::ids::InstanceId;
use shared::model::{ImageState, Instance, InstanceStatus, MachineState, SlotCounts};
use shared::scaling::{Snapshot, algorithm, check};
use shared::testing::{NOW, at, image, instance, machine, snapshot};

const SIZES: [u32; 5] = [1_000, 2_000, 5_000, 10_000, 20_000];

/// The size that the goal is about, and the goal.
const GOAL: (u32, Duration) = (10_000, Duration::from_millis(5));

const RUNS: usize = 50;

/// How much more work twice the instances are: 1 is linear. The ids are kept in B-trees, which
/// get deeper and leave the processor's caches.
const LINEAR: f64 = 1.2;

fn main() -> serde_json::Result<()> {
    let regions: [(&str, fn(u32) -> Snapshot); 2] = [("quiet", quiet), ("upset", upset)];
    let rows = regions.into_iter().flat_map(|(name, region)| {
        let medians: Vec<_> = SIZES.map(|size| (size, time(&region(size)))).into();
        let growth = growth(&medians);
        let rows = medians.into_iter().flat_map(move |(size, samples)| {
            let mut whole = Row::timed(format!("{name}, {size} instances"), &samples);
            if size == GOAL.0 {
                whole = whole.at_most(Quantity::Time(GOAL.1));
            }
            let each = Row::single(
                "- for each instance",
                Quantity::Time(samples.median() / size),
            );
            [whole, each.samples(samples.count())]
        });
        let exponent = Row::single(
            format!("{name}, exponent of growth"),
            Quantity::Ratio(growth),
        );
        rows.chain([exponent.at_most(Quantity::Ratio(LINEAR))])
    });
    let section = Section {
        title: "decide".to_owned(),
        how: "The default algorithm and the check of its plan, in the release profile. In a quiet \
              region there is nothing to do; in an upset one there is something wrong with every \
              instance, and an operator has approved that they all go. An exponent of 1 is linear."
            .to_owned(),
        rows: rows.collect(),
    };
    println!("{}", serde_json::to_string(&section)?);
    Ok(())
}

fn time(snapshot: &Snapshot) -> Samples {
    Samples::of(RUNS, || {
        let plan = algorithm("default").map(|default| default.decide(snapshot, NOW));
        plan.map(|plan| check::violations(snapshot, &plan, NOW))
    })
}

/// The exponent `e` of a time that grows with the size to the power of `e`.
fn growth(medians: &[(u32, Samples)]) -> f64 {
    let (Some((small, fast)), Some((large, slow))) = (medians.first(), medians.last()) else {
        return 0.0;
    };
    let times = slow.median().as_secs_f64() / fast.median().as_secs_f64();
    times.ln() / f64::from(large / small).ln()
}

/// Three in four instances are full, the others empty, and as many slots free as should be.
fn quiet(size: u32) -> Snapshot {
    let mut snapshot = snapshot((0..size).map(|n| {
        let (waiting, occupied) = if n % 4 == 0 { (4, 0) } else { (0, 4) };
        Instance {
            capacity: 4,
            slots: SlotCounts {
                waiting,
                occupied,
                unclaimed: 0,
            },
            ..instance(&id(n))
        }
    }));
    snapshot.settings.max_instances = size;
    snapshot.settings.target_free = size.div_ceil(4) * 4;
    snapshot
}

/// Every kind of finding that there is, in turn.
fn upset(size: u32) -> Snapshot {
    let mut snapshot = snapshot((0..size).map(unwell));
    snapshot
        .images
        .push(image("ami-retired", ImageState::Retired));
    snapshot.settings.max_instances = size;
    snapshot.settings.target_free = 0;
    snapshot.mass_removal_approved = true;
    for n in 0..size {
        let id = InstanceId::new(id(n));
        match n % 8 {
            4 => {
                if let Some(machine) = snapshot.machines.get_mut(&id) {
                    machine.state = MachineState::Terminated;
                }
            }
            5 => {
                snapshot.machines.remove(&id);
                snapshot.unknown_to_ec2.push(id);
            }
            6 => {
                let orphan = machine(&instance(&format!("{id}-orphan")));
                snapshot.machines.insert(orphan.id.clone(), orphan);
            }
            _ => {}
        }
    }
    snapshot
}

fn unwell(n: u32) -> Instance {
    let well = instance(&id(n));
    match n % 8 {
        1 => Instance {
            beat_at: Some(at(-120)),
            ..well
        },
        2 => Instance {
            status: InstanceStatus::PreConnection,
            active_at: None,
            beat_at: None,
            ..well
        },
        3 => Instance {
            status: InstanceStatus::Draining,
            draining_since: Some(at(-1_800)),
            ..well
        },
        5 => Instance {
            missing_since: Some(at(-1_800)),
            ..well
        },
        6 => Instance {
            beat_at: Some(at(-1_800)),
            ..well
        },
        7 => Instance {
            image_id: "ami-retired".into(),
            ..well
        },
        // 0: a surplus; 4: its machine is gone.
        _ => well,
    }
}

fn id(n: u32) -> String {
    format!("i-{n:017x}")
}
