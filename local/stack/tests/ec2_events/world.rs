//! A local AWS whose rules lead to a function, and the receiver of EC2's events beside it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_config::{Region, SdkConfig};
use aws_sdk_eventbridge::Client as EventBridge;
use aws_sdk_eventbridge::types::{RuleState, Target};
use local_stack::dir::StackDir;
use local_stack::ec2_events::Ec2Events;
use local_stack::ministack::{ACCESS_KEY_ID, Ministack, REGION, SECRET_ACCESS_KEY};
use local_stack::ports::Ports;
use local_stack::project;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const HOME: &str = REGION;
pub(crate) const AWAY: &str = "eu-west-1";
pub(crate) const HOME_BUS: &str = "arn:aws:events:us-east-1:000000000000:event-bus/default";
pub(crate) const STATE_CHANGE: &str = "EC2 Instance State-change Notification";

const ROLE: &str = "arn:aws:iam::000000000000:role/writer";

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

pub(crate) struct World {
    // Dropped from top to bottom.
    pub(crate) events: Ec2Events,
    aws: Ministack,
    pub(crate) dir: StackDir,
    pub(crate) ports: Ports,
    folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = StackDir::claim(&folder.path().join("stack")).unwrap();
        let mut ports = Ports::free();
        let aws_port = ports.reserve("the local AWS").unwrap();
        let aws = Ministack::start(&dir, aws_port, None).await.unwrap();
        let events_port = ports.reserve("EC2's events").unwrap();
        let events = Ec2Events::start(events_port, aws.endpoint()).unwrap();
        Self {
            events,
            aws,
            dir,
            ports,
            folder,
        }
    }

    pub(crate) fn sdk_config(&self) -> SdkConfig {
        self.aws.sdk_config()
    }

    pub(crate) fn eventbridge(&self, region: &'static str) -> EventBridge {
        let sdk = self.sdk_config().to_builder().region(Region::new(region));
        EventBridge::new(&sdk.build())
    }

    /// What a script prints that uses AWS's own SDK for Python.
    pub(crate) fn python(&self, script: &str, variables: &[(&str, &str)]) -> String {
        let ran = Command::new(project::python_tool("python3").unwrap())
            .args(["-c", script])
            .env("AWS_ENDPOINT_URL", self.aws.endpoint())
            .env("AWS_DEFAULT_REGION", HOME)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{error}");
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    /// Where the function writes what it gets.
    fn got(&self) -> PathBuf {
        self.folder.path().join("got")
    }

    /// A function at home that writes its events to a file.
    pub(crate) fn create_function(&self) -> String {
        let got = self.got();
        self.python(CREATE_FUNCTION, &[("GOT", got.to_str().unwrap())])
    }

    /// A rule of that name, for what matches the pattern.
    pub(crate) async fn rule(
        &self,
        region: &'static str,
        name: &str,
        pattern: &Value,
        target: &str,
    ) {
        let eventbridge = self.eventbridge(region);
        let put = eventbridge.put_rule().name(name).state(RuleState::Enabled);
        put.event_pattern(pattern.to_string()).send().await.unwrap();
        // Buses of other regions need a role; functions do not mind one.
        let target = Target::builder().id("1").arn(target).role_arn(ROLE);
        let target = target.build().unwrap();
        let targets = eventbridge.put_targets().rule(name).targets(target);
        targets.send().await.unwrap();
    }

    /// What the receiver says to an event.
    pub(crate) async fn post(&self, event: &Value) -> (StatusCode, Value) {
        let http = reqwest::Client::new();
        let request = http.post(self.events.url()).json(event);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// What the function has got, once that is so many events.
    pub(crate) async fn written(&self, count: usize) -> Vec<Value> {
        let read = async || {
            let text = fs::read_to_string(self.got()).unwrap_or_default();
            let events = text.lines().map(serde_json::from_str);
            events.filter_map(Result::ok).collect::<Vec<Value>>()
        };
        until(read, |events| events.len() >= count).await
    }
}

/// What `look` sees, once it is `good`.
pub(crate) async fn until(
    look: impl AsyncFn() -> Vec<Value>,
    good: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let seen = look().await;
        if good(&seen) {
            return seen;
        }
        assert!(start.elapsed() < DEADLINE, "only {seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Something that EC2 tells of an instance.
pub(crate) fn event(region: &str, id: &str, detail_type: &str, mut detail: Value) -> Value {
    detail["instance-id"] = json!("i-1");
    json!({
        "version": "0",
        "id": id,
        "detail-type": detail_type,
        "source": "aws.ec2",
        "account": "000000000000",
        "time": "2026-11-21T18:00:10Z",
        "region": region,
        "resources": [format!("arn:aws:ec2:{region}:000000000000:instance/i-1")],
        "detail": detail,
    })
}
