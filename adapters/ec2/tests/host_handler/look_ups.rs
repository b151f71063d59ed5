//! What is found by tags and by ids: machines, subnets, security groups.

use ec2_emulator::settings::Settings;
use ec2_emulator::world::DEFAULT_WORLD;
use serde_json::{Value, json};
use shared::host::{HostErrorKind, tags};
use shared::ids::{InstanceId, LaunchId};
use shared::model::{LaunchRequest, MachineState};
use shared::settings::Selector;

use crate::{Ec2, REGION, SUBNET_A, SUBNET_B, ids, launch_of, request, without_delays};

#[tokio::test]
async fn launched_machines_are_listed_with_the_values_of_their_tags() {
    let ec2 = Ec2::start().await;
    let request = request(2);
    let launched = ec2.launch(&request).await;
    assert_eq!(launched.len(), 2);
    let listed = ec2.host.list().await.unwrap();
    assert_eq!(ids(&listed), ids(&launched));
    for machine in listed {
        assert_eq!(machine.state, MachineState::Running);
        assert_eq!(machine.launch_id.unwrap().as_str(), request.tags[3].1);
        assert_eq!(machine.image_id, request.image_id);
        assert_eq!(machine.client_sha, request.client_sha);
        assert_eq!(machine.instance_type, "m6i.large");
        assert_eq!(machine.capacity, 3);
        assert_eq!(machine.subnet_id.as_deref(), Some(SUBNET_A));
        assert!(!machine.spot);
        assert_eq!(machine.state_reason, None);
    }
    let other = Ec2::of_stack(&ec2.endpoint, "other-stage");
    assert_eq!(
        other.list().await.unwrap(),
        [],
        "another stack of the account has none"
    );
}

#[tokio::test]
async fn pending_machine_has_no_state_reason() {
    let settings = Settings {
        pending_ms: 3_600_000,
        ..without_delays()
    };
    let ec2 = Ec2::with(settings).await;
    let launched = ec2.launch(&request(1)).await.remove(0);
    assert_eq!(launched.state, MachineState::Pending);
    assert_eq!(launched.state_reason, None);
}

#[tokio::test]
async fn ended_machine_has_its_reason_its_subnet_and_its_market() {
    const REASON: &str = "Server.InsufficientInstanceCapacity";
    let ec2 = Ec2::start().await;
    let fails = json!({"launch_fails": {"after_ms": 0, "reason": REASON}});
    ec2.faults(&json!({"instances": [{"effect": fails}]})).await;
    let mut spot = LaunchRequest {
        spot: true,
        ..request(1)
    };
    ec2.launch(&spot).await;
    let ended = ec2.host.list().await.unwrap().remove(0);
    assert_eq!(ended.state, MachineState::Terminated);
    let reason = ended.state_reason.unwrap();
    assert_eq!(reason.code, REASON);
    assert!(reason.message.starts_with(REASON), "{reason}");
    assert_eq!(ended.subnet_id.as_deref(), Some(SUBNET_A), "from its tag");
    assert_eq!(ended.address, None);
    assert!(ended.spot);

    // A launch of an earlier version, without the tag.
    spot.tags.retain(|(key, _)| key != tags::SUBNET);
    let earlier = ec2.launch(&spot).await.remove(0).id;
    let listed = ec2.host.list().await.unwrap();
    let ended = listed.iter().find(|machine| machine.id == earlier).unwrap();
    assert_eq!(ended.subnet_id, None);
}

#[tokio::test]
async fn listing_of_several_pages_is_read_completely() {
    let ec2 = Ec2::start().await;
    let mut launched = vec![];
    for count in [700, 700, 1] {
        launched.extend(ec2.launch(&request(count)).await);
    }
    let listed = ec2.host.list().await.unwrap();
    assert_eq!(ids(&listed), ids(&launched));
    assert_eq!(ec2.calls("DescribeInstances").await.len(), 2);
}

#[tokio::test]
async fn unknown_ids_are_gone_and_known_ones_are_not() {
    let ec2 = Ec2::start().await;
    let known = ids(&ec2.launch(&request(5)).await);
    let missing: Vec<InstanceId> = vec!["i-0000000000000dead".into(), "i-0000000000000beef".into()];
    let all: Vec<_> = known.iter().chain(&missing).cloned().collect();
    let mut expected = missing;
    expected.sort();
    assert_eq!(ec2.host.gone(&all).await.unwrap(), expected);
    assert_eq!(ec2.host.gone(&known).await.unwrap(), []);
}

#[tokio::test]
async fn subnets_and_security_groups_are_found_by_tag_in_a_stable_order() {
    let ec2 = Ec2::start().await;
    let hosts = Selector::Tag {
        key: "scaling".to_owned(),
        value: "hosts".to_owned(),
    };
    assert_eq!(
        ec2.host.subnets(&hosts).await.unwrap(),
        [SUBNET_A, SUBNET_B]
    );
    let by_id = Selector::Id("sg-0100000000000000b".to_owned());
    assert_eq!(
        ec2.host.security_groups(&[by_id, hosts]).await.unwrap(),
        ["sg-0100000000000000a", "sg-0100000000000000b"]
    );
    let nothing = Selector::Tag {
        key: "scaling".to_owned(),
        value: "nobody".to_owned(),
    };
    let error = ec2.host.subnets(&nothing).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Invalid);
    assert!(error.to_string().contains("scaling=nobody"), "{error}");
}

#[tokio::test]
async fn terminated_machine_without_tags_is_not_listed_but_gone() {
    let settings = Settings {
        terminated_tagged_ms: 0,
        ..without_delays()
    };
    let ec2 = Ec2::with(settings).await;
    let launched = ids(&ec2.launch(&request(3)).await);
    let [living, ended @ ..] = launched.as_slice() else {
        panic!("three machines")
    };
    for (_, answer) in ec2.host.terminate(ended).await {
        answer.unwrap();
    }
    let listed = ec2.host.list().await.unwrap();
    assert_eq!(ids(&listed), std::slice::from_ref(living));
    let unknown = InstanceId::from("i-0000000000000dead");
    let all: Vec<_> = launched.iter().chain([&unknown]).cloned().collect();
    let mut expected = ended.to_vec();
    expected.push(unknown);
    expected.sort();
    assert_eq!(ec2.host.gone(&all).await.unwrap(), expected);
    assert_eq!(ec2.host.gone(&launched).await.unwrap(), ended);
}

#[tokio::test]
async fn machine_that_is_shutting_down_is_not_gone() {
    let settings = Settings {
        shutting_down_ms: 3_600_000,
        ..without_delays()
    };
    let ec2 = Ec2::with(settings).await;
    let launched = ids(&ec2.launch(&request(1)).await);
    ec2.host.terminate(&launched).await;
    assert_eq!(ec2.host.gone(&launched).await.unwrap(), []);
}

#[tokio::test]
async fn launches_are_found_by_their_tag_spot_ones_too() {
    let settings = Settings {
        hide_spot_client_tokens: true,
        ..without_delays()
    };
    let ec2 = Ec2::with(settings).await;
    for spot in [false, true] {
        let request = LaunchRequest { spot, ..request(2) };
        let launched = ec2.launch(&request).await;
        let found = ec2.host.launched_under(&launch_of(&request)).await.unwrap();
        assert_eq!(ids(&found), ids(&launched), "spot: {spot}");
    }
    let nobody = ec2.host.launched_under(&LaunchId::random()).await.unwrap();
    assert_eq!(nobody, []);
}

#[tokio::test]
async fn selector_with_wildcards_matches_only_literally() {
    let mut world: Value = DEFAULT_WORLD.parse().unwrap();
    let region = &mut world["regions"][REGION];
    for kind in ["subnets", "security_groups"] {
        region[kind][0]["tags"]["Name"] = json!("hosts-a");
        region[kind][1]["tags"]["Name"] = json!(r"hosts-*?\");
    }
    let (subnet, group) = (
        region["subnets"][1]["id"].clone(),
        region["security_groups"][1]["id"].clone(),
    );
    let ec2 = Ec2::in_world(serde_json::from_value(world).unwrap()).await;
    let named = |value: &str| Selector::Tag {
        key: "Name".to_owned(),
        value: value.to_owned(),
    };
    let literal = named(r"hosts-*?\");
    assert_eq!(
        ec2.host.subnets(&literal).await.unwrap(),
        [subnet.as_str().unwrap()]
    );
    let groups = ec2.host.security_groups(&[literal]).await.unwrap();
    assert_eq!(groups, [group.as_str().unwrap()]);
    for pattern in ["*", "hosts-*", "hosts-?", "h*"] {
        let error = ec2.host.subnets(&named(pattern)).await.unwrap_err();
        assert_eq!(error.code, "nothing found", "{pattern}");
        let error = ec2
            .host
            .security_groups(&[named(pattern)])
            .await
            .unwrap_err();
        assert_eq!(error.code, "nothing found", "{pattern}");
    }
}

#[tokio::test]
async fn stack_whose_name_has_wildcards_lists_only_its_own_machines() {
    let ec2 = Ec2::start().await;
    ec2.launch(&request(1)).await;
    for stack in ["*", "host-*", "host?handler"] {
        let other = Ec2::of_stack(&ec2.endpoint, stack);
        assert_eq!(other.list().await.unwrap(), [], "{stack}");
    }
}
