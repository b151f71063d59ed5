//! Launches: each is recorded first, happens once ([`testing::invariants::launches`]), and stays
//! within the maximum.

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::{ClientToken, InstanceId, LaunchId, RegionName};
use shared::model::{CapacityPool, Intent, LaunchRequest, LaunchTally};
use testing::invariants::{MachineHistory, launches};
use testing::{Binding, Tables};

use super::context::StepContext;
use super::images::max_live;
use super::rule::{Check, Violation};
use crate::effects::Effect;

#[derive(Debug)]
struct Recorded {
    region: RegionName,
    intent: Intent,
    closed: bool,
    /// The maximum of the region when the intent was recorded.
    max: u32,
}

#[derive(Debug, Default)]
pub(super) struct Launches {
    recorded: BTreeMap<LaunchId, Recorded>,
    tokens: BTreeMap<ClientToken, LaunchId>,
    /// What was requested in each region, without what turned out not to be launched.
    tallies: BTreeMap<RegionName, LaunchTally>,
    /// The maximum that the last pass of each region observed.
    seen_max: BTreeMap<RegionName, u32>,
}

impl Launches {
    pub(super) fn check_effect(
        &mut self,
        context: &StepContext<'_>,
        effect: &Effect,
        found: &mut Vec<Violation>,
    ) {
        match effect {
            Effect::PassBegan { fence, .. } => {
                let max = max_live(&context.world.database.rows().tables, &fence.region);
                self.seen_max.insert(fence.region.clone(), max);
            }
            Effect::IntentsOpened(lease, intents) => {
                for intent in intents {
                    self.check_hour(context, &lease.region, intent, found);
                    check_rest(context, &lease.region, intent, found);
                    self.check_opened(context, &lease.region, intent, found);
                }
            }
            Effect::IntentsClosed(_, launches) => {
                for launch in launches {
                    self.check_closed(context, launch, found);
                }
            }
            Effect::LaunchRequested {
                region,
                token,
                launch_id,
                ..
            } => self.check_launch(context, region, token, launch_id.as_ref(), found),
            _ => {}
        }
    }

    pub(super) fn note_recorded_before(&mut self, region: &RegionName, intent: &Intent) {
        let launch = intent.launch_id.clone();
        self.tokens
            .insert(intent.client_token.clone(), launch.clone());
        let recorded = Recorded {
            region: region.clone(),
            intent: intent.clone(),
            closed: false,
            max: u32::MAX,
        };
        self.recorded.insert(launch, recorded);
    }

    fn check_opened(
        &mut self,
        context: &StepContext<'_>,
        region: &RegionName,
        intent: &Intent,
        found: &mut Vec<Violation>,
    ) {
        let launch = &intent.launch_id;
        if let Some(other) = self
            .tokens
            .insert(intent.client_token.clone(), launch.clone())
        {
            let text = format!(
                "{other} and {launch} have the same token {}",
                intent.client_token
            );
            found.push(Violation::new(Check::OneLaunchPerIntent, text));
        }
        let now_max = max_live(&context.world.database.rows().tables, region);
        let max = self.seen_max.get(region).copied().unwrap_or(0).max(now_max);
        self.recorded.insert(
            launch.clone(),
            Recorded {
                region: region.clone(),
                intent: intent.clone(),
                closed: false,
                max,
            },
        );
        let live = live_in_stores(context, &context.world.database.rows().tables, region);
        if live > max {
            let text = format!(
                "{launch} makes {live} live instances in {region}, and the maximum is {max}"
            );
            found.push(Violation::new(Check::LiveWithinMaximum, text));
        }
    }

    fn check_hour(
        &mut self,
        context: &StepContext<'_>,
        region: &RegionName,
        intent: &Intent,
        found: &mut Vec<Violation>,
    ) {
        let now = intent.created_at;
        let tally = self.tallies.entry(region.clone()).or_default();
        tally.add(intent.request.count, now);
        let launched = tally.launched(now);
        // Only a limit that operators do not change: the default depends on `max_instances`.
        let limit = context.world.settings(region).launches_per_hour;
        if let Some(limit @ 1..) = limit
            && launched > limit
        {
            let text = format!("{launched} instances in an hour, and the limit is {limit}");
            found.push(Violation::new(Check::LaunchesWithinHour, text));
        }
    }

    fn check_closed(
        &mut self,
        context: &StepContext<'_>,
        launch: &LaunchId,
        found: &mut Vec<Violation>,
    ) {
        let Some(recorded) = self.recorded.get_mut(launch) else {
            return;
        };
        recorded.closed = true;
        let machines = machines_of(context, &recorded.region, launch);
        let launched = u32::try_from(machines.len()).unwrap_or(u32::MAX);
        let not_launched = recorded.intent.request.count.saturating_sub(launched);
        if let Some(tally) = self.tallies.get_mut(&recorded.region) {
            tally.take_back(not_launched, recorded.intent.created_at);
        }
        let rows = context.world.database.rows();
        let host = context.world.host(&recorded.region);
        let state = host.state();
        let now = context.world.now();
        let is_live = |id: &InstanceId| {
            let machine = state.ec2.machines.get(id);
            machine.is_some_and(|machine| machine.is_live(now))
        };
        let unknown: Vec<_> = machines
            .iter()
            .filter(|id| is_live(id) && !rows.tables.instances.contains_key(*id))
            .collect();
        if !unknown.is_empty() {
            let text = format!("{launch} was closed without rows for {unknown:?}");
            found.push(Violation::new(Check::ClosedOnlyWithRows, text));
        }
    }

    fn check_launch(
        &self,
        context: &StepContext<'_>,
        region: &RegionName,
        token: &ClientToken,
        launch: Option<&LaunchId>,
        found: &mut Vec<Violation>,
    ) {
        let Some((launch, recorded)) = launch.and_then(|l| Some((l, self.recorded.get(l)?))) else {
            let text = format!("EC2 got a launch request under {token}, which is not recorded");
            return found.push(Violation::new(Check::LaunchOnlyIfRecorded, text));
        };
        if !is_in_store(context, region, launch) {
            let text = format!("EC2 got the launch request {launch}, which is not in the table");
            found.push(Violation::new(Check::LaunchOnlyIfRecorded, text));
        }
        for text in launch_violations(context, region, &recorded.intent) {
            found.push(Violation::new(Check::OneLaunchPerIntent, text));
        }
        let has_machines = !machines_of(context, region, launch).is_empty();
        let counted = self.counted_machines(context, region);
        if has_machines && !recorded.closed && counted > recorded.max {
            let text = format!(
                "{launch} makes {counted} machines in {region}, and the maximum is {}",
                recorded.max
            );
            found.push(Violation::new(Check::MachinesWithinMaximum, text));
        }
    }

    /// EC2's live machines, apart from those of a request that arrived after its intent was closed:
    /// EC2 cannot be fenced, so that a late launch exceeds the maximum until a pass finds it.
    fn counted_machines(&self, context: &StepContext<'_>, region: &RegionName) -> u32 {
        let rows = context.world.database.rows();
        let host = context.world.host(region);
        let state = host.state();
        let now = context.world.now();
        let late: BTreeSet<&InstanceId> = state
            .ec2
            .tokens
            .iter()
            .filter(|((token, _), _)| {
                let launch = self.tokens.get(token);
                launch.is_none_or(|l| self.recorded.get(l).is_none_or(|r| r.closed))
            })
            .flat_map(|(_, binding)| &binding.ids)
            .filter(|id| !rows.tables.instances.contains_key(*id))
            .collect();
        let counted = state.ec2.live(now).filter(|id| !late.contains(id)).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }
}

/// Checks that the intent's pool does not rest.
fn check_rest(
    context: &StepContext<'_>,
    region: &RegionName,
    intent: &Intent,
    found: &mut Vec<Violation>,
) {
    let now = intent.created_at;
    let mut items = context.world.store.items();
    let items = items.of(region);
    let pool = CapacityPool::of(&intent.request);
    // A refusal of the same pass is at the same time.
    let rests = items.refusals.values().find(|refusal| {
        refusal.pool == pool
            && refusal.at < now
            && refusal.is_in_force(now)
            && refusal
                .image
                .as_ref()
                .is_none_or(|image| *image == intent.request.image_id)
    });
    if let Some(refusal) = rests {
        let text = format!(
            "{} launches from {pool}, which rests until {}",
            intent.launch_id, refusal.until
        );
        found.push(Violation::new(Check::RestingPoolNotLaunched, text));
    }
}

/// Checks that EC2 got only the request that the intent records, and launched its machines once.
/// The views hold only what has the token or the tag of the intent: a copy of all launches of a
/// region would be slow.
fn launch_violations(
    context: &StepContext<'_>,
    region: &RegionName,
    intent: &Intent,
) -> Vec<String> {
    let host = context.world.host(region);
    let state = host.state();
    let is_related = |token: &ClientToken, request: &LaunchRequest| {
        *token == intent.client_token || launch_of(request) == Some(intent.launch_id.as_str())
    };
    let recorded = request_view(&intent.client_token, &intent.request);
    let attempts = state.launches.iter();
    let attempts = attempts
        .filter(|(token, request)| is_related(token, request))
        .map(|(token, request)| request_view(token, request));
    let requests: Vec<_> = [recorded].into_iter().chain(attempts).collect();
    let bindings = state.ec2.tokens.iter();
    let machines: Vec<_> = bindings
        .filter(|((token, _), binding)| is_related(token, &binding.request))
        .flat_map(|((token, subnet), binding)| machine_views(token, subnet, binding))
        .collect();
    launches::violations(&requests, &machines)
}

fn request_view<'r>(
    token: &ClientToken,
    request: &'r LaunchRequest,
) -> launches::LaunchRequest<&'r LaunchRequest> {
    launches::LaunchRequest {
        token: token.to_string(),
        launch: launch_of(request).unwrap_or_default().to_owned(),
        count: request.count as usize,
        parameters: request,
    }
}

/// The machines that EC2 launched under a token in a subnet, all at once.
fn machine_views(token: &ClientToken, subnet: &str, binding: &Binding) -> Vec<MachineHistory> {
    let launch = launch_of(&binding.request).unwrap_or_default();
    let view = |id: &InstanceId| MachineHistory {
        id: id.to_string(),
        token: token.to_string(),
        launch: launch.to_owned(),
        reservation: format!("{token} in {subnet}"),
        ..MachineHistory::default()
    };
    binding.ids.iter().map(view).collect()
}

/// The launch in the tag of a request.
fn launch_of(request: &LaunchRequest) -> Option<&str> {
    let mut tags = request.tags.iter();
    let tag = tags.find(|(key, _)| key == shared::host::tags::LAUNCH);
    tag.map(|(_, launch)| launch.as_str())
}

/// The machines that EC2 ever launched for an intent.
fn machines_of(
    context: &StepContext<'_>,
    region: &RegionName,
    launch: &LaunchId,
) -> Vec<InstanceId> {
    let host = context.world.host(region);
    let state = host.state();
    let bindings = state.ec2.tokens.values();
    bindings
        .filter(|binding| launch_of(&binding.request) == Some(launch.as_str()))
        .flat_map(|binding| binding.ids.iter().cloned())
        .collect()
}

fn is_in_store(context: &StepContext<'_>, region: &RegionName, launch: &LaunchId) -> bool {
    let mut items = context.world.store.items();
    let items = items.of(region);
    items.open.contains_key(launch) || items.closed.iter().any(|c| c.launch_id == *launch)
}

/// Rows, and the machines that open intents may still become.
pub(super) fn live_in_stores(
    context: &StepContext<'_>,
    tables: &Tables,
    region: &RegionName,
) -> u32 {
    let of_region = |row: &&testing::InstanceRow| row.region == *region;
    let all = tables.instances.values().filter(of_region).count();
    let mut live = u32::try_from(all).unwrap_or(u32::MAX);
    let mut items = context.world.store.items();
    for intent in items.of(region).open.values() {
        let covered = tables
            .instances
            .values()
            .filter(|row| row.launch_id == intent.launch_id)
            .count();
        let covered = u32::try_from(covered).unwrap_or(u32::MAX);
        live += intent.request.count.saturating_sub(covered);
    }
    live
}
