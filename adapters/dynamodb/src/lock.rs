//! Locks, wake marks and seen events.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};
use shared::ids::{Owner, RegionName};
use shared::lock::{CLOCK_MARGIN, Lease, LockAttempt, LockError, RegionLock, WakeMark};

use crate::errors::{is_conflict, is_failed_condition, unavailable};
use crate::items::{Item, key, number, read_number, read_text, region_key, text};
use crate::table::DynamoStore;

/// An event's id is kept for longer than any sender retries. Lambda, the longest, retries for six
/// hours.
const SEEN_FOR: SignedDuration = SignedDuration::from_hours(24);

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
                "SET #owner = :owner, expires_at = :expires, #since = :now, \
                 decided_at = if_not_exists(decided_at, :now) ADD version :one",
            )
            .condition_expression("attribute_not_exists(pk) OR expires_at < :expired")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#since", "since")
            .expression_attribute_values(":owner", text(owner.as_str()))
            .expression_attribute_values(":expires", number(expires_at.as_millisecond()))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":expired", number((now - CLOCK_MARGIN).as_millisecond()))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
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
        // The lock is held: a transaction of its holder is touching the item.
        if is_conflict(&error) {
            return Ok(LockAttempt::Held {
                until: now,
                decided_at: None,
            });
        }
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(held)) => {
                let item = held.item().cloned().unwrap_or_default();
                let held = read_lease(region, owner, &item)?;
                if read_text(&item, "owner") == Some(owner.as_str()) {
                    return Ok(LockAttempt::Acquired(held));
                }
                Ok(LockAttempt::Held {
                    until: held.expires_at,
                    decided_at: held.decided_at,
                })
            }
            _ => Err(unavailable("acquire the lock", &error)),
        }
    }

    async fn is_held(&self, region: &RegionName, now: Timestamp) -> Result<bool, LockError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(region_key(region, "LOCK")))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| unavailable("read the lock", &error))?;
        let Some(item) = answer.item else {
            return Ok(false);
        };
        let lease = read_lease(region, &Owner::random(), &item)?;
        Ok(lease.expires_at >= now - CLOCK_MARGIN)
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        self.update_lock(lease, "release the lock", "SET expires_at = :value", 0)
            .await
    }

    async fn advance_past_fence(&self, lease: &Lease, in_force: i64) -> Result<Lease, LockError> {
        let version = in_force + 1;
        self.update_lock(
            lease,
            "advance the lock past the fence",
            "SET version = :value",
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
            .map_err(|error| unavailable("set the wake mark", &error))
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
            Err(error) if is_failed_condition(&error) => Ok(()),
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
            .map_err(|error| unavailable("read the event's id", &error))
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
            Err(error) if is_failed_condition(&error) => Ok(false),
            Err(error) => Err(unavailable("record the event's id", &error)),
        }
    }
}

fn read_lease(region: &RegionName, owner: &Owner, item: &Item) -> Result<Lease, LockError> {
    let bad = |problem: &str| LockError::BadItem {
        key: format!("REGION#{region}/LOCK"),
        problem: problem.to_owned(),
    };
    let version = read_number(item, "version").ok_or_else(|| bad("`version` is not a number"))?;
    let expires =
        read_number(item, "expires_at").ok_or_else(|| bad("`expires_at` is not a number"))?;
    let expires_at = Timestamp::from_millisecond(expires)
        .map_err(|_| bad("`expires_at` is not a time in milliseconds"))?;
    // For metrics only: a pass does not fail for it.
    let decided_at =
        read_number(item, "decided_at").and_then(|at| Timestamp::from_millisecond(at).ok());
    Ok(Lease {
        region: region.clone(),
        owner: owner.clone(),
        version,
        expires_at,
        decided_at,
    })
}
