//! A local AWS with a secret, to which the templates are deployed.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use aws_sdk_cloudformation::Client as CloudFormation;
use aws_sdk_lambda::Client as Lambda;
use aws_sdk_secretsmanager::Client as SecretsManager;
use local_stack::deploy::Template;
use local_stack::dir::StackDir;
use local_stack::ministack::Ministack;
use local_stack::ports::Ports;
use local_stack::project;
use serde_json::json;
use tempfile::TempDir;

/// The functions of `template.yaml`.
pub(crate) const FUNCTIONS: [&str; 5] = [
    "reconcile",
    "hasura-event",
    "instance-state-change",
    "assign-user",
    "status",
];

pub(crate) const SECRET: &str = "scaling/hasura";

pub(crate) struct Fixture {
    // Fields are dropped from top to bottom: the local AWS before its folder.
    aws: Ministack,
    dir: StackDir,
    functions: PathBuf,
    _folder: TempDir,
}

/// Parameters of a template.
pub(crate) type Parameters = Vec<(String, String)>;

pub(crate) fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// The required parameters of `template.yaml`.
pub(crate) fn required() -> Parameters {
    parameters(&[
        ("HasuraUrl", "http://127.0.0.1:1"),
        ("HasuraSecret", SECRET),
        ("JwksUrl", "http://127.0.0.1:1/keys"),
        ("JwtIssuer", "issuer"),
        ("JwtAudience", "audience"),
        ("ScheduleEnabled", "false"),
    ])
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let functions = folder.path().join("functions");
        for function in FUNCTIONS {
            let program = functions.join(function);
            fs::create_dir_all(&program).unwrap();
            fs::write(program.join("bootstrap"), "#!/bin/sh\nexit 1\n").unwrap();
        }
        let dir = StackDir::claim(&folder.path().join("stack")).unwrap();
        let port = Ports::free().reserve("the local AWS").unwrap();
        let aws = Ministack::start(&dir, port, None).await.unwrap();
        let fixture = Self {
            aws,
            dir,
            functions,
            _folder: folder,
        };
        let create = fixture.secrets().create_secret().name(SECRET);
        let create = create.secret_string(secret_of("first"));
        create.send().await.unwrap();
        fixture
    }

    fn secrets(&self) -> SecretsManager {
        SecretsManager::new(&self.aws.sdk_config())
    }

    /// Gives every key of the secret a new value. Returns the id of the secret's new version.
    pub(crate) async fn rotate(&self, value: &str) -> String {
        let put = self.secrets().put_secret_value().secret_id(SECRET);
        let put = put.secret_string(secret_of(value)).send().await.unwrap();
        put.version_id.unwrap()
    }

    /// Runs `sam deploy`. Returns its output if it fails.
    pub(crate) async fn deploy(
        &self,
        template: &str,
        stack_name: &str,
        parameters: &Parameters,
    ) -> Result<(), String> {
        let template = Template {
            file: &project::root().join(template),
            functions: &self.functions,
            stack_name,
        };
        let deployed = template.deploy(&self.dir, &self.aws, parameters.iter());
        deployed.await.map_err(|error| format!("{error:#}"))
    }

    /// Why resources of a stack failed.
    pub(crate) async fn reasons(&self, stack_name: &str) -> String {
        let cloudformation = CloudFormation::new(&self.aws.sdk_config());
        let events = cloudformation.describe_stack_events();
        let events = events.stack_name(stack_name).send().await.unwrap();
        let events = events.stack_events.unwrap_or_default();
        let reasons = events.iter().filter_map(|it| it.resource_status_reason());
        reasons.collect::<Vec<_>>().join("\n")
    }

    /// The environment variables of a function.
    pub(crate) async fn variables(&self, function: &str) -> HashMap<String, String> {
        let lambda = Lambda::new(&self.aws.sdk_config());
        let get = lambda.get_function_configuration().function_name(function);
        let answer = get.send().await.unwrap();
        answer
            .environment
            .and_then(|it| it.variables)
            .unwrap_or_default()
    }
}

/// The secret with one value for all keys.
fn secret_of(value: &str) -> String {
    json!({
        "hasura_token_assigner": value,
        "hasura_token_passes": value,
        "hasura_token_events": value,
        "hasura_token_status": value,
        "jwt_key": value,
        "next_jwt_key": value,
        "event_secret": value,
        "status_token": value,
    })
    .to_string()
}
