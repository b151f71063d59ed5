//! What functions need to start: settings from the environment, logging, the clock, and the HTTP
//! events of function URLs.

mod clock;
pub mod config;
mod environment_regions;
pub mod function_url;
mod metric_log;
pub mod telemetry;

pub use clock::SystemClock;
pub use environment_regions::EnvironmentRegions;
pub use metric_log::MetricLog;
