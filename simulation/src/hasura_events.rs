//! Hasura's event triggers: which changes of rows make events, and the request that delivers one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::assign::AppVersion;
use shared::ids::{InstanceId, RegionName};
use shared::model::InstanceStatus;
use testing::{ENVIRONMENT, Tables};

/// The secret in the header of each delivery.
pub const SECRET: &str = "the secret that Hasura sends";

/// One event, which is delivered until the function accepts it.
#[derive(Clone, Debug)]
pub struct DatabaseEvent {
    pub id: String,
    /// The regions that need a pass because of it.
    pub regions: Vec<RegionName>,
    pub trigger: &'static str,
    row: Value,
    pub attempts: u32,
}

impl DatabaseEvent {
    /// The request that the function's URL receives.
    pub fn request(&self) -> Value {
        let body = json!({
            "id": self.id,
            "created_at": "2026-01-01T12:00:00.000000",
            "delivery_info": {"current_retry": self.attempts, "max_retries": 5},
            "trigger": {"name": self.trigger},
            "table": {"schema": "public", "name": "simulated"},
            "event": {
                "op": "INSERT",
                "session_variables": null,
                "trace_context": null,
                "data": {"old": null, "new": self.row},
            },
        });
        json!({
            "version": "2.0",
            "rawPath": "/",
            "headers": {"content-type": "application/json", "x-event-secret": SECRET},
            "requestContext": {"http": {"method": "POST"}, "timeEpoch": 0},
            "body": body.to_string(),
            "isBase64Encoded": false,
        })
    }
}

/// Finds the changes of rows for which Hasura's triggers make events.
#[derive(Debug, Default)]
pub struct EventTriggers {
    wakeups: BTreeSet<(RegionName, Timestamp)>,
    statuses: BTreeMap<InstanceId, InstanceStatus>,
    app_version: Option<AppVersion>,
    made: u32,
}

impl EventTriggers {
    /// The events that the last step has made.
    pub fn collect(&mut self, tables: &Tables) -> Vec<DatabaseEvent> {
        let mut events = Vec::new();
        if tables.wakeups != self.wakeups {
            for (region, bucket) in tables.wakeups.difference(&self.wakeups) {
                let row = json!({"region": region, "bucket": bucket});
                self.made += 1;
                let regions = vec![region.clone()];
                events.push(event(self.made, "region_wake", regions, row));
            }
            self.wakeups.clone_from(&tables.wakeups);
        }
        for (id, instance) in &tables.instances {
            let before = self.statuses.insert(id.clone(), instance.status);
            let has_changed = before.is_some_and(|before| before != instance.status);
            if has_changed && instance.status == InstanceStatus::Draining {
                let row = json!({"id": id, "region": instance.region, "status": "DRAINING"});
                self.made += 1;
                let trigger = "instance_status_changed";
                let regions = vec![instance.region.clone()];
                events.push(event(self.made, trigger, regions, row));
            }
        }
        let app_version = tables.app_versions.get(ENVIRONMENT);
        if let Some(app) = app_version.filter(|app| Some(*app) != self.app_version.as_ref()) {
            let row = json!({
                "environment": ENVIRONMENT,
                "version": app.version,
                "client_sha": app.client_sha,
            });
            self.app_version = Some(app.clone());
            self.made += 1;
            let regions = tables.regions.keys().cloned().collect();
            events.push(event(self.made, "app_version_changed", regions, row));
        }
        if self.statuses.len() > tables.instances.len() {
            self.statuses
                .retain(|id, _| tables.instances.contains_key(id));
        }
        events
    }
}

fn event(
    number: u32,
    trigger: &'static str,
    regions: Vec<RegionName>,
    row: Value,
) -> DatabaseEvent {
    DatabaseEvent {
        id: format!("event-{number}"),
        regions,
        trigger,
        row,
        attempts: 0,
    }
}
