//! Reading locks, intents and decisions without a lock. The reads are eventually consistent: they
//! cost half, and what they miss is at most about a second old.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use jiff::Timestamp;
use shared::history::{
    DecisionPage, History, LockItem, OpenIntent, Point, RegionRecords, StoredDecision,
};
use shared::ids::RegionName;
use shared::lock::LockError;
use shared::model::Intent;

use crate::errors::unavailable;
use crate::items::{
    Item, bad_item, decision_sk, decisions_pk, key, point_sk, points_pk, read_body, read_number,
    read_text, region_pk, text,
};
use crate::table::DynamoStore;

#[async_trait]
impl History for DynamoStore {
    async fn records(&self, region: &RegionName) -> Result<RegionRecords, LockError> {
        let answer = self
            .query(&region_pk(region))
            .send()
            .await
            .map_err(|error| unavailable("read the region's items", &error))?;
        let mut records = RegionRecords {
            is_truncated: answer.last_evaluated_key.is_some(),
            ..RegionRecords::default()
        };
        for item in answer.items.unwrap_or_default() {
            let sk = read_text(&item, "sk").unwrap_or_default();
            if sk == "LOCK" {
                records.lock = Some(lock(&item)?);
            } else if sk == "WAKE" {
                let by = read_text(&item, "by").unwrap_or_default();
                records.marked_by = Some(by.to_owned());
            } else if sk.starts_with("INTENT#") {
                let intent: Intent = read_body(&item)?;
                records.open_intents.push(OpenIntent::from(intent));
            } else if sk.starts_with("REFUSAL#") {
                records.refusals.push(read_body(&item)?);
            }
        }
        Ok(records)
    }

    async fn decisions(
        &self,
        region: &RegionName,
        below: Option<i64>,
        limit: u32,
    ) -> Result<DecisionPage, LockError> {
        let newest_first = self.newest_decisions(region, limit);
        // Versions count from 1. A bound below that matches nothing, and would not sort correctly.
        let query = match below {
            Some(..1) => return Ok(DecisionPage::default()),
            Some(version) => newest_first
                .key_condition_expression("pk = :pk AND sk < :below")
                .expression_attribute_values(":below", text(&decision_sk(version))),
            None => newest_first,
        };
        let answer = query
            .send()
            .await
            .map_err(|error| unavailable("read decisions", &error))?;
        let mut page = DecisionPage::default();
        if let Some(last) = answer.last_evaluated_key() {
            page.next = read_text(last, "sk").and_then(|sk| sk.parse().ok());
        }
        for item in answer.items() {
            match read_body(item) {
                Ok(decision) => page.decisions.push(decision),
                // An unreadable decision must not hide the others.
                Err(error) => tracing::warn!(%error, "unreadable decision skipped"),
            }
        }
        Ok(page)
    }

    async fn decision(
        &self,
        region: &RegionName,
        version: i64,
    ) -> Result<Option<StoredDecision>, LockError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(&decisions_pk(region), &decision_sk(version))))
            .send()
            .await
            .map_err(|error| unavailable("read a decision", &error))?;
        answer.item.as_ref().map(read_body).transpose()
    }

    async fn decided_at(&self, region: &RegionName) -> Result<Option<Timestamp>, LockError> {
        let answer = self
            .newest_decisions(region, 1)
            .projection_expression("pk, sk, #at")
            .expression_attribute_names("#at", "at")
            .send()
            .await
            .map_err(|error| unavailable("read when the newest decision was made", &error))?;
        answer
            .items()
            .first()
            .map(|item| time(item, "at"))
            .transpose()
    }

    async fn points(&self, region: &RegionName, since: Timestamp) -> Result<Vec<Point>, LockError> {
        let answer = self
            .query(&points_pk(region))
            .key_condition_expression("pk = :pk AND sk >= :since")
            .expression_attribute_values(":since", text(&point_sk(since)))
            // Newest first, so that what does not fit into one answer is missing at the beginning.
            .scan_index_forward(false)
            .send()
            .await
            .map_err(|error| unavailable("read a region's counts", &error))?;
        answer.items().iter().rev().map(point).collect()
    }
}

impl DynamoStore {
    fn query(&self, pk: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(pk))
    }

    fn newest_decisions(&self, region: &RegionName, limit: u32) -> QueryFluentBuilder {
        self.query(&decisions_pk(region))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
    }
}

fn point(item: &Item) -> Result<Point, LockError> {
    Ok(Point {
        at: time(item, "at")?,
        counts: read_body(item)?,
    })
}

fn lock(item: &Item) -> Result<LockItem, LockError> {
    let owner = read_text(item, "owner").ok_or_else(|| bad_item(item, "`owner` is not a text"))?;
    let version =
        read_number(item, "version").ok_or_else(|| bad_item(item, "`version` is not a number"))?;
    Ok(LockItem {
        owner: owner.into(),
        version,
        since: item
            .contains_key("since")
            .then(|| time(item, "since"))
            .transpose()?,
        expires_at: time(item, "expires_at")?,
    })
}

/// An attribute that holds a time in milliseconds.
fn time(item: &Item, name: &str) -> Result<Timestamp, LockError> {
    read_number(item, name)
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .ok_or_else(|| bad_item(item, &format!("`{name}` is not a time in milliseconds")))
}
