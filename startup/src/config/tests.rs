use std::collections::HashMap;
use std::time::Duration;

use super::*;

fn complete() -> HashMap<&'static str, &'static str> {
    HashMap::from([
        ("STACK_ID", "prod"),
        ("ENVIRONMENT", "prod"),
        ("SCALING_TABLE", "scaling"),
        ("HASURA_URL", "https://hasura.example/"),
        ("HASURA_TOKEN", "secret"),
        ("HASURA_JWT_KEY", "0123456789abcdef0123456789abcdef"),
        ("RECONCILE_FUNCTION_NAME", "prod-reconcile"),
    ])
}

#[test]
fn variable_that_is_not_set_has_its_documented_default() {
    let config = PassConfig::from_env(&complete()).unwrap();
    assert_eq!(config.limits.budget, Duration::from_secs(40));
    assert_eq!(config.limits.lease, Duration::from_secs(50));
    let RegionsFrom::Hasura(hasura) = config.regions else {
        panic!("Hasura is set")
    };
    assert_eq!(hasura.agent_hasura_url, "https://hasura.example");
    assert_eq!(config.alert_topic_arn, None);
}

#[test]
fn missing_variable_is_named() {
    for name in complete().keys() {
        let mut env = complete();
        env.remove(name);
        assert_eq!(
            PassConfig::from_env(&env).unwrap_err(),
            ConfigError::Missing(name)
        );
    }
}

#[test]
fn lease_shorter_than_budget_and_call_is_rejected() {
    let mut env = complete();
    env.insert("LEASE_SECONDS", "49");
    let error = PassConfig::from_env(&env).unwrap_err();
    assert!(error.to_string().contains("LEASE_SECONDS"), "{error}");
    env.insert("EC2_CALL_SECONDS", "7");
    assert!(PassConfig::from_env(&env).is_ok(), "a shorter call fits");
    env.insert("EC2_CALL_SECONDS", "0");
    assert!(PassConfig::from_env(&env).is_err());
}

#[test]
fn invalid_value_is_shown_unless_it_is_a_secret() {
    let mut env = complete();
    env.insert("PASS_BUDGET_SECONDS", "soon");
    let error = PassConfig::from_env(&env).unwrap_err().to_string();
    assert!(
        error.contains("PASS_BUDGET_SECONDS") && error.contains("soon"),
        "{error}"
    );
    for name in ["HASURA_JWT_KEY", "HASURA_NEXT_JWT_KEY"] {
        let mut env = complete();
        env.insert(name, "short-secret");
        let error = PassConfig::from_env(&env).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert!(!error.contains("short-secret"), "{error}");
    }
}

fn replicas_only() -> HashMap<&'static str, &'static str> {
    HashMap::from([
        ("STACK_ID", "replicas"),
        ("ENVIRONMENT", "prod"),
        ("SCALING_TABLE", "scaling"),
        ("RECONCILE_FUNCTION_NAME", "replicas-reconcile"),
        ("REPLICA_REGION", "us-east-1"),
        ("REPLICA_IMAGE", "ami-01000000000000001"),
        (
            "REPLICA_LAUNCH_CHOICES",
            r#"[{"instance_type":"m6i.large","subnet_id":"subnet-01a0000000000000a"}]"#,
        ),
    ])
}

#[test]
fn replicas_without_hasura_have_the_defaults_of_simplescalevm() {
    let config = PassConfig::from_env(&replicas_only()).unwrap();
    let RegionsFrom::Environment(region) = config.regions else {
        panic!("there is no Hasura")
    };
    let settings = region.settings;
    assert_eq!(settings.algorithm, shared::settings::REPLICA);
    assert_eq!(settings.max_instances, u32::MAX);
    assert_eq!(settings.launch_choices[0].capacity, 1);
    let replicas = settings.replicas;
    assert_eq!((replicas.capacity, replicas.min_available), (1, 3));
    assert_eq!((replicas.trim, replicas.replace_unknown), (false, None));
    let api = replicas.api;
    assert_eq!(
        (api.protocol.to_string(), api.port),
        ("http".to_owned(), 8080)
    );
    assert_eq!(api.path, "/");
    assert_eq!(api.capacity_key, "capacity");
    assert_eq!(api.termination_key, "termination");
}

#[test]
fn every_variable_of_replicas_is_read_and_an_invalid_one_is_named() {
    let cases = [
        ("REPLICA_CAPACITY", "3", "0"),
        ("REPLICA_MIN_AVAILABLE_RESOURCES", "0", "-1"),
        ("REPLICA_API_PROTOCOL", "https", "ftp"),
        ("REPLICA_API_PORT", "443", "65536"),
        ("REPLICA_API_PATH", "/status?x=1", "status"),
        ("REPLICA_API_SECONDS", "1", "0"),
        ("REPLICA_MAX", "5", "many"),
        ("REPLICA_TRIM", "true", "yes"),
        ("REPLICA_UNKNOWN_SECONDS", "60", "0"),
        ("REPLICA_BOOT_SECONDS", "60", "0"),
        ("REPLICA_ADDRESS_TAG", "pool=public", "public"),
        ("REPLICA_REGION", "eu-west-1", "EU WEST"),
        ("REPLICA_LAUNCH_CHOICES", "[]", "m6i.large"),
        (
            "REPLICA_SECURITY_GROUPS",
            r#"["sg-01a0000000000000a"]"#,
            "sg-1",
        ),
    ];
    let before = PassConfig::from_env(&replicas_only()).unwrap();
    for (name, right, wrong) in cases {
        let mut env = replicas_only();
        env.insert(name, right);
        let config = PassConfig::from_env(&env).unwrap();
        assert_ne!(format!("{config:?}"), format!("{before:?}"), "{name}");
        env.insert(name, wrong);
        let error = PassConfig::from_env(&env).unwrap_err().to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
    for name in ["REPLICA_IMAGE", "REPLICA_LAUNCH_CHOICES"] {
        let mut env = replicas_only();
        env.remove(name);
        let error = PassConfig::from_env(&env).unwrap_err();
        assert_eq!(error, ConfigError::Missing(name));
    }
}

#[test]
fn the_graphql_path_is_not_part_of_the_url() {
    let mut env = complete();
    env.insert("HASURA_URL", "https://hasura.example/v1/graphql");
    assert!(PassConfig::from_env(&env).is_err());
}

#[test]
fn production_refuses_plain_http_and_names_the_parameter() {
    for (name, parameter) in [
        ("HASURA_URL", "HasuraUrl"),
        ("AGENT_HASURA_URL", "AgentHasuraUrl"),
    ] {
        let mut env = complete();
        env.insert(name, "http://hasura.example");
        let error = PassConfig::from_env(&env).unwrap_err().to_string();
        for words in [name, parameter, "http://hasura.example", "https", "prod"] {
            assert!(error.contains(words), "{error}");
        }
        for environment in ["dev", "staging"] {
            env.insert("ENVIRONMENT", environment);
            assert!(PassConfig::from_env(&env).is_ok(), "{name} {environment}");
        }
        env.insert("ENVIRONMENT", "prod");
        env.insert(name, "http://127.0.0.1:8080");
        assert!(PassConfig::from_env(&env).is_ok(), "{name} on loopback");
    }
}

#[test]
fn unknown_stage_is_rejected() {
    for mut env in [complete(), replicas_only()] {
        env.insert("ENVIRONMENT", "production");
        let error = PassConfig::from_env(&env).unwrap_err().to_string();
        assert!(error.contains("ENVIRONMENT"), "{error}");
    }
}

#[test]
fn secret_of_less_than_32_bytes_is_rejected_with_its_origin() {
    let read = |value| {
        let env = HashMap::from([("HASURA_EVENT_SECRET", value)]);
        secret(&env, "HASURA_EVENT_SECRET", "`event_secret` of the secret")
    };
    assert!(read("0123456789abcdef0123456789abcdef").is_ok());
    for short in ["x", "0123456789abcdef0123456789abcde"] {
        let error = read(short).unwrap_err().to_string();
        for words in ["HASURA_EVENT_SECRET", "event_secret", "32"] {
            assert!(error.contains(words), "{error}");
        }
        assert!(!error.contains(&format!(" {short} ")), "{error}");
    }
    let name = "HASURA_EVENT_SECRET";
    assert_eq!(
        secret(&HashMap::new(), name, "the secret").unwrap_err(),
        ConfigError::Missing(name)
    );
}
