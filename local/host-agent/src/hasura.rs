//! Client for Hasura with the agent's tokens. The documents in `graphql/agent.graphql` are checked
//! against the schema at compile time.

use std::collections::BTreeMap;
use std::time::Duration;

use graphql_client::{GraphQLQuery, Response};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::slots::{Slot, SlotStatus};
use crate::tokens::Tokens;

/// Limit for one request, well above normal response times. Every request can be repeated without
/// harm, so one that times out is sent again.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The type that the derive macro uses for GraphQL's `uuid`.
#[expect(non_camel_case_types, reason = "the scalar's name in the schema")]
type uuid = String;
/// The same for `jsonb`.
#[expect(non_camel_case_types, reason = "the scalar's name in the schema")]
type jsonb = serde_json::Value;

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
    LeaveHost,
    OwnInstance,
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
    /// Hasura accepts none of the agent's tokens.
    #[error("Hasura refused the token: {0}")]
    InvalidToken(String),
    /// The answer has other GraphQL errors.
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
    tokens: Tokens,
}

/// A slot in the answer of `own_instance`.
#[derive(Deserialize)]
struct SlotRow {
    id: String,
    status: String,
    user_id: Option<String>,
    session_id: Option<String>,
    seconds_left: Option<u64>,
}

/// A session that the agent has to end, in the answer of `heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SessionEnd {
    pub slot_id: String,
    pub end_cause: String,
    pub seconds_left: u64,
}

impl Hasura {
    /// # Errors
    ///
    /// [`HasuraError::Unreachable`] if the HTTP client cannot be built.
    pub fn new(config: &Config) -> Result<Self, HasuraError> {
        let user_data = &config.user_data;
        Ok(Self {
            http: reqwest::Client::builder().timeout(TIMEOUT).build()?,
            endpoint: format!("{}/v1/graphql", user_data.hasura_url),
            tokens: Tokens::load(user_data, config.token_file.clone()),
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
        self.renew(answer.token);
        Ok(Answer {
            outcome: answer.outcome,
            status: answer.status,
        })
    }

    /// Sends a heartbeat of the instance, with the seconds for which the users of slots have been idle,
    /// if the agent knows. Returns the outcome, and the sessions that are to end.
    pub async fn heartbeat(
        &self,
        instance_id: &str,
        idle_seconds: Option<&BTreeMap<String, u64>>,
    ) -> Result<(Answer, Vec<SessionEnd>), HasuraError> {
        let variables = heartbeat::Variables {
            instance_id: instance_id.to_owned(),
            // Not null, as it would be without: the next heartbeat may have some.
            idle_seconds: Some(
                idle_seconds.map_or_else(|| serde_json::json!({}), |idle| serde_json::json!(idle)),
            ),
        };
        let answer = single_row(self.send::<Heartbeat>(variables).await?.heartbeat)?;
        self.renew(answer.token);
        let ends = serde_json::from_value(answer.ends)
            .map_err(|error| HasuraError::Unexpected(format!("other ends: {error}")))?;
        let outcome = Answer {
            outcome: answer.outcome,
            status: answer.status,
        };
        Ok((outcome, ends))
    }

    /// Takes the instance out of service, because it cannot serve users.
    pub async fn leave(&self, instance_id: &str, reason: &str) -> Result<Answer, HasuraError> {
        let variables = leave_host::Variables {
            instance_id: instance_id.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = single_row(self.send::<LeaveHost>(variables).await?.leave_host)?;
        Ok(Answer {
            outcome: answer.outcome,
            status: answer.status,
        })
    }

    /// Reads the instance and its slots. `None` if it has no row, or the token does not name it.
    pub async fn own_instance(&self, instance_id: &str) -> Result<Option<Host>, HasuraError> {
        let variables = own_instance::Variables {
            instance_id: instance_id.to_owned(),
        };
        let rows = self.send::<OwnInstance>(variables).await?.own_instance;
        let Some(instance) = rows.into_iter().next() else {
            return Ok(None);
        };
        let rows: Vec<SlotRow> = serde_json::from_value(instance.slots)
            .map_err(|error| HasuraError::Unexpected(format!("other slots: {error}")))?;
        let slots = rows.into_iter().map(|slot| {
            let status = slot.status.parse().map_err(HasuraError::Unexpected)?;
            Ok(Slot {
                id: slot.id,
                status,
                user_id: slot.user_id,
                session_id: slot.session_id,
                ends_in: slot.seconds_left.map(Duration::from_secs),
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

    fn renew(&self, token: Option<String>) {
        if let Some(token) = token {
            self.tokens.renew(token.into());
        }
    }

    /// Sends a request with one token after the other, until Hasura accepts one.
    async fn send<Q: GraphQLQuery>(
        &self,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData, HasuraError> {
        let body = Q::build_query(variables);
        let mut error = HasuraError::InvalidToken("there is none".to_owned());
        let mut refused = None;
        for token in self.tokens.in_order() {
            match self.send_with(&body, &token).await {
                Err(invalid @ HasuraError::InvalidToken(_)) => {
                    error = invalid;
                    refused.get_or_insert(token);
                }
                answer => {
                    if let Some(refused) = refused
                        && matches!(answer, Ok(_) | Err(HasuraError::Refused(_)))
                    {
                        self.tokens.accepted_instead(&refused, &token);
                    }
                    return answer;
                }
            }
        }
        Err(error)
    }

    async fn send_with<D: for<'de> Deserialize<'de>>(
        &self,
        body: &impl Serialize,
        token: &SecretString,
    ) -> Result<D, HasuraError> {
        let response = self
            .http
            .post(&self.endpoint)
            .bearer_auth(token.expose_secret())
            .json(body)
            .send()
            .await?;
        if !response.status().is_success() {
            return Err(HasuraError::Status(response.status()));
        }
        let answer: Response<D> = response.json().await?;
        // GraphQL errors come with status 200.
        if let Some(error) = answer.errors.unwrap_or_default().into_iter().next() {
            let code = error.extensions.as_ref().and_then(|it| it.get("code"));
            return Err(match code.and_then(serde_json::Value::as_str) {
                Some("invalid-jwt") => HasuraError::InvalidToken(error.message),
                _ => HasuraError::Refused(error.message),
            });
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
