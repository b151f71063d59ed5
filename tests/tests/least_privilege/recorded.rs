//! The policies against the calls, in both directions.

use std::collections::BTreeMap;

use scaling_tests::deployed::{Deployed, set_fast_ec2};
use scaling_tests::iam::calls::{self, Calls};
use scaling_tests::iam::ec2::{ACCOUNT, Account};
use scaling_tests::iam::policy::{Used, allows};
use scaling_tests::iam::roles::Role;

use crate::exercise::{self, STACK};

const INSTANCE_ROLE: &str = "arn:aws:iam::000000000000:role/hosts";
const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:alerts";
const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/0123";

/// What no function calls by itself on the local stack, and who does. The beginning of what
/// [`Used::spare`] returns.
const NOT_RECORDED: [(&str, &str); 12] = [
    ("reconcile/Log", "Lambda writes the logs"),
    ("hasura-event/Log", "Lambda writes the logs"),
    ("instance-state-change/Log", "Lambda writes the logs"),
    ("assign-user/Log", "Lambda writes the logs"),
    ("status/Log", "Lambda writes the logs"),
    ("reconcile/KeepFailures", "Lambda keeps failed invocations"),
    (
        "instance-state-change/KeepFailures",
        "Lambda keeps failed invocations",
    ),
    ("/EncryptAlerts", "SNS uses the key of its topic"),
    (
        "LaunchInstances/UseVolumeKeys",
        "EC2 uses the volumes' keys",
    ),
    (
        "LaunchInstances/LetEC2UseVolumeKeys",
        "EC2 uses the volumes' keys",
    ),
    (
        "reconcile/ExamineInstanceTypesAndQuotas: servicequotas:",
        "the local AWS has no Service Quotas",
    ),
    (
        "reconcile/ExamineSpotRole: arn:aws:iam::000000000000:role/aws-service-role/",
        "the account has no such role: a role that exists has its path",
    ),
];

fn parameters() -> Vec<(String, String)> {
    let subnets = format!("arn:aws:ec2:*:{ACCOUNT}:subnet/subnet-0*");
    let groups = format!("arn:aws:ec2:*:{ACCOUNT}:security-group/sg-0*");
    let all = [
        ("AlertTopicArn", TOPIC),
        ("AlertTopicKeyArn", KEY),
        ("InstanceRoleArn", INSTANCE_ROLE),
        ("LaunchSubnetArns", &subnets),
        ("LaunchSecurityGroupArns", &groups),
        ("VolumeKeyArns", KEY),
    ];
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[tokio::test]
async fn policies_allow_what_the_functions_call_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let deployed = Deployed::start("least-privilege", |options| {
        options.ec2.world = Some(exercise::world(folder.path()));
        set_fast_ec2(options);
        options.ec2.agent_session_ms = Some(600_000);
        options.forward_from = Some(Vec::new());
        options.parameters = parameters();
        let more = [("LaunchImageOwners", ACCOUNT), ("ReplicaAddresses", "true")];
        let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
        options.parameters.extend(more);
    })
    .await;
    make_topic(&deployed).await;
    exercise::service(&deployed).await;
    exercise::alone(&deployed, &parameters()).await;

    let account = Account {
        image_owner: ACCOUNT,
        instance_role: INSTANCE_ROLE,
    };
    let aws = deployed.stack.ministack();
    let calls = calls::of_functions(aws, &deployed.ledger().await, &account);
    for (stack, functions) in [
        (STACK.to_owned(), &crate::templates::ALL[..]),
        (format!("{STACK}-alone"), &["reconcile", "status"]),
    ] {
        let mut roles = BTreeMap::new();
        for function in functions {
            let name = format!("{stack}-{function}");
            let role = Role::of(aws, &stack, &name).await;
            roles.insert(name, role);
        }
        assert_no_role_is_shared(&roles);
        assert_nothing_is_missing(&roles, &calls);
        assert_nothing_is_spare(&roles, &calls);
    }
    deployed.stack.stop();
}

/// Alerts are published to it.
async fn make_topic(deployed: &Deployed) {
    let env = deployed.stack.env();
    let signature = format!(
        "AWS4-HMAC-SHA256 Credential={}/20260101/{}/sns/aws4_request, SignedHeaders=host, \
         Signature=none",
        env.aws_access_key_id, env.aws_region
    );
    let create = reqwest::Client::new().post(&env.aws_endpoint_url);
    let create = create.header("authorization", signature);
    let create = create.form(&[("Action", "CreateTopic"), ("Name", "alerts")]);
    let answer = create.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

fn assert_no_role_is_shared(roles: &BTreeMap<String, Role>) {
    let mut names: Vec<_> = roles.values().map(|role| &role.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), roles.len(), "{names:?}");
}

fn assert_nothing_is_missing(roles: &BTreeMap<String, Role>, calls: &Calls) {
    let mut missing = Vec::new();
    for (function, role) in roles {
        let of_function = calls.get(function).into_iter().flatten();
        let refused = of_function.filter(|call| !allows(&role.policies, call));
        missing.extend(refused.map(|call| format!("{function}: {call:#?}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// A policy that several functions share is used if one of them uses it: they run the same passes.
fn assert_nothing_is_spare(roles: &BTreeMap<String, Role>, calls: &Calls) {
    let mut used = Used::default();
    for (function, role) in roles {
        for call in calls.get(function).into_iter().flatten() {
            used.record(&role.policies, call);
        }
    }
    let mut spare = Vec::new();
    for role in roles.values() {
        spare.extend(used.spare(&role.policies));
    }
    spare.retain(|it| !NOT_RECORDED.iter().any(|(known, _)| it.contains(known)));
    spare.sort();
    spare.dedup();
    assert!(spare.is_empty(), "no function calls {spare:#?}");
}
