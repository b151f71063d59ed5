//! The local AWS refuses and changes what the real one does, and ministack alone does not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::time::{Duration, Instant};

use aws_sdk_cloudformation::Client as CloudFormation;
use aws_sdk_cloudformation::types::{Capability, StackStatus};
use aws_sdk_lambda::Client as Lambda;
use aws_sdk_lambda::error::ProvideErrorMetadata as _;
use aws_sdk_lambda::types::Environment;
use local_stack::dir::StackDir;
use local_stack::ministack::Ministack;
use local_stack::ports::Ports;
use serde_json::json;
use tempfile::TempDir;

/// The longest name of a function.
const LONGEST_NAME: usize = 64;

/// The bytes of all variables of a function, as one JSON object.
const LARGEST_ENVIRONMENT: usize = 4096;

/// The variable `V` and its quotes, colon and braces.
const OVERHEAD: usize = r#"{"V":""}"#.len();

/// Far longer than a deployment takes.
const TIMEOUT: Duration = Duration::from_secs(60);

struct Aws {
    // Dropped before the folder that it writes to.
    ministack: Ministack,
    _dir: StackDir,
    _folder: TempDir,
}

impl Aws {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = StackDir::claim(&folder.path().join("stack")).unwrap();
        let port = Ports::free().reserve("the local AWS").unwrap();
        let ministack = Ministack::start(&dir, port, None).await.unwrap();
        Self {
            ministack,
            _dir: dir,
            _folder: folder,
        }
    }

    /// Deploys a function of this name with a variable of so many bytes. Returns why it failed.
    async fn deploy(&self, function: &str, variable: usize) -> Result<(), String> {
        let stack = format!("stack-{}-{variable}", function.len());
        let template = template(function, &"x".repeat(variable));
        self.create(&stack, &template).await
    }

    /// Creates a stack. Returns why it failed.
    async fn create(&self, stack: &str, template: &str) -> Result<(), String> {
        let cloudformation = CloudFormation::new(&self.ministack.sdk_config());
        let create = cloudformation
            .create_stack()
            .stack_name(stack)
            .template_body(template)
            .capabilities(Capability::CapabilityIam);
        create.send().await.unwrap();
        let start = Instant::now();
        loop {
            let described = cloudformation.describe_stacks().stack_name(stack).send();
            let stacks = described.await.unwrap().stacks.unwrap();
            match stacks[0].stack_status() {
                Some(StackStatus::CreateComplete) => return Ok(()),
                Some(StackStatus::CreateInProgress | StackStatus::RollbackInProgress) => {
                    assert!(start.elapsed() < TIMEOUT, "{stacks:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => break,
            }
        }
        let events = cloudformation
            .describe_stack_events()
            .stack_name(stack)
            .send();
        let events = events.await.unwrap().stack_events.unwrap_or_default();
        let reasons = events.iter().filter_map(|it| it.resource_status_reason());
        Err(reasons.collect::<Vec<_>>().join("\n"))
    }
}

/// A function that answers each request with a challenge, and its URL.
fn template(function: &str, variable: &str) -> String {
    let code = "def handler(event, context):\n    return {'statusCode': 401, 'body': '', \
                'headers': {'WWW-Authenticate': 'Bearer', 'x-other': 'kept'}}\n";
    json!({
        "Resources": {
            "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [{
                    "Effect": "Allow",
                    "Principal": {"Service": "lambda.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }],
            }}},
            "Function": {"Type": "AWS::Lambda::Function", "Properties": {
                "FunctionName": function,
                "Runtime": "python3.11",
                "Handler": "index.handler",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Environment": {"Variables": {"V": variable}},
                "Code": {"ZipFile": code},
            }},
            "Url": {"Type": "AWS::Lambda::Url", "Properties": {
                "AuthType": "NONE",
                "TargetFunctionArn": {"Ref": "Function"},
            }},
        },
    })
    .to_string()
}

fn name_of(length: usize) -> String {
    "f".repeat(length)
}

#[tokio::test]
async fn function_url_renames_the_challenge_of_an_answer() {
    let aws = Aws::start().await;
    aws.deploy("challenge", 1).await.unwrap();
    let lambda = Lambda::new(&aws.ministack.sdk_config());
    let url = lambda.get_function_url_config().function_name("challenge");
    let url = url.send().await.unwrap().function_url;
    let id = url.trim_start_matches("https://").split('.').next();
    let endpoint = aws.ministack.endpoint();
    let url = format!("{endpoint}/_aws/lambda-url/{}/", id.unwrap());
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.status(), 401);
    let headers = answer.headers();
    assert_eq!(headers["x-amzn-remapped-www-authenticate"], "Bearer");
    assert_eq!(headers.get("www-authenticate"), None, "{headers:?}");
    assert_eq!(headers["x-other"], "kept");
}

#[tokio::test]
async fn function_name_of_more_than_64_characters_fails_its_stack() {
    let aws = Aws::start().await;
    aws.deploy(&name_of(LONGEST_NAME), 1).await.unwrap();
    let refused = aws.deploy(&name_of(LONGEST_NAME + 1), 1).await.unwrap_err();
    let says = "less than or equal to 64";
    assert!(refused.contains(says), "{refused}");
}

#[tokio::test]
async fn variables_of_more_than_4_kb_are_refused() {
    let aws = Aws::start().await;
    let largest = LARGEST_ENVIRONMENT - OVERHEAD;
    aws.deploy("largest", largest).await.unwrap();
    let refused = aws.deploy("too-large", largest + 1).await.unwrap_err();
    assert!(refused.contains("exceeded the 4KB limit"), "{refused}");

    let lambda = Lambda::new(&aws.ministack.sdk_config());
    let environment = Environment::builder().variables("V", "x".repeat(largest + 1));
    let update = lambda
        .update_function_configuration()
        .function_name("largest")
        .environment(environment.build());
    let refused = update.send().await.unwrap_err();
    assert_eq!(refused.code(), Some("InvalidParameterValueException"));
}

#[tokio::test]
async fn condition_may_join_the_texts_of_a_list() {
    let aws = Aws::start().await;
    let is_given = |list: &str| {
        let joined = json!({"Fn::Join": ["", {"Ref": list}]});
        json!({"Fn::Not": [{"Fn::Equals": [joined, ""]}]})
    };
    let topic = |list: &str| json!({"Type": "AWS::SNS::Topic", "Condition": list});
    let template = json!({
        "Parameters": {
            "Empty": {"Type": "CommaDelimitedList", "Default": ""},
            "Given": {"Type": "CommaDelimitedList", "Default": "a, b"},
        },
        "Conditions": {"IsEmpty": is_given("Empty"), "IsGiven": is_given("Given")},
        "Resources": {"None": topic("IsEmpty"), "One": topic("IsGiven")},
    });
    aws.create("lists", &template.to_string()).await.unwrap();
    let cloudformation = CloudFormation::new(&aws.ministack.sdk_config());
    let made = cloudformation
        .describe_stack_resources()
        .stack_name("lists");
    let made = made.send().await.unwrap().stack_resources.unwrap();
    let made: Vec<_> = made
        .iter()
        .filter_map(|it| it.logical_resource_id())
        .collect();
    assert_eq!(made, ["One"]);
}
