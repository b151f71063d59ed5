//! The templates on the local AWS, with functions that are never invoked.

use std::fs;

use local_stack::deploy::Template;
use local_stack::dir::StackDir;
use local_stack::ministack::Ministack;
use local_stack::ports::Ports;
use local_stack::project;
use scaling_tests::iam::policy::Policy;
use scaling_tests::iam::roles::Role;
use serde_json::json;
use tempfile::TempDir;

/// What follows the stack's name in the functions' names.
pub(crate) const PASSES: [&str; 3] = ["reconcile", "hasura-event", "instance-state-change"];
pub(crate) const ALL: [&str; 5] = [
    "reconcile",
    "hasura-event",
    "instance-state-change",
    "assign-user",
    "status",
];

/// A local AWS with a secret.
pub(crate) struct Templates {
    // Fields are dropped from top to bottom: the local AWS before its folder.
    aws: Ministack,
    dir: StackDir,
    folder: TempDir,
}

/// The policies of every function of `template.yaml`.
pub(crate) struct Policies {
    pub(crate) stack: &'static str,
    functions: Vec<(&'static str, Vec<Policy>)>,
}

impl Templates {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for function in ALL {
            let program = folder.path().join("functions").join(function);
            fs::create_dir_all(&program).unwrap();
            fs::write(program.join("bootstrap"), "#!/bin/sh\nexit 1\n").unwrap();
        }
        let dir = StackDir::claim(&folder.path().join("stack")).unwrap();
        let port = Ports::free().reserve("the local AWS").unwrap();
        let aws = Ministack::start(&dir, port, None).await.unwrap();
        let secret = json!({
            "jwt_key": "s", "event_secret": "s", "status_token": "s",
            "hasura_token_assigner": "s", "hasura_token_passes": "s",
            "hasura_token_events": "s", "hasura_token_status": "s",
        });
        let create = aws_sdk_secretsmanager::Client::new(&aws.sdk_config()).create_secret();
        let create = create.name("s").secret_string(secret.to_string());
        create.send().await.unwrap();
        Self { aws, dir, folder }
    }

    /// Deploys `template.yaml` with these parameters.
    pub(crate) async fn deploy(
        &self,
        stack: &'static str,
        parameters: &[(&str, &str)],
    ) -> Policies {
        let required = [
            ("HasuraUrl", "http://127.0.0.1:1"),
            ("HasuraSecret", "s"),
            ("JwksUrl", "http://127.0.0.1:1/keys"),
            ("JwtIssuer", "issuer"),
            ("JwtAudience", "audience"),
            ("ScheduleEnabled", "false"),
        ];
        let all = required.iter().chain(parameters);
        let all: Vec<_> = all
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let template = Template {
            file: &project::root().join("template.yaml"),
            functions: &self.folder.path().join("functions"),
            stack_name: stack,
        };
        let deployed = template.deploy(&self.dir, &self.aws, all.iter()).await;
        deployed.unwrap();
        let mut functions = Vec::new();
        for function in ALL {
            let role = Role::of(&self.aws, stack, &format!("{stack}-{function}")).await;
            functions.push((function, role.policies));
        }
        Policies { stack, functions }
    }
}

impl Policies {
    pub(crate) fn of(&self, function: &str) -> &[Policy] {
        let mut all = self.functions.iter();
        let (_, policies) = all.find(|(name, _)| *name == function).expect(function);
        policies
    }
}
