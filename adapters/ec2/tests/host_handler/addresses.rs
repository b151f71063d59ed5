//! Elastic IPs.

use ec2_emulator::world::DEFAULT_WORLD;
use serde_json::{Value, json};
use shared::host::{HostErrorKind, Reassociation};
use shared::ids::{AddressId, InstanceId};
use shared::model::Carrier;
use shared::settings::AddressTag;

use crate::{Ec2, REGION, ids, request};

fn pool() -> AddressTag {
    "pool=public".parse().unwrap()
}

fn allocation(n: u8) -> AddressId {
    format!("eipalloc-{n:017}").into()
}

/// Two free addresses of the pool, one of a gateway, and one with another tag.
async fn with_addresses() -> Ec2 {
    let mut world: Value = DEFAULT_WORLD.parse().unwrap();
    let address = |n: u8, tag: &str| {
        json!({"allocation_id": allocation(n), "public_ip": format!("203.0.113.{n}"),
            "tags": {"pool": tag, "Name": "x"}})
    };
    let mut gateways = address(3, "public");
    gateways["network_interface_id"] = json!("eni-00000000000000003");
    let all = json!([
        address(1, "public"),
        address(2, "public"),
        gateways,
        address(4, "private")
    ]);
    world["regions"][REGION]["addresses"] = all;
    Ec2::in_world(serde_json::from_value(world).unwrap()).await
}

async fn carriers(ec2: &Ec2) -> Vec<Carrier> {
    let listed = ec2.host.addresses(&pool()).await.unwrap();
    listed.into_iter().map(|address| address.carrier).collect()
}

#[tokio::test]
async fn addresses_are_listed_with_carrier_and_membership_in_the_pool() {
    let ec2 = with_addresses().await;
    let machine = ec2.launch(&request(1)).await.remove(0).id;
    let refused = Reassociation::Refused;
    ec2.host
        .associate(&allocation(2), &machine, refused)
        .await
        .unwrap();
    let listed = ec2.host.addresses(&pool()).await.unwrap();
    let short: Vec<_> = listed
        .iter()
        .map(|it| (it.id.clone(), it.ip.to_string(), it.in_pool))
        .collect();
    let expected = [1, 2, 3, 4].map(|n| (allocation(n), format!("203.0.113.{n}"), n != 4));
    assert_eq!(short, expected);
    let carriers: Vec<_> = listed.into_iter().map(|address| address.carrier).collect();
    let gateway = Carrier::Other("eni-00000000000000003".to_owned());
    let nobody = Carrier::Nobody;
    assert_eq!(
        carriers,
        [nobody.clone(), Carrier::Instance(machine), gateway, nobody]
    );
    assert_eq!(ec2.calls("DescribeAddresses").await.len(), 1);
}

#[tokio::test]
async fn address_is_moved_in_one_request_and_only_if_allowed() {
    let ec2 = with_addresses().await;
    let machines = ids(&ec2.launch(&request(2)).await);
    let [one, two] = [&machines[0], &machines[1]];
    let move_to =
        async |id: &InstanceId, allowed| ec2.host.associate(&allocation(1), id, allowed).await;
    move_to(one, Reassociation::Refused).await.unwrap();
    move_to(one, Reassociation::Refused).await.unwrap();
    let error = move_to(two, Reassociation::Refused).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Invalid);
    assert_eq!(error.code, "Resource.AlreadyAssociated");
    assert_eq!(carriers(&ec2).await[0], Carrier::Instance(one.clone()));
    move_to(two, Reassociation::Allowed).await.unwrap();
    assert_eq!(carriers(&ec2).await[0], Carrier::Instance(two.clone()));
    assert_eq!(ec2.calls("AssociateAddress").await.len(), 4);
    assert_eq!(ec2.calls("DisassociateAddress").await.len(), 0);
}

#[tokio::test]
async fn failed_moves_of_addresses_have_different_kinds() {
    let ec2 = with_addresses().await;
    let machine = ec2.launch(&request(1)).await.remove(0).id;
    let refused = Reassociation::Refused;
    let nobody = InstanceId::from("i-00000000000000000");
    for (address, to) in [(allocation(9), &machine), (allocation(1), &nobody)] {
        let error = ec2.host.associate(&address, to, refused).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Gone, "{error}");
    }
    let on = json!({"action": "AssociateAddress"});
    let fault = |effect: Value, times: u32| json!({"calls": [{"on": on, "effect": effect, "times": times}]});
    ec2.faults(&fault(json!({"error": "UnauthorizedOperation"}), 1))
        .await;
    let error = ec2
        .host
        .associate(&allocation(1), &machine, refused)
        .await
        .unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Denied);
    ec2.faults(&fault(json!("lost"), 3)).await;
    let error = ec2
        .host
        .associate(&allocation(1), &machine, refused)
        .await
        .unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Unclear);
    assert_eq!(carriers(&ec2).await[0], Carrier::Instance(machine.clone()));
    // After one lost answer the SDK retries, and EC2 has done it already.
    ec2.faults(&fault(json!("lost"), 1)).await;
    ec2.host
        .associate(&allocation(1), &machine, refused)
        .await
        .unwrap();
    let list = json!({"calls": [{"on": {"action": "DescribeAddresses"},
        "effect": {"error": "UnauthorizedOperation"}}]});
    ec2.faults(&list).await;
    let error = ec2.host.addresses(&pool()).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Denied);
}
