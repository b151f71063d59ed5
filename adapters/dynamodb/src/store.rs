//! Intents, refusals and decisions: written by the lock's holder only.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{ConditionCheck, Delete, Put, TransactWriteItem};
use jiff::{SignedDuration, Timestamp};

use super::errors::{Cancelled, unavailable, why_cancelled};
use super::items::{key, number, read_text, region_key, text};
use super::{DynamoStore, Item, Refused};
use shared::history::Point;
use shared::ids::RegionName;
use shared::lock::{Lease, LockError, WakeMark};
use shared::model::{CapacityRefusal, Intent};
use shared::report::Decision;
use shared::store::{IntentClosure, RegionState, ReplicaRecord, StateStore};

/// Closed intents and decisions are kept for an operator who looks after a long week-end.
const HISTORY: SignedDuration = SignedDuration::from_hours(7 * 24);

#[async_trait]
impl StateStore for DynamoStore {
    async fn region_state(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<RegionState, LockError> {
        let mut state = RegionState::default();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(&format!("REGION#{region}")))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| unavailable("read the region's state", &error))?;
            let sk = read_text(&item, "sk").unwrap_or_default();
            if sk == "WAKE" {
                // One without an id was made by hand; it is cleared like any other.
                let text = |name| read_text(&item, name).unwrap_or_default().to_owned();
                state.wake_mark = Some(WakeMark {
                    id: text("mark"),
                    by: text("by"),
                });
            } else if sk == "REPLICAS" {
                let notes: ReplicaRecord = read_body(&item)?;
                state.unknown_since = notes.unknown_since;
                state.address_moves = notes.address_moves;
            } else if sk.starts_with("INTENT#") {
                state.open_intents.push(read_body(&item)?);
            } else if sk.starts_with("REFUSAL#") {
                match read_body::<CapacityRefusal>(&item) {
                    // DynamoDB deletes what has outlived its `ttl` within days, not at once.
                    Ok(refusal) if refusal.until > now => state.refusals.push(refusal),
                    Ok(_) => {}
                    // Only a hint: launching may find out for itself.
                    Err(error) => tracing::warn!(%error, "a refusal was passed over"),
                }
            }
        }
        Ok(state)
    }

    async fn open_intent(&self, lease: &Lease, intent: &Intent) -> Result<(), LockError> {
        let mut item = region_key(&lease.region, &intent_sk(intent.launch_id.as_str()));
        item.insert("body".to_owned(), text(&to_body(intent)));
        self.write_under(lease, "open an intent", vec![self.put(item)?])
            .await
    }

    async fn close_intent(&self, lease: &Lease, closing: &IntentClosure) -> Result<(), LockError> {
        let region = &lease.region;
        let sk = intent_sk(closing.launch_id.as_str());
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(region_key(region, &sk)))
            .build()
            .map_err(|error| building("close an intent", &error))?;
        let mut closed = key(&format!("CLOSED#{region}"), &sk);
        closed.insert("outcome".to_owned(), text(&closing.outcome));
        closed.insert("version".to_owned(), number(lease.version));
        closed.insert(
            "ttl".to_owned(),
            number((lease.expires_at + HISTORY).as_second()),
        );
        let mut writes = vec![
            TransactWriteItem::builder().delete(delete).build(),
            self.put(closed)?,
        ];
        if let Some(refusal) = &closing.refusal {
            let sk = format!("REFUSAL#{}", refusal.key());
            let mut item = region_key(region, &sk);
            item.insert("body".to_owned(), text(&to_body(refusal)));
            item.insert("ttl".to_owned(), number(refusal.until.as_second()));
            writes.push(self.put(item)?);
        }
        self.write_under(lease, "close an intent", writes).await
    }

    async fn record_replicas(&self, lease: &Lease, notes: &ReplicaRecord) -> Result<(), LockError> {
        let mut item = region_key(&lease.region, "REPLICAS");
        item.insert("body".to_owned(), text(&to_body(notes)));
        self.write_under(lease, "note the replicas", vec![self.put(item)?])
            .await
    }

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError> {
        let sk = decision_sk(decision.version);
        let mut item = key(&format!("DECISIONS#{}", decision.region), &sk);
        item.insert("at".to_owned(), number(decision.at.as_millisecond()));
        item.insert("body".to_owned(), text(&decision.to_bounded_json()));
        item.insert(
            "ttl".to_owned(),
            number((decision.at + HISTORY).as_second()),
        );
        let mut point = key(&points_pk(&decision.region), &point_sk(decision.at));
        point.insert("at".to_owned(), number(decision.at.as_millisecond()));
        point.insert("body".to_owned(), text(&to_body(&decision.plan.counts)));
        let forgotten = (decision.at + Point::KEPT).as_second();
        point.insert("ttl".to_owned(), number(forgotten));
        let writes = vec![self.put(item)?, self.put(point)?];
        self.write_under(lease, "record the decision", writes).await
    }
}

impl DynamoStore {
    fn put(&self, item: Item) -> Result<TransactWriteItem, LockError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .build()
            .map_err(|error| building("write an item", &error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Writes in one transaction with a check that the lock is still this lease's.
    async fn write_under(
        &self,
        lease: &Lease,
        operation: &'static str,
        writes: Vec<TransactWriteItem>,
    ) -> Result<(), LockError> {
        let check = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(region_key(&lease.region, "LOCK")))
            .condition_expression("#owner = :owner AND version = :version")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(lease.owner.as_str()))
            .expression_attribute_values(":version", number(lease.version))
            .build()
            .map_err(|error| building(operation, &error))?;
        let check = TransactWriteItem::builder().condition_check(check).build();
        let items: Vec<_> = std::iter::once(check).chain(writes).collect();
        let answer = self.persist(|| async {
            let answer = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .send()
                .await;
            answer
                .map(|_| ())
                .map_err(|error| match why_cancelled(&error) {
                    Cancelled::LockLost => Refused::LockLost,
                    Cancelled::Conflict => Refused::Conflict(unavailable(operation, &error)),
                    Cancelled::Other => Refused::Other(unavailable(operation, &error)),
                })
        });
        answer.await.map_err(|refused| refused.under(lease))
    }
}

/// All digits that a version can have, so that they sort as numbers do.
pub(super) fn decision_sk(version: i64) -> String {
    format!("{version:020}")
}

pub(super) fn points_pk(region: &RegionName) -> String {
    format!("POINTS#{region}")
}

/// In UTC and to the second, so that they sort as times do; passes within one overwrite it.
pub(super) fn point_sk(at: Timestamp) -> String {
    Point::slot(at).to_string()
}

fn intent_sk(launch_id: &str) -> String {
    format!("INTENT#{launch_id}")
}

fn to_body<T: serde::Serialize>(value: &T) -> String {
    // Plain structs of strings and numbers: there is nothing in them that could fail.
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn read_body<T: serde::de::DeserializeOwned>(item: &Item) -> Result<T, LockError> {
    let body = read_text(item, "body").ok_or_else(|| bad_item(item, "no text `body`"))?;
    serde_json::from_str(body).map_err(|error| bad_item(item, &error.to_string()))
}

pub(super) fn bad_item(item: &Item, problem: &str) -> LockError {
    LockError::BadItem {
        key: format!(
            "{}/{}",
            read_text(item, "pk").unwrap_or_default(),
            read_text(item, "sk").unwrap_or_default()
        ),
        problem: problem.to_owned(),
    }
}

fn building(operation: &'static str, error: &dyn std::error::Error) -> LockError {
    LockError::Unavailable {
        operation,
        reason: error.to_string(),
    }
}
