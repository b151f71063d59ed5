//! A stand-in for the program that runs on each replica of the algorithm `replica`.
//!
//! `GET` of any path answers with the status, `{"capacity": 3, "termination": false}`, as a
//! replica does. Whoever plays its users tells it what to answer from now on:
//! `PUT /_replica` with any of `capacity`, `termination`, `hang` (never answer) and `status`
//! (answer with this status of HTTP). `GET /_replica` shows what it was told.

mod config;
mod status;

use std::io;
use std::process::ExitCode;

use config::{Config, ConfigError};
use tokio::net::TcpListener;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("serve the status")]
    Serve(#[from] io::Error),
}

// There is one for every emulated instance, and it does next to nothing.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, ?error, "the replica ends");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let config = Config::from_env()?;
    let listener = TcpListener::bind((config.address, config.port)).await?;
    tracing::info!(address = %listener.local_addr()?, capacity = config.capacity, "ready");
    axum::serve(listener, status::router(config.capacity)).await?;
    Ok(())
}
