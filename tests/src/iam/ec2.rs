//! What EC2 asks IAM for a call. Source: "Actions, resources, and condition keys for Amazon EC2" in
//! the service authorization reference, and "Example policies" in EC2's user guide.

use std::collections::BTreeMap;

use super::policy::Request;
use crate::ledger::{Call, Ledger};

/// The account of the EC2 emulator.
pub const ACCOUNT: &str = "000000000000";

/// What a parameter names, beside the instance.
const NAMED: [(&str, &str); 6] = [
    ("SubnetId", "subnet"),
    ("SecurityGroupId", "security-group"),
    ("NetworkInterface", "network-interface"),
    ("BlockDeviceMapping", "snapshot"),
    ("KeyName", "key-pair"),
    ("LaunchTemplate", "launch-template"),
];

/// Parameters of a launch that name nothing, or that are read one by one.
const READ: [&str; 14] = [
    "ClientToken",
    "DryRun",
    "EbsOptimized",
    "IamInstanceProfile",
    "ImageId",
    "InstanceInitiatedShutdownBehavior",
    "InstanceMarketOptions",
    "InstanceType",
    "MaxCount",
    "MetadataOptions",
    "MinCount",
    "TagSpecification",
    "UserData",
    "Version",
];

/// What the ledger does not show.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The owner of every image.
    pub image_owner: &'a str,
    /// The role in every instance profile.
    pub instance_role: &'a str,
}

/// The requests to IAM for a call, one for each resource.
///
/// # Panics
/// For an action or a parameter that this does not know: it may ask for more.
pub fn requests(call: &Call, ledger: &Ledger, account: &Account<'_>) -> Vec<Request> {
    let arn = |resource: &str| format!("arn:aws:ec2:{}:{ACCOUNT}:{resource}", call.region);
    let action = format!("ec2:{}", call.action);
    let instance = |id: &str| {
        let machine = ledger.instances.iter().find(|machine| machine.id == id);
        let tags = machine.map(|machine| &machine.tags).into_iter().flatten();
        Request::new(&action, arn(&format!("instance/{id}"))).with_tags("aws:ResourceTag/", tags)
    };
    match call.action.as_str() {
        describe if describe.starts_with("Describe") => vec![Request::new(action, "*")],
        "RunInstances" => launch(call, account),
        "TerminateInstances" => {
            let terminated = call.terminations();
            terminated.iter().map(|it| instance(&it.id)).collect()
        }
        "AssociateAddress" => {
            let id = &call.params["AllocationId"];
            let mut all = ledger.addresses.iter();
            let address = all.find(|address| address.allocation_id == *id);
            let tags = address.map(|address| &address.tags).into_iter().flatten();
            let address = Request::new(&action, arn(&format!("elastic-ip/{id}")));
            vec![
                address.with_tags("aws:ResourceTag/", tags),
                instance(&call.params["InstanceId"]),
                Request::new(&action, arn("network-interface/eni-0123456789abcdef0")),
            ]
        }
        other => panic!("which resources does {other} touch?"),
    }
}

fn launch(call: &Call, account: &Account<'_>) -> Vec<Request> {
    let region = &call.region;
    let arn = |resource: &str| format!("arn:aws:ec2:{region}:{ACCOUNT}:{resource}");
    let tags = tags(call);
    let keys: Vec<&String> = tags.keys().collect();
    let tagged = |action: &str| {
        Request::new(action, arn("instance/*"))
            .with_tags("aws:RequestTag/", &tags)
            .with("aws:TagKeys", keys.clone())
    };
    let mut instance = tagged("ec2:RunInstances");
    for (parameter, key) in [
        ("MetadataOptions.HttpTokens", "ec2:MetadataHttpTokens"),
        (
            "MetadataOptions.HttpPutResponseHopLimit",
            "ec2:MetadataHttpPutResponseHopLimit",
        ),
        ("InstanceType", "ec2:InstanceType"),
    ] {
        instance = match call.params.get(parameter) {
            Some(value) => instance.with(key, [value]),
            None => instance,
        };
    }
    let image = format!("arn:aws:ec2:{region}::image/{}", call.params["ImageId"]);
    let image = Request::new("ec2:RunInstances", image);
    let mut all = vec![
        instance,
        image.with("ec2:Owner", [account.image_owner]),
        Request::new("ec2:RunInstances", arn("volume/*")),
    ];
    if !call
        .params
        .keys()
        .any(|it| it.starts_with("NetworkInterface"))
    {
        all.push(Request::new("ec2:RunInstances", arn("network-interface/*")));
    }
    if !tags.is_empty() {
        all.push(tagged("ec2:CreateTags").with("ec2:CreateAction", ["RunInstances"]));
    }
    let first = |name: &String| name.split('.').next().unwrap_or_default().to_owned();
    if call
        .params
        .keys()
        .any(|name| first(name) == "IamInstanceProfile")
    {
        let role = Request::new("iam:PassRole", account.instance_role);
        all.push(role.with("iam:PassedToService", ["ec2.amazonaws.com"]));
    }
    for (name, value) in &call.params {
        let first = first(name);
        match NAMED.iter().find(|(parameter, _)| *parameter == first) {
            Some((_, kind)) => {
                let resource = arn(&format!("{kind}/{value}"));
                all.push(Request::new("ec2:RunInstances", resource));
            }
            None => assert!(READ.contains(&first.as_str()), "what does {name} name?"),
        }
    }
    all
}

/// The tags of a launch.
fn tags(call: &Call) -> BTreeMap<String, String> {
    let keys = call.params.iter();
    let keys = keys.filter(|(name, _)| name.contains(".Tag.") && name.ends_with(".Key"));
    keys.filter_map(|(_, key)| Some((key.clone(), call.tag(key)?.to_owned())))
        .collect()
}
