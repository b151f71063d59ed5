//! EC2's events reach the functions that the rules of the local AWS name, and no others.

// Helpers of tests may unwrap as tests may; clippy knows that of tests alone.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_config::{Region, SdkConfig};
use aws_sdk_eventbridge::Client as EventBridge;
use aws_sdk_eventbridge::types::{RuleState, Target};
use local_stack::dir::StackDir;
use local_stack::ec2_events::Ec2Events;
use local_stack::ministack::{ACCESS_KEY_ID, Ministack, SECRET_ACCESS_KEY};
use local_stack::ports::Ports;
use local_stack::project;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

const HOME: &str = "us-east-1";
const AWAY: &str = "eu-west-1";
const ROLE: &str = "arn:aws:iam::000000000000:role/writer";
const BUS: &str = "arn:aws:events:us-east-1:000000000000:event-bus/default";

/// Far longer than an invocation takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Makes a function that adds its events to the file `GOT`, and prints its ARN.
const CREATE_FUNCTION: &str = r#"
import boto3, io, json, os, zipfile

source = """
import json

def handler(event, context):
    with open(%r, "a") as got:
        print(json.dumps(event), file=got)
""" % os.environ["GOT"]
code = io.BytesIO()
with zipfile.ZipFile(code, "w") as archive:
    archive.writestr("writer.py", source)
trust = {"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow",
    "Principal": {"Service": "lambda.amazonaws.com"},
    "Action": "sts:AssumeRole",
}]}
role = boto3.client("iam").create_role(
    RoleName="writer", AssumeRolePolicyDocument=json.dumps(trust)
)
function = boto3.client("lambda").create_function(
    FunctionName="writer",
    Runtime="python3.11",
    Handler="writer.handler",
    Role=role["Role"]["Arn"],
    Code={"ZipFile": code.getvalue()},
)
print(function["FunctionArn"])
"#;

struct World {
    // Dropped from top to bottom.
    events: Ec2Events,
    aws: Ministack,
    _dir: StackDir,
    folder: TempDir,
}

impl World {
    /// A local AWS with a function that writes its events to a file, and a rule at home for
    /// everything that EC2 tells of running instances.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = StackDir::claim(&folder.path().join("stack")).unwrap();
        let mut ports = Ports::free();
        let aws_port = ports.reserve("the local AWS").unwrap();
        let aws = Ministack::start(&dir, aws_port, None).await.unwrap();
        let events_port = ports.reserve("EC2's events").unwrap();
        let events = Ec2Events::start(events_port, aws.endpoint()).unwrap();
        let world = Self {
            events,
            aws,
            _dir: dir,
            folder,
        };
        let function = world.create_function();
        world.rule(HOME, "running", "running", &function).await;
        world
    }

    fn in_region(&self, region: &'static str) -> SdkConfig {
        let sdk = self.aws.sdk_config();
        sdk.to_builder().region(Region::new(region)).build()
    }

    /// Where the function writes what it gets.
    fn got(&self) -> PathBuf {
        self.folder.path().join("got")
    }

    fn create_function(&self) -> String {
        let created = Command::new(project::python_tool("python3").unwrap())
            .args(["-c", CREATE_FUNCTION])
            .env("AWS_ENDPOINT_URL", self.aws.endpoint())
            .env("AWS_DEFAULT_REGION", HOME)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            .env("GOT", self.got())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&created.stderr);
        assert!(created.status.success(), "{error}");
        String::from_utf8(created.stdout).unwrap().trim().to_owned()
    }

    async fn rule(&self, region: &'static str, name: &str, state: &str, target: &str) {
        let eventbridge = EventBridge::new(&self.in_region(region));
        let pattern = json!({
            "source": ["aws.ec2"],
            "detail-type": ["EC2 Instance State-change Notification"],
            "detail": {"state": [state]},
        });
        let put = eventbridge.put_rule().name(name).state(RuleState::Enabled);
        put.event_pattern(pattern.to_string()).send().await.unwrap();
        // Buses of other regions need a role; functions do not mind one.
        let target = Target::builder().id("1").arn(target).role_arn(ROLE);
        let target = target.build().unwrap();
        let targets = eventbridge.put_targets().rule(name).targets(target);
        targets.send().await.unwrap();
    }

    /// What the receiver says to an event of an instance's state.
    async fn post(&self, region: &str, id: &str, state: &str) -> (StatusCode, Value) {
        let http = reqwest::Client::new();
        let request = http.post(self.events.url()).json(&event(region, id, state));
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// What the function has got, once that is so many events.
    async fn written(&self, count: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(self.got()).unwrap_or_default();
            let events: Vec<_> = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            if events.len() >= count {
                return events;
            }
            assert!(start.elapsed() < DEADLINE, "only {events:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn event(region: &str, id: &str, state: &str) -> Value {
    json!({
        "version": "0",
        "id": id,
        "detail-type": "EC2 Instance State-change Notification",
        "source": "aws.ec2",
        "account": "000000000000",
        "time": "2026-11-21T18:00:10Z",
        "region": region,
        "resources": [format!("arn:aws:ec2:{region}:000000000000:instance/i-1")],
        "detail": {"instance-id": "i-1", "state": state},
    })
}

#[tokio::test]
async fn the_deployed_rules_decide_who_gets_an_event() {
    let world = World::start().await;

    let (status, _) = world.post(HOME, "a", "stopped").await;
    assert_eq!(status, StatusCode::NO_CONTENT, "no pattern matches");

    let (status, answer) = world.post(HOME, "b", "running").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let invoked = &answer["invoked"][0];
    assert!(invoked["function"].as_str().unwrap().ends_with(":writer"));
    assert!(invoked["rule"].as_str().unwrap().ends_with("/running"));
    assert_eq!(world.written(1).await, [event(HOME, "b", "running")]);

    let (status, _) = world.post(AWAY, "c", "running").await;
    assert_eq!(
        status,
        StatusCode::NO_CONTENT,
        "rules hear their own region only"
    );

    world.rule(AWAY, "forward", "running", BUS).await;
    let (status, answer) = world.post(AWAY, "d", "running").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(world.written(2).await[1], event(AWAY, "d", "running"));

    let home = EventBridge::new(&world.in_region(HOME));
    home.disable_rule().name("running").send().await.unwrap();
    let (status, _) = world.post(HOME, "e", "running").await;
    assert_eq!(status, StatusCode::NO_CONTENT, "the rule is disabled");
}

#[tokio::test]
async fn what_cannot_be_delivered_is_an_error_and_says_why() {
    let world = World::start().await;
    let queue = "arn:aws:sqs:us-east-1:000000000000:queue";
    world.rule(HOME, "queue", "pending", queue).await;
    let (status, answer) = world.post(HOME, "a", "pending").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        answer["error"].as_str().unwrap().contains(queue),
        "{answer}"
    );

    world.rule(HOME, "circle", "stopped", BUS).await;
    let (status, answer) = world.post(HOME, "b", "stopped").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        answer["error"].as_str().unwrap().contains("circles"),
        "{answer}"
    );
}
