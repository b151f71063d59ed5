//! An EC2 on this machine: enough of it, and with enough of its bad manners, to develop and test
//! a service that launches and terminates instances.
//!
//! It speaks the Query protocol to the real SDKs (`AWS_ENDPOINT_URL_EC2`), keeps EC2's promises
//! (client tokens, counts, all-or-nothing terminations) as well as the lack of them (listings that
//! lag, states that take their time, capacity that runs out), and remembers what happened. One
//! endpoint serves all regions of the world file; the scope of the signature tells them apart.
//!
//! - [`world`]: the state and its rules, pure;
//! - [`api`]: the actions, one file each, on top of [`params`], [`filters`], [`paging`], [`xml`];
//! - [`emulator`]: the world behind a lock, with its clock and ledger; [`server`]: HTTP;
//! - [`agents`]: the host agents' processes.
//!
//! # Control
//!
//! Under `/_emulator/`, JSON, times in milliseconds since the Unix epoch:
//!
//! - `GET health` → `{"status":"ok"}`.
//! - `GET ledger[?since=SEQ]` → what happened; with `since`, only the calls after that number.
//!
//!   ```json
//!   {"now_ms": 1795284000000,
//!    "calls": [{"seq": 1, "at_ms": 1795283990000, "region": "us-east-1",
//!               "action": "RunInstances", "params": {"MinCount": "1", "ClientToken": "…"},
//!               "outcome": "ok", "status": 200, "request_id": "…"}],
//!    "calls_dropped": 0,
//!    "totals": [{"region": "us-east-1", "action": "RunInstances", "outcome": "ok", "count": 1}],
//!    "instances": [{"id": "i-…", "region": "us-east-1", "state": "running",
//!                   "launch_time_ms": 1795283990000, "reservation_id": "r-…",
//!                   "launch_index": 0, "client_token": "…", "image_id": "ami-…",
//!                   "instance_type": "g4dn.xlarge", "subnet_id": "subnet-…",
//!                   "zone": "us-east-1a", "security_group_ids": ["sg-…"],
//!                   "instance_profile_arn": null, "ebs_optimized": true,
//!                   "shutdown_behavior": "terminate", "tags": {"Name": "…"},
//!                   "user_data": "…", "ip": "127.64.0.1", "private_ip": "10.1.0.4",
//!                   "transitions": [{"state": "pending", "at_ms": 1795283990000},
//!                                   {"state": "running", "at_ms": 1795283992000}],
//!                   "ended_by": null,
//!                   "agent": {"pid": 4711, "started_at_ms": 1795283992001,
//!                             "ended_at_ms": null, "end": null}}]}
//!   ```
//!
//!   `outcome` is `ok` or the error's code. `ended_by` is `user` (a request to EC2) or `instance`
//!   (its own shutdown). States are the true ones, without the lag of listings. `user_data` is
//!   decoded. Instances that EC2 has forgotten are still here.
//! - `PUT faults` replaces what goes wrong, `GET faults` says what is left of it:
//!
//!   ```json
//!   {"capacity": [{"region": "us-east-1", "instance_type": "g4dn.xlarge",
//!                  "subnet_id": "subnet-…", "available": 0}]}
//!   ```
//!
//!   At most `available` more instances can be launched; each of the other three may be left out
//!   and then stands for any. `{}` is a world without faults.
//! - `PATCH settings` changes delays (those of the command line) from now on, `GET settings` tells
//!   them: `{"pending_ms": 50, "agent": {"session_ms": 1000}}`.

pub mod agents;
pub mod api;
pub mod clock;
mod control;
pub mod emulator;
pub mod error;
pub mod faults;
pub mod filters;
pub mod ledger;
pub mod paging;
pub mod params;
pub mod server;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod world;
pub mod xml;

use tokio::net::TcpListener;

use agents::AgentLauncher;
use clock::Clock;
use emulator::Emulator;
use settings::Settings;
use world::{World, WorldFile};

/// An emulator with this world, on the machine's clock.
pub fn start(world: WorldFile, settings: Settings) -> Emulator {
    let clock = Clock::system();
    // Ids must not repeat those of an earlier run that a database may still hold.
    let seed = clock.now().0.unsigned_abs();
    Emulator::new(World::new(world, settings, seed), clock)
}

/// Answers requests on `listener`, and runs the agents, until it is dropped or fails.
pub async fn serve(
    listener: TcpListener,
    emulator: Emulator,
    launcher: Option<AgentLauncher>,
) -> std::io::Result<()> {
    let router = server::router(emulator.clone());
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served,
        () = agents::supervise(emulator, launcher) => Ok(()),
    }
}
