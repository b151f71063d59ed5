//! Hasura, as far as an agent's role can see it: the documents of `graphql/agent.graphql`, checked
//! against the schema when this is compiled.

use std::time::Duration;

use graphql_client::{GraphQLQuery, Response};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use crate::config::UserData;
use crate::slots::{Slot, SlotStatus};

/// Longer than any answer takes; a request that was lost is sent again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The name by which the derive macro looks for GraphQL's `uuid`.
#[expect(non_camel_case_types, reason = "the schema's own name")]
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

#[derive(Debug, thiserror::Error)]
pub enum HasuraError {
    #[error("send the request to Hasura")]
    Unreachable(#[from] reqwest::Error),
    #[error("Hasura answered with status {0}")]
    Status(StatusCode),
    /// The request was understood and not carried out; often the token's fault.
    #[error("Hasura refused the request: {0}")]
    Refused(String),
    #[error("Hasura's answer has {0}")]
    Incomplete(String),
}

/// The answer to a registration or a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: String,
    /// The instance's status, if it has a row.
    pub status: Option<String>,
}

/// The instance as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub status: String,
    pub slots: Vec<Slot>,
}

#[derive(Debug)]
pub struct Hasura {
    http: reqwest::Client,
    endpoint: String,
    token: SecretString,
}

impl Hasura {
    pub fn new(user_data: &UserData) -> Result<Self, HasuraError> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).build()?,
            endpoint: format!("{}/v1/graphql", user_data.hasura_url),
            token: user_data.token.clone(),
        })
    }

    pub async fn register(&self, instance_id: &str, ip_addr: &str) -> Result<Answer, HasuraError> {
        let variables = register_host::Variables {
            instance_id: instance_id.to_owned(),
            ip_addr: ip_addr.to_owned(),
        };
        let answers = self.send::<RegisterHost>(variables).await?.register_host;
        let answer = only(answers)?;
        Ok(Answer {
            outcome: answer.outcome,
            status: answer.status,
        })
    }

    pub async fn heartbeat(&self, instance_id: &str) -> Result<Answer, HasuraError> {
        let variables = heartbeat::Variables {
            instance_id: instance_id.to_owned(),
        };
        let answer = only(self.send::<Heartbeat>(variables).await?.heartbeat)?;
        Ok(Answer {
            outcome: answer.outcome,
            status: answer.status,
        })
    }

    /// `None` if there is no row, or none that the token may see.
    pub async fn own_slots(&self, instance_id: &str) -> Result<Option<Host>, HasuraError> {
        let variables = own_slots::Variables {
            instance_id: instance_id.to_owned(),
        };
        let Some(instance) = self.send::<OwnSlots>(variables).await?.instances_by_pk else {
            return Ok(None);
        };
        let slots = instance.slots.into_iter().map(|slot| {
            let status = slot.status.parse().map_err(HasuraError::Incomplete)?;
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

    /// The outcome, as for the two below.
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
        Ok(only(self.send::<ClaimSlot>(variables).await?.claim_slot)?.outcome)
    }

    pub async fn report(&self, slot_id: &str, status: SlotStatus) -> Result<String, HasuraError> {
        let variables = report_slot::Variables {
            slot_id: slot_id.to_owned(),
            status: status.as_str().to_owned(),
        };
        Ok(only(self.send::<ReportSlot>(variables).await?.report_slot)?.outcome)
    }

    pub async fn replace(&self, slot_id: &str) -> Result<String, HasuraError> {
        let variables = replace_slot::Variables {
            slot_id: slot_id.to_owned(),
        };
        Ok(only(self.send::<ReplaceSlot>(variables).await?.replace_slot)?.outcome)
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
        // Errors come with status 200.
        if let Some(error) = answer.errors.unwrap_or_default().first() {
            return Err(HasuraError::Refused(error.message.clone()));
        }
        answer
            .data
            .ok_or_else(|| HasuraError::Incomplete("neither data nor errors".to_owned()))
    }
}

/// The functions answer with one row each.
fn only<T>(mut rows: Vec<T>) -> Result<T, HasuraError> {
    match (rows.pop(), rows.len()) {
        (Some(row), 0) => Ok(row),
        (None, _) => Err(HasuraError::Incomplete("no row".to_owned())),
        (Some(_), more) => Err(HasuraError::Incomplete(format!("{} rows", more + 1))),
    }
}
