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
//! - [`agents`]: the processes of host agents and replicas;
//! - [`faults`]: what goes wrong on demand; [`mod@line`]: connections that can be cut;
//! - [`events`]: what EC2 tells EventBridge.
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
//!               "outcome": "ok", "status": 200, "request_id": "…", "faults": []}],
//!    "calls_dropped": 0,
//!    "totals": [{"region": "us-east-1", "action": "RunInstances", "outcome": "ok", "count": 1}],
//!    "instances": [{"id": "i-…", "region": "us-east-1", "state": "running",
//!                   "launch_time_ms": 1795283990000, "reservation_id": "r-…",
//!                   "launch_index": 0, "client_token": "…", "image_id": "ami-…",
//!                   "market": "on-demand", "instance_type": "g4dn.xlarge",
//!                   "subnet_id": "subnet-…", "zone": "us-east-1a", "security_group_ids": ["sg-…"],
//!                   "instance_profile_arn": null, "ebs_optimized": true,
//!                   "shutdown_behavior": "terminate",
//!                   "metadata_options": {"http_endpoint": "enabled", "http_tokens": "required",
//!                                        "http_put_response_hop_limit": 1,
//!                                        "http_protocol_ipv6": "disabled",
//!                                        "instance_metadata_tags": "disabled"},
//!                   "tags": {"Name": "…"},
//!                   "user_data": "…", "ip": "127.64.0.1", "private_ip": "10.1.0.4",
//!                   "transitions": [{"state": "pending", "at_ms": 1795283990000},
//!                                   {"state": "running", "at_ms": 1795283992000}],
//!                   "ended_by": null,
//!                   "agent": {"pid": 4711, "started_at_ms": 1795283992001,
//!                             "ended_at_ms": null, "end": null},
//!                   "faults": [{"effect": "no_boot", "at_ms": 1795283992000}],
//!                   "interruption": {"warned_at_ms": 1795283995000,
//!                                    "due_at_ms": 1795284115000, "action": "terminate"}}],
//!    "addresses": [{"region": "us-east-1", "allocation_id": "eipalloc-…", "public_ip": "198.18.0.1",
//!                   "tags": {"pool": "…"}, "released_at_ms": null,
//!                   "associations": [{"association_id": "eipassoc-…", "instance_id": "i-…",
//!                                     "network_interface_id": "eni-…", "private_ip": "10.1.0.4",
//!                                     "at_ms": 1795283993000, "until_ms": 1795283999000,
//!                                     "ended_by": "reassociation"}]}],
//!    "events": [{"seq": 1, "at_ms": 1795283990000, "event": {"version": "0", "…": "…"},
//!                "faults": ["duplicate"],
//!                "deliveries": [{"due_ms": 1795283990000, "outcome": "delivered", "attempts": 1,
//!                                "at_ms": 1795283990004, "answer": {"…": "…"}}]}],
//!    "events_dropped": 0}
//!   ```
//!
//!   A call's `outcome` is `ok`, the error's code, or `outage`; its `faults` are the names of those
//!   that struck it: `outage`, `throttled`, `error`, `lost`, `delay`, `listing_lag`, `leave_out`.
//!   An association's `ended_by` is `request`, `reassociation` (to another instance),
//!   `replacement` (its instance was given another address) or `termination`. An instance's
//!   `ended_by` is `user` (a request to EC2), `instance` (its own shutdown) or `spot` (taken
//!   back). States are the true ones, without the lag of listings. `user_data` is decoded. An
//!   agent's `end` tells of its exit, or is `killed with its instance` or `killed by a fault`. An
//!   instance's `faults` may be still to come. Instances that EC2 has forgotten are still here.
//!   Events: see below.
//! - `PUT faults` replaces what goes wrong, `GET faults` says what is left of it: see below.
//! - `PATCH settings` changes delays (those of the command line) from now on, `GET settings` tells
//!   them: `{"pending_ms": 50, "agent": {"session_ms": 1000}}`.
//!
//! # Faults
//!
//! All of it may be left out; `{}` is a world without faults.
//!
//! ```json
//! {"capacity": [{"region": "us-east-1", "market": "spot", "instance_type": "g4dn.xlarge",
//!                "subnet_id": "subnet-…", "available": 0}],
//!  "throttling": {"burst": 0.2, "refill": 1, "for_ms": 60000,
//!                 "buckets": [{"region": "us-east-1", "name": "RunInstances", "tokens": 0}]},
//!  "calls": [{"on": {"region": "us-east-1", "action": "RunInstances"},
//!             "effect": {"error": "InternalError"}, "times": 2, "for_ms": 10000}],
//!  "instances": [{"on": {"instance_id": "i-…"}, "effect": {"interrupt": {"warning_ms": 1000}}}],
//!  "events": [{"on": {"state": "running"}, "effect": "drop", "times": 1}]}
//! ```
//!
//! - `capacity`: at most `available` more instances can be launched; each of the other four may
//!   be left out and then stands for any. `market` is `spot` or `on-demand`, as in the ledger.
//! - `throttling`: EC2's own limits, `{}` for exactly those; see [`faults::Throttling`]. Buckets
//!   that are not named are full.
//! - `calls`, `instances` and `events` are faults that strike what they are `on` (everything when
//!   it is left out) `times` times or for `for_ms`, whichever is over first, or until they are
//!   healed. Of several faults of one kind the first strikes; different kinds add up.
//!
//! | `calls`: on `region`, `action` (`Describe*` for all that begin so) | |
//! |---|---|
//! | `"outage"` | nothing is done, the connection is closed without an answer |
//! | `{"error": "Unavailable"}` | nothing is done, the answer is an error of [`faults::ErrorCode`] |
//! | `"lost"` | all is done, the connection is closed without an answer |
//! | `{"delay_ms": 3000}` | all is done, the answer comes late |
//! | `{"listing_lag_ms": 60000}` | `DescribeInstances` and `DescribeAddresses` show the world of so long ago |
//! | `{"leave_out": ["i-…"]}` | `DescribeInstances` without ids leaves these out |
//! | `{"leave_out_oldest": 3}` | `DescribeInstances` without ids leaves out the first three |
//!
//! | `instances`: on `region`, `instance_id` | delays are 0 when left out |
//! |---|---|
//! | `"no_boot"` | the agent is never started |
//! | `{"agent_dies": {"after_ms": 0}}` | the agent is killed, the machine goes on |
//! | `{"interrupt": {"after_ms": 0, "warning_ms": 120000, "action": "terminate"}}` | a warning, and then the end: `terminate` or `stop` |
//! | `{"rebalance": {"after_ms": 0}}` | a recommendation, and nothing else |
//!
//! A fault with an `instance_id` strikes that instance, once: now if it runs, else when it does;
//! one without strikes the next instances that start to run, spot or not. What has not struck yet is healed by
//! the next `PUT`; an interruption that was warned of comes all the same.
//!
//! | `events`: on `region`, `instance_id`, `detail_type`, `state` | |
//! |---|---|
//! | `"drop"` | it is never delivered |
//! | `{"delay_ms": 5000}` | it is delivered late |
//! | `{"duplicate": 2}` | it is delivered two times more, with the same id |
//! | `{"reorder": {"count": 3, "within_ms": 5000}}` | it waits until there are three, or time is up; then the last is delivered first |
//!
//! # Events
//!
//! `EC2 Instance State-change Notification`, `EC2 Spot Instance Interruption Warning` and `EC2
//! Instance Rebalance Recommendation`, in EventBridge's envelope, are posted to the URL given by
//! `--events-url`, each by itself and in no order. Whoever is there plays EventBridge: a 204 says
//! that nobody wants such an event (`unwanted`), any other success that it was `delivered`; after
//! anything else it is posted again, five times in all, and then has `failed`. Until then it is
//! `waiting`. `answer` is what the receiver said. An event that was dropped, or that nobody is
//! there to receive, has no deliveries.

pub mod agents;
pub mod api;
pub mod clock;
mod control;
pub mod emulator;
pub mod error;
pub mod events;
pub mod faults;
pub mod filters;
pub mod ledger;
pub mod line;
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
use line::Cuttable;
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
    let service =
        server::router(emulator.clone()).into_make_service_with_connect_info::<line::Line>();
    tokio::select! {
        served = async { axum::serve(Cuttable(listener), service).await } => served,
        () = agents::supervise(emulator, launcher) => Ok(()),
    }
}
