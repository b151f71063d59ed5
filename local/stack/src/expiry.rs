//! The local CloudFormation leaves out a table's time to live: this does what it should.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::TimeToLiveSpecification;

/// Lets the table's items expire, if the template says so.
///
/// # Errors
/// When the template cannot be read, or the table not be changed.
pub(crate) async fn switch_on(sdk: &SdkConfig, template: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(template)?;
    let Some(attribute) = attribute(&text) else {
        return Ok(());
    };
    let specification = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name(attribute)
        .build()?;
    aws_sdk_dynamodb::Client::new(sdk)
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(specification)
        .send()
        .await
        .with_context(|| format!("let the items of {table} expire"))?;
    Ok(())
}

/// The attribute of `TimeToLiveSpecification: { AttributeName: …, Enabled: true }`.
fn attribute(template: &str) -> Option<&str> {
    let (_, rest) = template.split_once("TimeToLiveSpecification:")?;
    let specification = rest.lines().next()?;
    let (_, rest) = specification.split_once("AttributeName:")?;
    let name = rest.split([',', '}']).next()?.trim();
    specification.contains("Enabled: true").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project;

    #[test]
    fn attribute_is_that_of_the_template() {
        let template = fs::read_to_string(project::root().join("template.yaml")).unwrap();
        assert_eq!(attribute(&template), Some("ttl"));
        assert_eq!(
            attribute(&template.replace("Enabled: true }", "Enabled: false }")),
            None
        );
        assert_eq!(attribute("Resources:"), None);
    }
}
