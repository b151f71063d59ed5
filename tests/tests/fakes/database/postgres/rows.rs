//! PostgreSQL's rows in the fake's types.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp, Unit};
use serde::Deserialize;
use shared::assign::{AppVersion, SessionLimits};
use shared::ids::{ClientSha, ImageId, InstanceId, KeyId, LaunchId, RegionName, TokenId};
use shared::model::{DrainCause, ImageState, InstanceStatus, SpotNotice};
use shared::usage::{EndReason, SessionRecord};
use testing::{
    EndCause, FenceRow, Heartbeat, InstanceEnd, InstanceRecord, InstanceRow, LineForecast,
    SafetyFactor, SlotRow, SlotStatus, Tables, TokenRow, UnservedUser, WaitingUser,
};

/// The rows of all tables, as JSON.
#[derive(Deserialize)]
pub(super) struct Dump {
    images: Vec<ImageColumns>,
    instances: Vec<InstanceColumns>,
    heartbeats: Vec<HeartbeatColumns>,
    agent_tokens: Vec<TokenColumns>,
    slots: Vec<SlotColumns>,
    app_versions: Vec<AppVersionColumns>,
    waiting_users: Vec<WaitingColumns>,
    unserved_users: Vec<UnservedColumns>,
    region_fences: Vec<FenceColumns>,
    region_wakeups: Vec<WakeupColumns>,
    line_forecasts: Vec<ForecastColumns>,
    region_capacity: Vec<CapacityColumns>,
    safety_factors: Vec<SafetyColumns>,
    session_history: Vec<SessionColumns>,
    instance_history: Vec<RecordColumns>,
}

macro_rules! columns {
    ($($name:ident { $($column:ident: $kind:ty),+ $(,)? })+) => {$(
        #[derive(Deserialize)]
        struct $name { $($column: $kind),+ }
    )+};
}

columns! {
    ImageColumns {
        region: RegionName, image_id: ImageId, client_sha: String, state: ImageState,
        state_since: Timestamp, reason: Option<String>,
    }
    InstanceColumns {
        id: InstanceId, region: RegionName, launch_id: LaunchId, image_id: ImageId,
        client_sha: String, instance_type: String, capacity: u32, ip_addr: Option<String>,
        subnet_id: Option<String>, spot: Option<bool>, drain_cause: Option<DrainCause>,
        leave_reason: Option<String>, private_ip: Option<IpAddr>, public_ip: Option<IpAddr>,
        status: InstanceStatus, launched_at: Timestamp, running_at: Option<Timestamp>,
        active_at: Option<Timestamp>,
        draining_since: Option<Timestamp>, missing_since: Option<Timestamp>, notice: Option<SpotNotice>,
        revoked_at: Option<Timestamp>, terminating_at: Option<Timestamp>,
        end_reason: Option<InstanceEnd>,
    }
    TokenColumns {
        instance_id: InstanceId, token: String, token_id: TokenId, key_id: KeyId,
        valid_until: Timestamp, renewed_at: Timestamp, taken_at: Option<Timestamp>,
    }
    HeartbeatColumns {
        instance_id: InstanceId, beat_at: Timestamp, resumed_at: Option<Timestamp>,
    }
    SlotColumns {
        id: String, instance_id: InstanceId, region: RegionName, image_id: ImageId,
        created_at: Timestamp, waited_seconds: f64, user_id: Option<String>,
        session_id: Option<String>, status: SlotStatus, allocated_at: Option<Timestamp>,
        first_allocated_at: Option<Timestamp>, claimed_at: Option<Timestamp>,
        running_at: Option<Timestamp>,
        free_from: Option<Timestamp>, end_cause: Option<EndCause>, end_by: Option<Timestamp>,
        max_session_seconds: Option<u32>, max_idle_seconds: Option<u32>,
        user_active_at: Option<Timestamp>,
    }
    AppVersionColumns { environment: String, version: String, client_sha: String }
    WaitingColumns {
        user_id: String, session_id: String, region: RegionName, client_sha: ClientSha,
        regions: Vec<RegionName>, first_at: Timestamp, last_at: Timestamp,
        barred_until: Option<Timestamp>,
    }
    UnservedColumns {
        user_id: String, region: RegionName, first_at: Timestamp, last_at: Timestamp,
        left_at: Timestamp,
    }
    FenceColumns {
        region: RegionName, version: i64, last_pass_at: Option<Timestamp>,
        watched_since: Option<Timestamp>,
    }
    WakeupColumns { region: RegionName, bucket: Timestamp }
    ForecastColumns {
        region: RegionName, client_sha: ClientSha, made_at: Timestamp, at: Vec<Timestamp>,
        slots: Vec<u32>,
    }
    CapacityColumns { region: RegionName, none_until: Timestamp }
    SafetyColumns { region: RegionName, millionths: i64, users: u64, counted_until: Timestamp }
    SessionColumns {
        user_id: String, session_id: String, region: RegionName, instance_id: InstanceId,
        image_id: ImageId, instance_type: Option<String>, slot_id: String,
        requested_at: Timestamp, assigned_at: Timestamp, connected_at: Option<Timestamp>,
        running_at: Option<Timestamp>, ended_at: Timestamp, end_reason: EndReason,
        end_detail: Option<String>, waited_seconds: f64,
    }
    RecordColumns {
        instance_id: InstanceId, region: RegionName, instance_type: String, spot: Option<bool>,
        launched_at: Timestamp, running_at: Option<Timestamp>, registered_at: Option<Timestamp>,
        draining_at: Option<Timestamp>,
        drain_cause: Option<DrainCause>, terminating_at: Option<Timestamp>, gone_at: Timestamp,
        end_reason: InstanceEnd, sessions: u32, session_seconds: f64, occupied_seconds: f64,
        empty_seconds: f64,
    }
}

impl Dump {
    pub(super) fn tables(self) -> Tables {
        let instances: BTreeMap<_, _> = self.instances.into_iter().map(instance).collect();
        let slot = |row: SlotColumns| {
            let host: &InstanceRow = &instances[&row.instance_id];
            assert_eq!(
                (&row.region, &row.image_id),
                (&host.region, &host.image_id),
                "{}",
                row.id
            );
            let replaces = host.active_at.is_some_and(|at| row.created_at > at);
            let slot = SlotRow {
                instance_id: row.instance_id,
                user: row.user_id.zip(row.session_id),
                status: row.status,
                allocated_at: row.allocated_at,
                first_allocated_at: row.first_allocated_at,
                claimed_at: row.claimed_at,
                running_at: row.running_at,
                free_from: row.free_from,
                replaced_at: replaces.then_some(row.created_at),
                waited: seconds(row.waited_seconds),
                end: row.end_cause.zip(row.end_by),
                limits: SessionLimits {
                    max_session_seconds: row.max_session_seconds,
                    max_idle_seconds: row.max_idle_seconds,
                },
                user_active_at: row.user_active_at,
            };
            (row.id, slot)
        };
        let slots = self.slots.into_iter().map(slot).collect();
        let mut tables = Tables {
            instances,
            slots,
            ..Tables::default()
        };
        for row in self.images {
            let image = shared::model::Image {
                id: row.image_id,
                client_sha: row.client_sha.into(),
                state: row.state,
                since: row.state_since,
            };
            if let Some(reason) = row.reason {
                let key = (row.region.clone(), image.id.clone());
                tables.image_reasons.insert(key, reason);
            }
            tables.add_image(&row.region, image);
        }
        for row in self.heartbeats {
            let HeartbeatColumns {
                instance_id,
                beat_at,
                resumed_at,
            } = row;
            let beat = Heartbeat {
                beat_at,
                resumed_at,
            };
            tables.heartbeats.insert(instance_id, beat);
        }
        for row in self.agent_tokens {
            let token = TokenRow {
                token: row.token,
                token_id: row.token_id,
                key_id: row.key_id,
                valid_until: row.valid_until,
                renewed_at: row.renewed_at,
                taken_at: row.taken_at,
            };
            tables.agent_tokens.insert(row.instance_id, token);
        }
        for row in self.app_versions {
            let version = AppVersion {
                version: row.version,
                client_sha: row.client_sha.into(),
            };
            tables.app_versions.insert(row.environment, version);
        }
        for row in self.waiting_users {
            let waits = WaitingUser {
                session: row.session_id,
                regions: row.regions,
                first_at: row.first_at,
                last_at: row.last_at,
                barred_until: row.barred_until,
            };
            let key = (row.user_id, row.region, row.client_sha);
            tables.waiting_users.insert(key, waits);
        }
        let unserved = |row: UnservedColumns| UnservedUser {
            user: row.user_id,
            region: row.region,
            first_at: row.first_at,
            last_at: row.last_at,
            left_at: row.left_at,
        };
        tables.unserved_users = self.unserved_users.into_iter().map(unserved).collect();
        for row in self.region_fences {
            let fence = FenceRow {
                version: row.version,
                last_pass_at: row.last_pass_at,
                watched_since: row.watched_since,
            };
            tables.fences.insert(row.region, fence);
        }
        for row in self.line_forecasts {
            let forecast = LineForecast {
                made_at: row.made_at,
                steps: row.at.into_iter().zip(row.slots).collect(),
            };
            let key = (row.region, row.client_sha);
            tables.line_forecasts.insert(key, forecast);
        }
        let capacity = self.region_capacity.into_iter();
        tables.region_capacity = capacity.map(|row| (row.region, row.none_until)).collect();
        let factors = self.safety_factors.into_iter();
        tables.safety_factors = factors.map(safety_factor).collect();
        let wakeups = self.region_wakeups.into_iter();
        tables.wakeups = wakeups.map(|row| (row.region, row.bucket)).collect();
        tables.session_history = self.session_history.into_iter().map(session).collect();
        let records = self.instance_history.into_iter();
        tables.instance_history = records.map(instance_record).collect();
        tables.with_sorted_history()
    }
}

fn instance(row: InstanceColumns) -> (InstanceId, InstanceRow) {
    let instance = InstanceRow {
        region: row.region,
        launch_id: row.launch_id,
        image_id: row.image_id,
        client_sha: row.client_sha.into(),
        instance_type: row.instance_type,
        subnet_id: row.subnet_id,
        spot: row.spot,
        capacity: row.capacity,
        ip_addr: row.ip_addr,
        private_ip: row.private_ip,
        public_ip: row.public_ip,
        status: row.status,
        launched_at: row.launched_at,
        running_at: row.running_at,
        active_at: row.active_at,
        draining_since: row.draining_since,
        drain_cause: row.drain_cause,
        leave_reason: row.leave_reason,
        missing_since: row.missing_since,
        notice: row.notice,
        revoked_at: row.revoked_at,
        terminating_at: row.terminating_at,
        end_reason: row.end_reason,
    };
    (row.id, instance)
}

fn seconds(seconds: f64) -> SignedDuration {
    let time = SignedDuration::from_secs_f64(seconds);
    time.round(Unit::Microsecond).unwrap()
}

fn session(row: SessionColumns) -> SessionRecord {
    SessionRecord {
        user: row.user_id,
        session: row.session_id,
        region: row.region,
        instance_id: row.instance_id,
        image_id: row.image_id,
        instance_type: row.instance_type,
        slot_id: row.slot_id,
        requested_at: row.requested_at,
        assigned_at: row.assigned_at,
        connected_at: row.connected_at,
        running_at: row.running_at,
        ended_at: Some(row.ended_at),
        end_reason: Some(row.end_reason),
        end_detail: row.end_detail,
        waited: seconds(row.waited_seconds),
    }
}

fn safety_factor(row: SafetyColumns) -> (RegionName, SafetyFactor) {
    let factor = SafetyFactor {
        millionths: row.millionths,
        users: row.users,
        counted_until: row.counted_until,
    };
    (row.region, factor)
}

fn instance_record(row: RecordColumns) -> InstanceRecord {
    InstanceRecord {
        instance_id: row.instance_id,
        region: row.region,
        instance_type: row.instance_type,
        spot: row.spot,
        launched_at: row.launched_at,
        running_at: row.running_at,
        registered_at: row.registered_at,
        draining_at: row.draining_at,
        drain_cause: row.drain_cause,
        terminating_at: row.terminating_at,
        gone_at: row.gone_at,
        end_reason: row.end_reason,
        sessions: row.sessions,
        session_time: seconds(row.session_seconds),
        occupied: seconds(row.occupied_seconds),
        empty: seconds(row.empty_seconds),
    }
}
