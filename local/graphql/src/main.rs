//! A GraphQL engine for one machine: serves the Hasura project in `hasura/`
//! with postrust, where Hasura's own engine cannot run.
//!
//! Where the two are known to differ: postrust runs the functions of one mutation
//! in order but each in a transaction of its own, where Hasura runs them all in
//! one, and it delivers no events, which [`events`] does.

mod catalog;
mod events;
mod introspection;
mod metadata;
mod sdl;
mod serve;
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
    /// Deliver the events of a database to their webhooks.
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
            // Prepared on this thread alone, and published before the runtime
            // that serves has any other.
            let engine = Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(Engine::prepare(&args))?;
            // SAFETY: no other thread is running.
            unsafe { engine.publish() };
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
            print!("{}", sdl::print(&schema));
            Ok(())
        }
    }
}
