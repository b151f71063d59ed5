//! A running stack's addresses, names and secrets, in a file that a shell can read.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::private_file;

/// Everything that a person, a script or a test needs to use a stack. The field `database_url` is
/// the variable `DATABASE_URL`, and so on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct StackEnv {
    pub stack_name: String,
    pub aws_endpoint_url: String,
    pub aws_endpoint_url_ec2: String,
    pub aws_region: String,
    pub aws_access_key_id: String,
    pub aws_secret_access_key: String,
    pub ec2_control_url: String,
    pub database_url: String,
    /// The same for `psql` without arguments: what is on a command line, every user of the machine can
    /// read.
    pub pghost: String,
    pub pgport: String,
    pub pgdatabase: String,
    pub pguser: String,
    pub pgpassword: String,
    pub hasura_url: String,
    pub hasura_admin_secret: String,
    pub hasura_jwt_key: String,
    pub hasura_event_secret: String,
    /// `None` without the function `hasura-event`: then no event is captured or delivered.
    pub hasura_event_url: Option<String>,
    pub hasura_events_control_url: Option<String>,
    pub assign_user_url: String,
    pub assign_user_function: String,
    pub reconcile_function: String,
    /// `None` when the template has no such function.
    pub instance_state_change_function: Option<String>,
    pub status_url: String,
    pub status_token: String,
    pub status_function: String,
    pub scaling_table: String,
    pub jwks_url: String,
    pub jwt_issuer: String,
    pub jwt_audience: String,
}

impl StackEnv {
    /// Writes the file, one variable a line. Only its owner can read it.
    ///
    /// # Errors
    /// When `path` cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let Value::Object(variables) = serde_json::to_value(self)? else {
            return Ok(());
        };
        let lines: String = variables
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}={}\n", quoted(value.as_str()?))))
            .collect();
        private_file::write(path, lines)
    }

    /// Reads the file of a running stack.
    ///
    /// # Errors
    /// When the file is missing, because the stack does not run, or lacks a variable.
    pub fn read(path: &Path) -> Result<Self> {
        let content = fs::read_to_string(path)
            .with_context(|| format!("read {}: is the stack running?", path.display()))?;
        let variables: Map<String, Value> = content
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), Value::String(unquoted(value))))
            .collect();
        serde_json::from_value(Value::Object(variables))
            .with_context(|| format!("read {}", path.display()))
    }
}

/// Quotes a value for a shell: within single quotes, only a single quote is special.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn unquoted(value: &str) -> String {
    match value
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        Some(inner) => inner.replace(r"'\''", "'"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    fn sample() -> StackEnv {
        let value = |name: &str| format!("{name} it's $HOME & more");
        StackEnv {
            stack_name: "scaling".to_owned(),
            aws_endpoint_url: "http://127.0.0.1:1".to_owned(),
            aws_endpoint_url_ec2: value("ec2"),
            aws_region: value("region"),
            aws_access_key_id: String::new(),
            aws_secret_access_key: value("secret"),
            ec2_control_url: value("control"),
            database_url: "postgres://u:p@127.0.0.1:1/scaling?sslmode=disable".to_owned(),
            pghost: value("host"),
            pgport: value("port"),
            pgdatabase: value("database"),
            pguser: value("user"),
            pgpassword: value("password"),
            hasura_url: value("hasura"),
            hasura_admin_secret: value("admin"),
            hasura_jwt_key: value("jwt"),
            hasura_event_secret: value("event"),
            hasura_event_url: Some(value("event url")),
            hasura_events_control_url: None,
            assign_user_url: value("url"),
            assign_user_function: value("function"),
            reconcile_function: value("function"),
            instance_state_change_function: Some(value("function")),
            status_url: value("status url"),
            status_token: value("status token"),
            status_function: value("function"),
            scaling_table: value("table"),
            jwks_url: value("jwks"),
            jwt_issuer: value("issuer"),
            jwt_audience: value("audience"),
        }
    }

    #[test]
    fn written_file_reads_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        sample().write(&path).unwrap();
        assert_eq!(StackEnv::read(&path).unwrap(), sample());
    }

    #[test]
    fn written_file_is_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        sample().write(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn shell_reads_the_values_that_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        sample().write(&path).unwrap();
        let script = ". \"$0\"; printf '%s\\n' \"$DATABASE_URL\" \"$HASURA_URL\"";
        let output = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(&path)
            .output()
            .unwrap();
        let expected = format!("{}\n{}\n", sample().database_url, sample().hasura_url);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}
