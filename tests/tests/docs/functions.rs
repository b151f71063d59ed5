//! What the templates' functions have in common.

use local_stack::options::LONGEST_NAME;
use scaling_tests::markdown::Page;
use serde_json::{Value, json};
use shared::function_token::FunctionRole;

use crate::expanded::{Expanded, templates};

/// Lambda's API: the longest name of a function.
const LONGEST_FUNCTION_NAME: usize = 64;

/// Lambda's quotas: all variables of a function together, in bytes of their JSON.
const LARGEST_ENVIRONMENT: usize = 4096;

/// Longer than any key of the secret should be, but for tokens.
const SECRET: usize = 128;

/// Longer than a function's token for Hasura.
const TOKEN: usize = 300;

fn variables(function: &Value) -> &serde_json::Map<String, Value> {
    let variables = &function["Environment"]["Variables"];
    variables.as_object().expect("Environment.Variables")
}

#[test]
fn every_reference_to_a_secret_names_the_version() {
    for template in templates() {
        let texts = template.texts();
        let references = texts.iter().filter(|it| it.contains("{{resolve:"));
        let references: Vec<_> = references.collect();
        assert!(!references.is_empty(), "{}", template.file);
        for reference in references {
            // {{resolve:secretsmanager:ID:SecretString:KEY:STAGE:VERSION}}, the stage left out
            assert!(
                reference.ends_with("::${SecretVersion}}}"),
                "{}: {reference}",
                template.file
            );
        }
    }
}

/// Each function has the token of its own role, and only those that launch instances can sign tokens.
#[test]
fn functions_hold_their_own_token_and_never_the_admin_secret() {
    let [template, _] = templates();
    let texts = template.texts();
    let admin = texts.iter().find(|it| it.contains(":admin_secret:"));
    assert_eq!(admin, None);
    let functions = template.functions();
    assert_eq!(functions.len(), 5);
    for (name, function) in functions {
        let function_name = function["FunctionName"]["Fn::Sub"].as_str().expect(name);
        let role = role_of(function_name);
        let token = variables(function)["HASURA_TOKEN"]["Fn::Sub"].as_str();
        let reference = format!(":{}:", role.secret_key());
        assert!(token.expect(name).contains(&reference), "{name}: {token:?}");
        let signs = variables(function).contains_key("HASURA_JWT_KEY");
        let runs_passes = matches!(role, FunctionRole::Passes | FunctionRole::Events);
        assert_eq!(signs, runs_passes, "{name}");
    }
}

fn role_of(function_name: &str) -> FunctionRole {
    match function_name.trim_start_matches("${AWS::StackName}-") {
        "assign-user" => FunctionRole::Assigner,
        "reconcile" => FunctionRole::Passes,
        "hasura-event" | "instance-state-change" => FunctionRole::Events,
        "status" => FunctionRole::Status,
        other => panic!("a function without a role: {other}"),
    }
}

/// CloudFormation resolves a reference again only in a resource that changes.
#[test]
fn new_secret_version_changes_every_function() {
    for template in templates() {
        for (name, function) in template.functions() {
            let version = variables(function).get("SECRET_VERSION");
            let expected = json!({"Ref": "SecretVersion"});
            assert_eq!(version, Some(&expected), "{} {name}", template.file);
        }
    }
}

#[test]
fn every_function_runs_in_the_subnets_with_ipv6_if_wanted() {
    for template in templates() {
        for (name, function) in template.functions() {
            let choice = &function["VpcConfig"]["Fn::If"];
            let expected = json!(["HasVpc", {
                "SubnetIds": {"Ref": "FunctionSubnetIds"},
                "SecurityGroupIds": {"Ref": "FunctionSecurityGroupIds"},
                "Ipv6AllowedForDualStack": {"Ref": "FunctionIpv6"},
            }, {"Ref": "AWS::NoValue"}]);
            assert_eq!(choice, &expected, "{} {name}", template.file);
        }
    }
}

/// A new account has 10 concurrent executions, and Lambda keeps them all unreserved.
#[test]
fn nothing_is_reserved_unless_a_parameter_says_so() {
    for template in templates() {
        for (name, function) in template.functions() {
            let choice = &function["ReservedConcurrentExecutions"]["Fn::If"];
            let parameter = choice[1]["Ref"].as_str().expect(name);
            let parameter = template.parameter(parameter).expect(parameter);
            assert_eq!(parameter["Default"], -1, "{} {name}", template.file);
            assert_eq!(choice[2], json!({"Ref": "AWS::NoValue"}));
        }
    }
}

/// Three URLs are open to everybody and share the account's executions with `reconcile`.
#[test]
fn reconcile_without_executions_raises_an_alarm() {
    for template in templates() {
        let alarms = template.properties("AWS::CloudWatch::Alarm");
        let alarm = alarms
            .iter()
            .find(|(name, _)| *name == "ReconcileThrottled");
        let (_, alarm) = alarm.expect(template.file);
        let dimension = json!([{"Name": "FunctionName", "Value": {"Ref": "ReconcileFunction"}}]);
        assert_eq!(alarm["Dimensions"], dimension);
        assert_eq!(alarm["MetricName"], "Throttles");
        assert_eq!(alarm["AlarmActions"]["Fn::If"][0], "HasAlertTopic");
    }
}

/// The longest name of a stack, by the longest name of its functions.
fn longest_stack_name(template: &Expanded) -> usize {
    let functions = template.functions();
    let names = functions
        .iter()
        .map(|(_, it)| &it["FunctionName"]["Fn::Sub"]);
    let suffixes = names.map(|name| {
        let name = name.as_str().expect("FunctionName");
        name.strip_prefix("${AWS::StackName}").expect(name).len()
    });
    LONGEST_FUNCTION_NAME - suffixes.max().expect("a function")
}

#[test]
fn longest_stack_name_is_documented_and_kept_by_the_local_stack() {
    for (template, page) in templates()
        .into_iter()
        .zip(["docs/deploy.md", "docs/replicas.md"])
    {
        let says = format!("at most {} characters", longest_stack_name(template));
        let description = template.description();
        assert!(description.contains(&says), "{says}: {description}");
        let page = Page::read(page).text();
        assert!(page.contains(&says), "{says}: {}", template.file);
    }
    let [service, _] = templates();
    assert_eq!("scaling-".len() + LONGEST_NAME, longest_stack_name(service));
}

/// As long as a text is allowed to be, with the escapes that such a text has in JSON.
fn longest_text(parameter: &str, length: usize) -> String {
    let sample = match parameter {
        "UserData" => "echo \"SCALING_REGION=${REGION}\" >>/etc/environment # for the program\n",
        "LaunchChoices" => {
            r#"{"instance_type":"m6i.large","subnet_id":"subnet-0123456789abcdef0"},"#
        }
        "SecurityGroups" => r#""sg-0123456789abcdef0","#,
        _ => "x",
    };
    sample.chars().cycle().take(length).collect()
}

/// The longest value of a parameter.
fn longest(template: &Expanded, name: &str) -> String {
    let stack = longest_stack_name(template);
    let parameter = match template.parameter(name) {
        Some(parameter) => parameter,
        None if name == "AWS::StackName" => return "x".repeat(stack),
        // CloudFormation appends the resource's name and 13 characters to the stack's name.
        None => return "x".repeat(stack + name.len() + 15),
    };
    if let Some(values) = parameter["AllowedValues"].as_array() {
        let texts = values
            .iter()
            .map(|value| value.as_str().unwrap_or_default());
        return texts
            .max_by_key(|text| text.len())
            .unwrap_or_default()
            .to_owned();
    }
    if parameter["Type"] == "Number" {
        return "9".repeat(6);
    }
    let length = parameter["MaxLength"].as_u64();
    let length = length.unwrap_or_else(|| panic!("{}: {name} needs MaxLength", template.file));
    longest_text(name, usize::try_from(length).unwrap())
}

/// The longest value of a variable.
fn evaluated(template: &Expanded, value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    if let Some(name) = value["Ref"].as_str() {
        return longest(template, name);
    }
    if let Some(choice) = value["Fn::If"].as_array() {
        let branches = choice[1..].iter().map(|it| evaluated(template, it));
        return branches.max_by_key(String::len).unwrap_or_default();
    }
    match value["Fn::Sub"].as_str() {
        Some(text) if text.contains(":hasura_token_") => "x".repeat(TOKEN),
        Some(text) if text.starts_with("{{resolve:") => "x".repeat(SECRET),
        Some(text) => text.replace("${AWS::StackName}", &longest(template, "AWS::StackName")),
        None => panic!("{}: {value}", template.file),
    }
}

#[test]
fn variables_fit_into_4_kb_with_every_parameter_at_its_longest() {
    for template in templates() {
        for (name, function) in template.functions() {
            let all = variables(function).iter();
            let all: serde_json::Map<_, _> = all
                .map(|(variable, value)| (variable.clone(), evaluated(template, value).into()))
                .collect();
            let bytes = Value::Object(all).to_string().len();
            assert!(
                bytes <= LARGEST_ENVIRONMENT,
                "{} {name}: {bytes} bytes",
                template.file
            );
            let is_for_launches = variables(function).contains_key("EC2_CALL_SECONDS");
            let has_user_data = variables(function).contains_key("REPLICA_USER_DATA");
            assert!(
                is_for_launches || !has_user_data,
                "{} {name}",
                template.file
            );
        }
    }
}
