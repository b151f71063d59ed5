//! `forward-events.yaml`, deployed as it is: what it sends home, and what it may do.

use local_stack::ec2::{Ec2Emulator, Ec2Options};
use local_stack::forwarding::forward_events;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::world::{AWAY, HOME, HOME_BUS, STATE_CHANGE, World, event, until};

/// Of the home rule that hears everything.
const HOME_RULE: &str = "arn:aws:events:us-east-1:000000000000:rule/everything";

/// Launches an instance, and terminates it once it runs.
const LAUNCH_AND_TERMINATE: &str = r#"
import boto3, os

ec2 = boto3.client("ec2", region_name=os.environ["AWAY"])
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

/// Prints whether `ROLE` may do each of `QUESTIONS` (action and resource), and for whose events it
/// and the queue may be used.
const GRANTS: &str = r#"
import boto3, json, os

role = os.environ["ROLE"]
iam = boto3.client("iam")
for action, resource in json.loads(os.environ["QUESTIONS"]):
    answer = iam.simulate_principal_policy(
        PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource]
    )
    print(answer["EvaluationResults"][0]["EvalDecision"])
trust = iam.get_role(RoleName=role.split("/")[-1])["Role"]["AssumeRolePolicyDocument"]
print(trust["Statement"][0]["Condition"]["StringEquals"]["aws:SourceArn"])

sqs = boto3.client("sqs", region_name=os.environ["AWAY"])
url = sqs.get_queue_url(QueueName=os.environ["QUEUE"].split(":")[-1])["QueueUrl"]
answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
policy = json.loads(answer["Attributes"]["Policy"])["Statement"][0]
print(policy["Condition"]["ArnEquals"]["aws:SourceArn"])
"#;

impl World {
    /// With a rule at home for everything that EC2 tells, so that whatever is not heard there was
    /// not sent.
    async fn listening() -> Self {
        let world = Self::start().await;
        let function = world.create_function();
        let everything = json!({"source": ["aws.ec2"]});
        world.rule(HOME, "everything", &everything, &function).await;
        world
    }

    async fn forward(&self, regions: &[&str]) -> anyhow::Result<()> {
        let regions: Vec<_> = regions.iter().map(ToString::to_string).collect();
        forward_events(&self.sdk_config(), "test", &regions).await
    }

    /// The rules through which functions got the event.
    async fn heard(&self, event: &Value) -> Vec<Value> {
        let (status, answer) = self.post(event).await;
        if status == StatusCode::NO_CONTENT {
            return Vec::new();
        }
        assert_eq!(status, StatusCode::OK, "{answer}");
        let invoked = answer["invoked"].as_array().unwrap().iter();
        invoked.map(|one| one["rule"].clone()).collect()
    }
}

#[tokio::test]
async fn what_the_service_wants_to_know_is_sent_home_and_nothing_else() {
    let world = World::listening().await;
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
    let wanted: Vec<_> = changes.into_iter().chain(warnings).collect();
    let unwanted = [
        (STATE_CHANGE, json!({"state": "pending"})),
        ("EC2 Spot Instance Request Fulfillment", json!({})),
        ("Another Notification", json!({"state": "running"})),
    ];

    let running = event(AWAY, "early", STATE_CHANGE, json!({"state": "running"}));
    assert!(world.heard(&running).await.is_empty(), "not deployed yet");
    world.forward(&["us-west-2", AWAY]).await.unwrap();

    let mut sent = Vec::new();
    for (detail_type, detail) in wanted {
        let id = format!("wanted {}", sent.len());
        let event = event(AWAY, &id, detail_type, detail);
        assert_eq!(world.heard(&event).await, [HOME_RULE], "{event}");
        sent.push(event);
    }
    for (detail_type, detail) in unwanted {
        let away = event(AWAY, "away", detail_type, detail.clone());
        assert!(world.heard(&away).await.is_empty(), "{away}");
        let home = event(HOME, "home", detail_type, detail);
        assert_eq!(world.heard(&home).await, [HOME_RULE], "{home}");
        sent.push(home);
    }
    let elsewhere = event("us-west-1", "1", STATE_CHANGE, json!({"state": "running"}));
    assert!(
        world.heard(&elsewhere).await.is_empty(),
        "not deployed there"
    );

    // Unchanged, so that the function sees whose they are.
    let mut written = world.written(sent.len()).await;
    let by_id = |a: &Value, b: &Value| a["id"].as_str().cmp(&b["id"].as_str());
    written.sort_by(by_id);
    sent.sort_by(by_id);
    assert_eq!(written, sent);
}

#[tokio::test]
async fn an_instance_of_another_region_is_heard_of_at_home() {
    let mut world = World::listening().await;
    world.forward(&[AWAY]).await.unwrap();
    let options = Ec2Options {
        pending_ms: Some(50),
        shutting_down_ms: Some(50),
        listing_lag_ms: Some(0),
        ..Ec2Options::default()
    };
    let port = world.ports.reserve("the EC2 emulator").unwrap();
    let url = world.events.url();
    let ec2 = Ec2Emulator::start(&world.dir, port, &options, &url);
    let ec2 = ec2.await.unwrap();
    let variables = [("AWS_ENDPOINT_URL_EC2", ec2.endpoint()), ("AWAY", AWAY)];
    world.python(LAUNCH_AND_TERMINATE, &variables);

    let ledger = format!("{}/ledger", ec2.control_url());
    let fates = async || -> Vec<Value> {
        let ledger: Value = reqwest::get(&ledger).await.unwrap().json().await.unwrap();
        let events = ledger["events"].as_array().unwrap().iter();
        let fate = |event: &Value| {
            let delivery = &event["deliveries"][0];
            let rule = &delivery["answer"]["invoked"][0]["rule"];
            json!([event["event"]["detail"]["state"], delivery["outcome"], rule])
        };
        events.map(fate).collect()
    };
    let waiting = json!("waiting");
    let settled = |fates: &[Value]| fates.len() == 4 && fates.iter().all(|fate| fate[1] != waiting);
    assert_eq!(
        until(fates, settled).await,
        [
            json!(["pending", "unwanted", null]),
            json!(["running", "delivered", HOME_RULE]),
            json!(["shutting-down", "delivered", HOME_RULE]),
            json!(["terminated", "delivered", HOME_RULE]),
        ]
    );
}

#[tokio::test]
async fn the_rule_alone_may_send_to_the_home_bus_alone() {
    let world = World::start().await;
    let regions = [AWAY, "us-west-1"];
    world.forward(&regions).await.unwrap();
    let other_bus = HOME_BUS.replace("default", "other");
    let other_region = HOME_BUS.replace(HOME, AWAY);
    let questions = json!([
        ["events:PutEvents", HOME_BUS],
        ["events:PutEvents", other_bus],
        ["events:PutEvents", other_region],
        ["events:PutRule", HOME_BUS],
    ])
    .to_string();
    for region in regions {
        let rule = "ec2-events-to-us-east-1";
        let targets = world.eventbridge(region).list_targets_by_rule().rule(rule);
        let listed = targets.send().await.unwrap();
        let [target] = listed.targets() else {
            panic!("one target, not {listed:?}");
        };
        let queue = target.dead_letter_config().unwrap().arn().unwrap();
        let variables = [
            ("ROLE", target.role_arn().unwrap()),
            ("QUESTIONS", &questions),
            ("AWAY", region),
            ("QUEUE", queue),
        ];
        let grants = world.python(GRANTS, &variables);
        let rule = format!("arn:aws:events:{region}:000000000000:rule/{rule}");
        assert_eq!(
            grants.lines().collect::<Vec<_>>(),
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
async fn the_home_region_is_refused() {
    let world = World::start().await;
    let error = world.forward(&[HOME]).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("The home region hears its own events"),
        "{error}"
    );
    let rules = world.eventbridge(HOME).list_rules().send().await.unwrap();
    assert!(rules.rules().is_empty(), "{rules:?}");
}
