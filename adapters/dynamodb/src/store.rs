//! Intents, refusals, replicas and decisions, which only the lock's holder writes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use jiff::{SignedDuration, Timestamp};
use shared::history::Point;
use shared::ids::RegionName;
use shared::lock::{Lease, LockError, WakeMark};
use shared::model::{Intent, LaunchTally, Refusal};
use shared::report::Decision;
use shared::store::{IntentClosure, RegionState, ReplicaRecord, StateStore};

use crate::errors::{incomplete_request, unavailable};
use crate::items::{
    Item, decision_sk, decisions_pk, intent_sk, key, number, point_sk, points_pk, read_body,
    read_text, refusal_sk, region_key, region_pk, text, to_body,
};
use crate::table::DynamoStore;

/// How long closed intents and decisions are kept: long enough for an operator who comes back from
/// a long week-end.
const HISTORY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The sort key of the tally of launches.
const LAUNCHES: &str = "LAUNCHES";

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
            .expression_attribute_values(":pk", text(&region_pk(region)))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| unavailable("read the region's state", &error))?;
            let sk = read_text(&item, "sk").unwrap_or_default();
            if sk == "WAKE" {
                // A mark without an id was set by hand. It is cleared like any other.
                let text = |name| read_text(&item, name).unwrap_or_default().to_owned();
                state.wake_mark = Some(WakeMark {
                    id: text("mark"),
                    by: text("by"),
                });
            } else if sk == "REPLICAS" {
                let record: ReplicaRecord = read_body(&item)?;
                state.unknown_since = record.unknown_since;
                state.address_moves = record.address_moves;
            } else if sk == LAUNCHES {
                state.launches = read_body(&item)?;
            } else if sk.starts_with("INTENT#") {
                state.open_intents.push(read_body(&item)?);
            } else if sk.starts_with("REFUSAL#") {
                match read_body::<Refusal>(&item) {
                    // DynamoDB deletes expired items within days, not at once.
                    Ok(refusal) if refusal.remembered_until() > now => state.refusals.push(refusal),
                    Ok(_) => {}
                    // A refusal only saves a call: without it, the launch asks EC2.
                    Err(error) => tracing::warn!(%error, "unreadable capacity refusal skipped"),
                }
            }
        }
        Ok(state)
    }

    async fn open_intents(
        &self,
        lease: &Lease,
        intents: &[Intent],
        launches: &LaunchTally,
    ) -> Result<(), LockError> {
        let region = &lease.region;
        let mut writes = vec![self.put_launches(region, launches)?];
        for intent in intents {
            let item = region_key(region, &intent_sk(&intent.launch_id));
            writes.push(self.put(item, [("body", to_body(intent))])?);
        }
        self.write_fenced(lease, "open intents", writes).await
    }

    async fn close_intents(
        &self,
        lease: &Lease,
        closures: &[IntentClosure],
        launches: &LaunchTally,
    ) -> Result<(), LockError> {
        const OPERATION: &str = "close intents";
        let region = &lease.region;
        let mut writes = vec![self.put_launches(region, launches)?];
        // Refusals of one pool are one item, and a transaction changes an item once.
        let mut refusals = BTreeMap::new();
        for closure in closures {
            let sk = intent_sk(&closure.launch_id);
            writes.push(self.delete(OPERATION, region_key(region, &sk))?);
            let closed = [
                ("outcome", text(&closure.outcome)),
                ("version", number(lease.version)),
                ("ttl", number((lease.expires_at + HISTORY).as_second())),
            ];
            writes.push(self.put(key(&format!("CLOSED#{region}"), &sk), closed)?);
            refusals.extend(
                closure
                    .refusal
                    .iter()
                    .map(|refusal| (refusal.key(), refusal)),
            );
        }
        for refusal in refusals.values() {
            writes.push(self.put_refusal(region, refusal)?);
        }
        self.write_fenced(lease, OPERATION, writes).await
    }

    async fn record_refusals(
        &self,
        lease: &Lease,
        refusals: &[Refusal],
        forgotten: &[Refusal],
    ) -> Result<(), LockError> {
        const OPERATION: &str = "record refusals";
        let region = &lease.region;
        let mut writes = vec![];
        for refusal in refusals {
            writes.push(self.put_refusal(region, refusal)?);
        }
        for refusal in forgotten {
            let item = region_key(region, &refusal_sk(refusal));
            writes.push(self.delete(OPERATION, item)?);
        }
        self.write_fenced(lease, OPERATION, writes).await
    }

    async fn record_replicas(
        &self,
        lease: &Lease,
        record: &ReplicaRecord,
    ) -> Result<(), LockError> {
        let item = region_key(&lease.region, "REPLICAS");
        let write = self.put(item, [("body", to_body(record))])?;
        self.write_fenced(lease, "record the replicas", vec![write])
            .await
    }

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError> {
        let Decision { region, at, .. } = decision;
        let body = [
            ("at", number(at.as_millisecond())),
            ("body", text(&decision.to_bounded_json())),
            ("ttl", number((*at + HISTORY).as_second())),
        ];
        let point = [
            ("at", number(at.as_millisecond())),
            ("body", to_body(&decision.plan.counts)),
            ("ttl", number((*at + Point::KEPT).as_second())),
        ];
        let writes = vec![
            self.put(
                key(&decisions_pk(region), &decision_sk(decision.version)),
                body,
            )?,
            self.put(key(&points_pk(region), &point_sk(*at)), point)?,
        ];
        const OPERATION: &str = "record the decision";
        let assignment = Some(("decided_at", at.as_millisecond()));
        self.write_fenced_with(lease, OPERATION, assignment, writes)
            .await
    }
}

impl DynamoStore {
    fn put_refusal(
        &self,
        region: &RegionName,
        refusal: &Refusal,
    ) -> Result<TransactWriteItem, LockError> {
        let attributes = [
            ("body", to_body(refusal)),
            ("ttl", number(refusal.remembered_until().as_second())),
        ];
        self.put(region_key(region, &refusal_sk(refusal)), attributes)
    }

    fn put_launches(
        &self,
        region: &RegionName,
        launches: &LaunchTally,
    ) -> Result<TransactWriteItem, LockError> {
        self.put(region_key(region, LAUNCHES), [("body", to_body(launches))])
    }

    /// One write of a transaction: the item with this key is deleted.
    fn delete(&self, operation: &'static str, item: Item) -> Result<TransactWriteItem, LockError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(item))
            .build()
            .map_err(|error| incomplete_request(operation, &error))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// One write of a transaction: the item with this key gets these attributes.
    fn put<const N: usize>(
        &self,
        mut item: Item,
        attributes: [(&str, AttributeValue); N],
    ) -> Result<TransactWriteItem, LockError> {
        item.extend(attributes.map(|(name, value)| (name.to_owned(), value)));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .build()
            .map_err(|error| incomplete_request("write an item", &error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}
