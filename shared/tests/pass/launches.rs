//! Launches of several instances: one request for each, some at a time.

use std::collections::BTreeSet;

use shared::host::{HostErrorKind, tags};
use shared::model::{MachineState, Refusal};
use shared::report::{PassOutcome, PassReport};
use testing::{World, at};

const SUBNETS: [&str; 2] = ["subnet-a", "subnet-b"];

/// A region that misses ten instances, of two slots each.
fn ten_missing() -> World {
    let world = World::with([]);
    world
        .database
        .rows()
        .tables
        .settings_mut(&World::region())
        .unwrap()
        .target_free = 20;
    world
}

/// Bounds the machines of each subnet.
fn room(world: &World, rooms: [u32; 2]) {
    for (subnet, room) in SUBNETS.into_iter().zip(rooms) {
        let pool = ("c5.large".to_owned(), subnet.to_owned());
        world.host.state().ec2.room.insert(pool, room);
    }
}

/// The live machines of each subnet.
fn launched(world: &World) -> [u32; 2] {
    SUBNETS.map(|subnet| {
        let pool = ("c5.large".to_owned(), subnet.to_owned());
        world.host.state().ec2.count_in(&pool, at(0))
    })
}

/// The steps that a pass reports, with their results.
fn results(report: &PassReport) -> Vec<(&str, &str)> {
    let results = report.results.iter();
    results
        .map(|it| (it.step.as_str(), it.result.as_str()))
        .collect()
}

fn tally(world: &World) -> u32 {
    world.items().launches.launched(at(0))
}

#[tokio::test]
async fn ten_instances_are_launched_by_ten_requests_five_at_once() {
    let world = ten_missing();
    world.host.state().slow_launches = true;
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
    let expected = ("launch 10 x c5.large in subnet-a", "10 launched");
    assert_eq!(results(&report), [expected], "one line for all");
    assert_eq!(report.results[0].launched, Some(10));
    assert_eq!(world.host.state().most_launching, 5);

    let launches = world.host.state().launches.clone();
    let launch_of = |tags: &[(String, String)]| {
        let mut tags = tags.iter();
        tags.find(|(key, _)| key == tags::LAUNCH).unwrap().1.clone()
    };
    let requests = || launches.iter().map(|(_, request)| request);
    assert!(requests().all(|request| request.count == 1));
    let distinct = [
        launches
            .iter()
            .map(|(token, _)| token.to_string())
            .collect(),
        requests().map(|request| launch_of(&request.tags)).collect(),
        requests()
            .map(|request| request.user_data.clone())
            .collect::<BTreeSet<_>>(),
    ];
    assert_eq!(distinct.map(|all| all.len()), [10; 3]);
    let rows = world.database.rows();
    let instances = rows.tables.instances.values();
    let of_rows: BTreeSet<_> = instances.map(|row| row.launch_id.clone()).collect();
    assert_eq!(of_rows.len(), 10, "each has a launch of its own");
    let writes = ["open_intents", "close_intents"];
    let calls = world.store.items().calls.clone();
    let made: Vec<_> = calls.iter().filter(|call| writes.contains(call)).collect();
    assert_eq!(made.len(), 4, "one write for each batch: {calls:?}");
    assert_eq!(tally(&world), 10);
}

#[tokio::test]
async fn instances_that_one_pool_refuses_are_launched_from_the_next() {
    let world = ten_missing();
    room(&world, [3, 100]);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
    assert_eq!(launched(&world), [3, 7]);
    let [(first, refused), (second, launched)] = results(&report)[..] else {
        panic!("{report:#?}")
    };
    assert_eq!(first, "launch 10 x c5.large in subnet-a");
    assert!(
        refused.starts_with("3 launched; no capacity for 7: "),
        "{refused}"
    );
    assert_eq!(second, "launch 7 x c5.large in subnet-b");
    assert_eq!(launched, "7 launched");
    assert_eq!(tally(&world), 10);
    assert!(world.items().open.is_empty());
}

#[tokio::test]
async fn instances_of_the_next_choice_replace_the_slots_that_are_missing() {
    let world = ten_missing();
    {
        let mut rows = world.database.rows();
        let settings = rows.tables.settings_mut(&World::region()).unwrap();
        settings.launch_choices[1].capacity = 4;
    }
    room(&world, [3, 100]);
    world.pass().await;
    assert_eq!(launched(&world), [3, 4], "14 slots were missing");
}

#[tokio::test]
async fn no_more_than_the_maximum_are_launched_from_several_pools() {
    let world = ten_missing();
    {
        let mut rows = world.database.rows();
        let settings = rows.tables.settings_mut(&World::region()).unwrap();
        settings.max_instances = 5;
        // Alone, five of these would not be enough.
        settings.launch_choices[1].capacity = 1;
    }
    room(&world, [3, 100]);
    world.pass().await;
    assert_eq!(launched(&world), [3, 2]);
}

#[tokio::test]
async fn throttled_launch_stays_open_and_stops_the_others() {
    let world = ten_missing();
    let throttled = HostErrorKind::Unclear;
    world.host.state().refuse_launches.push_back(throttled);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete);
    let [(_, result)] = results(&report)[..] else {
        panic!("{report:#?}")
    };
    assert!(result.starts_with("4 launched; 1 open: "), "{result}");
    assert!(result.ends_with("; 5 not requested"), "{result}");
    assert_eq!(report.results[0].launched, Some(4));
    assert_eq!(launched(&world), [4, 0]);
    assert_eq!(world.items().open.len(), 1);
    assert_eq!(tally(&world), 5, "the open one may exist");

    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
    assert_eq!(launched(&world), [10, 0]);
    let launches = world.host.state().launches.clone();
    assert_eq!(launches.len(), 11);
    assert_eq!(launches[0], launches[5], "resumed first");
    assert_eq!(tally(&world), 10);
}

#[tokio::test]
async fn refusals_of_one_moment_are_one_rest() {
    let world = ten_missing();
    room(&world, [0, 0]);
    for rests in [1, 2] {
        world.pass().await;
        let refusals = world.items().refusals;
        assert_eq!(refusals.len(), 2, "{refusals:?}");
        assert!(refusals.values().all(|refusal| refusal.rests == rests));
        world.clock.advance(Refusal::FIRST_REST);
    }
    assert_eq!(world.items().launches.launched(at(360)), 0);
}

#[tokio::test]
async fn deaths_of_one_moment_are_one_rest() {
    let world = ten_missing();
    world.pass().await;
    let ids: Vec<_> = world.host.state().ec2.machines.keys().cloned().collect();
    let end = |ids: &[_]| {
        for id in ids {
            world.host.set_state(id, MachineState::Terminated);
        }
    };
    end(&ids[..5]);
    world.clock.advance(jiff::SignedDuration::from_secs(20));
    world.pass().await;
    let rests = || {
        let refusals = world.items().refusals;
        let of_a = refusals
            .values()
            .filter(|it| it.pool.subnet_id == SUBNETS[0]);
        of_a.map(|refusal| refusal.rests).collect::<Vec<_>>()
    };
    assert_eq!(rests(), [1]);
    end(&ids[5..]);
    world.clock.advance(jiff::SignedDuration::from_secs(20));
    world.pass().await;
    assert_eq!(rests(), [1], "launched before the rest");
}
