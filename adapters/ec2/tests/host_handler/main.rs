//! The EC2 adapter, with the real AWS SDK, against the project's EC2 emulator.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod addresses;
mod launches;
mod look_ups;
mod refusals;
mod time_limits;

use std::sync::Arc;
use std::time::Duration;

use ec2_adapter::Ec2Regions;
use ec2_emulator::settings::Settings;
use ec2_emulator::world::{DEFAULT_WORLD, WorldFile};
use local_stack::ministack::sdk_config;
use serde_json::Value;
use shared::host::{HostError, HostHandler, HostHandlers, tags};
use shared::ids::{ClientToken, InstanceId, LaunchId};
use shared::model::{LaunchRequest, Machine};
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
        Self::serve(world, without_delays()).await
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

    /// The same EC2, whose calls take at most `limit`.
    fn with_call_limit(&self, limit: Duration) -> Arc<dyn HostHandler> {
        Ec2Regions::new(sdk_config(&self.endpoint), STACK, limit).in_region(&REGION.into())
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

    /// The error of a launch that fails.
    async fn refused(&self, request: &LaunchRequest) -> HostError {
        let launched = self.host.launch(&ClientToken::random(), request).await;
        launched.unwrap_err()
    }

    async fn launch(&self, request: &LaunchRequest) -> Vec<Machine> {
        self.host
            .launch(&ClientToken::random(), request)
            .await
            .unwrap()
    }
}

fn without_delays() -> Settings {
    Settings {
        listing_lag_ms: 0,
        pending_ms: 0,
        shutting_down_ms: 0,
        ..Settings::default()
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
            tag(tags::SUBNET, SUBNET_A),
        ],
        count,
        capacity: 3,
        imds_hop_limit: Some(1),
        ebs_optimized: false,
    }
}

/// The launch in the tags of a request.
fn launch_of(request: &LaunchRequest) -> LaunchId {
    let mut tags = request.tags.iter();
    let (_, launch) = tags.find(|(key, _)| key == tags::LAUNCH).unwrap();
    launch.as_str().into()
}

fn ids(machines: &[Machine]) -> Vec<InstanceId> {
    let mut ids: Vec<_> = machines.iter().map(|machine| machine.id.clone()).collect();
    ids.sort();
    ids
}
