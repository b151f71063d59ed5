//! What somebody else's code in a function could try.

use std::collections::BTreeMap;

use scaling_tests::iam::ec2::{self, ACCOUNT, Account};
use scaling_tests::iam::policy::{Request, allows};
use scaling_tests::ledger::{Call, Ledger};

use crate::templates::{ALL, PASSES, Policies, Templates};

const ROLE: &str = "arn:aws:iam::000000000000:role/hosts";

const OWN: Account<'static> = Account {
    image_owner: ACCOUNT,
    instance_role: ROLE,
};

/// An image of another account.
const STRANGER: Account<'static> = Account {
    image_owner: "999999999999",
    ..OWN
};

const TAGS: [&str; 8] = [
    "Name",
    "scaling:capacity",
    "scaling:client-sha",
    "scaling:image",
    "scaling:launch",
    "scaling:region",
    "scaling:stack",
    "scaling:subnet",
];

/// A launch as `adapters/ec2` requests it for this stack.
fn launch(stack: &str) -> Call {
    let mut params: BTreeMap<String, String> = [
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("ImageId", "ami-1"),
        ("InstanceType", "m6i.large"),
        ("SubnetId", "subnet-1"),
        ("SecurityGroupId.1", "sg-1"),
        ("UserData", "…"),
        ("MetadataOptions.HttpEndpoint", "enabled"),
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpPutResponseHopLimit", "1"),
        ("InstanceInitiatedShutdownBehavior", "terminate"),
        ("ClientToken", "token"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (n, key) in TAGS.iter().enumerate() {
        let value = if *key == "scaling:stack" { stack } else { "v" };
        let tag = format!("TagSpecification.1.Tag.{}", n + 1);
        params.insert(format!("{tag}.Key"), (*key).to_owned());
        params.insert(format!("{tag}.Value"), value.to_owned());
    }
    Call {
        seq: 1,
        at_ms: 0,
        access_key: String::new(),
        region: "eu-west-1".to_owned(),
        action: "RunInstances".to_owned(),
        params,
        outcome: "ok".to_owned(),
    }
}

/// The launch with other parameters; an empty value removes one.
fn launch_with(stack: &str, changes: &[(&str, &str)]) -> Call {
    let mut call = launch(stack);
    for (name, value) in changes {
        call.params.remove(*name);
        if !value.is_empty() {
            call.params.insert((*name).to_owned(), (*value).to_owned());
        }
    }
    call
}

/// What of a call is denied to a function.
fn denied(policies: &Policies, function: &str, call: &Call, account: &Account<'_>) -> Vec<Request> {
    let nothing = Ledger {
        calls: Vec::new(),
        instances: Vec::new(),
        addresses: Vec::new(),
        events: Vec::new(),
    };
    let mut requests = ec2::requests(call, &nothing, account);
    requests.retain(|request| !allows(policies.of(function), request));
    requests
}

#[tokio::test]
async fn code_of_a_function_can_do_what_the_function_does_and_no_more() {
    let templates = Templates::start().await;
    let open = templates.deploy("open", &[("InstanceRoleArn", ROLE)]).await;
    let subnet = "arn:aws:ec2:*:000000000000:subnet/subnet-1";
    let group = "arn:aws:ec2:eu-west-1:000000000000:security-group/sg-1";
    let parameters = [
        ("LaunchImageOwners", "000000000000,111111111111"),
        ("LaunchSubnetArns", subnet),
        ("LaunchSecurityGroupArns", group),
        ("ReplicaAddresses", "true"),
        ("FunctionLeavesVpc", "true"),
        ("SearchStrays", "false"),
    ];
    let bounded = templates.deploy("bounded", &parameters).await;
    launches_with_extras_are_denied(&open);
    instances_get_their_role_and_no_other(&open);
    images_subnets_and_groups_are_bounded_by_parameters(&open, &bounded);
    other_calls_are_allowed_where_they_are_made(&open);
    other_calls_are_allowed_where_they_are_made(&bounded);
    what_parameters_permit_is_denied_without_them(&open, &bounded);
}

fn launches_with_extras_are_denied(policies: &Policies) {
    let attacks: [&[(&str, &str)]; 11] = [
        &[("NetworkInterface.1.NetworkInterfaceId", "eni-1")],
        &[("BlockDeviceMapping.1.Ebs.SnapshotId", "snap-1")],
        &[("KeyName", "a-key")],
        &[("LaunchTemplate.LaunchTemplateId", "lt-1")],
        &[("MetadataOptions.HttpTokens", "optional")],
        &[("MetadataOptions.HttpTokens", "")],
        &[("MetadataOptions.HttpPutResponseHopLimit", "2")],
        &[("MetadataOptions.HttpPutResponseHopLimit", "")],
        &[
            ("TagSpecification.1.Tag.9.Key", "cost-center"),
            ("TagSpecification.1.Tag.9.Value", "9"),
        ],
        &[("TagSpecification.1.Tag.7.Key", "other")],
        &[("TagSpecification.1.Tag.7.Value", "another-stack")],
    ];
    for function in PASSES {
        let sound = launch(policies.stack);
        assert_eq!(denied(policies, function, &sound, &OWN), [], "{function}");
        for attack in attacks {
            let call = launch_with(policies.stack, attack);
            let denied = denied(policies, function, &call, &OWN);
            assert!(!denied.is_empty(), "{function}: {attack:?}");
        }
    }
    for function in ["assign-user", "status"] {
        let call = launch(policies.stack);
        let all = denied(policies, function, &call, &OWN);
        assert!(all.len() > 5, "{function}: {all:#?}");
    }
}

fn instances_get_their_role_and_no_other(policies: &Policies) {
    let call = launch_with(policies.stack, &[("IamInstanceProfile.Name", "hosts")]);
    let admin = Account {
        instance_role: "arn:aws:iam::000000000000:role/admin",
        ..OWN
    };
    for function in PASSES {
        assert_eq!(denied(policies, function, &call, &OWN), [], "{function}");
        let denied = denied(policies, function, &call, &admin);
        assert_eq!(denied.len(), 1, "{denied:#?}");
        assert_eq!(denied[0].action, "iam:PassRole");
    }
}

fn images_subnets_and_groups_are_bounded_by_parameters(open: &Policies, bounded: &Policies) {
    for function in PASSES {
        let sound = launch(bounded.stack);
        assert_eq!(denied(bounded, function, &sound, &OWN), [], "{function}");
        for (change, account) in [
            (&[][..], &STRANGER),
            (&[("SubnetId", "subnet-2")], &OWN),
            (&[("SecurityGroupId.2", "sg-2")], &OWN),
        ] {
            let call = launch_with(open.stack, change);
            assert_eq!(denied(open, function, &call, account), [], "{function}");
            let call = launch_with(bounded.stack, change);
            let denied = denied(bounded, function, &call, account);
            assert_eq!(denied.len(), 1, "{function} {change:?}: {denied:#?}");
        }
    }
}

fn arn(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:us-east-1:{ACCOUNT}:{resource}")
}

/// Requests, and the functions that may make them.
fn others(stack: &str) -> Vec<(Request, &'static [&'static str])> {
    let instance = || arn("ec2", "instance/i-1");
    let function = |name: &str| arn("lambda", &format!("function:{stack}-{name}"));
    let request = |action: &str, resource: &str| Request::new(action, resource);
    let interface = |action: &str| {
        let call = request(action, "*");
        call.with("lambda:SourceFunctionArn", [function("reconcile")])
    };
    let terminate = |stack: &str| {
        let terminate = request("ec2:TerminateInstances", &instance());
        terminate.with("aws:ResourceTag/scaling:stack", [stack])
    };
    vec![
        (terminate(stack), &PASSES),
        (terminate("another-stack"), &[]),
        (request("ec2:TerminateInstances", &instance()), &[]),
        // A tag outside of a launch.
        (
            request("ec2:CreateTags", &instance())
                .with("aws:RequestTag/scaling:stack", [stack])
                .with("aws:TagKeys", ["scaling:stack"]),
            &[],
        ),
        (interface("ec2:CreateNetworkInterface"), &[]),
        (interface("ec2:DeleteNetworkInterface"), &[]),
        (interface("ec2:DescribeNetworkInterfaces"), &[]),
        (
            request("lambda:GetFunctionConfiguration", &function("assign-user")),
            &[],
        ),
        (request("lambda:GetFunction", &function("status")), &[]),
        (
            request("lambda:InvokeFunction", &function("reconcile")),
            &PASSES,
        ),
        (
            request("lambda:InvokeFunction", &function("hasura-event")),
            &[],
        ),
        (
            request("lambda:InvokeFunction", &arn("lambda", "function:other")),
            &[],
        ),
        (
            request("lambda:ListTags", &function("status")),
            &["reconcile"],
        ),
        (request("ec2:DescribeInstances", "*"), &PASSES),
        (request("ec2:StopInstances", &instance()), &[]),
        (request("ec2:ModifyInstanceAttribute", &instance()), &[]),
        (
            request("servicequotas:GetServiceQuota", "*"),
            &["reconcile"],
        ),
        (
            request("dynamodb:Query", &arn("dynamodb", "table/other")),
            &[],
        ),
        (
            request(
                "secretsmanager:GetSecretValue",
                &arn("secretsmanager", "secret:s"),
            ),
            &[],
        ),
        (request("sts:AssumeRole", ROLE), &[]),
    ]
}

fn other_calls_are_allowed_where_they_are_made(policies: &Policies) {
    for (request, allowed) in others(policies.stack) {
        for function in ALL {
            let may = allows(policies.of(function), &request);
            assert_eq!(may, allowed.contains(&function), "{function}: {request:?}");
        }
    }
}

/// Addresses of replicas, the search for strays, and network interfaces of the functions.
fn what_parameters_permit_is_denied_without_them(open: &Policies, bounded: &Policies) {
    let associate = |tag: &str| {
        let associate = Request::new("ec2:AssociateAddress", arn("ec2", "elastic-ip/eipalloc-1"));
        associate.with("aws:ResourceTag/scaling:stack", [tag])
    };
    let list = Request::new("ec2:DescribeAddresses", "*");
    let search = Request::new("ec2:DescribeRegions", "*");
    // Lambda itself, where functions have network interfaces or had them.
    let by_lambda = Request::new("ec2:DeleteNetworkInterface", "*");
    for function in ALL {
        let (open_to, bounded_to) = (open.of(function), bounded.of(function));
        let passes = PASSES.contains(&function);
        assert!(!allows(open_to, &associate(open.stack)), "{function}");
        assert!(!allows(open_to, &list), "{function}");
        assert_eq!(allows(bounded_to, &associate(bounded.stack)), passes);
        assert!(!allows(bounded_to, &associate("another-stack")));
        assert_eq!(allows(bounded_to, &list), passes, "{function}");
        assert_eq!(allows(open_to, &search), function == "reconcile");
        assert!(!allows(bounded_to, &search), "{function}");
        assert!(!allows(open_to, &by_lambda), "{function}");
        assert!(allows(bounded_to, &by_lambda), "{function}");
    }
}
