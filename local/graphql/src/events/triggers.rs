//! The event triggers of the metadata, with the values of the environment variables that
//! they name: the webhook, its headers, and the retry settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::metadata::{EventHeader, EventTrigger, Metadata, QualifiedName, RetryConf};

/// One event trigger.
#[derive(Debug)]
pub(crate) struct Trigger {
    pub(crate) name: String,
    pub(crate) table: QualifiedName,
    pub(crate) webhook: Url,
    /// The values are marked as sensitive, so that `Debug` does not print them.
    pub(crate) headers: HeaderMap,
    pub(crate) retries: RetryConf,
    /// Whether events can also be created manually.
    pub(crate) manual: bool,
}

impl Trigger {
    /// Timeout of one request.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.retries.timeout_sec.into())
    }
}

/// Triggers by name. Names are unique in a database.
pub(crate) type Triggers = BTreeMap<String, Arc<Trigger>>;

/// Reads all event triggers of the metadata. `variable` looks up environment variables.
///
/// # Errors
///
/// When two triggers have the same name, or a variable is missing or invalid. Values of
/// variables are not quoted.
pub(crate) fn read(
    metadata: &Metadata,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Triggers> {
    let mut triggers = Triggers::new();
    for table in &metadata.tables {
        for declared in &table.event_triggers {
            let trigger = trigger(&table.table, declared, &variable)
                .with_context(|| format!("event trigger `{}`", declared.name))?;
            let other = triggers.insert(trigger.name.clone(), Arc::new(trigger));
            ensure!(
                other.is_none(),
                "two event triggers have the name `{}`; names must be unique",
                declared.name
            );
        }
    }
    Ok(triggers)
}

fn trigger(
    table: &QualifiedName,
    declared: &EventTrigger,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Trigger> {
    let from_env = |name: &str| {
        variable(name).with_context(|| format!("the environment variable {name} is not set"))
    };
    let webhook = Url::parse(&from_env(&declared.webhook_from_env)?).with_context(|| {
        format!(
            "the environment variable {} is not a URL",
            declared.webhook_from_env
        )
    })?;
    let mut headers = HeaderMap::new();
    for header in &declared.headers {
        let (name, value) = resolve(header, from_env)?;
        headers.insert(name, value);
    }
    ensure!(
        declared.retry_conf.timeout_sec > 0,
        "retry_conf.timeout_sec must be greater than 0"
    );
    Ok(Trigger {
        name: declared.name.clone(),
        table: table.clone(),
        webhook,
        headers,
        retries: declared.retry_conf,
        manual: declared.definition.enable_manual,
    })
}

fn resolve(
    header: &EventHeader,
    from_env: impl Fn(&str) -> Result<String>,
) -> Result<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(&header.name)
        .with_context(|| format!("{:?} is not a valid header name", header.name))?;
    let value = match (&header.value, &header.value_from_env) {
        (Some(value), None) => value.clone(),
        (None, Some(variable)) => from_env(variable)?,
        _ => bail!("header {name}: set either `value` or `value_from_env`"),
    };
    let mut value = HeaderValue::try_from(value).ok().with_context(|| {
        format!("header {name}: the value has characters that are not allowed in a header")
    })?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Trigger> {
        let table = QualifiedName {
            schema: "public".to_owned(),
            name: "regions".to_owned(),
        };
        let variable = |name: &str| match name {
            "URL" => Some("http://127.0.0.1:1/hook".to_owned()),
            "SECRET" => Some("s3cret".to_owned()),
            _ => None,
        };
        trigger(&table, &serde_yaml_ng::from_str(yaml)?, variable)
    }

    #[test]
    fn omitted_retry_settings_have_hasuras_defaults() {
        let trigger = parse("{name: t, webhook_from_env: URL, definition: {}}").unwrap();
        assert_eq!(trigger.retries.num_retries, 0);
        assert_eq!(trigger.retries.interval_sec, 10);
        assert_eq!(trigger.timeout(), Duration::from_secs(60));
    }

    #[test]
    fn header_value_is_read_from_the_environment_and_not_printed() {
        let trigger = parse(
            "{name: t, webhook_from_env: URL, definition: {}, headers: [
                {name: x-event-secret, value_from_env: SECRET}, {name: x-plain, value: v}]}",
        )
        .unwrap();
        assert_eq!(trigger.headers["x-event-secret"], "s3cret");
        assert_eq!(trigger.headers["x-plain"], "v");
        assert!(!format!("{trigger:?}").contains("s3cret"));
    }

    #[test]
    fn missing_variable_is_named() {
        let error = parse("{name: t, webhook_from_env: NOWHERE, definition: {}}").unwrap_err();
        assert!(error.to_string().contains("NOWHERE"), "{error}");
    }
}
