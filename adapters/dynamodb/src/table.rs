//! The table's client, and writes that only the lock's holder may make.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::builders::{ConditionCheckBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem, Update};
use shared::lock::{Lease, LockError};

use crate::errors::{WriteError, incomplete_request};
use crate::items::{number, region_key, text};

/// The lock's item is touched by every attempt to acquire it and by every transaction of its
/// holder. If two do so at the same moment, DynamoDB cancels one, which has written nothing and is
/// sent again.
const CONFLICT_RETRIES: u32 = 8;
const CONFLICT_PAUSE: Duration = Duration::from_millis(15);

/// The condition that a lease is still the lock's.
const IS_HELD: &str = "#owner = :owner AND version = :version";

/// Region locks, stored state and history, on one table.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    pub(crate) client: Client,
    pub(crate) table: String,
}

impl DynamoStore {
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
        }
    }

    /// With a client of its own, whose calls take at most `call`, retries included.
    pub async fn connect(table: impl Into<String>, call: Duration) -> Self {
        Self::new(Client::new(&aws_settings::load(call).await), table)
    }

    /// Sets one number of the lock's item, if the lock is still held under this lease.
    pub(crate) async fn update_lock(
        &self,
        lease: &Lease,
        operation: &'static str,
        assignment: &str,
        value: i64,
    ) -> Result<(), LockError> {
        let write = || async {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(region_key(&lease.region, "LOCK")))
                .update_expression(assignment)
                .condition_expression(IS_HELD)
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_values(":value", number(value))
                .expression_attribute_values(":owner", text(lease.owner.as_str()))
                .expression_attribute_values(":version", number(lease.version))
                .send()
                .await
                .map(|_| ())
                .map_err(|error| WriteError::of_update(operation, &error))
        };
        retry_conflicts(lease, write).await
    }

    /// Writes items in one transaction with a check that the lock is still held under this lease.
    pub(crate) async fn write_fenced(
        &self,
        lease: &Lease,
        operation: &'static str,
        writes: Vec<TransactWriteItem>,
    ) -> Result<(), LockError> {
        self.write_fenced_with(lease, operation, None, writes).await
    }

    /// The same, and sets a number of the lock's item, if one is given.
    pub(crate) async fn write_fenced_with(
        &self,
        lease: &Lease,
        operation: &'static str,
        assignment: Option<(&'static str, i64)>,
        writes: Vec<TransactWriteItem>,
    ) -> Result<(), LockError> {
        let incomplete = |error| incomplete_request(operation, &error);
        let check = match assignment {
            Some((name, value)) => {
                let update = self.checked_update(lease, name, value).build();
                TransactWriteItem::builder().update(update.map_err(incomplete)?)
            }
            None => {
                let check = self.check(lease).build();
                TransactWriteItem::builder().condition_check(check.map_err(incomplete)?)
            }
        };
        let check = check.build();
        let items: Vec<_> = std::iter::once(check).chain(writes).collect();
        let write = || async {
            self.client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .send()
                .await
                .map(|_| ())
                .map_err(|error| WriteError::of_transaction(operation, &error))
        };
        retry_conflicts(lease, write).await
    }
}

impl DynamoStore {
    fn check(&self, lease: &Lease) -> ConditionCheckBuilder {
        ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(region_key(&lease.region, "LOCK")))
            .condition_expression(IS_HELD)
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(lease.owner.as_str()))
            .expression_attribute_values(":version", number(lease.version))
    }

    fn checked_update(&self, lease: &Lease, name: &str, value: i64) -> UpdateBuilder {
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(region_key(&lease.region, "LOCK")))
            .update_expression("SET #name = :value")
            .condition_expression(IS_HELD)
            .expression_attribute_names("#name", name)
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":value", number(value))
            .expression_attribute_values(":owner", text(lease.owner.as_str()))
            .expression_attribute_values(":version", number(lease.version))
    }
}

/// Repeats a write of the lock's holder while it conflicts with other writes.
async fn retry_conflicts<F>(lease: &Lease, write: impl Fn() -> F) -> Result<(), LockError>
where
    F: Future<Output = Result<(), WriteError>>,
{
    let mut retry = 0;
    loop {
        match write().await {
            Err(WriteError::Conflict(_)) if retry < CONFLICT_RETRIES => retry += 1,
            result => return result.map_err(|error| error.under(lease)),
        }
        tokio::time::sleep(CONFLICT_PAUSE * retry).await;
    }
}
