//! What the ports find out. Facts only: what they mean is for [`super::judge`] to say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// What the SQL function `doctor` returns, with the times of this process around the request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Database {
    /// PostgreSQL's `server_version_num`, such as 140012.
    pub version_num: u32,
    pub now: Timestamp,
    pub max_connections: u32,
    /// Those of the schema `public`.
    pub functions: Vec<String>,
    /// The columns of `regions`.
    pub region_columns: Vec<String>,
    /// The triggers that Hasura makes for its event triggers, with the table's name in front:
    /// `instances.notify_hasura_instance_status_changed_UPDATE`.
    pub event_triggers: Vec<String>,
    /// Those among them that are switched off (`ALTER TABLE … DISABLE TRIGGER`).
    #[serde(default)]
    pub disabled_triggers: Vec<String>,
    /// None before the migration that tells it.
    #[serde(default)]
    pub user: Option<DatabaseUser>,
}

/// The PostgreSQL user whom Hasura connects as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct DatabaseUser {
    pub name: String,
    /// Those of the user and the functions' owners who are superusers.
    pub superusers: Vec<String>,
    /// The timeouts that are not set for the user, by PostgreSQL's name.
    pub unbounded: Vec<String>,
}

/// The clock of this process before and after the database told its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub before: Timestamp,
    pub after: Timestamp,
}

/// One event trigger's entries in Hasura's log, of the last day.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Events {
    pub trigger: String,
    pub delivered: i64,
    /// Not delivered, and older than a minute.
    pub overdue: i64,
    /// Hasura gave up on them.
    pub failed: i64,
    /// The HTTP status of the last request, if there was one.
    pub last_status: Option<i32>,
}

/// What the metadata says that Hasura has stored: the SQL function `doctor_metadata` returns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Hasura {
    pub source: Option<Source>,
    /// Each permission: what is granted on which object to which role, such as
    /// `function assign_slot assigner` or `select regions passes`.
    pub grants: Vec<String>,
    pub triggers: Vec<EventTrigger>,
    /// The documents of the allow list that all roles may send, by name.
    pub documents: BTreeMap<String, String>,
    /// The versions of the migrations that its command line has applied, and whether they are
    /// dirty. None if they were applied in another way.
    pub migrations: Option<BTreeMap<String, bool>>,
}

/// Where an event trigger takes its URL and its secret from: names of variables of the Hasura server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EventTrigger {
    pub name: String,
    pub url_from: Option<String>,
    pub secret_from: Option<String>,
}

/// How Hasura connects to the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Source {
    pub isolation_level: Option<String>,
    pub use_prepared_statements: Option<bool>,
    pub pool_settings: Pool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Pool {
    /// Connections of one server.
    pub max_connections: Option<u32>,
    /// Connections of all servers together.
    pub total_max_connections: Option<u32>,
    /// Seconds that a request waits for a connection.
    pub pool_timeout: Option<u32>,
}

/// What a token of the role `host_agent` gets whose launch has no instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Hasura does not accept the token.
    Rejected(String),
    /// Hasura enforces its allow list: a document that is not in it is refused.
    OnlyListed,
    /// It does not. What the token got for each table.
    Admitted(Vec<(String, Seen)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Rows(usize),
    /// The role has no such field.
    NoField,
    /// Neither is known.
    Failed(String),
}

/// The DynamoDB table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub status: String,
    /// Attribute and its part, `HASH` or `RANGE`, with the attribute's type: `("pk", "HASH", "S")`.
    pub keys: Vec<(String, String, String)>,
    /// The attribute that items expire by, if that is switched on.
    pub ttl: Option<String>,
}

/// The SNS topic of alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    pub subscribers: u32,
}

/// One deployed function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// The version of the secret that it was deployed with; none if the deployment named none.
    pub secret_version: Option<String>,
}

/// The identity provider's key set, as `assign-user` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySet {
    /// It has keys that can verify a token.
    Usable,
    /// It has no usable key, or is no key set; why.
    Unusable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub state: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    pub name: String,
    pub architectures: Vec<String>,
    pub vcpus: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub id: String,
    pub vpc: String,
    /// Instances get a public address with their launch.
    pub assigns_public_addresses: bool,
    pub free_addresses: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: String,
    pub vpc: String,
}
