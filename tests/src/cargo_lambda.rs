//! `cargo lambda`, with which a developer runs functions one event at a time.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_lambda::Client;
use local_stack::ports::Ports;
use local_stack::process::{Process, Program};
use local_stack::project;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::deployed::Deployed;

const START_TIME: Duration = Duration::from_secs(60);
const INVOKE_TIME: Duration = Duration::from_secs(60);

/// A running `cargo lambda watch`. It builds nothing: the functions are already built and are
/// started separately. It hands them their events.
pub struct CargoLambda<'a> {
    deployed: &'a Deployed,
    port: u16,
    /// Dropped first: the functions end before the server that they ask for events.
    functions: Vec<Process>,
    _watch: Process,
}

impl<'a> CargoLambda<'a> {
    pub async fn start(deployed: &'a Deployed) -> Self {
        let port = Ports::free().reserve("cargo lambda").expect("a port");
        let port = port.release();
        // It asks cargo for the workspace. `cargo` is found without rustup, whose settings are in
        // the home folder.
        let toolchain = Path::new(env!("CARGO")).parent().expect("a folder");
        let watch = Program::new("cargo-lambda-watch", program())
            .args(["lambda", "watch", "--only-lambda-apis"])
            .args(["--invoke-address", "127.0.0.1"])
            .args(["--invoke-port", &port.to_string()])
            .env("PATH", toolchain)
            .env("CARGO_NET_OFFLINE", "true")
            .current_dir(project::root())
            .start(deployed.stack.dir())
            .expect("cargo lambda watch");
        let listens = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        watch.ready(START_TIME, listens).await.expect("it listens");
        Self {
            deployed,
            port,
            functions: Vec::new(),
            _watch: watch,
        }
    }

    /// Starts the program `name` with the settings of the deployed function `deployed_as`.
    pub async fn run(&mut self, name: &str, deployed_as: &str) {
        let env = self.deployed.stack.env();
        let runtime_api = format!("http://127.0.0.1:{}/.rt/{name}", self.port);
        let mut program = Program::new(name, project::binary(name).expect(name))
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_REGION", &env.aws_region)
            .env("AWS_ACCESS_KEY_ID", &env.aws_access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &env.aws_secret_access_key)
            .env("AWS_ENDPOINT_URL", &env.aws_endpoint_url)
            .env("AWS_ENDPOINT_URL_EC2", &env.aws_endpoint_url_ec2);
        for (variable, value) in self.settings_of(deployed_as).await {
            program = program.env(variable, value);
        }
        let dir = self.deployed.stack.dir();
        self.functions.push(program.start(dir).expect(name));
    }

    /// The variables of a deployed function, as the template sets them.
    async fn settings_of(&self, function: &str) -> HashMap<String, String> {
        let answer = Client::new(&self.deployed.stack.sdk_config())
            .get_function_configuration()
            .function_name(function)
            .send()
            .await
            .expect(function);
        let variables = answer.environment().and_then(|env| env.variables());
        variables.expect("settings").clone()
    }

    /// Runs `cargo lambda invoke FUNCTION --data-file FILE` for a function that [`Self::run`]
    /// started.
    ///
    /// # Errors
    /// When the function returns an error: the printed text.
    pub async fn invoke(&self, function: &str, file: &Path) -> Result<Value, String> {
        let name = format!("invoke-{}", stem(file));
        let invoke = Program::new(&name, program())
            .args(["lambda", "invoke", function])
            .args(["--invoke-address", "127.0.0.1"])
            .args(["--invoke-port", &self.port.to_string()]);
        self.answer(&name, invoke, file).await
    }

    /// Like [`Self::invoke`], with `--remote`, for a deployed function.
    ///
    /// # Errors
    /// As [`Self::invoke`].
    pub async fn invoke_deployed(&self, function: &str, file: &Path) -> Result<Value, String> {
        let env = self.deployed.stack.env();
        let name = format!("invoke-deployed-{}", stem(file));
        let invoke = Program::new(&name, program())
            .args(["lambda", "invoke", function, "--remote"])
            .args(["--endpoint-url", &env.aws_endpoint_url])
            .env("AWS_REGION", &env.aws_region)
            .env("AWS_ACCESS_KEY_ID", &env.aws_access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &env.aws_secret_access_key);
        self.answer(&name, invoke, file).await
    }

    async fn answer(&self, name: &str, invoke: Program, file: &Path) -> Result<Value, String> {
        let dir = self.deployed.stack.dir();
        let invoke = invoke.arg("--data-file").arg(file);
        match invoke.run(dir, INVOKE_TIME).await {
            Ok(()) => {
                let printed = fs::read_to_string(dir.log(name)).expect("what it printed");
                Ok(serde_json::from_str(&printed).unwrap_or_else(|_| panic!("no JSON: {printed}")))
            }
            // Without the line breaks that it puts between words.
            Err(error) => {
                let printed = format!("{error:#}");
                let words = printed.split_whitespace().filter(|word| *word != "│");
                Err(words.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

fn program() -> PathBuf {
    project::python_tool("cargo-lambda").expect("cargo-lambda")
}

fn stem(file: &Path) -> &str {
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    stem.expect("a file's name")
}
