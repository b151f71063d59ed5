//! Deploys a template to the local AWS with `sam deploy`, as to the real AWS.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_config::SdkConfig;
use aws_sdk_lambda::Client as Lambda;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::dir::{StackDir, private_folder};
use crate::expiry;
use crate::ministack::{ACCESS_KEY_ID, Ministack, REGION, SECRET_ACCESS_KEY};
use crate::process::Program;
use crate::project;
use crate::tokens::Tokens;

/// The name of the secret that the template reads at deployment.
const SECRET_NAME: &str = "scaling/hasura";

/// A file that SAM keeps in the home folder. Without it, SAM would check the network for a newer
/// version each time. Here the last check was in the year 2100.
const SAM_METADATA: &str = r#"{"telemetryEnabled": false, "lastVersionCheck": 4102444800}"#;

const DEPLOY_TIMEOUT: Duration = Duration::from_secs(300);

/// A deployment of `template.yaml`.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub template: PathBuf,
    /// The folder that the template calls `build/`: a folder for each function with its
    /// `bootstrap`.
    pub functions: PathBuf,
    pub stack_name: String,
    pub jwt_key: String,
    /// By the secret's keys.
    pub hasura_tokens: Tokens,
    pub event_secret: String,
    pub status_token: String,
    /// The template's parameters without the secret and the architecture.
    pub parameters: Vec<(String, String)>,
}

/// The deployed functions and resources.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub reconcile_function: String,
    pub assign_user_function: String,
    /// With a slash at the end, as on AWS.
    pub assign_user_url: String,
    /// `None` when the template has no such function.
    pub hasura_event_url: Option<String>,
    /// `None` when the template has no such function.
    pub instance_state_change_function: Option<String>,
    pub status_function: String,
    /// With a slash at the end, as on AWS.
    pub status_url: String,
    pub scaling_table: String,
}

impl Deployment {
    /// Stores the secret, deploys the template, and looks up what was deployed.
    ///
    /// # Errors
    /// When `sam deploy` fails: quotes its output.
    pub async fn run(&self, dir: &StackDir, aws: &Ministack) -> Result<Deployed> {
        let sdk = aws.sdk_config();
        self.store_secret(&sdk).await?;
        let template = Template {
            file: &self.template,
            functions: &self.functions,
            stack_name: &self.stack_name,
        };
        let secret = ("HasuraSecret".to_owned(), SECRET_NAME.to_owned());
        let parameters = self.parameters.iter().chain([&secret]);
        template.deploy(dir, aws, parameters).await?;
        let deployed = self.find_deployed(&sdk, aws.endpoint()).await?;
        expiry::switch_on(&sdk, &self.template, &deployed.scaling_table).await?;
        Ok(deployed)
    }

    async fn store_secret(&self, sdk: &SdkConfig) -> Result<()> {
        let mut secret = serde_json::json!({
            "jwt_key": self.jwt_key,
            "event_secret": self.event_secret,
            "status_token": self.status_token,
        });
        for (key, token) in &self.hasura_tokens {
            secret[key] = Value::String(token.expose_secret().to_owned());
        }
        aws_sdk_secretsmanager::Client::new(sdk)
            .create_secret()
            .name(SECRET_NAME)
            .secret_string(secret.to_string())
            .send()
            .await
            .with_context(|| format!("create the secret {SECRET_NAME}"))?;
        Ok(())
    }

    /// Asks Lambda instead of reading the stack's outputs, because those are XML and name URLs on
    /// AWS's own domain.
    async fn find_deployed(&self, sdk: &SdkConfig, endpoint: &str) -> Result<Deployed> {
        let lambda = Lambda::new(sdk);
        let reconcile_function = format!("{}-reconcile", self.stack_name);
        let assign_user_function = format!("{}-assign-user", self.stack_name);
        let hasura_event_function = format!("{}-hasura-event", self.stack_name);
        let assign_user_url = function_url(&lambda, endpoint, &assign_user_function)
            .await?
            .with_context(|| format!("{assign_user_function} has no URL"))?;
        let hasura_event_url = function_url(&lambda, endpoint, &hasura_event_function).await?;
        let name = format!("{}-instance-state-change", self.stack_name);
        let instance_state_change_function = environment(&lambda, &name).await?.map(|_| name);
        let status_function = format!("{}-status", self.stack_name);
        let status_url = function_url(&lambda, endpoint, &status_function)
            .await?
            .with_context(|| format!("{status_function} has no URL"))?;
        let scaling_table = environment(&lambda, &reconcile_function)
            .await?
            .and_then(|mut variables| variables.remove("SCALING_TABLE"))
            .with_context(|| format!("{reconcile_function} has no variable SCALING_TABLE"))?;
        Ok(Deployed {
            assign_user_url,
            hasura_event_url,
            reconcile_function,
            assign_user_function,
            instance_state_change_function,
            status_function,
            status_url,
            scaling_table,
        })
    }
}

/// A template of the project, and the name of its stack.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    pub file: &'a Path,
    /// The folder that the template calls `build/`.
    pub functions: &'a Path,
    pub stack_name: &'a str,
}

impl Template<'_> {
    /// Runs `sam deploy` with these parameters and the architecture of this machine.
    ///
    /// # Errors
    /// When `sam deploy` fails: quotes its output.
    pub async fn deploy(
        &self,
        dir: &StackDir,
        aws: &Ministack,
        parameters: impl Iterator<Item = &(String, String)>,
    ) -> Result<()> {
        let overrides = parameters
            .map(|(key, value)| format!("{key}={}", quoted(value)))
            .chain([format!("Architecture={ARCHITECTURE}")]);
        let folder = dir.data(&format!("deploy-{}", self.stack_name));
        private_folder(&folder)?;
        // The template takes the functions from the folder build/ beside it. In the checkout, that
        // folder has the functions of a real deployment.
        let template = folder.join("template.yaml");
        fs::copy(self.file, &template).with_context(|| format!("copy {}", self.file.display()))?;
        let build = folder.join("build");
        // The stack may be deployed again, with other parameters.
        if build.is_symlink() {
            fs::remove_file(&build)?;
        }
        symlink(self.functions, build)?;
        // An own configuration, because the checkout's samconfig.toml may have the settings of a
        // real deployment.
        let config = folder.join("samconfig.toml");
        fs::write(&config, "version = 0.1\n")?;
        let sam_home = dir.home().join(".aws-sam");
        fs::create_dir_all(&sam_home)?;
        fs::write(sam_home.join("metadata.json"), SAM_METADATA)?;
        Program::new("sam-deploy", project::python_tool("sam")?)
            .args(["deploy", "--resolve-s3", "--capabilities", "CAPABILITY_IAM"])
            .args(["--no-confirm-changeset", "--no-fail-on-empty-changeset"])
            .args(["--stack-name", self.stack_name, "--region", REGION])
            .arg("--template-file")
            .arg(template)
            .arg("--config-file")
            .arg(config)
            .arg("--parameter-overrides")
            .args(overrides)
            .env("AWS_ENDPOINT_URL", aws.endpoint())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            // The local AWS has no rate limit, so that polling can be fast.
            .env("SAM_CLI_POLL_DELAY", "0.2")
            .run(dir, DEPLOY_TIMEOUT)
            .await
            .context("deploy the template")
    }
}

/// Quotes a value for SAM where it has spaces, quotes or backslashes.
fn quoted(value: &str) -> String {
    if value.contains(['"', ' ', '\\']) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    } else {
        value.to_owned()
    }
}

/// A function's environment variables; `None` when the function does not exist.
async fn environment(lambda: &Lambda, name: &str) -> Result<Option<HashMap<String, String>>> {
    let request = lambda.get_function_configuration().function_name(name);
    let answer = found(request.send().await, || {
        format!("get the configuration of the function {name}")
    })?;
    let variables = |answer: GetFunctionConfigurationOutput| answer.environment?.variables;
    Ok(answer.map(|answer| variables(answer).unwrap_or_default()))
}

/// A function's URL on the local AWS; `None` when the function does not exist or has no URL.
pub(crate) async fn function_url(
    lambda: &Lambda,
    endpoint: &str,
    name: &str,
) -> Result<Option<String>> {
    let request = lambda.get_function_url_config().function_name(name);
    let answer = found(request.send().await, || {
        format!("get the URL of the function {name}")
    })?;
    let Some(answer) = answer else {
        return Ok(None);
    };
    let url = answer.function_url;
    let id = url_id(&url).with_context(|| format!("{url} is not a function URL"))?;
    Ok(Some(format!("{endpoint}/_aws/lambda-url/{id}/")))
}

/// Turns "not found" into `None`. `action` describes the request in other errors.
fn found<T, E>(answer: Result<T, SdkError<E>>, action: impl FnOnce() -> String) -> Result<Option<T>>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(error).with_context(action),
    }
}

/// The architecture of this machine, where the functions run.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "x86_64"
};

/// The first label of the host name in a function URL.
fn url_id(url: &str) -> Option<&str> {
    url.strip_prefix("https://")?
        .split_once('.')
        .map(|(id, _)| id)
}
