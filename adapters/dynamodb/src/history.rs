//! Locks, intents and decisions for somebody who only looks. Not consistent reads: they cost
//! half, and what they miss is a second old.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use jiff::Timestamp;

use super::errors::unavailable;
use super::items::{key, read_number, read_text, text};
use super::store::{bad_item, decision_sk, point_sk, points_pk, read_body};
use super::{DynamoStore, Item};
use shared::history::{
    DecisionPage, History, LockItem, OpenIntent, Point, RegionRecords, StoredDecision,
};
use shared::ids::RegionName;
use shared::lock::LockError;
use shared::model::Intent;

#[async_trait]
impl History for DynamoStore {
    async fn standing(&self, region: &RegionName) -> Result<RegionRecords, LockError> {
        let answer = self
            .query(&format!("REGION#{region}"))
            .send()
            .await
            .map_err(|error| unavailable("read the region's items", &error))?;
        let mut standing = RegionRecords {
            more: answer.last_evaluated_key.is_some(),
            ..RegionRecords::default()
        };
        for item in answer.items.unwrap_or_default() {
            let sk = read_text(&item, "sk").unwrap_or_default();
            if sk == "LOCK" {
                standing.lock = Some(lock(&item)?);
            } else if sk == "WAKE" {
                let by = read_text(&item, "by").unwrap_or_default();
                standing.wanted_by = Some(by.to_owned());
            } else if sk.starts_with("INTENT#") {
                let intent: Intent = read_body(&item)?;
                standing.open_intents.push(OpenIntent::from(intent));
            } else if sk.starts_with("REFUSAL#") {
                standing.refusals.push(read_body(&item)?);
            }
        }
        Ok(standing)
    }

    async fn decisions(
        &self,
        region: &RegionName,
        below: Option<i64>,
        limit: u32,
    ) -> Result<DecisionPage, LockError> {
        let newest_first = self.newest_decisions(region, limit);
        // Versions count from 1: below that there is nothing, and a bound that is no version
        // would not sort among them.
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
                // One that cannot be read hides no other.
                Err(error) => tracing::warn!(%error, "a decision was passed over"),
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
            .set_key(Some(key(
                &format!("DECISIONS#{region}"),
                &decision_sk(version),
            )))
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
            // What one request does not hold is then missing at the beginning, not at the end.
            .scan_index_forward(false)
            .send()
            .await
            .map_err(|error| unavailable("read a region's figures", &error))?;
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
        self.query(&format!("DECISIONS#{region}"))
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
    let owner = read_text(item, "owner").ok_or_else(|| bad_item(item, "no text `owner`"))?;
    let version =
        read_number(item, "version").ok_or_else(|| bad_item(item, "no number `version`"))?;
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

/// An attribute in milliseconds.
fn time(item: &Item, name: &str) -> Result<Timestamp, LockError> {
    read_number(item, name)
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .ok_or_else(|| bad_item(item, &format!("`{name}` is not a time in milliseconds")))
}
