//! The agent as a program. Its successful end is the machine's shutdown: the emulator it runs
//! under takes it for one, and on a real instance `systemd` would be told to power off.

use std::process::ExitCode;

use host_agent::agent;
use host_agent::config::Config;

// An agent does next to nothing, and there is one for every emulated instance.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "read settings");
            return ExitCode::FAILURE;
        }
    };
    match agent::run(&config).await {
        Ok(reason) => {
            tracing::info!(?reason, "shutting down");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "start");
            ExitCode::FAILURE
        }
    }
}
