//! The local AWS: Lambda, `CloudFormation`, DynamoDB, `EventBridge`, SQS, Secrets Manager, logs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use crate::dir::StackDir;
use crate::health;
use crate::ports::ReservedPort;
use crate::process::{Process, Program};
use crate::project;

/// The home region of the stack, with its functions and its table.
pub const REGION: &str = "us-east-1";

/// The account's root credentials, for tools and tests. The functions get credentials of their own
/// roles, whose policies the local AWS enforces.
pub const ACCESS_KEY_ID: &str = "test";
pub const SECRET_ACCESS_KEY: &str = "test";

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running local AWS. Its state is in memory and is lost with the process. Dropping it stops it.
#[derive(Debug)]
pub struct Ministack {
    process: Process,
    endpoint: String,
    calls: PathBuf,
}

impl Ministack {
    /// Starts the local AWS and waits until it responds.
    ///
    /// Functions inherit its environment and find the local AWS and `ec2_endpoint` there, so that
    /// the template needs no local settings. The environment has nothing else, because a variable
    /// that the template forgets must be missing here too.
    ///
    /// # Errors
    /// When the program is not installed or does not start: quotes its log.
    pub async fn start(
        dir: &StackDir,
        port: ReservedPort,
        ec2_endpoint: Option<&str>,
    ) -> Result<Self> {
        let endpoint = format!("http://127.0.0.1:{}", port.port());
        let calls = dir.data("ministack").join("iam-calls.jsonl");
        let mut program = Program::new("ministack", project::python_tool("python3")?)
            // ministack with rules of the real AWS that it lacks.
            .arg(project::root().join("local/stack/real_aws.py"))
            .env("BIND_HOST", "127.0.0.1")
            // Checks roles and their policies, as AWS does.
            .env("AUTH", "true")
            .env("SCALING_IAM_CALLS", &calls)
            .env("IOT_MTLS_ENABLED", "0")
            .env("STATE_DIR", dir.data("ministack").join("state"))
            .env("S3_DATA_DIR", dir.data("ministack").join("s3"))
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            .env("AWS_ENDPOINT_URL", &endpoint);
        if let Some(ec2_endpoint) = ec2_endpoint {
            program = program.env("AWS_ENDPOINT_URL_EC2", ec2_endpoint);
        }
        let process = program
            .env("GATEWAY_PORT", port.release().to_string())
            .start(dir)?;
        let health = format!("{endpoint}/_ministack/health");
        process
            .ready(START_TIMEOUT, async || health::responds(&health).await)
            .await?;
        Ok(Self {
            process,
            endpoint,
            calls,
        })
    }

    /// The file with the calls that roles were asked for, one JSON object a line: the caller's access
    /// key and principal, the action, the resource and DynamoDB's partition keys. Each is there once. Calls to EC2 are in the
    /// emulator's ledger.
    pub fn calls(&self) -> &Path {
        &self.calls
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn sdk_config(&self) -> SdkConfig {
        sdk_config(&self.endpoint)
    }

    pub fn stop(&mut self) {
        self.process.stop();
    }
}

/// The configuration for clients of the local AWS at `endpoint`.
///
/// Create a client for each test: its connections belong to the runtime in which it was first used.
pub fn sdk_config(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "local-stack");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}
