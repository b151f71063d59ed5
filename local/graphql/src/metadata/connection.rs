//! How Hasura connects to the database. A setting that is missing here has Hasura's default, and not
//! that of its environment variable: without `pool_timeout`, Hasura waits for a connection for ever.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Configuration {
    #[serde(rename = "connection_info")]
    _connection_info: ConnectionInfo,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionInfo {
    #[serde(rename = "database_url")]
    _database_url: DatabaseUrl,
    #[serde(rename = "isolation_level")]
    _isolation_level: IsolationLevel,
    #[serde(rename = "pool_settings")]
    _pool_settings: PoolSettings,
    #[serde(rename = "use_prepared_statements")]
    _use_prepared_statements: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseUrl {
    #[serde(rename = "from_env")]
    _from_env: String,
}

/// The only one that the SQL functions are written for.
#[derive(Debug, Deserialize)]
enum IsolationLevel {
    #[serde(rename = "read-committed")]
    ReadCommitted,
}

/// Numbers of connections and retries; times in seconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolSettings {
    #[serde(rename = "connection_lifetime")]
    _connection_lifetime: u32,
    #[serde(rename = "idle_timeout")]
    _idle_timeout: u32,
    #[serde(rename = "max_connections")]
    _max_connections: u32,
    #[serde(rename = "pool_timeout")]
    _pool_timeout: u32,
    #[serde(rename = "retries")]
    _retries: u32,
}
