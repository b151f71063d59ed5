//! A local AWS whose rules lead to a function, and the receiver of EC2 events.
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

pub(crate) const HOME_REGION: &str = REGION;
pub(crate) const OTHER_REGION: &str = "eu-west-1";
pub(crate) const HOME_BUS: &str = "arn:aws:events:us-east-1:000000000000:event-bus/default";
pub(crate) const STATE_CHANGE: &str = "EC2 Instance State-change Notification";

const ROLE: &str = "arn:aws:iam::000000000000:role/writer";

/// Far longer than an invocation takes.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Creates a function that appends its events to the file `EVENTS_FILE`. Prints the function's ARN.
const CREATE_FUNCTION: &str = r#"
import boto3, io, json, os, zipfile

source = """
import json

def handler(event, context):
    with open(%r, "a") as events_file:
        print(json.dumps(event), file=events_file)
""" % os.environ["EVENTS_FILE"]
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

pub(crate) struct Fixture {
    // Fields are dropped from top to bottom: the receiver before the local AWS that it calls.
    pub(crate) events: Ec2Events,
    aws: Ministack,
    pub(crate) dir: StackDir,
    pub(crate) ports: Ports,
    folder: TempDir,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = StackDir::claim(&folder.path().join("stack")).unwrap();
        let mut ports = Ports::free();
        let aws_port = ports.reserve("the local AWS").unwrap();
        let aws = Ministack::start(&dir, aws_port, None).await.unwrap();
        let events_port = ports.reserve("the receiver of EC2 events").unwrap();
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

    /// Runs a Python script that uses boto3, and returns its output.
    pub(crate) fn python(&self, script: &str, variables: &[(&str, &str)]) -> String {
        let ran = Command::new(project::python_tool("python3").unwrap())
            .args(["-c", script])
            .env("AWS_ENDPOINT_URL", self.aws.endpoint())
            .env("AWS_DEFAULT_REGION", HOME_REGION)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{error}");
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    /// The file to which the function appends its events.
    fn events_file(&self) -> PathBuf {
        self.folder.path().join("events")
    }

    /// Creates a function in the home region that writes its events to a file. Returns its ARN.
    pub(crate) fn create_function(&self) -> String {
        let file = self.events_file();
        self.python(CREATE_FUNCTION, &[("EVENTS_FILE", file.to_str().unwrap())])
    }

    /// Creates an enabled rule that sends events which match `pattern` to `target`, an ARN.
    pub(crate) async fn put_rule(
        &self,
        region: &'static str,
        name: &str,
        pattern: &Value,
        target: &str,
    ) {
        let eventbridge = self.eventbridge(region);
        let put = eventbridge.put_rule().name(name).state(RuleState::Enabled);
        put.event_pattern(pattern.to_string()).send().await.unwrap();
        // Buses in other regions need a role; functions ignore it.
        let target = Target::builder().id("1").arn(target).role_arn(ROLE);
        let target = target.build().unwrap();
        let targets = eventbridge.put_targets().rule(name).targets(target);
        targets.send().await.unwrap();
    }

    /// Posts an event to the receiver and returns the response.
    pub(crate) async fn post(&self, event: &Value) -> (StatusCode, Value) {
        let http = reqwest::Client::new();
        let request = http.post(self.events.url()).json(event);
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The events that the function has received, as soon as there are `count` of them.
    pub(crate) async fn received(&self, count: usize) -> Vec<Value> {
        let read = async || {
            let text = fs::read_to_string(self.events_file()).unwrap_or_default();
            let events = text.lines().map(serde_json::from_str);
            events.filter_map(Result::ok).collect::<Vec<Value>>()
        };
        poll_until(read, |events| events.len() >= count).await
    }
}

/// Calls `read` until its result meets `condition`, and returns that result.
pub(crate) async fn poll_until(
    read: impl AsyncFn() -> Vec<Value>,
    condition: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let values = read().await;
        if condition(&values) {
            return values;
        }
        assert!(start.elapsed() < TIMEOUT, "timeout with {values:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An EC2 event about an instance.
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
