//! The record of the service as a whole: one item, of which each call reads or writes some attributes.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnValue;
use jiff::Timestamp;
use shared::lock::LockError;
use shared::service::{Condition, ServiceRecord, ServiceRecords};

use crate::errors::{is_failed_condition, unavailable};
use crate::items::{Item, key, number, read_number};
use crate::table::DynamoStore;

#[async_trait]
impl ServiceRecords for DynamoStore {
    async fn service_record(&self) -> Result<ServiceRecord, LockError> {
        self.client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(service_key()))
            .consistent_read(true)
            .send()
            .await
            .map(|answer| record(&answer.item.unwrap_or_default()))
            .map_err(|error| unavailable("read the record of the service", &error))
    }

    async fn record_schedule(&self, now: Timestamp) -> Result<ServiceRecord, LockError> {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(service_key()))
            .update_expression("SET scheduled_at = :now")
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .return_values(ReturnValue::AllOld)
            .send()
            .await
            .map(|answer| record(&answer.attributes.unwrap_or_default()))
            .map_err(|error| unavailable("record the schedule", &error))
    }

    async fn begin(&self, condition: Condition, since: Timestamp) -> Result<bool, LockError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(service_key()))
            .update_expression("SET #condition = :since")
            .condition_expression("attribute_not_exists(#condition)")
            .expression_attribute_names("#condition", attribute(condition))
            .expression_attribute_values(":since", number(since.as_millisecond()))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if is_failed_condition(&error) => Ok(false),
            Err(error) => Err(unavailable("record a condition of the service", &error)),
        }
    }

    async fn end(&self, condition: Condition) -> Result<Option<Timestamp>, LockError> {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(service_key()))
            .update_expression("REMOVE #condition")
            .expression_attribute_names("#condition", attribute(condition))
            .return_values(ReturnValue::UpdatedOld)
            .send()
            .await
            .map(|answer| record(&answer.attributes.unwrap_or_default()).since(condition))
            .map_err(|error| unavailable("remove a condition of the service", &error))
    }

    async fn claim_search(&self, now: Timestamp, before: Timestamp) -> Result<bool, LockError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(service_key()))
            .update_expression("SET searched_at = :now")
            .condition_expression("attribute_not_exists(searched_at) OR searched_at <= :before")
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":before", number(before.as_millisecond()))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if is_failed_condition(&error) => Ok(false),
            Err(error) => Err(unavailable("claim the search for stray instances", &error)),
        }
    }
}

fn service_key() -> Item {
    key("SERVICE", "SERVICE")
}

fn attribute(condition: Condition) -> &'static str {
    match condition {
        Condition::DatabaseDown => "database_down",
        Condition::ScheduleStopped => "schedule_stopped",
    }
}

/// An attribute that is not a time counts as missing.
fn record(item: &Item) -> ServiceRecord {
    let time = |name| Timestamp::from_millisecond(read_number(item, name)?).ok();
    let mut record = ServiceRecord {
        scheduled_at: time("scheduled_at"),
        ..ServiceRecord::default()
    };
    for condition in Condition::ALL {
        *record.since_mut(condition) = time(attribute(condition));
    }
    record
}
