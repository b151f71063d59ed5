//! Times decisions, and prints a section of the report as JSON.
//!
//! It is a program of its own because only optimised code gives useful times: a release build of
//! everything that `bench` needs would compile the AWS SDK once more.

use std::time::Duration;

use scaling_bench::{Quantity, Row, Samples, Section};
use shared::ids::InstanceId;
use shared::model::{ImageState, Instance, InstanceStatus, MachineState, SlotCounts};
use shared::scaling::{Snapshot, algorithm, violations};
use testing::{NOW, at, image, instance, machine, snapshot};

const SIZES: [u32; 5] = [1_000, 2_000, 5_000, 10_000, 20_000];

/// The size to which the goal applies, and the goal.
const GOAL: (u32, Duration) = (10_000, Duration::from_millis(5));

/// A region as large as they get, in which nothing has to be done, and its goal.
const LARGE: (u32, Duration) = (100_000, Duration::from_millis(80));

/// In a busy region, one in this many instances needs an action.
const BUSY: u32 = 20;

const RUNS: usize = 50;

/// The exponent of growth is 1 when the work is linear and 2 when it is quadratic. A large region
/// leaves the processor's caches.
const LINEAR: f64 = 1.3;

/// The profile of this build.
const PROFILE: &str = if cfg!(debug_assertions) {
    "dev"
} else {
    "release"
};

fn main() -> serde_json::Result<()> {
    let section = Section {
        title: "decide".to_owned(),
        method: format!(
            "The default algorithm and the invariants of its plan, in the {PROFILE} profile. In a \
             quiet region nothing has to be done; in a busy one, one instance in {BUSY} needs an \
             action; in a disturbed one every instance does, and an operator has approved the removal \
             of all of them. An exponent of 1 is linear."
        ),
        rows: [
            rows("quiet", Some(GOAL), quiet),
            vec![timed("quiet", LARGE.0, &time(&quiet(LARGE.0))).at_most(Quantity::Time(LARGE.1))],
            rows("busy", Some(GOAL), |size| disturbed(size, BUSY)),
            // Nobody waits while a whole region is replaced: this only has to stay linear.
            rows("disturbed", None, |size| disturbed(size, 1)),
        ]
        .concat(),
    };
    println!("{}", serde_json::to_string(&section)?);
    Ok(())
}

fn rows(name: &str, goal: Option<(u32, Duration)>, region: fn(u32) -> Snapshot) -> Vec<Row> {
    let times = SIZES.map(|size| (size, time(&region(size))));
    let mut rows = Vec::new();
    for (size, samples) in &times {
        let mut whole = timed(name, *size, samples);
        if let Some((_, goal)) = goal.filter(|(about, _)| about == size) {
            whole = whole.at_most(Quantity::Time(goal));
        }
        let each = Quantity::Time(samples.median() / *size);
        let each = Row::single("- for each instance", each).samples(samples.count());
        rows.extend([whole, each]);
    }
    let exponent = Quantity::Ratio(growth(&times));
    let exponent = Row::single(format!("{name}, exponent of growth"), exponent);
    rows.push(
        exponent
            .samples(SIZES.len())
            .at_most(Quantity::Ratio(LINEAR)),
    );
    rows
}

fn timed(name: &str, size: u32, samples: &Samples) -> Row {
    Row::timed(format!("{name}, {size} instances"), samples)
}

fn time(snapshot: &Snapshot) -> Samples {
    Samples::of(RUNS, || {
        algorithm("default").map(|default| {
            let plan = default.decide(snapshot, NOW);
            violations(default, snapshot, &plan, NOW)
        })
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

/// Three in four instances are full and the others empty, so that the target of free slots is met.
fn quiet(size: u32) -> Snapshot {
    let mut snapshot = snapshot(
        ids(size)
            .into_iter()
            .enumerate()
            .map(|(n, id)| in_use(&id, n)),
    );
    snapshot.settings.max_instances = size;
    snapshot.settings.target_free = size.div_ceil(4) * 4;
    snapshot
}

/// The same, but one in `every` instances needs an action, with the kinds in turn.
fn disturbed(size: u32, every: u32) -> Snapshot {
    let kind = |n: usize| {
        let every = every as usize;
        n.is_multiple_of(every).then_some(n / every % 8)
    };
    let ids = ids(size);
    let instances = ids.iter().enumerate().map(|(n, id)| match kind(n) {
        Some(kind) => needing_action(id, kind),
        None => in_use(id, n),
    });
    let mut snapshot = snapshot(instances);
    snapshot
        .images
        .push(image("ami-retired", ImageState::Retired));
    snapshot.settings.max_instances = size;
    snapshot.settings.target_free = size.div_ceil(4) * 4;
    snapshot.mass_removal_approved = true;
    for (n, id) in ids.iter().enumerate() {
        let id = InstanceId::new(id);
        match kind(n) {
            Some(4) => {
                if let Some(machine) = snapshot.machines.get_mut(&id) {
                    machine.state = MachineState::Terminated;
                }
            }
            Some(5) => {
                snapshot.machines.remove(&id);
                snapshot.unknown_to_ec2.extend([id]);
            }
            Some(6) => {
                let orphan = machine(&instance(&format!("{id}-orphan")));
                snapshot.machines.insert(orphan.id.clone(), orphan);
            }
            _ => {}
        }
    }
    snapshot
}

fn in_use(id: &str, n: usize) -> Instance {
    let (waiting, occupied) = if n.is_multiple_of(4) { (4, 0) } else { (0, 4) };
    Instance {
        capacity: 4,
        slots: SlotCounts {
            waiting,
            occupied,
            unclaimed: 0,
        },
        ..instance(id)
    }
}

fn needing_action(id: &str, kind: usize) -> Instance {
    let healthy = instance(id);
    match kind {
        1 => Instance {
            beat_at: Some(at(-120)),
            ..healthy
        },
        2 => Instance {
            status: InstanceStatus::PreConnection,
            active_at: None,
            beat_at: None,
            ..healthy
        },
        3 => Instance {
            status: InstanceStatus::Draining,
            draining_since: Some(at(-1_800)),
            ..healthy
        },
        5 => Instance {
            missing_since: Some(at(-1_800)),
            ..healthy
        },
        6 => Instance {
            beat_at: Some(at(-1_800)),
            ..healthy
        },
        7 => Instance {
            image_id: "ami-retired".into(),
            ..healthy
        },
        // 0: empty, and perhaps surplus; 4: its machine is terminated.
        _ => healthy,
    }
}

/// Ids like EC2's: they differ from the first digits on. They are sorted as the database sends
/// them.
fn ids(size: u32) -> Vec<String> {
    // Knuth's multiplicative hash: the factor is odd, so that all ids differ.
    let scattered = |n: u32| u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut ids: Vec<_> = (0..size)
        .map(|n| format!("i-0{:016x}", scattered(n)))
        .collect();
    ids.sort_unstable();
    ids
}
