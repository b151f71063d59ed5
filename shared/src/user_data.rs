//! User data: a machine's settings at boot, such as Hasura's URL and the host agent's token.

use thiserror::Error;

use crate::ids::{ClientSha, LaunchId, RegionName};

/// EC2's limit in bytes, before base64.
const LIMIT_BYTES: usize = 16 * 1024;

/// `NAME=value` lines, which a shell, systemd's `EnvironmentFile` and most languages can read.
const DEFAULT_TEMPLATE: &str = "\
SCALING_HASURA_URL=${HASURA_URL}
SCALING_AGENT_TOKEN=${AGENT_TOKEN}
SCALING_AGENT_NEXT_TOKEN=${AGENT_NEXT_TOKEN}
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
    /// The token for after a rotation of the key. The placeholder is empty without one.
    pub next_token: Option<&'a str>,
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

/// What is wrong with a template. The texts continue "column `user_data_template`: …".
#[derive(Debug, PartialEq, Eq, Error)]
pub enum UserDataError {
    #[error(
        "unknown placeholder ${{{0}}}: use REGION, LAUNCH_ID, CAPACITY, CLIENT_SHA and, except for \
         replicas, HASURA_URL, AGENT_TOKEN and AGENT_NEXT_TOKEN; write $${{…}} for a literal ${{…}}"
    )]
    UnknownPlaceholder(String),
    #[error("at byte {0}, `${{` does not begin a placeholder; write $${{ for a literal ${{")]
    BadPlaceholder(usize),
    #[error("it lacks ${{AGENT_TOKEN}}: add it, or host agents cannot register")]
    NoToken,
    #[error("it gives {0} bytes: shorten it to EC2's limit of {LIMIT_BYTES}")]
    TooLong(usize),
}

/// Checks what can be known of a template without the values of a launch: its placeholders, and
/// whether its own text exceeds EC2's limit. `has_agents` is false for replicas.
///
/// # Errors
/// When no launch can use the template.
pub fn check(template: &str, has_agents: bool) -> Result<(), UserDataError> {
    let text = fill(template, has_agents, |name| {
        let is_known = PLACEHOLDERS.contains(&name) || (has_agents && OF_AGENTS.contains(&name));
        is_known.then(String::new)
    })?;
    within_limit(text).map(|_| ())
}

/// Placeholders of every template, and those that need a host agent.
const PLACEHOLDERS: [&str; 4] = ["REGION", "LAUNCH_ID", "CAPACITY", "CLIENT_SHA"];
const OF_AGENTS: [&str; 3] = ["HASURA_URL", "AGENT_TOKEN", "AGENT_NEXT_TOKEN"];

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
        within_limit(fill(template, self.agent.is_some(), |name| {
            self.value(name)
        })?)
    }

    fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "HASURA_URL" => self.agent?.hasura_url.to_owned(),
            "AGENT_TOKEN" => self.agent?.token.to_owned(),
            "AGENT_NEXT_TOKEN" => self.agent?.next_token.unwrap_or_default().to_owned(),
            "REGION" => self.region.to_string(),
            "LAUNCH_ID" => self.launch_id.to_string(),
            "CAPACITY" => self.capacity.to_string(),
            "CLIENT_SHA" => self.client_sha.to_string(),
            _ => return None,
        })
    }
}

/// The template with the values of its placeholders; `value` has none for an unknown one.
fn fill(
    template: &str,
    needs_token: bool,
    value: impl Fn(&str) -> Option<String>,
) -> Result<String, UserDataError> {
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
        let name = placeholder(inside)
            .ok_or_else(|| UserDataError::BadPlaceholder(template.len() - rest.len() + start))?;
        let value =
            value(name).ok_or_else(|| UserDataError::UnknownPlaceholder(name.to_owned()))?;
        text.push_str(&value);
        has_token |= name == "AGENT_TOKEN";
        rest = &inside[name.len() + 1..];
    }
    if needs_token && !has_token {
        return Err(UserDataError::NoToken);
    }
    text.push_str(rest);
    Ok(text)
}

fn within_limit(text: String) -> Result<String, UserDataError> {
    if text.len() > LIMIT_BYTES {
        return Err(UserDataError::TooLong(text.len()));
    }
    Ok(text)
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
        render_with(template, None)
    }

    fn render_with(
        template: Option<&str>,
        next_token: Option<&str>,
    ) -> Result<String, UserDataError> {
        let (region, launch_id) = ("us-east-1".into(), "l-1".into());
        UserData {
            agent: Some(AgentAccess {
                hasura_url: "https://hasura",
                token: "t.o.k",
                next_token,
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
        assert!(text.contains("SCALING_AGENT_NEXT_TOKEN=\n"));
        assert!(!text.contains('$'));
        let text = render_with(None, Some("n.e.xt")).unwrap();
        assert!(text.contains("SCALING_AGENT_NEXT_TOKEN=n.e.xt\n"));
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
    #[test]
    fn template_is_checked_without_the_values_of_a_launch() {
        let all = "${HASURA_URL} ${AGENT_TOKEN} ${REGION} ${LAUNCH_ID} ${CAPACITY} ${CLIENT_SHA}";
        assert_eq!(check(all, true), Ok(()));
        assert_eq!(check("${REGION} $HOME $${X}", false), Ok(()));
        let unknown = |name: &str| Err(UserDataError::UnknownPlaceholder(name.to_owned()));
        assert_eq!(check("${AGENT_TOKN}", true), unknown("AGENT_TOKN"));
        assert_eq!(check("${AGENT_TOKEN}", false), unknown("AGENT_TOKEN"));
        assert_eq!(check("${REGION}", true), Err(UserDataError::NoToken));
        let filled = format!("{}${{AGENT_TOKEN}}", "x".repeat(LIMIT_BYTES));
        assert_eq!(check(&filled, true), Ok(()), "only if the token is empty");
        let long = format!("x{filled}");
        assert_eq!(
            check(&long, true),
            Err(UserDataError::TooLong(LIMIT_BYTES + 1))
        );
    }
}
