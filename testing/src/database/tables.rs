//! PostgreSQL's tables, in memory. Tests may read rows, and change them as an operator would.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use shared::assign::{AppVersion, SessionLimits};
use shared::ids::{ClientSha, ImageId, InstanceId, KeyId, LaunchId, RegionName, TokenId};
use shared::model::{
    CapacityPool, DrainCause, Image, Instance, InstanceStatus, Spending, SpotNotice,
};
use shared::settings::RegionSettings;
use shared::usage::SessionRecord;

use super::flow::SafetyFactor;
use super::history::{InstanceEnd, InstanceRecord};

use super::endings::EndCause;

/// The tables that the service's SQL functions read and write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    pub regions: BTreeMap<RegionName, RegionRow>,
    pub images: BTreeMap<(RegionName, ImageId), Image>,
    /// Why images `FAILED`.
    pub image_reasons: BTreeMap<(RegionName, ImageId), String>,
    pub instances: BTreeMap<InstanceId, InstanceRow>,
    pub heartbeats: BTreeMap<InstanceId, Heartbeat>,
    /// The newest tokens of agents, where they are not those of the launches.
    pub agent_tokens: BTreeMap<InstanceId, TokenRow>,
    pub slots: BTreeMap<String, SlotRow>,
    pub app_versions: BTreeMap<String, AppVersion>,
    /// By user, region and the commit of the line.
    pub waiting_users: BTreeMap<(String, RegionName, ClientSha), WaitingUser>,
    /// Those who left a line without a slot.
    pub unserved_users: Vec<UnservedUser>,
    pub line_forecasts: BTreeMap<(RegionName, ClientSha), LineForecast>,
    /// Until when regions are without capacity.
    pub region_capacity: BTreeMap<RegionName, Timestamp>,
    pub fences: BTreeMap<RegionName, FenceRow>,
    pub safety_factors: BTreeMap<RegionName, SafetyFactor>,
    /// Woken regions, each with the start of the two seconds in which it was woken.
    pub wakeups: BTreeSet<(RegionName, Timestamp)>,
    /// The number of slots that were ever inserted, from which their ids are made.
    pub slots_made: u64,
    /// When agents took their instances out of service, for the instances of each region.
    pub host_leaves: BTreeMap<InstanceId, (RegionName, Timestamp)>,
    pub session_ends: BTreeMap<InstanceId, SessionEndsRow>,
    /// In the order of insertion.
    pub failed_sessions: Vec<FailedSession>,
    /// In the order of their ends.
    pub session_history: Vec<SessionRecord>,
    pub instance_history: Vec<InstanceRecord>,
    /// What the instances of regions have cost, as a test says: prices and figures of hours are not played.
    pub spending: BTreeMap<RegionName, Spending>,
    /// Instances that an open transaction holds, with their slots, as a host agent's can.
    pub held: BTreeSet<InstanceId>,
}

/// A row of `regions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionRow {
    pub settings: RegionSettings,
    /// The time in which a user must claim a slot.
    pub claim: SignedDuration,
}

/// A row of `instances`; its heartbeat and its slots are rows of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRow {
    pub region: RegionName,
    pub launch_id: LaunchId,
    pub image_id: ImageId,
    pub client_sha: ClientSha,
    pub instance_type: String,
    pub subnet_id: Option<String>,
    pub spot: Option<bool>,
    pub capacity: u32,
    pub ip_addr: Option<String>,
    pub private_ip: Option<IpAddr>,
    pub public_ip: Option<IpAddr>,
    pub status: InstanceStatus,
    pub launched_at: Timestamp,
    pub running_at: Option<Timestamp>,
    pub active_at: Option<Timestamp>,
    pub draining_since: Option<Timestamp>,
    pub drain_cause: Option<DrainCause>,
    pub leave_reason: Option<String>,
    pub missing_since: Option<Timestamp>,
    pub notice: Option<SpotNotice>,
    pub revoked_at: Option<Timestamp>,
    /// When it became `TERMINATING`, and why.
    pub terminating_at: Option<Timestamp>,
    pub end_reason: Option<InstanceEnd>,
}

impl InstanceRow {
    /// Whether it is `ACTIVE`, and EC2 has not announced to take it.
    pub(super) fn is_in_service(&self) -> bool {
        self.status == InstanceStatus::Active && self.notice != Some(SpotNotice::Interruption)
    }

    /// What the instance was launched from.
    pub(super) fn pool(&self) -> Option<CapacityPool> {
        Some(CapacityPool {
            spot: self.spot?,
            instance_type: self.instance_type.clone(),
            subnet_id: self.subnet_id.clone()?,
        })
    }
}

/// A row of `agent_tokens`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    pub token: String,
    pub token_id: TokenId,
    pub key_id: KeyId,
    pub valid_until: Timestamp,
    pub renewed_at: Timestamp,
    pub taken_at: Option<Timestamp>,
}

/// A row of `heartbeats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub beat_at: Timestamp,
    pub resumed_at: Option<Timestamp>,
}

/// A row of `slots`. `user` is the user and the session; it is set exactly while the slot is
/// occupied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRow {
    pub instance_id: InstanceId,
    pub user: Option<(String, String)>,
    pub status: SlotStatus,
    pub allocated_at: Option<Timestamp>,
    pub first_allocated_at: Option<Timestamp>,
    pub claimed_at: Option<Timestamp>,
    pub running_at: Option<Timestamp>,
    pub free_from: Option<Timestamp>,
    /// When it replaced the slot of a session that had ended; none for a slot of the registration.
    pub replaced_at: Option<Timestamp>,
    /// How long the user waited in line for it.
    pub waited: SignedDuration,
    /// Why and by when the session is to end.
    pub end: Option<(EndCause, Timestamp)>,
    /// Limits of the request.
    pub limits: SessionLimits,
    /// The last activity of the user that the agent has reported.
    pub user_active_at: Option<Timestamp>,
}

impl SlotRow {
    /// A free slot of an instance.
    pub fn waiting(instance_id: InstanceId) -> Self {
        Self {
            instance_id,
            user: None,
            status: SlotStatus::Waiting,
            allocated_at: None,
            first_allocated_at: None,
            claimed_at: None,
            running_at: None,
            free_from: None,
            replaced_at: None,
            waited: SignedDuration::ZERO,
            end: None,
            limits: SessionLimits::default(),
            user_active_at: None,
        }
    }

    /// Whether the slot is `WAITING` and past its cool-down.
    pub fn is_free(&self, now: Timestamp) -> bool {
        self.status == SlotStatus::Waiting && self.free_from.is_none_or(|from| from <= now)
    }

    pub fn is_of(&self, user: &str, session: &str) -> bool {
        self.user
            .as_ref()
            .is_some_and(|(u, s)| u == user && s == session)
    }
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SlotStatus {
    Waiting,
    Allocated,
    Connecting,
    Running,
    Dying,
}

impl SlotStatus {
    /// Whether the slot counts towards its user's limit and is returned to a repeated request.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Allocated | Self::Connecting | Self::Running)
    }
}

/// A row of `internal.session_ends`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionEndsRow {
    pub quick_users: Vec<String>,
    pub lived_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub replaced_until: Option<Timestamp>,
}

/// A row of `internal.failed_sessions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSession {
    pub user: String,
    pub instance_id: InstanceId,
    pub claimed: bool,
    pub failed_at: Timestamp,
    pub barred_until: Option<Timestamp>,
}

/// A row of `unserved_users`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnservedUser {
    pub user: String,
    /// The first of the regions that they asked for.
    pub region: RegionName,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub left_at: Timestamp,
}

/// A row of `waiting_users`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingUser {
    pub session: String,
    /// Those that serve the user, in the order in which they were requested.
    pub regions: Vec<RegionName>,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// Until when the user cannot get an instance that failed them.
    pub barred_until: Option<Timestamp>,
}

/// A row of `internal.line_forecasts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineForecast {
    pub made_at: Timestamp,
    /// The number of slots that will have become free since `made_at`, from each time on.
    pub steps: Vec<(Timestamp, u32)>,
}

/// A row of `region_fences`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FenceRow {
    pub version: i64,
    pub last_pass_at: Option<Timestamp>,
    pub watched_since: Option<Timestamp>,
}

impl Tables {
    /// Inserts a region. Its users have 90 seconds to claim a slot.
    pub fn add_region(&mut self, settings: RegionSettings) {
        let row = RegionRow {
            claim: SignedDuration::from_secs(90),
            settings,
        };
        self.regions.insert(row.settings.name.clone(), row);
    }

    pub fn add_image(&mut self, region: &RegionName, image: Image) {
        self.images
            .insert((region.clone(), image.id.clone()), image);
    }

    /// Inserts the rows that a pass would observe as this instance, its heartbeat and slots
    /// included. Occupied slots are `RUNNING`, unclaimed ones were allocated long ago.
    pub fn add_instance(&mut self, region: &RegionName, instance: &Instance) {
        let claim = self.regions.get(region).map(|row| row.claim);
        let Instance { id, slots, .. } = instance;
        let row = InstanceRow {
            region: region.clone(),
            launch_id: instance.launch_id.clone(),
            image_id: instance.image_id.clone(),
            client_sha: instance.client_sha.clone(),
            instance_type: instance
                .pool
                .as_ref()
                .map_or("c5.large", |pool| &pool.instance_type)
                .to_owned(),
            subnet_id: instance.pool.as_ref().map(|pool| pool.subnet_id.clone()),
            spot: instance.pool.as_ref().map(|pool| pool.spot),
            capacity: instance.capacity,
            ip_addr: (instance.ip_addr.clone())
                .or_else(|| instance.active_at.map(|_| format!("{id}.hosts.example"))),
            private_ip: instance.private_ip,
            public_ip: instance.public_ip,
            status: instance.status,
            launched_at: instance.launched_at,
            running_at: instance.running_at,
            active_at: instance.active_at,
            draining_since: instance.draining_since,
            drain_cause: instance.drain_cause,
            leave_reason: instance.leave_reason.clone(),
            missing_since: instance.missing_since,
            notice: instance.notice,
            revoked_at: None,
            terminating_at: None,
            end_reason: None,
        };
        self.instances.insert(id.clone(), row);
        if let Some(token) = &instance.token {
            let taken_at = token
                .untaken_since
                .is_none()
                .then_some(instance.launched_at);
            let row = TokenRow {
                token: format!("token of {id}"),
                token_id: format!("token of {id}").into(),
                key_id: token.key.clone(),
                valid_until: token.valid_until,
                renewed_at: token.untaken_since.unwrap_or(instance.launched_at),
                taken_at,
            };
            self.agent_tokens.insert(id.clone(), row);
        }
        if let Some(beat_at) = instance.beat_at {
            let resumed_at = instance.resumed_at;
            let beat = Heartbeat {
                beat_at,
                resumed_at,
            };
            self.heartbeats.insert(id.clone(), beat);
        }
        let long_ago = instance.launched_at - claim.unwrap_or_default();
        for _ in 0..slots.waiting {
            self.add_slot(SlotRow::waiting(id.clone()));
        }
        for place in 0..slots.occupied {
            let (status, allocated_at) = if place < slots.unclaimed {
                (SlotStatus::Allocated, long_ago)
            } else {
                (SlotStatus::Running, instance.launched_at)
            };
            self.add_slot(SlotRow {
                user: Some((format!("user {place} of {id}"), "1".to_owned())),
                status,
                allocated_at: Some(allocated_at),
                first_allocated_at: (status == SlotStatus::Allocated).then_some(allocated_at),
                claimed_at: (status != SlotStatus::Allocated).then_some(allocated_at),
                running_at: (status != SlotStatus::Allocated).then_some(allocated_at),
                ..SlotRow::waiting(id.clone())
            });
        }
    }

    /// Inserts a slot and returns its id. The id is a UUID made from a counter, so that ids have
    /// the order of insertion.
    pub fn add_slot(&mut self, slot: SlotRow) -> String {
        self.slots_made += 1;
        let id = uuid::Uuid::from_u128(self.slots_made.into()).to_string();
        self.slots.insert(id.clone(), slot);
        id
    }

    /// An instance's slots, ordered by id.
    pub fn slots_of<'t>(
        &'t self,
        instance: &'t InstanceId,
    ) -> impl Iterator<Item = (&'t String, &'t SlotRow)> {
        self.slots
            .iter()
            .filter(move |(_, slot)| slot.instance_id == *instance)
    }

    pub fn is_occupied(&self, instance: &InstanceId) -> bool {
        self.slots_of(instance)
            .any(|(_, slot)| slot.status != SlotStatus::Waiting)
    }

    /// The region's settings; none for an unknown region.
    pub fn settings_mut(&mut self, region: &RegionName) -> Option<&mut RegionSettings> {
        self.regions.get_mut(region).map(|row| &mut row.settings)
    }

    /// The region's fence, which is inserted if there is none.
    pub fn fence_mut(&mut self, region: &RegionName) -> &mut FenceRow {
        self.fences.entry(region.clone()).or_default()
    }

    pub(super) fn heartbeat_timeout(&self, region: &RegionName) -> Option<SignedDuration> {
        Some(self.regions.get(region)?.settings.timeouts.heartbeat)
    }

    /// The slots of each instance that has some. Whoever needs those of many instances goes through
    /// all slots once.
    pub(super) fn slots_by_instance(&self) -> HashMap<&InstanceId, Vec<&SlotRow>> {
        let mut all: HashMap<_, Vec<_>> = HashMap::with_capacity(self.instances.len());
        for slot in self.slots.values() {
            all.entry(&slot.instance_id).or_default().push(slot);
        }
        all
    }
}

impl SlotRow {
    /// Whether the slot was allocated before that time and has not been claimed.
    pub(super) fn is_unclaimed(&self, before: Timestamp) -> bool {
        self.status == SlotStatus::Allocated && self.allocated_at.is_some_and(|at| at < before)
    }
}
