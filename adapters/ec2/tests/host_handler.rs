//! The EC2 adapter, with the real AWS SDK, against the project's EC2 emulator.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::sync::Arc;
use std::time::Duration;

use ec2_adapter::Ec2Regions;
use ec2_emulator::settings::Settings;
use ec2_emulator::world::{DEFAULT_WORLD, WorldFile};
use local_stack::ministack::sdk_config;
use serde_json::{Value, json};
use shared::host::{HostErrorKind, HostHandler, HostHandlers, Reassociation, tags};
use shared::ids::{AddressId, ClientToken, InstanceId, LaunchId};
use shared::model::{Carrier, LaunchRequest, Machine, MachineState};
use shared::settings::{AddressTag, Selector};
use tokio::net::TcpListener;

const STACK: &str = "host-handler";
const REGION: &str = "us-east-1";
const SUBNET_A: &str = "subnet-01a0000000000000a";
const SUBNET_B: &str = "subnet-01b0000000000000b";
const IMAGE: &str = "ami-01000000000000001";

struct Ec2 {
    endpoint: String,
    host: Arc<dyn HostHandler>,
}

impl Ec2 {
    /// An emulator of the test's own, without delays.
    async fn start() -> Self {
        Self::in_world(DEFAULT_WORLD.parse().unwrap()).await
    }

    async fn in_world(world: WorldFile) -> Self {
        let settings = Settings {
            listing_lag_ms: 0,
            pending_ms: 0,
            shutting_down_ms: 0,
            ..Settings::default()
        };
        Self::serve(world, settings).await
    }

    async fn with(settings: Settings) -> Self {
        Self::serve(DEFAULT_WORLD.parse().unwrap(), settings).await
    }

    async fn serve(world: WorldFile, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let emulator = ec2_emulator::start(world, settings);
        tokio::spawn(ec2_emulator::serve(listener, emulator, None));
        let host = Self::of_stack(&endpoint, STACK);
        Self { endpoint, host }
    }

    fn of_stack(endpoint: &str, stack: &str) -> Arc<dyn HostHandler> {
        Ec2Regions::new(sdk_config(endpoint), stack, Duration::from_secs(8))
            .in_region(&REGION.into())
    }

    async fn faults(&self, faults: &Value) {
        let url = format!("{}/_emulator/faults", self.endpoint);
        let answer = reqwest::Client::new()
            .put(url)
            .json(faults)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    async fn calls(&self, action: &str) -> Vec<Value> {
        let url = format!("{}/_emulator/ledger", self.endpoint);
        let ledger: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let calls = ledger["calls"].as_array().unwrap().clone();
        calls
            .into_iter()
            .filter(|call| call["action"] == action)
            .collect()
    }

    async fn launch(&self, request: &LaunchRequest) -> Vec<Machine> {
        self.host
            .launch(&ClientToken::random(), request)
            .await
            .unwrap()
    }
}

fn request(count: u32) -> LaunchRequest {
    let launch = LaunchId::random();
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    LaunchRequest {
        image_id: IMAGE.into(),
        client_sha: "sha-1".into(),
        spot: false,
        instance_type: "m6i.large".to_owned(),
        subnet_id: SUBNET_A.to_owned(),
        security_group_ids: vec!["sg-0100000000000000a".to_owned()],
        instance_profile: None,
        user_data: "U0NBTElORz0x".to_owned(),
        tags: vec![
            tag("Name", "host"),
            tag(tags::STACK, STACK),
            tag(tags::REGION, REGION),
            tag(tags::LAUNCH, launch.as_str()),
            tag(tags::IMAGE, IMAGE),
            tag(tags::CLIENT_SHA, "sha-1"),
            tag(tags::CAPACITY, "3"),
        ],
        count,
        capacity: 3,
        imds_hop_limit: Some(1),
    }
}

fn ids(machines: &[Machine]) -> Vec<InstanceId> {
    let mut ids: Vec<_> = machines.iter().map(|machine| machine.id.clone()).collect();
    ids.sort();
    ids
}

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
    }
    let other = Ec2::of_stack(&ec2.endpoint, "other-stage");
    assert_eq!(
        other.list().await.unwrap(),
        [],
        "another stack of the account has none"
    );
}

#[tokio::test]
async fn launch_request_is_sent_as_recorded() {
    let ec2 = Ec2::start().await;
    let mut request = request(3);
    request.instance_profile = Some("hosts".to_owned());
    ec2.launch(&request).await;
    let call = &ec2.calls("RunInstances").await[0]["params"];
    for (name, value) in [
        ("MinCount", "1"),
        ("MaxCount", "3"),
        ("ImageId", IMAGE),
        ("InstanceType", "m6i.large"),
        ("SubnetId", SUBNET_A),
        ("SecurityGroupId.1", "sg-0100000000000000a"),
        ("IamInstanceProfile.Name", "hosts"),
        ("UserData", "U0NBTElORz0x"),
        ("MetadataOptions.HttpEndpoint", "enabled"),
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpPutResponseHopLimit", "1"),
        ("EbsOptimized", "true"),
        ("InstanceInitiatedShutdownBehavior", "terminate"),
        ("TagSpecification.1.ResourceType", "instance"),
    ] {
        assert_eq!(call[name], value, "{name} in {call:#}");
    }
}

#[tokio::test]
async fn request_of_an_earlier_version_has_no_metadata_options() {
    let ec2 = Ec2::start().await;
    let earlier = LaunchRequest {
        imds_hop_limit: None,
        ..request(1)
    };
    ec2.launch(&earlier).await;
    let call = &ec2.calls("RunInstances").await[0]["params"];
    let mut names = call.as_object().unwrap().keys();
    assert!(
        names.all(|name| !name.starts_with("MetadataOptions")),
        "{call:#}"
    );
}

#[tokio::test]
async fn token_launches_once_and_rejects_another_request() {
    let ec2 = Ec2::start().await;
    let token = ClientToken::random();
    let first = request(2);
    let launched = ec2.host.launch(&token, &first).await.unwrap();
    let again = ec2.host.launch(&token, &first).await.unwrap();
    assert_eq!(ids(&launched), ids(&again));
    let found = ec2.host.launched_under(&token).await.unwrap();
    assert_eq!(ids(&found), ids(&launched));

    let other = LaunchRequest {
        count: 1,
        ..first.clone()
    };
    let mismatch = ec2.host.launch(&token, &other).await.unwrap_err();
    assert_eq!(mismatch.kind, HostErrorKind::TokenMismatch, "{mismatch}");

    for (_, answer) in ec2.host.terminate(&ids(&launched)).await {
        answer.unwrap();
    }
    let gone = ec2.host.launch(&token, &first).await.unwrap_err();
    assert_eq!(gone.kind, HostErrorKind::AlreadyTerminated, "{gone}");
}

#[tokio::test]
async fn lack_of_capacity_and_invalid_settings_are_different_kinds() {
    let ec2 = Ec2::start().await;
    ec2.faults(&json!({"capacity": [{"subnet_id": SUBNET_A, "available": 0}]}))
        .await;
    let full = ec2
        .host
        .launch(&ClientToken::random(), &request(1))
        .await
        .unwrap_err();
    assert_eq!(full.kind, HostErrorKind::Capacity, "{full}");
    assert_eq!(
        ec2.calls("RunInstances").await.len(),
        1,
        "the SDK does not retry"
    );
    let elsewhere = LaunchRequest {
        subnet_id: SUBNET_B.to_owned(),
        ..request(1)
    };
    assert_eq!(ec2.launch(&elsewhere).await.len(), 1);

    for image in ["ami-0ffffffffffffffff", "ami-010000000000000de", "nonsense"] {
        let wrong = LaunchRequest {
            image_id: image.into(),
            ..elsewhere.clone()
        };
        let error = ec2
            .host
            .launch(&ClientToken::random(), &wrong)
            .await
            .unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Invalid, "{image}: {error}");
        assert!(error.code.starts_with("InvalidAMIID"), "{error}");
    }
}

#[tokio::test]
async fn spot_request_is_one_time_and_terminates_on_interruption() {
    const MARKET: &str = "InstanceMarketOptions";
    let ec2 = Ec2::start().await;
    let spot = LaunchRequest {
        spot: true,
        ..request(2)
    };
    let launched = ec2.launch(&spot).await;
    assert_eq!(ids(&ec2.host.list().await.unwrap()), ids(&launched));
    ec2.launch(&request(1)).await;
    let calls = ec2.calls("RunInstances").await;
    let market = |call: &Value| -> Vec<(String, Value)> {
        let params = call["params"].as_object().unwrap().clone();
        let market = params
            .into_iter()
            .filter(|(name, _)| name.starts_with(MARKET));
        market.collect()
    };
    let expected = [
        ("MarketType", "spot"),
        ("SpotOptions.InstanceInterruptionBehavior", "terminate"),
        ("SpotOptions.SpotInstanceType", "one-time"),
    ];
    let expected = expected.map(|(name, value)| (format!("{MARKET}.{name}"), json!(value)));
    assert_eq!(market(&calls[0]), expected);
    assert_eq!(market(&calls[1]), [], "on demand has no market options");
}

#[tokio::test]
async fn lack_of_spot_capacity_does_not_affect_on_demand() {
    let ec2 = Ec2::start().await;
    let spot = LaunchRequest {
        spot: true,
        ..request(1)
    };
    ec2.faults(&json!({"capacity": [{"market": "spot", "available": 0}]}))
        .await;
    let launch = || async { ec2.host.launch(&ClientToken::random(), &spot).await };
    let short = launch().await.unwrap_err();
    assert_eq!(short.kind, HostErrorKind::Capacity, "{short}");
    assert_eq!(ec2.launch(&request(1)).await.len(), 1);

    for (code, kind) in [
        ("UnfulfillableCapacity", HostErrorKind::Capacity),
        ("MaxSpotInstanceCountExceeded", HostErrorKind::Capacity),
        ("SpotMaxPriceTooLow", HostErrorKind::Capacity),
        (
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            HostErrorKind::Invalid,
        ),
    ] {
        let before = ec2.calls("RunInstances").await.len();
        let fault = json!({"on": {"action": "RunInstances"}, "effect": {"error": code}});
        ec2.faults(&json!({"calls": [fault]})).await;
        let error = launch().await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (kind, code));
        let requested = ec2.calls("RunInstances").await.len() - before;
        assert_eq!(requested, 1, "{code}: the SDK does not retry");
    }
}

#[tokio::test]
async fn launch_with_capacity_for_some_gets_some() {
    let ec2 = Ec2::start().await;
    ec2.faults(&json!({"capacity": [{"subnet_id": SUBNET_A, "available": 2}]}))
        .await;
    assert_eq!(ec2.launch(&request(5)).await.len(), 2);
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
async fn unknown_id_does_not_prevent_termination_of_the_others() {
    let ec2 = Ec2::start().await;
    let launched = ec2.launch(&request(150)).await;
    let mut all = ids(&launched);
    all.insert(70, "i-0123456789abcdef0".into());
    let answers = ec2.host.terminate(&all).await;
    assert_eq!(answers.len(), all.len());
    for (id, answer) in &answers {
        assert!(answer.is_ok(), "{id}: {answer:?}");
    }
    let listed = ec2.host.list().await.unwrap();
    assert!(
        listed.iter().all(|machine| machine.state.is_going()),
        "{listed:?}"
    );
    let calls = ec2.calls("TerminateInstances").await.len();
    assert!(
        calls <= 2 + 2 * 7,
        "bisected, not one by one: {calls} calls for 151 ids"
    );
}

#[tokio::test]
async fn unknown_ids_are_returned_and_known_ones_are_not() {
    let ec2 = Ec2::start().await;
    let known = ids(&ec2.launch(&request(5)).await);
    let missing: Vec<InstanceId> = vec!["i-0000000000000dead".into(), "i-0000000000000beef".into()];
    let all: Vec<_> = known.iter().chain(&missing).cloned().collect();
    let mut expected = missing;
    expected.sort();
    assert_eq!(ec2.host.unknown(&all).await.unwrap(), expected);
    assert_eq!(ec2.host.unknown(&known).await.unwrap(), []);
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
async fn launch_that_a_lagging_listing_misses_is_not_repeated_under_its_token() {
    let lag = Duration::from_secs(2);
    let settings = Settings {
        listing_lag_ms: u64::try_from(lag.as_millis()).unwrap(),
        ..Settings::default()
    };
    let ec2 = Ec2::with(settings).await;
    let token = ClientToken::random();
    let first = request(1);
    let launched = ec2.host.launch(&token, &first).await.unwrap();
    assert_eq!(ec2.host.list().await.unwrap(), [], "not listed yet");
    let again = ec2.host.launch(&token, &first).await.unwrap();
    assert_eq!(ids(&again), ids(&launched), "not launched twice");
}

#[tokio::test]
async fn launch_without_an_answer_is_unclear() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let host = Ec2::of_stack(&endpoint, STACK);
    let error = host
        .launch(&ClientToken::random(), &request(1))
        .await
        .unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Unclear, "{error}");
}

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
