//! `/replay`: what other settings would have cost a region, within the time of one request.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use scaling_economics::replay::{
    Question, Replay, ReplayError, WARM_UP, parse_since, replay_until,
};
use shared::clock::Clock;
use shared::ids::RegionName;
use shared::recording::{RecordingError, Recordings};
use shared::settings::{Columns, TABLE};
use startup::function_url::HttpEvent;
use thiserror::Error;

/// The function has twelve seconds. `reconcile` has more.
const TIME: Duration = Duration::from_secs(8);

const A_WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A region, and the settings that are compared with its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayOf {
    pub region: RegionName,
    /// From so long ago until now.
    pub since: SignedDuration,
    /// None were given, if it is empty: then only today's are played.
    pub settings: Columns,
}

/// A parameter of the query that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadQuery {
    Region,
    Since,
    /// A setting's column, and what its value must be.
    Setting(&'static str, &'static str),
}

impl ReplayOf {
    /// # Errors
    /// Names the parameter.
    pub fn of(event: &HttpEvent) -> Result<Self, BadQuery> {
        // A form sends its empty fields, too.
        let given = |name: &str| event.query(name).filter(|value| !value.is_empty());
        let region = RegionName::new(given("region").ok_or(BadQuery::Region)?);
        if !region.is_plausible() {
            return Err(BadQuery::Region);
        }
        let since = match given("since") {
            Some(text) => parse_since(&text).ok_or(BadQuery::Since)?,
            None => A_WEEK,
        };
        let mut settings = Columns::new();
        for setting in TABLE.iter().filter(|setting| setting.column != "name") {
            let Some(text) = given(setting.column) else {
                continue;
            };
            let (column, kind) = (setting.column, setting.kind);
            let value = kind.parse(&text);
            let value = value.ok_or(BadQuery::Setting(column, kind.expected()))?;
            settings.insert(column.to_owned(), value);
        }
        Ok(Self {
            region,
            since,
            settings,
        })
    }

    /// The query of the same question.
    pub(crate) fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("region", self.region.as_str());
        query.append_pair("since", &format!("{}h", self.since.as_hours()));
        for (column, value) in &self.settings {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            query.append_pair(column, &text);
        }
        query.finish()
    }

    fn question(&self) -> Question {
        Question {
            proposals: match self.settings.is_empty() {
                true => vec![],
                false => vec![self.settings.clone()],
            },
            frontier: true,
        }
    }
}

#[derive(Debug, Error)]
pub enum ReplayProblem {
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("{0}")]
    Replay(#[from] ReplayError),
}

/// # Errors
/// When the recording cannot be read, or today's settings cannot be played.
pub(crate) async fn run(
    recordings: &dyn Recordings,
    clock: Arc<dyn Clock>,
    of: &ReplayOf,
) -> Result<Replay, ReplayProblem> {
    let now = clock.now();
    let recording = recordings
        .recording(&of.region, now - of.since, now, WARM_UP)
        .await?;
    Ok(replay_until(recording, of.question(), clock, now + TIME).await?)
}
