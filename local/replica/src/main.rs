//! The program on the emulated replicas of the algorithm `replica`.
//!
//! `GET` of any path returns the status that the algorithm polls, such as
//! `{"capacity": 3, "termination": false}`. A test controls it: `PUT /_replica` sets any of
//! `capacity`, `termination`, `hang` (never respond) and `status` (the HTTP status of the response).
//! `GET /_replica` returns all four.

mod config;
mod status;

use std::io;
use std::process::ExitCode;

use config::{Config, ConfigError};
use tokio::net::TcpListener;

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("serve the status")]
    Serve(#[from] io::Error),
}

// One thread is enough: there is one process per emulated instance, and it is almost always idle.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, ?error, "replica failed");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), RunError> {
    let config = Config::from_env()?;
    let listener = TcpListener::bind((config.address, config.port)).await?;
    tracing::info!(address = %listener.local_addr()?, capacity = config.capacity, "replica listening");
    axum::serve(listener, status::router(config.capacity)).await?;
    Ok(())
}
