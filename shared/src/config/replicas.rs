//! Replicas' settings, under SimpleScaleVM's own names: defaults for what a region's row leaves
//! open, and, without Hasura, the one region that there is.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{ConfigError, Environment, or_default, required};
use crate::db::{launch_choices, security_groups, with_capacity};
use crate::model::{
    AddressTag, Image, ImageState, RegionSettings, ReplicaSettings, StatusApi, Upgrades, Waits,
};

/// A region that only the environment knows.
#[derive(Clone, Debug)]
pub struct EnvironmentRegion {
    pub settings: RegionSettings,
    pub image: Image,
}

/// # Errors
/// Names the first variable that is wrong.
pub fn replica_settings(env: &dyn Environment) -> Result<ReplicaSettings, ConfigError> {
    let defaults = ReplicaSettings::default();
    let api = defaults.api;
    let capacity = "a whole number of 1 or more";
    let whole = "a whole number";
    let settings = ReplicaSettings {
        capacity: or_default(env, "REPLICA_CAPACITY", capacity, defaults.capacity)?,
        min_available: or_default(
            env,
            "REPLICA_MIN_AVAILABLE_RESOURCES",
            whole,
            defaults.min_available,
        )?,
        api: StatusApi {
            protocol: or_default(env, "REPLICA_API_PROTOCOL", "http or https", api.protocol)?,
            port: or_default(env, "REPLICA_API_PORT", "a port, 1 to 65535", api.port)?,
            path: or_default(env, "REPLICA_API_PATH", "a path", api.path)?,
            capacity_key: or_default(env, "REPLICA_API_CAPACITY_KEY", "a name", api.capacity_key)?,
            termination_key: or_default(
                env,
                "REPLICA_API_TERMINATION_KEY",
                "a name",
                api.termination_key,
            )?,
            time_limit: seconds(env, "REPLICA_API_SECONDS")?.unwrap_or(api.time_limit),
        },
        trim: or_default(env, "REPLICA_TRIM", "true or false", defaults.trim)?,
        boot: seconds(env, "REPLICA_BOOT_SECONDS")?
            .and_then(|bound| SignedDuration::try_from(bound).ok()),
        replace_unknown: seconds(env, "REPLICA_UNKNOWN_SECONDS")?
            .and_then(|bound| SignedDuration::try_from(bound).ok()),
        address_tag: address_tag(env)?,
    };
    let wrong = |name, value: String, expected| ConfigError::invalid(name, value, expected);
    if settings.capacity == 0 {
        return Err(wrong("REPLICA_CAPACITY", "0".to_owned(), capacity));
    }
    if settings.api.port == 0 {
        let expected = "a port, 1 to 65535";
        return Err(wrong("REPLICA_API_PORT", "0".to_owned(), expected));
    }
    if !settings.api.path.starts_with('/') {
        let expected = "a path that begins with /";
        return Err(wrong("REPLICA_API_PATH", settings.api.path, expected));
    }
    Ok(settings)
}

/// The region of a stack that has no Hasura.
///
/// # Errors
/// Names the first variable that is missing or wrong.
pub fn environment_region(
    env: &dyn Environment,
    replicas: &ReplicaSettings,
) -> Result<EnvironmentRegion, ConfigError> {
    let name = crate::ids::RegionName::from(required(env, "REPLICA_REGION")?);
    if !name.is_plausible() {
        return Err(ConfigError::Invalid {
            name: "REPLICA_REGION",
            value: name.to_string(),
            expected: "an AWS region, such as us-east-1",
        });
    }
    let name_of_choices = "REPLICA_LAUNCH_CHOICES";
    let choices = json(name_of_choices, &required(env, name_of_choices)?)?;
    let choices = with_capacity(&choices, replicas.capacity);
    let groups = match env.get("REPLICA_SECURITY_GROUPS") {
        Some(text) => json("REPLICA_SECURITY_GROUPS", &text)?,
        None => Value::Array(Vec::new()),
    };
    let not_understood = |name| move |problem: String| ConfigError::NotUnderstood { name, problem };
    let settings = RegionSettings {
        name,
        enabled: true,
        paused: false,
        algorithm: crate::scaling::REPLICA.to_owned(),
        target_free: 0,
        max_instances: or_default(env, "REPLICA_MAX", "a whole number", u32::MAX)?,
        scale_up_step: 0,
        scale_down_step: 0,
        launch_choices: launch_choices(&choices)
            .map_err(not_understood("REPLICA_LAUNCH_CHOICES"))?,
        security_groups: security_groups(&groups)
            .map_err(not_understood("REPLICA_SECURITY_GROUPS"))?,
        instance_profile: env.get("REPLICA_INSTANCE_PROFILE"),
        user_data_template: env.get("REPLICA_USER_DATA"),
        waits: Waits::default(),
        upgrades: Upgrades::default(),
        replicas: replicas.clone(),
    };
    let image = Image {
        id: required(env, "REPLICA_IMAGE")?.into(),
        client_sha: "".into(),
        state: ImageState::Current,
        since: Timestamp::UNIX_EPOCH,
    };
    Ok(EnvironmentRegion { settings, image })
}

fn seconds(env: &dyn Environment, name: &'static str) -> Result<Option<Duration>, ConfigError> {
    let expected = "a whole number of seconds, 1 or more";
    let Some(value) = env.get(name) else {
        return Ok(None);
    };
    match value.parse() {
        Ok(seconds @ 1..) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(ConfigError::invalid(name, value, expected)),
    }
}

fn address_tag(env: &dyn Environment) -> Result<Option<AddressTag>, ConfigError> {
    let name = "REPLICA_ADDRESS_TAG";
    let Some(value) = env.get(name) else {
        return Ok(None);
    };
    let expected = AddressTag::EXPECTED;
    let wrong = |()| ConfigError::Invalid {
        name,
        value: value.clone(),
        expected,
    };
    value.parse().map(Some).map_err(wrong)
}

fn json(name: &'static str, text: &str) -> Result<Value, ConfigError> {
    serde_json::from_str(text).map_err(|error| ConfigError::NotUnderstood {
        name,
        problem: format!("must be a JSON array: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::model::{Protocol, Selector};

    type Variables = HashMap<&'static str, &'static str>;

    fn with(env: &Variables, name: &'static str, value: &'static str) -> Variables {
        let mut env = env.clone();
        env.insert(name, value);
        env
    }

    /// All that a stack without Hasura needs.
    fn complete() -> Variables {
        HashMap::from([
            ("REPLICA_REGION", "eu-west-1"),
            ("REPLICA_IMAGE", "ami-1"),
            (
                "REPLICA_LAUNCH_CHOICES",
                r#"[{"instance_type": "m6i.large", "subnet_id": "subnet-1"}]"#,
            ),
        ])
    }

    fn region(env: &Variables) -> Result<EnvironmentRegion, ConfigError> {
        environment_region(env, &replica_settings(env)?)
    }

    #[test]
    fn what_is_not_set_has_its_default() {
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
    fn a_wrong_value_is_named() {
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
    fn a_region_of_the_environment_is_one_of_replicas() {
        let env = with(&complete(), "REPLICA_CAPACITY", "3");
        let EnvironmentRegion { settings, image } = region(&env).unwrap();
        assert!(settings.is_of_replicas() && settings.enabled && !settings.paused);
        assert_eq!(settings.name.as_str(), "eu-west-1");
        assert_eq!(image.id.as_str(), "ami-1");
        assert_eq!(image.state, ImageState::Current);
        assert_eq!(settings.max_instances, u32::MAX, "no maximum unless set");
        let choice = &settings.launch_choices[0];
        assert_eq!(choice.capacity, 3, "it need not say so");
        assert_eq!(choice.subnet, Selector::Id("subnet-1".to_owned()));
        assert!(settings.security_groups.is_empty());
        assert_eq!(settings.replicas.capacity, 3);
    }

    #[test]
    fn what_a_region_needs_is_named() {
        for name in complete().into_keys() {
            let mut env = complete();
            env.remove(name);
            let error = region(&env).unwrap_err();
            assert_eq!(error, ConfigError::Missing(name));
        }
    }

    #[test]
    fn what_a_region_cannot_work_with_is_named() {
        for (name, value) in [
            ("REPLICA_REGION", "Europe"),
            ("REPLICA_MAX", "many"),
            ("REPLICA_LAUNCH_CHOICES", "m6i.large"),
            ("REPLICA_LAUNCH_CHOICES", "{}"),
            ("REPLICA_LAUNCH_CHOICES", r#"[{"instance_type": ""}]"#),
            ("REPLICA_LAUNCH_CHOICES", r#"["m6i.large"]"#),
            ("REPLICA_SECURITY_GROUPS", "sg-1"),
            ("REPLICA_SECURITY_GROUPS", r#"[{"name": "sg-1"}]"#),
        ] {
            let error = region(&with(&complete(), name, value)).unwrap_err();
            assert!(error.to_string().contains(name), "{name}={value}: {error}");
        }
    }
}
