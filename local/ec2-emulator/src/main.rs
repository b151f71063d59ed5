//! The emulator as a program: reads the command line, binds, serves until it is told to stop.

use std::fs;
use std::future::pending;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use ec2_emulator::agents::AgentLauncher;
use ec2_emulator::events::delivery::Postman;
use ec2_emulator::settings::Settings;
use ec2_emulator::world::{DEFAULT_WORLD, WorldFile};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// An EC2 on this machine, for developing and testing.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:4599")]
    listen: SocketAddr,
    /// File to write the port to, once requests are answered.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// What there is in each region, as JSON; there is a world built in.
    #[arg(long)]
    world: Option<PathBuf>,
    /// The program to run for every instance, as its host agent.
    #[arg(long, requires = "data_dir")]
    agent_binary: Option<PathBuf>,
    /// The program to run in its place on an instance whose user data holds no agent's token, on
    /// the instance's private address, which has to be a loopback address then.
    #[arg(long, requires = "agent_binary")]
    replica_binary: Option<PathBuf>,
    /// Folder for the agents' user data and logs.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where to post the events that EC2 gives to EventBridge; nowhere if not set.
    #[arg(long)]
    events_url: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

// One thread, which lives as long as the process: see `agents::supervise`.
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
    tracing::info!(%address, "ready");

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let emulator = ec2_emulator::start(world, arguments.settings);
    let postman = match arguments.events_url {
        Some(url) => Some(Postman::new(emulator.clone(), url).context("prepare to post events")?),
        None => None,
    };
    let post = async {
        match postman {
            Some(postman) => postman.run().await,
            None => pending().await,
        }
    };
    // Whatever ends this, dropping the rest kills the agents.
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
    let found = |binary: PathBuf| {
        binary
            .canonicalize()
            .with_context(|| format!("find the agents' binary {}", binary.display()))
    };
    let binary = found(binary)?;
    let replica_binary = replica_binary.map(found).transpose()?;
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

/// Whoever waits for the file must never see it half written.
fn write_port(file: &Path, port: u16) -> anyhow::Result<()> {
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, format!("{port}\n"))
        .and_then(|()| fs::rename(&unfinished, file))
        .with_context(|| format!("write the port to {}", file.display()))
}
