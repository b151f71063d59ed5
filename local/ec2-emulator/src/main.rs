//! The `ec2-emulator` program: reads the command line and serves until it gets SIGTERM or SIGINT.

use std::fs;
use std::future::pending;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use ec2_emulator::agents::AgentLauncher;
use ec2_emulator::delivery::EventSender;
use ec2_emulator::settings::Settings;
use ec2_emulator::world::{DEFAULT_WORLD, WorldFile};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// An emulator of EC2 for developing and testing
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:4599")]
    listen: SocketAddr,
    /// File to write the port to once the server listens
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// World file: the resources of each region, as JSON. A default is built in
    #[arg(long)]
    world: Option<PathBuf>,
    /// Host agent program to run for every instance
    #[arg(long, requires = "data_dir")]
    agent_binary: Option<PathBuf>,
    /// Replica program to run instead for instances without an agent token in their user data. It
    /// listens on the instance's private address, so the subnet needs a CIDR within 127.0.0.0/8
    #[arg(long, requires = "agent_binary")]
    replica_binary: Option<PathBuf>,
    /// Directory for the agents' user data and logs
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// URL to post EC2's events to. If absent, events are only recorded in the ledger
    #[arg(long)]
    events_url: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

// The only thread lives as long as the process, which `agents::supervise` needs.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let arguments = Arguments::parse();
    let world = read_world(arguments.world.as_deref())?;
    let launcher = agent_launcher(
        arguments.agent_binary,
        arguments.replica_binary,
        arguments.data_dir,
    )?;

    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("listen on {}", arguments.listen))?;
    let address = listener.local_addr()?;
    if let Some(file) = &arguments.port_file {
        write_port(file, address.port())?;
    }
    tracing::info!(%address, "emulator listening");

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let emulator = ec2_emulator::start(world, arguments.settings);
    let sender = match arguments.events_url {
        Some(url) => Some(
            EventSender::new(emulator.clone(), url).context("build the HTTP client for events")?,
        ),
        None => None,
    };
    let post = async {
        match sender {
            Some(sender) => sender.run().await,
            None => pending().await,
        }
    };
    // Whichever branch ends first, dropping the others kills the agents.
    tokio::select! {
        served = ec2_emulator::serve(listener, emulator, launcher) => served.context("serve"),
        () = post => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

fn read_world(file: Option<&Path>) -> anyhow::Result<WorldFile> {
    match file {
        None => DEFAULT_WORLD.parse().context("read the built-in world"),
        Some(file) => fs::read_to_string(file)
            .map_err(anyhow::Error::from)
            .and_then(|text| Ok(text.parse()?))
            .with_context(|| format!("read the world file {}", file.display())),
    }
}

fn agent_launcher(
    binary: Option<PathBuf>,
    replica_binary: Option<PathBuf>,
    data_dir: Option<PathBuf>,
) -> anyhow::Result<Option<AgentLauncher>> {
    let (Some(binary), Some(data_dir)) = (binary, data_dir) else {
        return Ok(None);
    };
    let absolute = |binary: PathBuf| {
        binary
            .canonicalize()
            .with_context(|| format!("find the program {}", binary.display()))
    };
    let binary = absolute(binary)?;
    let replica_binary = replica_binary.map(absolute).transpose()?;
    let dir = data_dir.join("agents");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let dir = dir
        .canonicalize()
        .with_context(|| format!("find {}", dir.display()))?;
    Ok(Some(AgentLauncher {
        binary,
        replica_binary,
        dir,
    }))
}

/// Writes to a temporary file and renames it, so that a reader never sees a partial file.
fn write_port(file: &Path, port: u16) -> anyhow::Result<()> {
    let temporary = file.with_extension("unfinished");
    fs::write(&temporary, format!("{port}\n"))
        .and_then(|()| fs::rename(&temporary, file))
        .with_context(|| format!("write the port to {}", file.display()))
}
