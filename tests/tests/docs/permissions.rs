//! What the templates' roles permit.

use serde_json::{Value, json};
use shared::host::tags;

use crate::expanded::templates;

/// A role that runs passes.
const PASS_ROLE: &str = "ReconcileRole";

const BY_EC2: &str = "ec2.*.${AWS::URLSuffix}";

/// Lambda deletes a function's network interfaces some time after the update that removed its
/// subnets, with the function's role.
#[test]
fn every_role_permits_network_interfaces_while_functions_have_them_and_while_they_leave() {
    for template in templates() {
        let choice = json!({"Fn::If": [
            "ManagesNetworkInterfaces", {"Ref": "NetworkInterfaces"}, {"Ref": "AWS::NoValue"},
        ]});
        for (role, properties) in template.properties("AWS::IAM::Role") {
            let attached = properties["ManagedPolicyArns"].as_array().expect(role);
            assert!(attached.contains(&choice), "{} {role}", template.file);
        }
        assert_eq!(
            template.condition("ManagesNetworkInterfaces"),
            &json!({"Fn::Or": [
                {"Condition": "HasVpc"},
                {"Fn::Equals": [{"Ref": "FunctionLeavesVpc"}, "true"]},
            ]})
        );
        let mut policies = template.properties("AWS::IAM::ManagedPolicy").into_iter();
        let policy = policies.find(|(name, _)| *name == "NetworkInterfaces");
        let (_, policy) = policy.expect("NetworkInterfaces");
        let statements = &policy["PolicyDocument"]["Statement"];
        assert_eq!(statements[0]["Effect"], "Allow", "{statements:#}");
        let actions = &statements[0]["Action"];
        for action in [
            "AssignPrivateIpAddresses",
            "CreateNetworkInterface",
            "DeleteNetworkInterface",
            "DescribeNetworkInterfaces",
            "UnassignPrivateIpAddresses",
        ] {
            let action = json!(format!("ec2:{action}"));
            assert!(actions.as_array().unwrap().contains(&action), "{action}");
        }
        // The functions' own code is denied the same.
        assert_eq!(statements[1]["Effect"], "Deny", "{statements:#}");
        assert_eq!(statements[1]["Action"], *actions);
        let condition = &statements[1]["Condition"]["ArnLike"]["lambda:SourceFunctionArn"];
        let arn = condition["Fn::Sub"].as_str().unwrap();
        assert!(arn.ends_with(":function:${AWS::StackName}-*"), "{arn}");
    }
}

#[test]
fn volume_keys_permit_what_ebs_needs_and_only_through_ec2() {
    for template in templates() {
        let uses = template.statement(PASS_ROLE, "UseVolumeKeys");
        let lets = template.statement(PASS_ROLE, "LetEC2UseVolumeKeys");
        for statement in [&uses, &lets] {
            assert_eq!(statement.only_if, Some("HasVolumeKeys"));
            assert_eq!(statement.value["Resource"], json!({"Ref": "VolumeKeyArns"}));
            let service = &statement.value["Condition"]["StringLike"]["kms:ViaService"];
            assert_eq!(service, &json!({"Fn::Sub": BY_EC2}), "{statement:#?}");
        }
        let needed = json!([
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:ReEncrypt*",
        ]);
        assert_eq!(uses.value["Action"], needed);
        assert_eq!(lets.value["Action"], "kms:CreateGrant");
        let only_for_aws = &lets.value["Condition"]["Bool"]["kms:GrantIsForAWSResource"];
        assert_eq!(only_for_aws, "true");
    }
}

#[test]
fn alert_topic_key_permits_what_an_encrypted_topic_needs() {
    for template in templates() {
        let statement = template.statement(PASS_ROLE, "EncryptAlerts");
        assert_eq!(statement.only_if, Some("HasAlertTopicKey"));
        assert_eq!(
            statement.value["Action"],
            json!(["kms:Decrypt", "kms:GenerateDataKey*"])
        );
        let key = json!({"Ref": "AlertTopicKeyArn"});
        assert_eq!(statement.value["Resource"], key);
    }
}

#[test]
fn instance_role_is_passed_to_ec2_under_both_of_its_names() {
    for template in templates() {
        let statement = template.statement(PASS_ROLE, "GiveInstancesTheirRole");
        assert_eq!(
            statement.value["Condition"]["StringEquals"]["iam:PassedToService"],
            json!(["ec2.amazonaws.com", "ec2.amazonaws.com.cn"])
        );
    }
}

/// KMS finds a key by the ARN of the key. An alias in a policy matches nothing.
#[test]
fn parameters_of_keys_accept_keys_and_no_aliases() {
    for template in templates() {
        for name in ["VolumeKeyArns", "AlertTopicKeyArn"] {
            let parameter = template.parameter(name).unwrap();
            let pattern = parameter["AllowedPattern"].as_str().unwrap();
            assert!(pattern.contains(":key/"), "{name}: {pattern}");
        }
    }
}

/// No other tag can be set, so that a function cannot get what another policy grants by tag.
#[test]
fn only_the_tags_of_a_launch_can_be_set() {
    let mut own = [
        tags::NAME,
        tags::CAPACITY,
        tags::CLIENT_SHA,
        tags::IMAGE,
        tags::LAUNCH,
        tags::REGION,
        tags::STACK,
        tags::SUBNET,
    ];
    own.sort_unstable();
    for template in templates() {
        for sid in ["LaunchMarkedInstances", "MarkAtLaunchOnly"] {
            let statement = template.statement(PASS_ROLE, sid);
            let condition = &statement.value["Condition"];
            let keys = &condition["ForAllValues:StringEquals"]["aws:TagKeys"];
            assert_eq!(keys, &json!(own), "{} {sid}", template.file);
        }
    }
}

/// A function's variables hold its secrets.
#[test]
fn no_function_may_read_the_variables_of_functions() {
    for template in templates() {
        let roles = template.properties("AWS::IAM::Role").into_iter();
        for statement in roles.flat_map(|(role, _)| template.statements(role)) {
            let actions = match &statement.value["Action"] {
                Value::Array(actions) => actions.clone(),
                action => vec![action.clone()],
            };
            for action in actions {
                let action = action.as_str().expect("an action").to_lowercase();
                let reads = action.starts_with("lambda:get") || action.contains("lambda:*");
                assert!(!reads, "{}: {action}", template.file);
            }
        }
    }
}

/// Everybody reaches the function `status`: of the table, it may write a single partition.
#[test]
fn status_writes_only_sessions_that_ended() {
    for template in templates() {
        let statements = template.statements("StatusRole");
        let writes = statements.iter().filter(|statement| {
            let actions = statement.value["Action"].to_string();
            ["Put", "Update", "Delete", "Write", "*"]
                .iter()
                .any(|write| actions.contains(&format!("dynamodb:{write}")))
        });
        let writes: Vec<_> = writes.map(|statement| &statement.value["Sid"]).collect();
        assert_eq!(writes, ["EndSessions"], "{}", template.file);
        let statement = template.statement("StatusRole", "EndSessions").value;
        assert_eq!(statement["Action"], "dynamodb:PutItem");
        let keys = &statement["Condition"]["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"];
        assert_eq!(keys, &json!(["ENDED_SESSIONS"]));
        assert_eq!(
            statement["Condition"]["Null"]["dynamodb:LeadingKeys"],
            "false"
        );
    }
}

/// Lambda's own trace of a function needs the role to send it.
#[test]
fn functions_send_traces_only_if_a_parameter_says_so() {
    for template in templates() {
        let traced = json!({"Fn::Equals": [{"Ref": "Tracing"}, "Active"]});
        assert_eq!(template.condition("IsTraced"), &traced);
        assert_eq!(template.condition_of("SendTraces"), Some("IsTraced"));
        let parameter = template.parameter("Tracing").expect("Tracing");
        assert_eq!(parameter["Default"], "PassThrough");
        let choice =
            json!({"Fn::If": ["IsTraced", {"Ref": "SendTraces"}, {"Ref": "AWS::NoValue"}]});
        for (function, properties) in template.functions() {
            let mode = json!({"Mode": {"Ref": "Tracing"}});
            assert_eq!(properties["TracingConfig"], mode, "{function}");
        }
        for (role, properties) in template.properties("AWS::IAM::Role") {
            let is_of_function = template
                .functions()
                .iter()
                .any(|(_, function)| function["Role"] == json!({"Fn::GetAtt": [role, "Arn"]}));
            let attached = properties["ManagedPolicyArns"].as_array();
            let sends = attached.is_some_and(|it| it.contains(&choice));
            assert_eq!(sends, is_of_function, "{role}");
        }
        let sends = template.statement(PASS_ROLE, "SendTraces");
        let actions = json!(["xray:PutTelemetryRecords", "xray:PutTraceSegments"]);
        assert_eq!(sends.value["Action"], actions);
    }
}
