//! A region's settings from the environment, under SimpleScaleVM's names: defaults for columns that
//! are null and, without Hasura, the stack's only region.

use jiff::Timestamp;
use serde_json::Value;
use shared::model::{Image, ImageState};
use shared::overview::SettingsOverview;
use shared::settings::{
    BadSetting, Columns, Kind, REPLICA, RegionSettings, ReplicaSettings, Setting, TABLE, defaults,
    overlay,
};

use super::environment::{ConfigError, Environment, required};

/// A region that is configured in the environment only.
#[derive(Clone, Debug)]
pub struct EnvironmentRegion {
    pub settings: RegionSettings,
    /// The settings as `status` shows them.
    pub overview: SettingsOverview,
    pub image: Image,
}

/// The values that apply where the row of a region of replicas has null: those of the `REPLICA_…`
/// variables that are set.
///
/// # Errors
/// Names the first variable that is invalid.
pub fn replica_defaults(env: &dyn Environment) -> Result<Columns, ConfigError> {
    let columns = columns(env, |setting| setting.column.starts_with("replica_"))?;
    ReplicaSettings::from_columns(&columns).map_err(|error| in_variable(env, error))?;
    Ok(columns)
}

/// The region of a stack that has no Hasura.
///
/// # Errors
/// Names the first variable that is missing or invalid.
pub fn environment_region(env: &dyn Environment) -> Result<EnvironmentRegion, ConfigError> {
    required(env, "REPLICA_REGION")?;
    required(env, "REPLICA_LAUNCH_CHOICES")?;
    let without_a_row = Columns::from_iter([
        ("algorithm".to_owned(), REPLICA.into()),
        // No limit unless it is set: SimpleScaleVM has none.
        ("max_instances".to_owned(), u32::MAX.into()),
        ("target_free".to_owned(), 0.into()),
        ("scale_up_step".to_owned(), 0.into()),
        ("scale_down_step".to_owned(), 0.into()),
    ]);
    let row = overlay(without_a_row, &columns(env, |_| true)?);
    let image = Image {
        id: required(env, "REPLICA_IMAGE")?.into(),
        client_sha: "".into(),
        state: ImageState::Current,
        since: Timestamp::UNIX_EPOCH,
    };
    let mut settings =
        RegionSettings::from_columns(&row).map_err(|error| in_variable(env, error))?;
    // A deployment that sets a variable wrong fails at once: there is no row to correct later.
    if let Some(problem) = settings.launch_problems.pop() {
        return Err(in_variable(env, problem));
    }
    let overview = SettingsOverview::from_columns(&Value::Object(overlay(defaults(), &row)));
    Ok(EnvironmentRegion {
        settings,
        overview,
        image,
    })
}

/// The columns whose variables are set.
fn columns(
    env: &dyn Environment,
    is_included: impl Fn(&Setting) -> bool,
) -> Result<Columns, ConfigError> {
    let mut columns = Columns::new();
    for setting in TABLE.iter().filter(|setting| is_included(setting)) {
        let Some(variable) = setting.variable else {
            continue;
        };
        let Some(text) = env.get(variable) else {
            continue;
        };
        let Some(value) = setting.kind.parse(&text) else {
            return Err(ConfigError::invalid(variable, text, expected(setting.kind)));
        };
        columns.insert(setting.column.to_owned(), value);
    }
    Ok(columns)
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Json => "a JSON array",
        kind => kind.expected(),
    }
}

/// Converts an error of a column into one of its variable.
fn in_variable(env: &dyn Environment, error: BadSetting) -> ConfigError {
    let BadSetting { column, problem } = error;
    let variable = TABLE
        .iter()
        .find(|setting| setting.column == column)
        .and_then(|setting| setting.variable);
    match variable {
        Some(name) if env.get(name).is_some() => ConfigError::BadSetting { name, problem },
        Some(name) => ConfigError::Missing(name),
        None => ConfigError::BadSetting {
            name: column,
            problem,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use jiff::SignedDuration;
    use shared::settings::{Protocol, Selector, StatusApi};

    use super::*;

    type Variables = HashMap<&'static str, &'static str>;

    fn with(env: &Variables, name: &'static str, value: &'static str) -> Variables {
        let mut env = env.clone();
        env.insert(name, value);
        env
    }

    /// The variables that a stack without Hasura needs.
    fn complete() -> Variables {
        HashMap::from([
            ("REPLICA_REGION", "eu-west-1"),
            ("REPLICA_IMAGE", "ami-1"),
            (
                "REPLICA_LAUNCH_CHOICES",
                r#"[{"instance_type": "m6i.large", "subnet_id": "subnet-01a0000000000000a"}]"#,
            ),
        ])
    }

    fn replica_settings(env: &Variables) -> Result<ReplicaSettings, ConfigError> {
        let columns = replica_defaults(env)?;
        Ok(ReplicaSettings::from_columns(&columns).unwrap())
    }

    fn region(env: &Variables) -> Result<EnvironmentRegion, ConfigError> {
        replica_defaults(env)?;
        environment_region(env)
    }

    #[test]
    fn variable_that_is_not_set_has_its_default() {
        let settings = replica_settings(&Variables::new()).unwrap();
        assert_eq!(settings, ReplicaSettings::default());
        assert_eq!(settings.replace_unknown, None, "off");
        assert_eq!(settings.address_tag, None, "off");
        assert!(!settings.trim, "off");
    }

    #[test]
    fn every_variable_is_read() {
        let env = HashMap::from([
            ("REPLICA_CAPACITY", "3"),
            ("REPLICA_MIN_AVAILABLE_RESOURCES", "0"),
            ("REPLICA_API_PROTOCOL", "https"),
            ("REPLICA_API_PORT", "65535"),
            ("REPLICA_API_PATH", "/status?v=1"),
            ("REPLICA_API_CAPACITY_KEY", "free"),
            ("REPLICA_API_TERMINATION_KEY", "done"),
            ("REPLICA_API_SECONDS", "7"),
            ("REPLICA_TRIM", "true"),
            ("REPLICA_UNKNOWN_SECONDS", "600"),
            ("REPLICA_BOOT_SECONDS", "90"),
            ("REPLICA_ADDRESS_TAG", "pool=public"),
        ]);
        let expected = ReplicaSettings {
            capacity: 3,
            min_available: 0,
            api: StatusApi {
                protocol: Protocol::Https,
                port: 65_535,
                path: "/status?v=1".to_owned(),
                capacity_key: "free".to_owned(),
                termination_key: "done".to_owned(),
                time_limit: Duration::from_secs(7),
            },
            trim: true,
            boot: Some(SignedDuration::from_secs(90)),
            replace_unknown: Some(SignedDuration::from_mins(10)),
            address_tag: "pool=public".parse().ok(),
        };
        assert_eq!(replica_settings(&env).unwrap(), expected);
    }

    #[test]
    fn invalid_value_is_named_with_its_variable() {
        for (name, value) in [
            ("REPLICA_CAPACITY", "0"),
            ("REPLICA_CAPACITY", "-3"),
            ("REPLICA_CAPACITY", "1.5"),
            ("REPLICA_MIN_AVAILABLE_RESOURCES", "-1"),
            ("REPLICA_MIN_AVAILABLE_RESOURCES", "six"),
            ("REPLICA_API_PROTOCOL", "HTTPS"),
            ("REPLICA_API_PROTOCOL", "ftp"),
            ("REPLICA_API_PORT", "0"),
            ("REPLICA_API_PORT", "65536"),
            ("REPLICA_API_PATH", "status"),
            ("REPLICA_API_PATH", "@elsewhere/"),
            ("REPLICA_API_SECONDS", "0"),
            ("REPLICA_API_SECONDS", "2.5"),
            ("REPLICA_TRIM", "yes"),
            ("REPLICA_UNKNOWN_SECONDS", "0"),
            ("REPLICA_UNKNOWN_SECONDS", "soon"),
            ("REPLICA_ADDRESS_TAG", "pool"),
            ("REPLICA_ADDRESS_TAG", "=public"),
        ] {
            let env = with(&Variables::new(), name, value);
            let error = replica_settings(&env).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn region_of_the_environment_has_replicas() {
        let env = with(&complete(), "REPLICA_CAPACITY", "3");
        let EnvironmentRegion {
            settings, image, ..
        } = region(&env).unwrap();
        assert_eq!(settings.algorithm, REPLICA);
        assert!(settings.enabled && !settings.paused);
        assert_eq!(settings.name.as_str(), "eu-west-1");
        assert_eq!(image.id.as_str(), "ami-1");
        assert_eq!(image.state, ImageState::Current);
        assert_eq!(settings.max_instances, u32::MAX, "no maximum unless set");
        let choice = &settings.launch_choices[0];
        assert_eq!(choice.capacity, 3, "from REPLICA_CAPACITY");
        assert_eq!(
            choice.subnet,
            Selector::Id("subnet-01a0000000000000a".to_owned())
        );
        assert!(settings.security_groups.is_empty());
        assert_eq!(settings.replicas.capacity, 3);
    }

    #[test]
    fn missing_variable_of_a_region_is_named() {
        for name in complete().into_keys() {
            let mut env = complete();
            env.remove(name);
            let error = region(&env).unwrap_err();
            assert_eq!(error, ConfigError::Missing(name));
        }
    }

    #[test]
    fn invalid_variable_of_a_region_is_named() {
        for (name, value) in [
            ("REPLICA_REGION", "Europe"),
            ("REPLICA_MAX", "many"),
            ("REPLICA_LAUNCH_CHOICES", "m6i.large"),
            ("REPLICA_LAUNCH_CHOICES", "{}"),
            ("REPLICA_LAUNCH_CHOICES", r#"[{"instance_type": ""}]"#),
            ("REPLICA_LAUNCH_CHOICES", r#"["m6i.large"]"#),
            ("REPLICA_SECURITY_GROUPS", "sg-1"),
            ("REPLICA_SECURITY_GROUPS", r#"[{"name": "sg-1"}]"#),
            ("REPLICA_INSTANCE_PROFILE", "two words"),
            ("REPLICA_USER_DATA", "TOKEN=${AGENT_TOKEN}"),
        ] {
            let error = region(&with(&complete(), name, value)).unwrap_err();
            assert!(error.to_string().contains(name), "{name}={value}: {error}");
        }
    }
}
