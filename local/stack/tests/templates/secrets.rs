//! Rotated secrets.

use std::collections::BTreeMap;

use crate::fixture::{FUNCTIONS, Fixture, Parameters, required};

const STACK: &str = "rotated";

/// The variables that hold a key of the secret.
const KEYS: [&str; 4] = [
    "HASURA_TOKEN",
    "HASURA_JWT_KEY",
    "HASURA_EVENT_SECRET",
    "STATUS_TOKEN",
];

/// Each variable of each function that holds a key of the secret, with its value.
async fn held(fixture: &Fixture) -> BTreeMap<String, String> {
    let mut held = BTreeMap::new();
    for function in FUNCTIONS {
        let variables = fixture.variables(&format!("{STACK}-{function}")).await;
        for key in KEYS {
            if let Some(value) = variables.get(key) {
                held.insert(format!("{function} {key}"), value.clone());
            }
        }
    }
    held
}

#[tokio::test]
async fn secret_version_gives_all_functions_the_rotated_secret() {
    let fixture = Fixture::start().await;
    let mut parameters = required();
    let deploy = async |parameters: &Parameters| {
        let deployed = fixture.deploy("template.yaml", STACK, parameters).await;
        deployed.unwrap();
    };
    deploy(&parameters).await;
    let first = held(&fixture).await;
    // A token in each function, the JWT key in three, and two of one function each.
    assert_eq!(first.len(), 10, "{first:?}");
    assert!(first.values().all(|value| value == "first"), "{first:?}");

    let version = fixture.rotate("second").await;
    deploy(&parameters).await;
    assert_eq!(held(&fixture).await, first, "nothing else has changed");

    parameters.push(("SecretVersion".to_owned(), version.clone()));
    deploy(&parameters).await;
    let second = held(&fixture).await;
    assert_eq!(second.len(), first.len());
    assert!(second.values().all(|value| value == "second"), "{second:?}");
    for function in FUNCTIONS {
        let variables = fixture.variables(&format!("{STACK}-{function}")).await;
        assert_eq!(variables["SECRET_VERSION"], version, "{function}");
    }

    // A version that is named stays in use until another one is named.
    fixture.rotate("third").await;
    parameters.push(("LogLevel".to_owned(), "warn".to_owned()));
    deploy(&parameters).await;
    assert_eq!(held(&fixture).await, second);

    // Functions that run passes get the next key of Hasura while it rotates.
    let next = async || {
        let mut holders = Vec::new();
        for function in FUNCTIONS {
            let variables = fixture.variables(&format!("{STACK}-{function}")).await;
            if variables.contains_key("HASURA_NEXT_JWT_KEY") {
                holders.push(function);
            }
        }
        holders.len()
    };
    assert_eq!(next().await, 0);
    parameters.push(("JwtKeyRotates".to_owned(), "true".to_owned()));
    deploy(&parameters).await;
    assert_eq!(next().await, 3);
}
