//! The stack's GraphQL engine in place of Hasura: suspended, killed and restarted.

use std::fs;

use local_stack::graphql::{Graphql, GraphqlOptions};
use local_stack::ports::Ports;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use tokio::net::TcpStream;

pub(crate) struct Engine {
    pid: Pid,
    port: u16,
    /// The engine that replaces the stack's own.
    again: Option<Graphql>,
}

impl Engine {
    /// The engine that the stack started.
    pub(crate) fn of(deployed: &Deployed) -> Self {
        let stack = &deployed.stack;
        // "PID TIME"
        let record = fs::read_to_string(stack.dir().path().join("run/graphql"));
        let record = record.expect("the engine's record");
        let pid = record.split(' ').next().and_then(|pid| pid.parse().ok());
        let port = stack.env().hasura_url.rsplit(':').next();
        Self {
            pid: Pid::from_raw(pid.expect("a process id")),
            port: port.and_then(|port| port.parse().ok()).expect("a port"),
            again: None,
        }
    }

    /// Suspends it: it accepts connections and never answers.
    pub(super) fn hang(&self) {
        kill(self.pid, Signal::SIGSTOP).expect("the engine runs");
    }

    pub(super) async fn die(&self) {
        kill(self.pid, Signal::SIGKILL).expect("the engine runs");
        let listens = async || TcpStream::connect(("127.0.0.1", self.port)).await.is_ok();
        eventually("its end", SOON, listens, |listens| !listens).await;
    }

    /// Starts an engine at the same address.
    pub(super) async fn start_again(&mut self, deployed: &Deployed) {
        let env = deployed.stack.env();
        let keys = (&env.hasura_admin_secret, &env.hasura_jwt_key);
        let mut options = GraphqlOptions::new(&env.database_url, keys.0, keys.1);
        options.name = "graphql-again".to_owned();
        let port = Ports::starting_at(self.port)
            .reserve("GraphQL")
            .expect("its port");
        let engine = Graphql::start(deployed.stack.dir(), port, &options).await;
        self.again = Some(engine.expect("the engine starts"));
    }
}
