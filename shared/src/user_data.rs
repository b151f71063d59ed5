//! User data: a machine's settings at boot, such as Hasura's URL and the host agent's token.

use thiserror::Error;

use crate::ids::{ClientSha, LaunchId, RegionName};

/// EC2's limit in bytes, before base64.
const LIMIT_BYTES: usize = 16 * 1024;

/// `NAME=value` lines, which a shell, systemd's `EnvironmentFile` and most languages can read.
const DEFAULT_TEMPLATE: &str = "\
SCALING_HASURA_URL=${HASURA_URL}
SCALING_AGENT_TOKEN=${AGENT_TOKEN}
SCALING_REGION=${REGION}
SCALING_LAUNCH_ID=${LAUNCH_ID}
SCALING_CAPACITY=${CAPACITY}
SCALING_CLIENT_SHA=${CLIENT_SHA}
";

/// The default for a replica, which has no host agent and no access to Hasura.
const REPLICA_TEMPLATE: &str = "\
SCALING_REGION=${REGION}
SCALING_LAUNCH_ID=${LAUNCH_ID}
SCALING_CAPACITY=${CAPACITY}
";

/// A host agent's access to Hasura.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "it holds a secret")]
pub struct AgentAccess<'a> {
    pub hasura_url: &'a str,
    pub token: &'a str,
}

/// The values of the placeholders.
#[expect(missing_debug_implementations, reason = "it holds a secret")]
pub struct UserData<'a> {
    /// None for a replica.
    pub agent: Option<AgentAccess<'a>>,
    pub region: &'a RegionName,
    pub launch_id: &'a LaunchId,
    pub capacity: u32,
    pub client_sha: &'a ClientSha,
}

#[derive(Debug, PartialEq, Eq, Error)]
pub enum UserDataError {
    #[error(
        "regions.user_data_template has the unknown placeholder ${{{0}}}: use REGION, LAUNCH_ID, \
         CAPACITY, CLIENT_SHA and, except for replicas, HASURA_URL and AGENT_TOKEN; write $${{…}} \
         for a literal ${{…}}"
    )]
    UnknownPlaceholder(String),
    #[error(
        "regions.user_data_template: at byte {0}, `${{` does not begin a placeholder; write $${{ \
         for a literal ${{"
    )]
    BadPlaceholder(usize),
    #[error(
        "regions.user_data_template lacks ${{AGENT_TOKEN}}: add it, or host agents cannot register"
    )]
    NoToken,
    #[error(
        "regions.user_data_template gives {0} bytes: shorten it to EC2's limit of {LIMIT_BYTES}"
    )]
    TooLong(usize),
}

impl UserData<'_> {
    /// Fills the region's template, or the default one.
    ///
    /// `${NAME}` is a placeholder, and `$${` is a literal `${`. Any other `$` stays as it is, so
    /// that shell scripts need not escape `$VAR`.
    ///
    /// # Errors
    /// When the template has an unknown or malformed placeholder or lacks the token, or when the
    /// result is too long for EC2.
    pub fn render(&self, template: Option<&str>) -> Result<String, UserDataError> {
        let default = match self.agent {
            Some(_) => DEFAULT_TEMPLATE,
            None => REPLICA_TEMPLATE,
        };
        let template = template.unwrap_or(default);
        let mut rest = template;
        let mut text = String::with_capacity(rest.len() + 1024);
        let mut has_token = false;
        while let Some(start) = rest.find("${") {
            if let Some(before) = rest[..start].strip_suffix('$') {
                text.push_str(before);
                text.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            text.push_str(&rest[..start]);
            let inside = &rest[start + 2..];
            // The error has the position only: what follows may be a secret in the template.
            let name = placeholder(inside).ok_or_else(|| {
                UserDataError::BadPlaceholder(template.len() - rest.len() + start)
            })?;
            self.push_value(name, &mut text)?;
            has_token |= name == "AGENT_TOKEN";
            rest = &inside[name.len() + 1..];
        }
        if !has_token && self.agent.is_some() {
            return Err(UserDataError::NoToken);
        }
        text.push_str(rest);
        if text.len() > LIMIT_BYTES {
            return Err(UserDataError::TooLong(text.len()));
        }
        Ok(text)
    }

    fn push_value(&self, name: &str, text: &mut String) -> Result<(), UserDataError> {
        match name {
            "HASURA_URL" | "AGENT_TOKEN" => match self.agent {
                Some(agent) if name == "HASURA_URL" => text.push_str(agent.hasura_url),
                Some(agent) => text.push_str(agent.token),
                None => return Err(UserDataError::UnknownPlaceholder(name.to_owned())),
            },
            "REGION" => text.push_str(self.region.as_str()),
            "LAUNCH_ID" => text.push_str(self.launch_id.as_str()),
            "CAPACITY" => text.push_str(&self.capacity.to_string()),
            "CLIENT_SHA" => text.push_str(self.client_sha.as_str()),
            other => return Err(UserDataError::UnknownPlaceholder(other.to_owned())),
        }
        Ok(())
    }
}

/// The text before the closing brace, if it is a valid name.
fn placeholder(inside: &str) -> Option<&str> {
    let name = &inside[..inside.find('}')?];
    let fits = |b: u8| b.is_ascii_uppercase() || b == b'_';
    ((1..=32).contains(&name.len()) && name.bytes().all(fits)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: Option<&str>) -> Result<String, UserDataError> {
        let (region, launch_id) = ("us-east-1".into(), "l-1".into());
        UserData {
            agent: Some(AgentAccess {
                hasura_url: "https://hasura",
                token: "t.o.k",
            }),
            region: &region,
            launch_id: &launch_id,
            capacity: 2,
            client_sha: &"abc".into(),
        }
        .render(template)
    }

    #[test]
    fn default_template_has_every_value() {
        let text = render(None).unwrap();
        assert!(text.contains("SCALING_AGENT_TOKEN=t.o.k\n"));
        assert!(text.contains("SCALING_CAPACITY=2\n"));
        assert!(!text.contains('$'));
    }

    #[test]
    fn shell_variables_are_kept_and_placeholders_are_filled() {
        let text = render(Some("#!/bin/sh\necho $HOME $${X} ${REGION} ${AGENT_TOKEN}")).unwrap();
        assert_eq!(text, "#!/bin/sh\necho $HOME ${X} us-east-1 t.o.k");
    }

    #[test]
    fn unknown_placeholder_is_named_in_the_error() {
        assert_eq!(
            render(Some("${NOPE}")),
            Err(UserDataError::UnknownPlaceholder("NOPE".to_owned()))
        );
    }

    #[test]
    fn malformed_placeholder_is_rejected_without_showing_it() {
        for template in ["a ${B", "a ${secret of mine}", "a ${}"] {
            assert_eq!(
                render(Some(template)),
                Err(UserDataError::BadPlaceholder(2))
            );
        }
    }

    #[test]
    fn template_without_token_is_rejected() {
        assert_eq!(
            render(Some("REGION=${REGION}")),
            Err(UserDataError::NoToken)
        );
    }

    #[test]
    fn user_data_over_the_limit_of_ec2_is_rejected() {
        let long = format!("{}${{AGENT_TOKEN}}", "x".repeat(LIMIT_BYTES));
        assert_eq!(
            render(Some(&long)),
            Err(UserDataError::TooLong(LIMIT_BYTES + 5))
        );
    }
}
