//! Region locks, stored state and history on one DynamoDB table.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | lock, never deleted | `REGION#name` | `LOCK` |
//! | wake mark | `REGION#name` | `WAKE` |
//! | open intent | `REGION#name` | `INTENT#launch` |
//! | capacity refusal | `REGION#name` | `REFUSAL#type#subnet`, `REFUSAL#spot#type#subnet` |
//! | closed intent | `CLOSED#name` | `INTENT#launch` |
//! | record of replicas | `REGION#name` | `REPLICAS` |
//! | decision | `DECISIONS#name` | lock version, 20 digits |
//! | its figures, the last of ten seconds | `POINTS#name` | time, to ten seconds |
//! | seen event | `SEEN#id` | `SEEN` |
//!
//! What a pass reads at once shares a partition, and nothing else is in it: its one query
//! stays small however old the service is.

mod errors;
mod history;
mod items;
mod store;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};

use errors::{is_conflict, unavailable};
use items::{key, number, read_number, read_text, region_key, text};

use shared::ids::{Owner, RegionName};
use shared::lock::{CLOCK_MARGIN, Lease, LockAttempt, LockError, RegionLock, WakeMark};

type Item = HashMap<String, AttributeValue>;

/// An event's id is remembered for longer than any sender retries (Lambda: six hours).
const SEEN_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Contenders and transactions touch the lock's item at the same moment; DynamoDB then cancels
/// one of the two, which has written nothing and may be sent again.
const CONFLICT_RETRIES: u32 = 8;
const CONFLICT_PAUSE: Duration = Duration::from_millis(15);

#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

impl DynamoStore {
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
        }
    }

    /// With a client of its own, of which no call takes longer than `call`.
    pub async fn connect(table: impl Into<String>, call: Duration) -> Self {
        Self::new(Client::new(&aws_settings::load(call).await), table)
    }
}

#[async_trait]
impl RegionLock for DynamoStore {
    async fn acquire(
        &self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<LockAttempt, LockError> {
        let expires_at = now + lease;
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(region_key(region, "LOCK")))
            .update_expression(
                "SET #owner = :owner, expires_at = :expires, #since = :now ADD version :one",
            )
            .condition_expression("attribute_not_exists(pk) OR expires_at < :expired")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#since", "since")
            .expression_attribute_values(":owner", text(owner.as_str()))
            .expression_attribute_values(":expires", number(expires_at.as_millisecond()))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":expired", number((now - CLOCK_MARGIN).as_millisecond()))
            .expression_attribute_values(":one", number(1))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match answer {
            Ok(answer) => {
                let item = answer.attributes.unwrap_or_default();
                return Ok(LockAttempt::Acquired(read_lease(region, owner, &item)?));
            }
            Err(error) => error,
        };
        // The holder is writing at this moment: its transactions touch the lock's item.
        if is_conflict(&error) {
            return Ok(LockAttempt::Held { until: now });
        }
        use aws_sdk_dynamodb::operation::update_item::UpdateItemError as E;
        match error.as_service_error() {
            Some(E::ConditionalCheckFailedException(held)) => {
                let item = held.item().cloned().unwrap_or_default();
                let held = read_lease(region, owner, &item)?;
                if read_text(&item, "owner") == Some(owner.as_str()) {
                    return Ok(LockAttempt::Acquired(held));
                }
                Ok(LockAttempt::Held {
                    until: held.expires_at,
                })
            }
            _ => Err(unavailable("acquire the lock", &error)),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        self.update_held(lease, "release the lock", "SET expires_at = :to", 0)
            .await
    }

    async fn advance_past_fence(&self, lease: &Lease, in_force: i64) -> Result<Lease, LockError> {
        let version = in_force + 1;
        self.update_held(
            lease,
            "lift the lock's version",
            "SET version = :to",
            version,
        )
        .await?;
        Ok(Lease {
            version,
            ..lease.clone()
        })
    }

    async fn set_wake_mark(
        &self,
        region: &RegionName,
        by: &str,
        now: Timestamp,
    ) -> Result<(), LockError> {
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(region_key(region, "WAKE")))
            .item("since", number(now.as_millisecond()))
            .item("mark", text(Owner::random().as_str()))
            .item("by", text(by))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| unavailable("mark the region as wanted", &error))
    }

    async fn clear_wake_mark(&self, region: &RegionName, mark: &WakeMark) -> Result<(), LockError> {
        let answer = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(region_key(region, "WAKE")))
            .condition_expression("mark = :mark OR attribute_not_exists(mark)")
            .expression_attribute_values(":mark", text(&mark.id))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if errors::is_failed_condition(&error) => Ok(()),
            Err(error) => Err(unavailable("clear the wake mark", &error)),
        }
    }

    async fn has_wake_mark(&self, region: &RegionName) -> Result<bool, LockError> {
        self.client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(region_key(region, "WAKE")))
            .consistent_read(true)
            .send()
            .await
            .map(|answer| answer.item.is_some())
            .map_err(|error| unavailable("read the wake mark", &error))
    }

    async fn is_seen(&self, event_id: &str) -> Result<bool, LockError> {
        self.client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(&format!("SEEN#{event_id}"), "SEEN")))
            .consistent_read(true)
            .send()
            .await
            .map(|answer| answer.item.is_some())
            .map_err(|error| unavailable("look for the event's id", &error))
    }

    async fn record_seen(&self, event_id: &str, now: Timestamp) -> Result<bool, LockError> {
        let answer = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(key(&format!("SEEN#{event_id}"), "SEEN")))
            .item("ttl", number((now + SEEN_FOR).as_second()))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if errors::is_failed_condition(&error) => Ok(false),
            Err(error) => Err(unavailable("record the event's id", &error)),
        }
    }
}

impl DynamoStore {
    /// Changes one number of a lock that is still this lease's.
    async fn update_held(
        &self,
        lease: &Lease,
        operation: &'static str,
        update: &str,
        to: i64,
    ) -> Result<(), LockError> {
        let answer = self.persist(|| async {
            let answer = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(region_key(&lease.region, "LOCK")))
                .update_expression(update)
                .condition_expression("#owner = :owner AND version = :version")
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_values(":to", number(to))
                .expression_attribute_values(":owner", text(lease.owner.as_str()))
                .expression_attribute_values(":version", number(lease.version))
                .send()
                .await;
            answer.map(|_| ()).map_err(|error| {
                if errors::is_failed_condition(&error) {
                    Refused::LockLost
                } else if is_conflict(&error) {
                    Refused::Conflict(unavailable(operation, &error))
                } else {
                    Refused::Other(unavailable(operation, &error))
                }
            })
        });
        answer.await.map_err(|refused| refused.under(lease))
    }

    /// Sends a write again as long as another one is in its way.
    async fn persist<F>(&self, write: impl Fn() -> F) -> Result<(), Refused>
    where
        F: Future<Output = Result<(), Refused>>,
    {
        let mut retry = 0;
        loop {
            match write().await {
                Err(Refused::Conflict(_)) if retry < CONFLICT_RETRIES => retry += 1,
                answer => return answer,
            }
            tokio::time::sleep(CONFLICT_PAUSE * retry).await;
        }
    }
}

/// Why a write of a lock's holder was not made.
enum Refused {
    LockLost,
    /// Another transaction touched the same item at the same moment.
    Conflict(LockError),
    Other(LockError),
}

impl Refused {
    fn under(self, lease: &Lease) -> LockError {
        match self {
            Self::LockLost => LockError::Lost {
                region: lease.region.clone(),
                version: lease.version,
            },
            Self::Conflict(error) | Self::Other(error) => error,
        }
    }
}

fn read_lease(region: &RegionName, owner: &Owner, item: &Item) -> Result<Lease, LockError> {
    let bad = |problem: &str| LockError::BadItem {
        key: format!("REGION#{region}/LOCK"),
        problem: problem.to_owned(),
    };
    let version = read_number(item, "version").ok_or_else(|| bad("no number `version`"))?;
    let expires = read_number(item, "expires_at").ok_or_else(|| bad("no number `expires_at`"))?;
    let expires_at = Timestamp::from_millisecond(expires)
        .map_err(|_| bad("`expires_at` is not a time in milliseconds"))?;
    Ok(Lease {
        region: region.clone(),
        owner: owner.clone(),
        version,
        expires_at,
    })
}
