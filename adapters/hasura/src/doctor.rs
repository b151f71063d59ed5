//! What `doctor` reads of Hasura and its database: the facts that SQL functions return, Hasura's
//! stored metadata among them, and what a host agent's token opens.

mod stranger;

use async_trait::async_trait;
use graphql_client::GraphQLQuery;
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::db::DbError;
use shared::doctor::facts::{Database, Events, Hasura, Stranger};
use shared::doctor::ports::{DatabaseProbe, ProbeError};

use crate::client::{HasuraClient, HasuraSettings, describe};
use crate::documents::documents;

documents! {
    "graphql/doctor.graphql": Doctor, DoctorEvents, DoctorMetadata;
}

/// For answers to queries of nothing but type names.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;

/// Hasura's codes for a token that it does not accept.
const REJECTED: [&str; 3] = ["invalid-jwt", "invalid-headers", "access-denied"];

/// Examines Hasura and its database.
#[derive(Debug)]
pub struct HasuraDoctor {
    client: HasuraClient,
    http: reqwest::Client,
    settings: HasuraSettings,
}

impl HasuraDoctor {
    /// # Errors
    /// When the token is not a valid header value.
    pub fn new(http: reqwest::Client, settings: &HasuraSettings) -> Result<Self, DbError> {
        Ok(Self {
            client: HasuraClient::new(http.clone(), settings)?,
            http,
            settings: settings.clone(),
        })
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let url = format!("{}{path}", self.settings.url.trim_end_matches('/'));
        let request = self.http.post(url).timeout(self.settings.timeout);
        request.json(body)
    }
}

#[async_trait]
impl DatabaseProbe for HasuraDoctor {
    async fn database(&self) -> Result<Database, ProbeError> {
        let answer = self
            .client
            .send::<Doctor>("examine the database", doctor::Variables {});
        let rows = answer.await.map_err(probe_error)?.doctor;
        facts(rows.into_iter().next().map(|row| row.facts))
    }

    async fn events(&self) -> Result<Option<Vec<Events>>, ProbeError> {
        let answer = self
            .client
            .send::<DoctorEvents>("count the events", doctor_events::Variables {});
        let rows = answer.await.map_err(probe_error)?.doctor_events;
        let log: EventLog = facts(rows.into_iter().next().map(|row| row.facts))?;
        Ok(log.events)
    }

    async fn hasura(&self) -> Result<Hasura, ProbeError> {
        let answer = self
            .client
            .send::<DoctorMetadata>("read Hasura's metadata", doctor_metadata::Variables {});
        let rows = answer.await.map_err(probe_error)?.doctor_metadata;
        let stored: StoredMetadata = facts(rows.into_iter().next().map(|row| row.facts))?;
        stored.metadata.ok_or_else(|| {
            let reason = "this database does not have Hasura's metadata, or does not show it";
            ProbeError::Missing(reason.to_owned())
        })
    }

    async fn as_agent(&self, token: &str) -> Result<Stranger, ProbeError> {
        stranger::read(self, token).await
    }
}

#[derive(Deserialize)]
struct StoredMetadata {
    metadata: Option<Hasura>,
}

#[derive(Deserialize)]
struct EventLog {
    events: Option<Vec<Events>>,
}

fn facts<T: DeserializeOwned>(facts: Option<Value>) -> Result<T, ProbeError> {
    let facts = facts.ok_or_else(|| unreadable(&"there is no row"))?;
    serde_json::from_value(facts).map_err(|error| unreadable(&error))
}

fn unreadable(problem: &dyn std::fmt::Display) -> ProbeError {
    ProbeError::Unavailable(format!("the answer is unreadable: {problem}"))
}

/// Hasura does not know the function, or its allow list not the document: `validation-failed`. It does not
/// accept the token: the others.
fn probe_error(error: DbError) -> ProbeError {
    let text = error.to_string();
    match error {
        DbError::Refused { code, .. } if code == "validation-failed" => ProbeError::Missing(text),
        DbError::Refused { code, .. } if REJECTED.contains(&code.as_str()) => {
            ProbeError::Denied(text)
        }
        _ => ProbeError::Unavailable(text),
    }
}

/// Sends a request; its JSON.
async fn send(request: RequestBuilder) -> Result<Value, ProbeError> {
    let failed = |error: &dyn std::error::Error| ProbeError::Unavailable(describe(error));
    let response = request.send().await.map_err(|error| failed(&error))?;
    let status = response.status();
    let body = http_client::bounded_body(response, LARGEST_ANSWER)
        .await
        .map_err(|error| failed(&error))?;
    match serde_json::from_slice(&body) {
        Ok(json) => Ok(json),
        Err(_) => Err(ProbeError::Unavailable(format!("Hasura answered {status}"))),
    }
}
