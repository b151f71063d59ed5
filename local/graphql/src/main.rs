//! A local GraphQL engine: serves the Hasura project in `hasura/` with postrust, on
//! machines where Hasura's own engine cannot run.
//!
//! postrust's dialect is Hasura's. What it does otherwise, [`hasura`] corrects; what it does not have
//! is in [`connections`] and, in a separate process, in [`events`].

mod catalog;
mod connections;
mod events;
mod hasura;
mod introspection;
mod metadata;
mod sdl;
mod serve;
mod stored_metadata;
mod translate;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

use crate::events::DeliverArgs;
use crate::introspection::SchemaArgs;
use crate::serve::{Engine, ServeArgs};

#[derive(Debug, Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve GraphQL from a database and a metadata folder.
    Serve(ServeArgs),
    /// Deliver the events of a database to the webhooks of their triggers.
    Deliver(DeliverArgs),
    /// Print the administrator's schema of a running engine.
    Schema(SchemaArgs),
}

fn main() -> Result<()> {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,local_graphql=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();

    match Cli::parse().command {
        Command::Serve(args) => {
            // Prepared in a runtime without threads, because the variable must be set
            // before the multi-threaded runtime starts its threads.
            let engine = Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(Engine::prepare(&args))?;
            // SAFETY: the process has no other thread yet.
            unsafe { engine.set_metadata_variable() };
            Builder::new_multi_thread()
                .enable_all()
                .build()?
                .block_on(engine.serve(&args))
        }
        Command::Deliver(args) => Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(events::deliver(&args)),
        Command::Schema(args) => {
            let schema = Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(introspection::fetch(&args))?;
            print!("{}", sdl::render(&schema));
            Ok(())
        }
    }
}
