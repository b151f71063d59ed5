//! `forward-events.yaml` as deployed: which events it forwards, and its permissions.

use local_stack::ec2::{Ec2Emulator, Ec2Options};
use local_stack::forwarding::forward_events;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::fixture::{
    Fixture, HOME_BUS, HOME_REGION, OTHER_REGION, STATE_CHANGE, event, poll_until,
};

/// The rule in the home region that matches every EC2 event.
const HOME_RULE: &str = "arn:aws:events:us-east-1:000000000000:rule/everything";

/// Launches an instance in `OTHER_REGION`, and terminates it once it runs.
const LAUNCH_AND_TERMINATE: &str = r#"
import boto3, os

ec2 = boto3.client("ec2", region_name=os.environ["OTHER_REGION"])
launched = ec2.run_instances(
    ImageId="ami-04000000000000001",
    InstanceType="m6i.large",
    SubnetId="subnet-04a0000000000000a",
    MinCount=1,
    MaxCount=1,
)
ids = [launched["Instances"][0]["InstanceId"]]
ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
ec2.terminate_instances(InstanceIds=ids)
"#;

/// Prints whether `ROLE` may perform each of `REQUESTS` (action and resource), and then the source
/// ARNs that the role and the queue are restricted to.
const PRINT_PERMISSIONS: &str = r#"
import boto3, json, os

role = os.environ["ROLE"]
iam = boto3.client("iam")
for action, resource in json.loads(os.environ["REQUESTS"]):
    answer = iam.simulate_principal_policy(
        PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource]
    )
    print(answer["EvaluationResults"][0]["EvalDecision"])
trust = iam.get_role(RoleName=role.split("/")[-1])["Role"]["AssumeRolePolicyDocument"]
print(trust["Statement"][0]["Condition"]["StringEquals"]["aws:SourceArn"])

sqs = boto3.client("sqs", region_name=os.environ["OTHER_REGION"])
url = sqs.get_queue_url(QueueName=os.environ["QUEUE"].split(":")[-1])["QueueUrl"]
answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
policy = json.loads(answer["Attributes"]["Policy"])["Statement"][0]
print(policy["Condition"]["ArnEquals"]["aws:SourceArn"])
"#;

impl Fixture {
    /// A fixture whose home region has a rule for every EC2 event: an event that does not match was
    /// not forwarded.
    async fn with_home_rule() -> Self {
        let fixture = Self::start().await;
        let function = fixture.create_function();
        let everything = json!({"source": ["aws.ec2"]});
        fixture
            .put_rule(HOME_REGION, "everything", &everything, &function)
            .await;
        fixture
    }

    async fn forward(&self, regions: &[&str]) -> anyhow::Result<()> {
        let regions: Vec<_> = regions.iter().map(ToString::to_string).collect();
        forward_events(&self.sdk_config(), "test", &regions).await
    }

    /// Posts an event and returns the rules through which functions got it.
    async fn matched_rules(&self, event: &Value) -> Vec<Value> {
        let (status, response) = self.post(event).await;
        if status == StatusCode::NO_CONTENT {
            return Vec::new();
        }
        assert_eq!(status, StatusCode::OK, "{response}");
        let invoked = response["invoked"].as_array().unwrap().iter();
        invoked.map(|it| it["rule"].clone()).collect()
    }
}

#[tokio::test]
async fn only_events_that_the_service_handles_are_forwarded() {
    let fixture = Fixture::with_home_rule().await;
    let states = [
        "running",
        "stopping",
        "stopped",
        "shutting-down",
        "terminated",
    ];
    let changes = states.map(|state| (STATE_CHANGE, json!({"state": state})));
    let warnings = [
        (
            "EC2 Spot Instance Interruption Warning",
            json!({"instance-action": "terminate"}),
        ),
        ("EC2 Instance Rebalance Recommendation", json!({})),
    ];
    let handled: Vec<_> = changes.into_iter().chain(warnings).collect();
    let ignored = [
        (STATE_CHANGE, json!({"state": "pending"})),
        ("EC2 Spot Instance Request Fulfillment", json!({})),
        ("Another Notification", json!({"state": "running"})),
    ];

    let running = event(
        OTHER_REGION,
        "early",
        STATE_CHANGE,
        json!({"state": "running"}),
    );
    assert!(
        fixture.matched_rules(&running).await.is_empty(),
        "the template is not deployed yet"
    );
    fixture.forward(&["us-west-2", OTHER_REGION]).await.unwrap();

    let mut sent = Vec::new();
    for (detail_type, detail) in handled {
        let id = format!("handled {}", sent.len());
        let event = event(OTHER_REGION, &id, detail_type, detail);
        assert_eq!(fixture.matched_rules(&event).await, [HOME_RULE], "{event}");
        sent.push(event);
    }
    for (detail_type, detail) in ignored {
        let id = format!("home {}", sent.len());
        let remote = event(OTHER_REGION, "remote", detail_type, detail.clone());
        assert!(fixture.matched_rules(&remote).await.is_empty(), "{remote}");
        let home = event(HOME_REGION, &id, detail_type, detail);
        assert_eq!(fixture.matched_rules(&home).await, [HOME_RULE], "{home}");
        sent.push(home);
    }
    let elsewhere = event("us-west-1", "1", STATE_CHANGE, json!({"state": "running"}));
    assert!(
        fixture.matched_rules(&elsewhere).await.is_empty(),
        "the template is not deployed there"
    );

    // Events arrive unchanged, so that the function sees their region, but in any order.
    let mut received = fixture.received(sent.len()).await;
    let by_id = |a: &Value, b: &Value| a["id"].as_str().cmp(&b["id"].as_str());
    received.sort_by(by_id);
    sent.sort_by(by_id);
    assert_eq!(received, sent);
}

#[tokio::test]
async fn instance_events_of_another_region_reach_the_home_region() {
    let mut fixture = Fixture::with_home_rule().await;
    fixture.forward(&[OTHER_REGION]).await.unwrap();
    let options = Ec2Options {
        pending_ms: Some(50),
        shutting_down_ms: Some(50),
        listing_lag_ms: Some(0),
        ..Ec2Options::default()
    };
    let port = fixture.ports.reserve("the EC2 emulator").unwrap();
    let url = fixture.events.url();
    let ec2 = Ec2Emulator::start(&fixture.dir, port, &options, &url);
    let ec2 = ec2.await.unwrap();
    let variables = [
        ("AWS_ENDPOINT_URL_EC2", ec2.endpoint()),
        ("OTHER_REGION", OTHER_REGION),
    ];
    fixture.python(LAUNCH_AND_TERMINATE, &variables);

    let ledger = format!("{}/ledger", ec2.control_url());
    let deliveries = async || -> Vec<Value> {
        let ledger: Value = reqwest::get(&ledger).await.unwrap().json().await.unwrap();
        let events = ledger["events"].as_array().unwrap().iter();
        let summary = |event: &Value| {
            let delivery = &event["deliveries"][0];
            let rule = &delivery["answer"]["invoked"][0]["rule"];
            json!([event["event"]["detail"]["state"], delivery["outcome"], rule])
        };
        events.map(summary).collect()
    };
    let waiting = json!("waiting");
    let settled =
        |all: &[Value]| all.len() == 4 && all.iter().all(|delivery| delivery[1] != waiting);
    assert_eq!(
        poll_until(deliveries, settled).await,
        [
            json!(["pending", "unwanted", null]),
            json!(["running", "delivered", HOME_RULE]),
            json!(["shutting-down", "delivered", HOME_RULE]),
            json!(["terminated", "delivered", HOME_RULE]),
        ]
    );
}

#[tokio::test]
async fn forwarding_role_can_only_put_events_to_the_home_bus() {
    let fixture = Fixture::start().await;
    let regions = [OTHER_REGION, "us-west-1"];
    fixture.forward(&regions).await.unwrap();
    let other_bus = HOME_BUS.replace("default", "other");
    let other_region = HOME_BUS.replace(HOME_REGION, OTHER_REGION);
    let requests = json!([
        ["events:PutEvents", HOME_BUS],
        ["events:PutEvents", other_bus],
        ["events:PutEvents", other_region],
        ["events:PutRule", HOME_BUS],
    ])
    .to_string();
    for region in regions {
        let rule = "ec2-events-to-us-east-1";
        let targets = fixture
            .eventbridge(region)
            .list_targets_by_rule()
            .rule(rule);
        let listed = targets.send().await.unwrap();
        let [target] = listed.targets() else {
            panic!("expected one target, got {listed:?}");
        };
        let queue = target.dead_letter_config().unwrap().arn().unwrap();
        let variables = [
            ("ROLE", target.role_arn().unwrap()),
            ("REQUESTS", &requests),
            ("OTHER_REGION", region),
            ("QUEUE", queue),
        ];
        let permissions = fixture.python(PRINT_PERMISSIONS, &variables);
        let rule = format!("arn:aws:events:{region}:000000000000:rule/{rule}");
        assert_eq!(
            permissions.lines().collect::<Vec<_>>(),
            [
                "allowed",
                "implicitDeny",
                "implicitDeny",
                "implicitDeny",
                &rule,
                &rule
            ]
        );
    }
}

#[tokio::test]
async fn forwarding_from_the_home_region_is_rejected() {
    let fixture = Fixture::start().await;
    let error = fixture.forward(&[HOME_REGION]).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("The home region receives its own events"),
        "{error}"
    );
    let rules = fixture
        .eventbridge(HOME_REGION)
        .list_rules()
        .send()
        .await
        .unwrap();
    assert!(rules.rules().is_empty(), "{rules:?}");
}
