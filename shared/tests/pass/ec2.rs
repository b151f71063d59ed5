//! What EC2 really does with launches and with instances that have ended.

use jiff::SignedDuration;
use shared::host::{HostErrorKind, tags};
use shared::model::MachineState;
use shared::report::PassOutcome;
use testing::{World, instance};

#[tokio::test]
async fn launch_is_tagged_with_its_subnet_and_with_a_name_of_its_own() {
    let world = World::with([]);
    world.pass().await;
    let launches = world.host.state().launches.clone();
    assert_eq!(launches.len(), 2);
    let tag = |nth: usize, key: &str| {
        let mut tags = launches[nth].1.tags.iter();
        tags.find(|(name, _)| name == key).unwrap().1.clone()
    };
    for nth in [0, 1] {
        assert_eq!(tag(nth, tags::SUBNET), launches[nth].1.subnet_id);
        let launch = tag(nth, tags::LAUNCH);
        let name = format!("test-us-east-1-{}", &launch[..8]);
        assert_eq!(tag(nth, tags::NAME), name);
    }
    assert_ne!(tag(0, tags::NAME), tag(1, tags::NAME));
}

#[tokio::test]
async fn launch_does_not_request_ebs_optimization() {
    let world = World::with([]);
    world.pass().await;
    let launches = world.host.state().launches.clone();
    assert!(!launches[0].1.ebs_optimized);
}

#[tokio::test]
async fn type_that_a_zone_does_not_offer_gives_way_to_the_next_choice() {
    let world = World::with([]);
    let not_offered = [HostErrorKind::NotOffered; 2];
    world.host.state().refuse_launches.extend(not_offered);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:?}");
    let launches = world.host.state().launches.clone();
    let subnets: Vec<_> = launches.iter().map(|(_, it)| &it.subnet_id).collect();
    assert_eq!(subnets, ["subnet-a", "subnet-a", "subnet-b", "subnet-b"]);
    let items = world.items();
    let refused: Vec<_> = items.refusals.keys().collect();
    assert_eq!(refused, ["c5.large#subnet-a"], "not asked first again");
}

#[tokio::test]
async fn terminated_instance_that_has_lost_its_tags_is_removed() {
    let world = World::with([instance("i-1"), instance("i-2")]);
    world.host.state().ec2.delays.untag = SignedDuration::ZERO;
    world
        .host
        .set_state(&"i-1".into(), MachineState::Terminated);
    world.pass().await;
    assert!(row_exists(&world, "i-1"), "not proven by one listing");
    world.clock.advance(SignedDuration::from_secs(300));
    world.pass().await;
    assert!(!row_exists(&world, "i-1"));
    assert!(row_exists(&world, "i-2"));
}

fn row_exists(world: &World, id: &str) -> bool {
    let rows = world.database.rows();
    rows.tables.instances.contains_key(&id.into())
}
