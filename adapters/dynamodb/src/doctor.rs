//! What `doctor` reads of the table, and the last report, which the status page shows.

use async_trait::async_trait;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{TableDescription, TimeToLiveStatus};
use jiff::SignedDuration;
use shared::doctor::Report;
use shared::doctor::facts::Table;
use shared::doctor::ports::{ProbeError, Reports, TableProbe};

use crate::items::{key, number, read_body, to_body};
use crate::table::DynamoStore;

/// A report says how things were when it was made: after this time it is deleted.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

#[async_trait]
impl TableProbe for DynamoStore {
    async fn table(&self) -> Result<Table, ProbeError> {
        let table = self.client.describe_table().table_name(&self.table).send();
        let expiry = self
            .client
            .describe_time_to_live()
            .table_name(&self.table)
            .send();
        let table = table.await.map_err(|error| probe_error(&error))?;
        let expiry = expiry.await.map_err(|error| probe_error(&error))?;
        let expiry = expiry.time_to_live_description.filter(|it| {
            let status = it.time_to_live_status();
            matches!(
                status,
                Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
            )
        });
        let table = table
            .table
            .unwrap_or_else(|| TableDescription::builder().build());
        Ok(Table {
            status: table
                .table_status()
                .map(|it| it.as_str().to_owned())
                .unwrap_or_default(),
            keys: keys(&table),
            ttl: expiry.and_then(|it| it.attribute_name),
        })
    }
}

fn keys(table: &TableDescription) -> Vec<(String, String, String)> {
    let kind = |name: &str| {
        let mut attributes = table.attribute_definitions().iter();
        let attribute = attributes.find(|it| it.attribute_name() == name);
        attribute
            .map(|it| it.attribute_type().as_str().to_owned())
            .unwrap_or_default()
    };
    let keys = table.key_schema().iter();
    keys.map(|it| {
        let (name, part) = (it.attribute_name(), it.key_type().as_str());
        (name.to_owned(), part.to_owned(), kind(name))
    })
    .collect()
}

#[async_trait]
impl Reports for DynamoStore {
    async fn store(&self, report: &Report) -> Result<(), ProbeError> {
        let put = self.client.put_item().table_name(&self.table);
        put.set_item(Some(key("DOCTOR", "REPORT")))
            .item("body", to_body(report))
            .item("ttl", number((report.at + KEPT).as_second()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| probe_error(&error))
    }

    async fn newest(&self) -> Result<Option<Report>, ProbeError> {
        let get = self.client.get_item().table_name(&self.table);
        let answer = get
            .set_key(Some(key("DOCTOR", "REPORT")))
            .send()
            .await
            .map_err(|error| probe_error(&error))?;
        let report = answer.item.as_ref().map(read_body).transpose();
        report.map_err(|error| ProbeError::Unavailable(error.to_string()))
    }
}

fn probe_error<E, R>(error: &SdkError<E, R>) -> ProbeError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let Some(code) = error.as_service_error().and_then(|service| service.code()) else {
        return ProbeError::Unavailable(aws_settings::describe(error));
    };
    let text = format!("{} ({code})", error.message().unwrap_or("no message"));
    match code {
        "AccessDeniedException" => ProbeError::Denied(text),
        "ResourceNotFoundException" => ProbeError::Missing(text),
        _ => ProbeError::Unavailable(text),
    }
}
