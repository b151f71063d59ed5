//! Deploys the template to the local AWS, as one deploys it to the real one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_config::SdkConfig;
use aws_sdk_lambda::Client as Lambda;

use crate::dir::StackDir;
use crate::ministack::{ACCESS_KEY_ID, Ministack, REGION, SECRET_ACCESS_KEY};
use crate::process::Program;
use crate::project;

/// The secret that the template reads at deployment.
const SECRET_NAME: &str = "scaling/hasura";

/// SAM keeps this in its user's home. Without it, it would look on the network
/// for a newer version each time; it did so last in the year 2100.
const SAM_METADATA: &str = r#"{"telemetryEnabled": false, "lastVersionCheck": 4102444800}"#;

const DEPLOY_TIME: Duration = Duration::from_secs(300);

/// What one deployment is made of.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub template: PathBuf,
    /// Has a folder for each function with its `bootstrap`: what the template
    /// calls `build/`.
    pub functions: PathBuf,
    pub stack_name: String,
    pub admin_secret: String,
    pub jwt_key: String,
    pub event_secret: String,
    /// The template's parameters, but for the secret and the architecture.
    pub parameters: Vec<(String, String)>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub reconcile_function: String,
    pub assign_user_function: String,
    /// With a slash at its end, as AWS gives it.
    pub assign_user_url: String,
    /// None while the template has no such function.
    pub hasura_event_url: Option<String>,
    pub scaling_table: String,
}

impl Deployment {
    /// # Errors
    /// Quotes what `sam deploy` printed when that fails.
    pub async fn run(&self, dir: &StackDir, aws: &Ministack) -> Result<Deployed> {
        let sdk = aws.sdk_config();
        self.store_secret(&sdk).await?;
        self.sam_deploy(dir, aws).await?;
        self.deployed(&sdk, aws.endpoint()).await
    }

    async fn store_secret(&self, sdk: &SdkConfig) -> Result<()> {
        let secret = serde_json::json!({
            "admin_secret": self.admin_secret,
            "jwt_key": self.jwt_key,
            "event_secret": self.event_secret,
        });
        aws_sdk_secretsmanager::Client::new(sdk)
            .create_secret()
            .name(SECRET_NAME)
            .secret_string(secret.to_string())
            .send()
            .await
            .with_context(|| format!("create the secret {SECRET_NAME}"))?;
        Ok(())
    }

    async fn sam_deploy(&self, dir: &StackDir, aws: &Ministack) -> Result<()> {
        let overrides = self
            .parameters
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .chain([
                format!("HasuraSecret={SECRET_NAME}"),
                format!("Architecture={ARCHITECTURE}"),
            ]);
        let folder = dir.data("deploy");
        fs::create_dir_all(&folder)?;
        // The template takes the functions from the folder beside it. In the
        // checkout that is build/, which is for what is deployed for real.
        let template = folder.join("template.yaml");
        fs::copy(&self.template, &template)
            .with_context(|| format!("copy {}", self.template.display()))?;
        symlink(&self.functions, folder.join("build"))?;
        // Nor the samconfig.toml in which somebody keeps the settings of a real deployment.
        let config = folder.join("samconfig.toml");
        fs::write(&config, "version = 0.1\n")?;
        let sam_home = dir.home().join(".aws-sam");
        fs::create_dir_all(&sam_home)?;
        fs::write(sam_home.join("metadata.json"), SAM_METADATA)?;
        Program::new("sam-deploy", project::python_tool("sam")?)
            .args(["deploy", "--resolve-s3", "--capabilities", "CAPABILITY_IAM"])
            .args(["--no-confirm-changeset", "--no-fail-on-empty-changeset"])
            .args(["--stack-name", &self.stack_name, "--region", REGION])
            .arg("--template-file")
            .arg(template)
            .arg("--config-file")
            .arg(config)
            .arg("--parameter-overrides")
            .args(overrides)
            .env("AWS_ENDPOINT_URL", aws.endpoint())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            // Everything here is local: there is no rate limit to be polite to.
            .env("SAM_CLI_POLL_DELAY", "0.2")
            .run(dir, DEPLOY_TIME)
            .await
            .context("deploy the template")
    }

    /// Asks Lambda for what the stack's outputs say too: the outputs name a URL
    /// on AWS's own domain, and come as XML.
    async fn deployed(&self, sdk: &SdkConfig, endpoint: &str) -> Result<Deployed> {
        let lambda = Lambda::new(sdk);
        let reconcile_function = format!("{}-reconcile", self.stack_name);
        let assign_user_function = format!("{}-assign-user", self.stack_name);
        let hasura_event_function = format!("{}-hasura-event", self.stack_name);
        let assign_user_url = function_url(&lambda, endpoint, &assign_user_function)
            .await?
            .with_context(|| format!("{assign_user_function} has no URL"))?;
        let hasura_event_url = function_url(&lambda, endpoint, &hasura_event_function).await?;
        let configuration = lambda
            .get_function_configuration()
            .function_name(&reconcile_function)
            .send()
            .await
            .with_context(|| format!("ask for the settings of {reconcile_function}"))?;
        let scaling_table = configuration
            .environment()
            .and_then(|environment| environment.variables()?.get("SCALING_TABLE"))
            .with_context(|| format!("{reconcile_function} has no SCALING_TABLE"))?
            .clone();
        Ok(Deployed {
            assign_user_url,
            hasura_event_url,
            reconcile_function,
            assign_user_function,
            scaling_table,
        })
    }
}

/// Where the local AWS answers for a function's URL; none if there is no such function.
async fn function_url(lambda: &Lambda, endpoint: &str, name: &str) -> Result<Option<String>> {
    let asked = lambda.get_function_url_config().function_name(name);
    let url = match asked.send().await {
        Ok(answer) => answer.function_url,
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception()) =>
        {
            return Ok(None);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("ask for the URL of {name}"));
        }
    };
    let id = url_id(&url).with_context(|| format!("{url} is not the URL of a function"))?;
    Ok(Some(format!("{endpoint}/_aws/lambda-url/{id}/")))
}

/// The functions run on this machine.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "x86_64"
};

/// The first label of the host's name.
fn url_id(url: &str) -> Option<&str> {
    url.strip_prefix("https://")?
        .split_once('.')
        .map(|(id, _)| id)
}
