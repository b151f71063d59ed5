//! The agent's settings: the instance's id and address, the user data of the launch, and the timing
//! of the simulated sessions.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

#[derive(Debug)]
pub struct Config {
    /// EC2's id of this instance (`INSTANCE_ID`). A real agent reads it from the metadata service.
    pub instance_id: String,
    /// The address that users connect to (`INSTANCE_IP`).
    pub instance_ip: String,
    pub user_data: UserData,
    /// A file that says why this instance cannot serve users (`AGENT_LEAVE_FILE`, by default the
    /// name of the user data's file with `.leave` at its end). A check of the machine writes it; as
    /// soon as it is there, the agent takes the instance out of service.
    pub leave_file: PathBuf,
    /// The file that keeps renewed tokens (`AGENT_TOKEN_FILE`, by default the name of the user data's
    /// file with `.tokens` at its end). It must survive a restart of the agent.
    pub token_file: PathBuf,
    pub timing: Timing,
}

/// Settings from the user data, which the service passes to EC2 with the launch.
#[derive(Debug)]
pub struct UserData {
    /// Hasura's base URL, without `/v1/graphql` (`SCALING_HASURA_URL`).
    pub hasura_url: String,
    /// The JWT of this launch (`SCALING_AGENT_TOKEN`).
    pub token: SecretString,
    /// The one that Hasura accepts after a rotation of its key (`SCALING_AGENT_NEXT_TOKEN`).
    pub next_token: Option<SecretString>,
}

/// How fast the simulation runs. Each field names its variable and its default, in milliseconds.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Time from start to registration (`AGENT_BOOT_MS`, 1000).
    pub boot: Duration,
    /// Time from the assignment of a slot until its user connects (`AGENT_CONNECT_MS`, 1000).
    pub connect: Duration,
    /// Shortest session (`AGENT_SESSION_MS`, 60000).
    pub session: Duration,
    /// Longest session (`AGENT_SESSION_MAX_MS`, same as `session`). See
    /// [`Timing::session_length`].
    pub session_max: Duration,
    /// Time between two heartbeats (`AGENT_HEARTBEAT_MS`, 5000).
    pub heartbeat: Duration,
    /// Time between two reads of the slots (`AGENT_POLL_MS`, 250).
    pub poll: Duration,
    /// How long the user of a session is active from its start (`AGENT_ACTIVE_MS`). Without it, the
    /// agent does not report activity.
    pub active: Option<Duration>,
    /// How late the agent ends a session that is to end (`AGENT_END_DELAY_MS`, 0).
    pub end_delay: Duration,
}

/// A setting is missing or invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{0} is not set")]
    Missing(&'static str),
    #[error("{name} must be a number of milliseconds, not {value:?}")]
    NotANumber { name: &'static str, value: String },
    #[error("AGENT_SESSION_MAX_MS must not be less than AGENT_SESSION_MS")]
    SessionRange,
    #[error("cannot read the user data in {file} (USER_DATA_FILE)")]
    UserData {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the user data has no line `{0}=…` with a value")]
    MissingInUserData(&'static str),
}

impl Config {
    /// Reads the environment and the user data in the file `USER_DATA_FILE`.
    ///
    /// # Errors
    ///
    /// Names the first variable or line that is missing or invalid.
    #[expect(clippy::disallowed_methods, reason = "this is where settings are read")]
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let required = |name| variable(name).ok_or(ConfigError::Missing(name));
        let millis = |name, default| match variable(name) {
            None => Ok(Duration::from_millis(default)),
            Some(value) => match value.parse() {
                Ok(millis) => Ok(Duration::from_millis(millis)),
                Err(_) => Err(ConfigError::NotANumber { name, value }),
            },
        };
        let session: Duration = millis("AGENT_SESSION_MS", 60_000)?;
        let session_max = match variable("AGENT_SESSION_MAX_MS") {
            None => session,
            Some(_) => millis("AGENT_SESSION_MAX_MS", 0)?,
        };
        if session_max < session {
            return Err(ConfigError::SessionRange);
        }
        let file = PathBuf::from(required("USER_DATA_FILE")?);
        let beside = |name, end| {
            let default = || {
                let mut default = file.clone().into_os_string();
                default.push(end);
                PathBuf::from(default)
            };
            variable(name).map_or_else(default, PathBuf::from)
        };
        let leave_file = beside("AGENT_LEAVE_FILE", ".leave");
        let token_file = beside("AGENT_TOKEN_FILE", ".tokens");
        let user_data = std::fs::read_to_string(&file)
            .map_err(|source| ConfigError::UserData { file, source })?;
        Ok(Self {
            instance_id: required("INSTANCE_ID")?,
            instance_ip: required("INSTANCE_IP")?,
            user_data: UserData::parse(&user_data)?,
            leave_file,
            token_file,
            timing: Timing {
                boot: millis("AGENT_BOOT_MS", 1000)?,
                connect: millis("AGENT_CONNECT_MS", 1000)?,
                session,
                session_max,
                heartbeat: millis("AGENT_HEARTBEAT_MS", 5000)?,
                poll: millis("AGENT_POLL_MS", 250)?,
                active: match variable("AGENT_ACTIVE_MS") {
                    None => None,
                    Some(_) => Some(millis("AGENT_ACTIVE_MS", 0)?),
                },
                end_delay: millis("AGENT_END_DELAY_MS", 0)?,
            },
        })
    }
}

impl Timing {
    /// How long a session runs: from `session` to `session_max`, and short sessions are more
    /// frequent than long ones. The length is computed from a hash of the ids, so that it is the
    /// same after a restart of the agent and on another machine.
    pub fn session_length(&self, user_id: &str, session_id: &str) -> Duration {
        // FNV-1a (Fowler, Noll and Vo), because the standard library's hashes may change.
        let ids = user_id.bytes().chain([0]).chain(session_id.bytes());
        let hash = ids.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // One round of MurmurHash3's finalizer (Appleby), because in FNV-1a the last byte changes
        // only some of the bits.
        let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let fraction =
            f64::from(u32::try_from(mixed >> 32).unwrap_or_default()) / f64::from(u32::MAX);
        let range = self.session_max.saturating_sub(self.session);
        // Squared, so that half of the sessions are in the first quarter of the range.
        self.session + range.mul_f64(fraction * fraction)
    }
}

impl UserData {
    /// Reads the `NAME=value` lines and ignores all others, because the user data may be a boot
    /// script that contains these lines.
    ///
    /// # Errors
    ///
    /// Names the line that is missing or has no value.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let lines: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .collect();
        let required = |name| {
            lines
                .get(name)
                .filter(|value| !value.is_empty())
                .ok_or(ConfigError::MissingInUserData(name))
        };
        Ok(Self {
            hasura_url: required("SCALING_HASURA_URL")?
                .trim_end_matches('/')
                .to_owned(),
            token: SecretString::from(*required("SCALING_AGENT_TOKEN")?),
            next_token: required("SCALING_AGENT_NEXT_TOKEN")
                .ok()
                .map(|token| SecretString::from(*token)),
        })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const USER_DATA: &str = "#!/bin/sh\n\
        SCALING_HASURA_URL=http://127.0.0.1:8080/\n\
        SCALING_AGENT_TOKEN=a.b=.c\n\
        SCALING_REGION=us-east-1\n\
        echo \"ready\"\n";

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn user_data_with_other_lines_is_parsed() {
        let user_data = UserData::parse(USER_DATA).unwrap();
        assert_eq!(user_data.hasura_url, "http://127.0.0.1:8080");
        assert_eq!(user_data.token.expose_secret(), "a.b=.c");
    }

    #[test]
    fn missing_line_is_named_and_token_is_not_printed() {
        let error = UserData::parse("SCALING_HASURA_URL=http://x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the user data has no line `SCALING_AGENT_TOKEN=…` with a value"
        );
        assert!(!format!("{:?}", UserData::parse(USER_DATA)).contains("a.b"));
    }

    #[test]
    fn settings_have_defaults_and_invalid_variables_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, USER_DATA).unwrap();
        let path = file.path().to_str().unwrap();
        let base = [
            ("INSTANCE_ID", "i-1"),
            ("INSTANCE_IP", "127.64.0.1"),
            ("USER_DATA_FILE", path),
        ];
        let config = read(&base).unwrap();
        assert_eq!(config.timing.poll, Duration::from_millis(250));
        assert_eq!(config.leave_file, PathBuf::from(format!("{path}.leave")));
        assert_eq!(config.token_file, PathBuf::from(format!("{path}.tokens")));
        assert_eq!(config.timing.session_max, Duration::from_secs(60));

        let with_mistake = [&base[..], &[("AGENT_POLL_MS", "often")]].concat();
        let error = read(&with_mistake).unwrap_err().to_string();
        assert_eq!(
            error,
            "AGENT_POLL_MS must be a number of milliseconds, not \"often\""
        );
        assert_eq!(
            read(&base[1..]).unwrap_err().to_string(),
            "INSTANCE_ID is not set"
        );
        let reversed = [&base[..], &[("AGENT_SESSION_MAX_MS", "59999")]].concat();
        assert!(matches!(read(&reversed), Err(ConfigError::SessionRange)));
    }

    #[test]
    fn session_lengths_cover_the_range_and_are_mostly_short() {
        let timing = Timing {
            boot: Duration::ZERO,
            connect: Duration::ZERO,
            session: Duration::from_secs(10),
            session_max: Duration::from_secs(110),
            heartbeat: Duration::ZERO,
            poll: Duration::ZERO,
            active: None,
            end_delay: Duration::ZERO,
        };
        let lengths: Vec<_> = (0..2000)
            .map(|user| {
                timing
                    .session_length(&format!("user-{user}"), "1")
                    .as_secs_f64()
            })
            .collect();
        let within = |from: f64, to: f64| {
            let matching = lengths.iter().filter(|it| (from..=to).contains(*it));
            matching.count()
        };
        assert_eq!(within(10.0, 110.0), 2000);
        // Half of them are in the first quarter of the range.
        assert!(
            (900..1100).contains(&within(10.0, 35.0)),
            "{}",
            within(10.0, 35.0)
        );
        assert!(
            (200..330).contains(&within(85.0, 110.0)),
            "{}",
            within(85.0, 110.0)
        );
        assert_eq!(
            timing.session_length("a", "1"),
            timing.session_length("a", "1")
        );
        assert_ne!(
            timing.session_length("a", "1"),
            timing.session_length("a", "2")
        );
    }
}
