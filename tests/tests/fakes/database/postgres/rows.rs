//! PostgreSQL's rows in the fake's types.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use shared::assign::AppVersion;
use shared::ids::{ImageId, InstanceId, LaunchId, RegionName};
use shared::model::{ImageState, InstanceStatus, SpotNotice};
use testing::{FenceRow, Heartbeat, InstanceRow, SlotRow, SlotStatus, Tables, WaitingUser};

/// The rows of all tables, as JSON.
#[derive(Deserialize)]
pub(super) struct Dump {
    images: Vec<ImageColumns>,
    instances: Vec<InstanceColumns>,
    heartbeats: Vec<HeartbeatColumns>,
    slots: Vec<SlotColumns>,
    app_versions: Vec<AppVersionColumns>,
    waiting_users: Vec<WaitingColumns>,
    region_fences: Vec<FenceColumns>,
    region_wakeups: Vec<WakeupColumns>,
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
        status: InstanceStatus, launched_at: Timestamp, active_at: Option<Timestamp>,
        draining_since: Option<Timestamp>, missing_since: Option<Timestamp>, notice: Option<SpotNotice>,
    }
    HeartbeatColumns {
        instance_id: InstanceId, beat_at: Timestamp, resumed_at: Option<Timestamp>,
    }
    SlotColumns {
        id: String, instance_id: InstanceId, region: RegionName, user_id: Option<String>,
        session_id: Option<String>, status: SlotStatus, allocated_at: Option<Timestamp>,
    }
    AppVersionColumns { environment: String, version: String, client_sha: String }
    WaitingColumns {
        user_id: String, session_id: String, region: RegionName, first_at: Timestamp,
        last_at: Timestamp,
    }
    FenceColumns {
        region: RegionName, version: i64, last_pass_at: Option<Timestamp>,
        watched_since: Option<Timestamp>,
    }
    WakeupColumns { region: RegionName, bucket: Timestamp }
}

impl Dump {
    pub(super) fn tables(self) -> Tables {
        let instances: BTreeMap<_, _> = self.instances.into_iter().map(instance).collect();
        let slot = |row: SlotColumns| {
            assert_eq!(row.region, instances[&row.instance_id].region, "{}", row.id);
            let slot = SlotRow {
                instance_id: row.instance_id,
                user: row.user_id.zip(row.session_id),
                status: row.status,
                allocated_at: row.allocated_at,
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
        for row in self.app_versions {
            let version = AppVersion {
                version: row.version,
                client_sha: row.client_sha.into(),
            };
            tables.app_versions.insert(row.environment, version);
        }
        for row in self.waiting_users {
            let waits = WaitingUser {
                region: row.region,
                first_at: row.first_at,
                last_at: row.last_at,
            };
            let key = (row.user_id, row.session_id);
            tables.waiting_users.insert(key, waits);
        }
        for row in self.region_fences {
            let fence = FenceRow {
                version: row.version,
                last_pass_at: row.last_pass_at,
                watched_since: row.watched_since,
            };
            tables.fences.insert(row.region, fence);
        }
        let wakeups = self.region_wakeups.into_iter();
        tables.wakeups = wakeups.map(|row| (row.region, row.bucket)).collect();
        tables
    }
}

fn instance(row: InstanceColumns) -> (InstanceId, InstanceRow) {
    let instance = InstanceRow {
        region: row.region,
        launch_id: row.launch_id,
        image_id: row.image_id,
        client_sha: row.client_sha.into(),
        instance_type: row.instance_type,
        capacity: row.capacity,
        ip_addr: row.ip_addr,
        status: row.status,
        launched_at: row.launched_at,
        active_at: row.active_at,
        draining_since: row.draining_since,
        missing_since: row.missing_since,
        notice: row.notice,
    };
    (row.id, instance)
}
