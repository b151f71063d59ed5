//! Runs the agent. Exiting with success stands for shutting down the machine: the EC2 emulator
//! then stops the instance. On a real instance, the agent would power off through `systemd`.

use std::process::ExitCode;

use host_agent::agent;
use host_agent::config::Config;

// One thread is enough for the little work of an agent, and every emulated instance runs one.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "settings are invalid"
            );
            return ExitCode::FAILURE;
        }
    };
    match agent::run(&config).await {
        Ok(reason) => {
            tracing::info!(?reason, "agent shutting down");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "agent failed to start"
            );
            ExitCode::FAILURE
        }
    }
}
