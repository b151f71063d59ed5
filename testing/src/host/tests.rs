//! The fake EC2 behaves as EC2's documentation says.

use jiff::{SignedDuration, Timestamp};
use shared::ids::LaunchId;

use super::*;
use crate::{NOW, at};

fn ec2() -> Machines {
    Machines::of(&"us-east-1".into())
}

fn request(count: u32) -> LaunchRequest {
    LaunchRequest {
        image_id: "ami-1".into(),
        client_sha: "sha".into(),
        spot: false,
        instance_type: "c5.large".to_owned(),
        subnet_id: "subnet-a".to_owned(),
        security_group_ids: vec![],
        instance_profile: None,
        user_data: String::new(),
        tags: vec![(shared::host::tags::LAUNCH.to_owned(), "launch".to_owned())],
        count,
        capacity: 2,
        imds_hop_limit: Some(1),
        ebs_optimized: false,
    }
}

/// The launch in the tags of [`request`].
fn launch() -> LaunchId {
    "launch".into()
}

fn token(name: &str) -> ClientToken {
    name.into()
}

fn states(ec2: &Machines, now: Timestamp) -> Vec<MachineState> {
    let listed = ec2.list(now);
    listed.into_iter().map(|machine| machine.state).collect()
}

#[test]
fn token_launches_once_and_binds_its_request() {
    let mut ec2 = ec2();
    let first = ec2.launch(&token("t"), &request(2), NOW).unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(ec2.launch(&token("t"), &request(2), NOW).unwrap(), first);
    assert_eq!(
        ec2.launch(&token("t"), &request(3), NOW),
        Err(HostErrorKind::TokenMismatch)
    );
    assert_eq!(ec2.machines.len(), 2);
    assert_eq!(ec2.launched_under(&launch(), NOW), first);
    let elsewhere = LaunchRequest {
        subnet_id: "subnet-b".to_owned(),
        ..request(1)
    };
    let again = ec2.launch(&token("t"), &elsewhere, NOW).unwrap();
    assert_eq!(again.len(), 1, "in another zone the token is another one");
}

#[test]
fn token_stays_bound_without_capacity() {
    let mut ec2 = ec2();
    let pool = ("c5.large".to_owned(), "subnet-a".to_owned());
    ec2.room.insert(pool.clone(), 0);
    let launch = |ec2: &mut Machines, count| ec2.launch(&token("t"), &request(count), NOW);
    assert_eq!(launch(&mut ec2, 2), Err(HostErrorKind::Capacity));
    assert_eq!(launch(&mut ec2, 3), Err(HostErrorKind::TokenMismatch));
    ec2.room.insert(pool, 1);
    assert_eq!(
        launch(&mut ec2, 2).unwrap().len(),
        1,
        "fewer are better than none"
    );
    assert_eq!(launch(&mut ec2, 2).unwrap().len(), 1, "and that is final");
    let other = ec2.launch(&token("u"), &request(1), NOW);
    assert_eq!(other, Err(HostErrorKind::Capacity), "the room is taken");
}

#[test]
fn launch_gets_fewer_machines_than_requested_without_capacity_for_all() {
    let mut ec2 = ec2();
    ec2.at_most_next = Some(1);
    let launch = |ec2: &mut Machines, name| ec2.launch(&token(name), &request(3), NOW).unwrap();
    assert_eq!(launch(&mut ec2, "t").len(), 1);
    assert_eq!(launch(&mut ec2, "u").len(), 3);
}

#[test]
fn token_of_a_terminated_launch_is_answered_with_an_error() {
    for (ends, answers) in [(TokenEnds::WithAll, true), (TokenEnds::WithAny, false)] {
        let mut ec2 = ec2();
        ec2.token_ends = ends;
        let machines = ec2.launch(&token("t"), &request(2), NOW).unwrap();
        let again = |ec2: &mut Machines, now| ec2.launch(&token("t"), &request(2), now);
        ec2.terminate(&machines[0].id, at(60));
        assert!(again(&mut ec2, at(61)).is_ok(), "still shutting down");
        assert_eq!(again(&mut ec2, at(80)).is_ok(), answers, "{ends:?}");
        ec2.terminate(&machines[1].id, at(80));
        for later in [100, 100_000] {
            assert_eq!(
                again(&mut ec2, at(later)),
                Err(HostErrorKind::AlreadyTerminated)
            );
        }
    }
}

#[test]
fn states_follow_the_clock_and_a_terminated_machine_is_forgotten() {
    let mut ec2 = ec2();
    let id = ec2.launch(&token("t"), &request(1), NOW).unwrap()[0]
        .id
        .clone();
    assert_eq!(states(&ec2, at(15)), [MachineState::Pending]);
    assert_eq!(states(&ec2, at(16)), [MachineState::Running]);
    ec2.terminate(&id, at(100));
    ec2.terminate(&id, at(110));
    assert_eq!(states(&ec2, at(110)), [MachineState::ShuttingDown]);
    assert_eq!(states(&ec2, at(116)), [MachineState::Terminated]);
    assert_eq!(states(&ec2, at(115 + 600)), [MachineState::Terminated]);
    assert!(states(&ec2, at(116 + 600)).is_empty(), "without tags");
    assert!(ec2.launched_under(&launch(), at(116 + 600)).is_empty());
    let look_up = |at_seconds| ec2.look_up(&id, at(at_seconds));
    assert_eq!(look_up(115 + 3600), Some(MachineState::Terminated));
    assert_eq!(look_up(116 + 3600), None);
}

#[test]
fn machine_terminated_while_pending_never_runs() {
    let mut ec2 = ec2();
    let id = ec2.launch(&token("t"), &request(1), NOW).unwrap()[0]
        .id
        .clone();
    ec2.terminate(&id, at(5));
    assert_eq!(states(&ec2, at(16)), [MachineState::ShuttingDown]);
    assert_eq!(states(&ec2, at(21)), [MachineState::Terminated]);
}

#[test]
fn listings_and_look_ups_lag() {
    let mut ec2 = ec2();
    ec2.delays.listing_lag = SignedDuration::from_secs(30);
    ec2.delays.lookup_lag = SignedDuration::from_secs(5);
    let id = ec2.launch(&token("t"), &request(1), NOW).unwrap()[0]
        .id
        .clone();
    assert!(states(&ec2, at(29)).is_empty());
    assert!(ec2.launched_under(&launch(), at(29)).is_empty());
    assert_eq!(states(&ec2, at(30)), [MachineState::Pending]);
    assert_eq!(ec2.look_up(&id, at(4)), None);
    ec2.terminate(&id, at(4));
    assert!(
        ec2.machines[&id].is_live(at(60)),
        "what is not known yet cannot be ended"
    );
    assert!(ec2.look_up(&id, at(5)).is_some());
    ec2.terminate(&id, at(100));
    assert_eq!(states(&ec2, at(129)), [MachineState::Running]);
    assert_eq!(states(&ec2, at(130)), [MachineState::ShuttingDown]);
}
