//! An emulator of EC2 for developing and testing a service that launches and terminates instances.
//!
//! It speaks the Query protocol to the real SDKs (`AWS_ENDPOINT_URL_EC2`). It keeps EC2's guarantees
//! (client tokens, counts, all-or-nothing terminations) and shows EC2's weaknesses (listings that
//! lag, states that take time, capacity that runs out, launches that fail after they were accepted).
//! It records everything that happened in a
//! ledger. One endpoint serves all regions of the world file: the region is in the scope of the
//! request's signature.
//!
//! - [`world`]: the resources of the account and their rules, pure;
//! - [`api`]: the actions, one file each, on top of [`params`], [`filters`], [`paging`], [`xml`];
//! - [`emulator`]: the state behind a lock, with its clock and its [`ledger`];
//! - [`server`]: HTTP; [`connection`]: connections that a fault can abort or that end when idle;
//! - [`agents`]: the processes of host agents and replicas;
//! - [`faults`]: fault injection;
//! - [`events`]: the events that EC2 sends to `EventBridge`; [`delivery`]: posts them.
//!
//! # Control API
//!
//! Under `/_emulator/`. Bodies are JSON, times are milliseconds since the Unix epoch.
//!
//! - `GET health` → `{"status":"ok"}`.
//! - `GET ledger[?since=SEQ]` → everything that happened. With `since`, only calls with a greater
//!   `seq`, but still all instances, addresses and events.
//!
//!   ```json
//!   {"now_ms": 1795284000000,
//!    "calls": [{"seq": 1, "at_ms": 1795283990000, "access_key": "ASIA…",
//!               "region": "us-east-1", "action": "RunInstances", "params": {"MinCount": "1", "ClientToken": "…"},
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
//!                   "ended_by": null, "state_reason": null,
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
//!   - A call's `outcome` is `ok`, the error's code, `outage`, or `hang`. Its `faults` are the names
//!     of those that applied: `outage`, `hang`, `throttled`, `error`, `lost`, `delay`, `listing_lag`,
//!     `leave_out`.
//!   - An association's `ended_by` is `request`, `reassociation` (the address went to another
//!     instance), `replacement` (the instance got another address) or `termination`.
//!   - An instance's `ended_by` is `user` (a request to EC2), `instance` (its own shutdown), `spot`
//!     (an interruption) or `launch` (the fault `launch_fails`). Its `state_reason` is EC2's
//!     `{"code": "…", "message": "…"}`. It keeps its `tags`, unlike in the API. Its states do not lag, unlike those of listings. Its `faults` include those
//!     that are scheduled for later. `user_data` is decoded. Instances that EC2 no longer lists are
//!     included, up to 10,000 of them.
//!   - An agent's `end` is its exit status, `killed with its instance` or `killed by a fault`.
//!   - Events are described below.
//! - `PUT faults` replaces all faults, `GET faults` returns what is left of them; see below.
//! - `PATCH settings` changes settings (those of the command line) from now on, `GET settings` returns
//!   them: `{"pending_ms": 50, "agent": {"session_ms": 1000}}`. See [`settings::Settings`].
//!
//! # World file
//!
//! The account's resources at the start, as JSON; see [`world::WorldFile`]. A region's
//! `"types_not_offered": {"us-east-1a": ["g5.xlarge"]}` makes a launch of this type in this zone
//! fail with `Unsupported`.
//!
//! # Connections
//!
//! Clients reuse connections that have ended without their knowledge. Two settings show whether
//! they can bear it. Both count from a response of the EC2 API, and spare connections that are used
//! for the control API only.
//!
//! - `idle_close_ms`: the connection is closed, which a client can notice before its next request.
//! - `idle_stale_ms`: the connection looks open, but the next request on it gets a reset.
//!
//! The client's own time limits are tested by the faults `hang` and `delay_ms` of calls.
//!
//! # Faults
//!
//! Every top-level field is optional; `{}` means no faults.
//!
//! ```json
//! {"capacity": [{"region": "us-east-1", "market": "spot", "instance_type": "g4dn.xlarge",
//!                "subnet_id": "subnet-…", "available": 0}],
//!  "not_offered": [{"region": "us-east-1", "instance_type": "g5.xlarge", "zone": "us-east-1a"}],
//!  "throttling": {"burst": 0.2, "refill": 1, "for_ms": 60000,
//!                 "buckets": [{"region": "us-east-1", "name": "RunInstances", "tokens": 0}]},
//!  "calls": [{"on": {"region": "us-east-1", "action": "RunInstances"},
//!             "effect": {"error": "InternalError"}, "times": 2, "for_ms": 10000}],
//!  "instances": [{"on": {"instance_id": "i-…"}, "effect": {"interrupt": {"warning_ms": 1000}}},
//!                {"on": {"market": "spot", "zone": "us-east-1a"}, "times": 2,
//!                 "effect": {"launch_fails": {"after_ms": 2000, "reason": "Server.InternalError"}}}],
//!  "events": [{"on": {"state": "running"}, "effect": "drop", "times": 1}]}
//! ```
//!
//! - `capacity`: at most `available` more instances can be launched. An absent field matches
//!   everything. `market` is `spot` or `on-demand`, as in the ledger.
//! - `not_offered`: launches of the type in the zone fail with `Unsupported`, in addition to the types
//!   in the world file. An absent field matches everything.
//! - `throttling`: limits on the rate of requests; `{}` for EC2's own limits. See
//!   [`faults::Throttling`]. Buckets that are not named are full.
//! - `calls`, `instances` and `events` apply to what matches `on` (to everything if it is absent).
//!   They last `times` applications or `for_ms`, whichever ends first; without either, until the
//!   next `PUT`. To a call or an event, the first matching fault of each kind of effect applies. An
//!   outage excludes all others, and a hang all but an outage. To an instance, every matching fault
//!   applies.
//!
//! | effect on `calls`, by `region` and `action` (`Describe*` is a prefix) | |
//! |---|---|
//! | `"outage"` | the call is not executed; the connection is closed without a response |
//! | `"hang"` | the call is not executed; no response is sent, but the connection stays open until the client closes it |
//! | `{"error": "Unavailable"}` | the call is not executed; the response is an error of [`faults::ErrorCode`] |
//! | `"lost"` | the call is executed; the connection is closed without a response |
//! | `{"delay_ms": 3000}` | the call is executed; the response is sent late (a call that hangs but is executed: an hour) |
//! | `{"listing_lag_ms": 60000}` | `DescribeInstances` and `DescribeAddresses` lag by this time instead of the one in the settings |
//! | `{"leave_out": ["i-…"]}` | `DescribeInstances` without ids omits these instances |
//! | `{"leave_out_oldest": 3}` | `DescribeInstances` without ids omits the three oldest instances |
//!
//! A dry run of `RunInstances` fails with an injected error or with that of the real request, but
//! never for a lack of capacity, which EC2 only finds out by launching.
//!
//! | effect on `instances`, by `region`, `instance_id`, `market`, `instance_type`, `subnet_id` and `zone` | absent delays are 0 |
//! |---|---|
//! | `"no_boot"` | the agent is never started |
//! | `{"agent_dies": {"after_ms": 0}}` | the agent is killed; the instance keeps running |
//! | `{"interrupt": {"after_ms": 0, "warning_ms": 120000, "action": "terminate"}}` | a warning, then `terminate` or `stop`; an absent `warning_ms` is 120000 |
//! | `{"rebalance": {"after_ms": 0}}` | a rebalance recommendation; nothing follows from it |
//! | `{"launch_fails": {"after_ms": 2000, "reason": "Client.InternalError"}}` | the launch is accepted, but the instance ends by itself with this state reason |
//!
//! A fault with an `instance_id` applies once to that instance: now if it runs, else when it starts
//! to run. One without applies to the instances that start to run next. `launch_fails` applies when
//! an instance is launched instead: `after_ms` counts from there, and `times` counts instances, not
//! requests. A pending instance that fails is `terminated` without a state in between. The reasons
//! are those of [`world::LaunchFailure`]. As at EC2, a reason's name begins the message, while
//! the code may be more general: `Client.VolumeLimitExceeded` has the code `Server.InternalError`.
//!
//! The next `PUT` discards effects that are scheduled but not applied yet. An interruption still happens if
//! its warning was already given.
//!
//! | effect on `events`, by `region`, `instance_id`, `detail_type` and `state` | |
//! |---|---|
//! | `"drop"` | the event is never delivered |
//! | `{"delay_ms": 5000}` | the event is delivered late |
//! | `{"duplicate": 2}` | the event is delivered two additional times, with the same id |
//! | `{"reorder": {"count": 3, "within_ms": 5000}}` | the event waits until there are three, or until the time is over; then they are delivered in reverse order |
//!
//! # Events
//!
//! The events are `EC2 Instance State-change Notification`, `EC2 Spot Instance Interruption Warning`
//! and `EC2 Instance Rebalance Recommendation`, in `EventBridge`'s envelope. Each is posted on its
//! own to the URL in `--events-url`, in no guaranteed order. The receiver takes the part of `EventBridge`.
//!
//! A delivery's `outcome` is `waiting` until the receiver responds. Status 204 means that no rule
//! matches the event (`unwanted`); any other success means `delivered`. After any other response the
//! event is posted again, five times in all; then the delivery has `failed`. `answer` is the
//! receiver's response. An event that was dropped, or for which there is no receiver, has no
//! deliveries.

pub mod agents;
pub mod api;
pub mod clock;
pub mod connection;
mod control;
pub mod delivery;
pub mod emulator;
pub mod error;
pub mod events;
pub mod faults;
pub mod filters;
pub mod ledger;
pub mod market;
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
use connection::{AbortableListener, ConnectionHandle};
use emulator::Emulator;
use settings::Settings;
use world::{World, WorldFile};

/// Creates an emulator of `world` on the system clock.
pub fn start(world: WorldFile, settings: Settings) -> Emulator {
    let clock = Clock::system();
    // The time as the seed keeps ids different from those of an earlier run, which a database may
    // still have.
    let seed = clock.now().0.unsigned_abs();
    Emulator::new(World::new(world, settings, seed), clock)
}

/// Serves requests on `listener` and runs the agents until the future is dropped.
///
/// # Errors
/// If the server fails.
pub async fn serve(
    listener: TcpListener,
    emulator: Emulator,
    launcher: Option<AgentLauncher>,
) -> std::io::Result<()> {
    let service =
        server::router(emulator.clone()).into_make_service_with_connect_info::<ConnectionHandle>();
    tokio::select! {
        served = async { axum::serve(AbortableListener(listener), service).await } => served,
        () = agents::supervise(emulator, launcher) => Ok(()),
    }
}
