//! The ledger: every API call with its outcome, every instance with all its states, every event.
//!
//! Tests assert on it over HTTP, so its JSON is a contract; see the crate's documentation. Its size
//! is bounded: the newest 20,000 calls are kept, but the totals count all of them.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::clock::UnixMillis;
use crate::events::{EventRecord, Events};
use crate::market::Market;
use crate::world::{
    Address, AgentRun, EndedBy, Instance, Interruption, MetadataOptions, ScheduledFault,
    ShutdownBehavior, State, StateReason, Tags, Transition, World,
};

/// How many calls are kept.
const MAX_CALLS: usize = 20_000;

/// Longer parameters are truncated, in characters. Only user data is longer, and the report of the
/// instance has it in full.
const MAX_VALUE_LENGTH: usize = 256;

#[derive(Clone, Debug, Serialize)]
pub struct CallRecord {
    /// Starts at 1 and has no gaps.
    pub seq: u64,
    pub at_ms: UnixMillis,
    /// The access key that signed the request.
    pub access_key: String,
    pub region: String,
    pub action: String,
    pub params: BTreeMap<String, String>,
    /// `ok`, the error's code, `outage`, or `hang`.
    pub outcome: String,
    /// The HTTP status; 0 for an outage or a hang.
    pub status: u16,
    pub request_id: String,
    /// The names of the faults that applied.
    pub faults: Vec<&'static str>,
}

#[derive(Debug, Default)]
pub struct Ledger {
    calls: VecDeque<CallRecord>,
    totals: BTreeMap<(String, String, String), u64>,
    last_seq: u64,
}

/// A call to record.
#[derive(Debug)]
pub struct CallEntry {
    pub at: UnixMillis,
    pub access_key: String,
    pub region: String,
    pub action: String,
    pub params: BTreeMap<String, String>,
    pub outcome: String,
    pub status: u16,
    pub request_id: String,
    pub faults: Vec<&'static str>,
}

/// The response of `GET /_emulator/ledger`.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    now_ms: UnixMillis,
    calls: Vec<&'a CallRecord>,
    calls_dropped: u64,
    totals: Vec<Total<'a>>,
    instances: Vec<InstanceReport<'a>>,
    addresses: Vec<AddressReport<'a>>,
    events: Vec<&'a EventRecord>,
    events_dropped: u64,
}

#[derive(Debug, Serialize)]
struct AddressReport<'a> {
    region: &'a str,
    #[serde(flatten)]
    address: &'a Address,
}

#[derive(Debug, Serialize)]
struct Total<'a> {
    region: &'a str,
    action: &'a str,
    outcome: &'a str,
    count: u64,
}

#[derive(Debug, Serialize)]
struct InstanceReport<'a> {
    id: &'a str,
    region: &'a str,
    state: Option<State>,
    launch_time_ms: UnixMillis,
    reservation_id: &'a str,
    launch_index: u32,
    client_token: Option<&'a str>,
    image_id: &'a str,
    market: Market,
    instance_type: &'a str,
    subnet_id: &'a str,
    zone: &'a str,
    security_group_ids: Vec<&'a str>,
    instance_profile_arn: Option<&'a str>,
    ebs_optimized: bool,
    shutdown_behavior: ShutdownBehavior,
    metadata_options: MetadataOptions,
    tags: &'a Tags,
    user_data: Option<String>,
    ip: String,
    private_ip: String,
    transitions: &'a [Transition],
    ended_by: Option<EndedBy>,
    state_reason: Option<StateReason>,
    agent: Option<&'a AgentRun>,
    faults: &'a [ScheduledFault],
    interruption: Option<Interruption>,
}

impl Ledger {
    pub fn record(&mut self, entry: CallEntry) {
        self.last_seq += 1;
        let key = (
            entry.region.clone(),
            entry.action.clone(),
            entry.outcome.clone(),
        );
        *self.totals.entry(key).or_default() += 1;
        self.calls.push_back(CallRecord {
            seq: self.last_seq,
            at_ms: entry.at,
            access_key: entry.access_key,
            region: entry.region,
            action: entry.action,
            params: entry
                .params
                .into_iter()
                .map(|(name, value)| (name, truncate(value)))
                .collect(),
            outcome: entry.outcome,
            status: entry.status,
            request_id: entry.request_id,
            faults: entry.faults,
        });
        if self.calls.len() > MAX_CALLS {
            self.calls.pop_front();
        }
    }

    /// Everything that is recorded; of the calls only those whose `seq` is greater than `since`.
    pub fn report<'a>(
        &'a self,
        world: &'a World,
        events: &'a Events,
        since: u64,
        now: UnixMillis,
    ) -> Report<'a> {
        Report {
            now_ms: now,
            calls: self.calls.iter().filter(|call| call.seq > since).collect(),
            calls_dropped: self.last_seq - self.calls.len() as u64,
            totals: self
                .totals
                .iter()
                .map(|((region, action, outcome), count)| Total {
                    region,
                    action,
                    outcome,
                    count: *count,
                })
                .collect(),
            instances: world
                .all_instances()
                .map(|(region, instance)| instance_report(region, instance, now))
                .collect(),
            addresses: world
                .all_addresses()
                .map(|(region, address)| AddressReport { region, address })
                .collect(),
            events: events.records().collect(),
            events_dropped: events.dropped(),
        }
    }
}

fn instance_report<'a>(
    region: &'a str,
    instance: &'a Instance,
    now: UnixMillis,
) -> InstanceReport<'a> {
    let spec = &instance.spec;
    InstanceReport {
        id: &instance.id,
        region,
        state: instance.state_at(now),
        launch_time_ms: instance.launched_at,
        reservation_id: &instance.reservation_id,
        launch_index: instance.launch_index,
        client_token: spec.client_token.as_deref(),
        image_id: &spec.image_id,
        market: spec.market,
        instance_type: &spec.instance_type,
        subnet_id: &instance.subnet.id,
        zone: &instance.subnet.zone,
        security_group_ids: instance
            .groups
            .iter()
            .map(|group| group.id.as_str())
            .collect(),
        instance_profile_arn: spec.profile_arn.as_deref(),
        ebs_optimized: spec.ebs_optimized,
        shutdown_behavior: spec.shutdown_behavior,
        metadata_options: spec.metadata_options,
        tags: &instance.tags,
        user_data: spec
            .user_data
            .as_ref()
            .map(|data| String::from_utf8_lossy(data).into_owned()),
        ip: instance.public_ip.to_string(),
        private_ip: instance.private_ip.to_string(),
        transitions: instance.transitions_until(now),
        ended_by: instance.ended.map(|(by, _)| by),
        state_reason: instance.state_reason_at(now),
        agent: instance.agent.as_ref(),
        faults: &instance.faults,
        interruption: instance.interruption,
    }
}

fn truncate(mut value: String) -> String {
    if let Some((cut, _)) = value.char_indices().nth(MAX_VALUE_LENGTH) {
        let length = value.len();
        value.truncate(cut);
        value.push_str(&format!("… ({length} bytes)"));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::world::DEFAULT_WORLD;

    fn entry(outcome: &str) -> CallEntry {
        CallEntry {
            at: UnixMillis(1),
            access_key: "AKID".into(),
            region: "us-east-1".into(),
            action: "RunInstances".into(),
            params: BTreeMap::from([("UserData".into(), "x".repeat(1000))]),
            outcome: outcome.into(),
            status: 200,
            request_id: "r".into(),
            faults: Vec::new(),
        }
    }

    #[test]
    fn oldest_calls_over_limit_are_dropped_but_counted() {
        let world = World::new(DEFAULT_WORLD.parse().unwrap(), Settings::default(), 1);
        let events = Events::default();
        let mut ledger = Ledger::default();
        for _ in 0..MAX_CALLS + 3 {
            ledger.record(entry("ok"));
        }
        ledger.record(entry("InternalError"));
        let report = ledger.report(&world, &events, 0, UnixMillis(2));
        assert_eq!(report.calls.len(), MAX_CALLS);
        assert_eq!(report.calls_dropped, 4);
        assert_eq!(report.calls[0].seq, 5);
        let counts: Vec<_> = report.totals.iter().map(|t| (t.outcome, t.count)).collect();
        assert_eq!(counts, [("InternalError", 1), ("ok", MAX_CALLS as u64 + 3)]);
        assert_eq!(
            ledger
                .report(&world, &events, MAX_CALLS as u64 + 3, UnixMillis(2))
                .calls
                .len(),
            1
        );
    }

    #[test]
    fn long_parameter_is_truncated() {
        let mut ledger = Ledger::default();
        ledger.record(entry("ok"));
        let value = &ledger.calls[0].params["UserData"];
        assert!(value.ends_with("x… (1000 bytes)"), "{value}");
    }
}
