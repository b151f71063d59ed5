//! Client for Hasura with the agent's token. The documents in `graphql/agent.graphql` are checked
//! against the schema at compile time.

use std::time::Duration;

use graphql_client::{GraphQLQuery, Response};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use crate::config::UserData;
use crate::slots::{Slot, SlotStatus};

/// Limit for one request, well above normal response times. Every request can be repeated without
/// harm, so one that times out is sent again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The type that the derive macro uses for GraphQL's `uuid`.
#[expect(non_camel_case_types, reason = "the scalar's name in the schema")]
type uuid = String;

macro_rules! documents {
    ($($name:ident),*) => {$(
        #[derive(GraphQLQuery)]
        #[graphql(
            schema_path = "../../hasura/schema.graphql",
            query_path = "src/graphql/agent.graphql"
        )]
        struct $name;
    )*};
}

documents!(
    RegisterHost,
    Heartbeat,
    OwnSlots,
    ClaimSlot,
    ReportSlot,
    ReplaceSlot
);

/// A request failed, or its outcome is unknown. Sending it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum HasuraError {
    #[error("cannot send the request to Hasura or read its answer")]
    Unreachable(#[from] reqwest::Error),
    #[error("Hasura answered with status {0}")]
    Status(StatusCode),
    /// The answer has GraphQL errors. The token is a frequent cause.
    #[error("Hasura refused the request: {0}")]
    Refused(String),
    /// The answer does not have the expected form.
    #[error("Hasura's answer has {0}")]
    Unexpected(String),
}

/// The answer to a registration or a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: String,
    /// The instance's status, if it has a row.
    pub status: Option<String>,
}

/// The instance as visible to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub status: String,
    pub slots: Vec<Slot>,
}

/// Sends the agent's requests. Outcomes are those of the SQL functions, in `docs/host-agent.md`.
#[derive(Debug)]
pub struct Hasura {
    http: reqwest::Client,
    endpoint: String,
    token: SecretString,
}

impl Hasura {
    /// # Errors
    ///
    /// [`HasuraError::Unreachable`] if the HTTP client cannot be built.
    pub fn new(user_data: &UserData) -> Result<Self, HasuraError> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).build()?,
            endpoint: format!("{}/v1/graphql", user_data.hasura_url),
            token: user_data.token.clone(),
        })
    }

    /// Registers the instance with the address that users connect to.
    ///
    /// # Errors
    ///
    /// If the request failed; the outcome is then unknown. The same holds for all requests below.
    pub async fn register(&self, instance_id: &str, ip_addr: &str) -> Result<Answer, HasuraError> {
        let variables = register_host::Variables {
            instance_id: instance_id.to_owned(),
            ip_addr: ip_addr.to_owned(),
        };
        let answers = self.send::<RegisterHost>(variables).await?.register_host;
        let answer = single_row(answers)?;
        Ok(Answer {
            outcome: answer.outcome,
            status: answer.status,
        })
    }

    /// Sends a heartbeat of the instance.
    pub async fn heartbeat(&self, instance_id: &str) -> Result<Answer, HasuraError> {
        let variables = heartbeat::Variables {
            instance_id: instance_id.to_owned(),
        };
        let answer = single_row(self.send::<Heartbeat>(variables).await?.heartbeat)?;
        Ok(Answer {
            outcome: answer.outcome,
            status: answer.status,
        })
    }

    /// Reads the instance and its slots. `None` if no row exists that the token may see.
    pub async fn own_slots(&self, instance_id: &str) -> Result<Option<Host>, HasuraError> {
        let variables = own_slots::Variables {
            instance_id: instance_id.to_owned(),
        };
        let Some(instance) = self.send::<OwnSlots>(variables).await?.instances_by_pk else {
            return Ok(None);
        };
        let slots = instance.slots.into_iter().map(|slot| {
            let status = slot.status.parse().map_err(HasuraError::Unexpected)?;
            Ok(Slot {
                id: slot.id,
                status,
                user_id: slot.user_id,
                session_id: slot.session_id,
            })
        });
        Ok(Some(Host {
            status: instance.status,
            slots: slots.collect::<Result<_, HasuraError>>()?,
        }))
    }

    /// Reports that the user of the slot connected. Returns the outcome.
    pub async fn claim(
        &self,
        slot_id: &str,
        user_id: &str,
        session_id: &str,
    ) -> Result<String, HasuraError> {
        let variables = claim_slot::Variables {
            slot_id: slot_id.to_owned(),
            user_id: user_id.to_owned(),
            session_id: session_id.to_owned(),
        };
        Ok(single_row(self.send::<ClaimSlot>(variables).await?.claim_slot)?.outcome)
    }

    /// Reports the slot as running or dying. Returns the outcome.
    pub async fn report(&self, slot_id: &str, status: SlotStatus) -> Result<String, HasuraError> {
        let variables = report_slot::Variables {
            slot_id: slot_id.to_owned(),
            status: status.as_str().to_owned(),
        };
        Ok(single_row(self.send::<ReportSlot>(variables).await?.report_slot)?.outcome)
    }

    /// Replaces a dying slot by a free one. Returns the outcome.
    pub async fn replace(&self, slot_id: &str) -> Result<String, HasuraError> {
        let variables = replace_slot::Variables {
            slot_id: slot_id.to_owned(),
        };
        Ok(single_row(self.send::<ReplaceSlot>(variables).await?.replace_slot)?.outcome)
    }

    async fn send<Q: GraphQLQuery>(
        &self,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData, HasuraError> {
        let response = self
            .http
            .post(&self.endpoint)
            .bearer_auth(self.token.expose_secret())
            .json(&Q::build_query(variables))
            .send()
            .await?;
        if !response.status().is_success() {
            return Err(HasuraError::Status(response.status()));
        }
        let answer: Response<Q::ResponseData> = response.json().await?;
        // GraphQL errors come with status 200.
        if let Some(error) = answer.errors.unwrap_or_default().first() {
            return Err(HasuraError::Refused(error.message.clone()));
        }
        answer
            .data
            .ok_or_else(|| HasuraError::Unexpected("neither data nor errors".to_owned()))
    }
}

/// The SQL functions return exactly one row.
fn single_row<T>(mut rows: Vec<T>) -> Result<T, HasuraError> {
    match (rows.pop(), rows.len()) {
        (Some(row), 0) => Ok(row),
        (None, _) => Err(HasuraError::Unexpected("no row".to_owned())),
        (Some(_), others) => Err(HasuraError::Unexpected(format!(
            "{} rows instead of one",
            others + 1
        ))),
    }
}
