//! `RunInstances` and `TerminateInstances`.

use std::time::Duration;

use ec2_emulator::settings::Settings;
use serde_json::{Value, json};
use shared::host::HostErrorKind;
use shared::ids::ClientToken;
use shared::model::LaunchRequest;

use crate::{Ec2, IMAGE, SUBNET_A, ids, launch_of, request};

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
        ("InstanceInitiatedShutdownBehavior", "terminate"),
        ("TagSpecification.1.ResourceType", "instance"),
    ] {
        assert_eq!(call[name], value, "{name} in {call:#}");
    }
    assert_eq!(call.get("EbsOptimized"), None, "{call:#}");
}

#[tokio::test]
async fn request_of_an_earlier_version_is_repeated_as_that_version_sent_it() {
    let ec2 = Ec2::start().await;
    let earlier = LaunchRequest {
        imds_hop_limit: None,
        ebs_optimized: true,
        ..request(1)
    };
    let token = ClientToken::random();
    let launched = ec2.host.launch(&token, &earlier).await.unwrap();
    let mut recorded = serde_json::to_value(&earlier).unwrap();
    for field in ["imds_hop_limit", "ebs_optimized"] {
        recorded.as_object_mut().unwrap().remove(field).unwrap();
    }
    let recorded: LaunchRequest = serde_json::from_value(recorded).unwrap();
    let repeated = ec2.host.launch(&token, &recorded).await.unwrap();
    assert_eq!(ids(&repeated), ids(&launched));
    let call = &ec2.calls("RunInstances").await[1]["params"];
    assert_eq!(call["EbsOptimized"], "true", "{call:#}");
    let mut names = call.as_object().unwrap().keys();
    assert!(
        names.all(|name| !name.starts_with("MetadataOptions")),
        "{call:#}"
    );
}

#[tokio::test]
async fn type_without_ebs_optimization_is_launched() {
    let ec2 = Ec2::start().await;
    let small = LaunchRequest {
        instance_type: "t2.micro".to_owned(),
        ..request(1)
    };
    assert_eq!(ec2.launch(&small).await.len(), 1);
}

#[tokio::test]
async fn token_launches_once_and_rejects_another_request() {
    let ec2 = Ec2::start().await;
    let token = ClientToken::random();
    let first = request(2);
    let launched = ec2.host.launch(&token, &first).await.unwrap();
    let again = ec2.host.launch(&token, &first).await.unwrap();
    assert_eq!(ids(&launched), ids(&again));
    let found = ec2.host.launched_under(&launch_of(&first)).await.unwrap();
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
async fn launch_with_capacity_for_some_gets_some() {
    let ec2 = Ec2::start().await;
    ec2.faults(&json!({"capacity": [{"subnet_id": SUBNET_A, "available": 2}]}))
        .await;
    assert_eq!(ec2.launch(&request(5)).await.len(), 2);
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
