//! Event triggers, as `tables/*.yaml` declares them.

use serde::Deserialize;

use super::Columns;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventTrigger {
    pub(crate) name: String,
    pub(crate) definition: EventDefinition,
    #[serde(default)]
    pub(crate) retry_conf: RetryConf,
    pub(crate) webhook_from_env: String,
    #[serde(default)]
    pub(crate) headers: Vec<EventHeader>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventDefinition {
    /// Whether an administrator may also create events manually.
    #[serde(default)]
    pub(crate) enable_manual: bool,
    pub(crate) insert: Option<EventColumns>,
    pub(crate) update: Option<EventColumns>,
    pub(crate) delete: Option<EventColumns>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventColumns {
    /// For an update: the event occurs only if one of these columns changes. Ignored for
    /// inserts and deletes.
    pub(crate) columns: Columns,
    /// The columns that the event's payload contains. `None`: all columns.
    pub(crate) payload: Option<Columns>,
}

/// When a failed delivery is repeated. Omitted fields have Hasura's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetryConf {
    pub(crate) interval_sec: u32,
    pub(crate) num_retries: u32,
    pub(crate) timeout_sec: u32,
}

impl Default for RetryConf {
    fn default() -> Self {
        Self {
            interval_sec: 10,
            num_retries: 0,
            timeout_sec: 60,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventHeader {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) value_from_env: Option<String>,
}
