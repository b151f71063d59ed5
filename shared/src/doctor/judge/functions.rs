//! That all functions were deployed with the same version of the secret, and that their tokens for
//! Hasura are valid for weeks.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{list, unread};
use crate::doctor::facts::Function;
use crate::doctor::ports::ProbeError;
use crate::doctor::report::Check;
use crate::function_token::{FunctionRole, TokenClaims};

/// CloudFormation reads a secret again only for a function that changes in some other way, so that
/// after a rotation some functions have the new values and some the old ones.
pub fn functions(functions: &Result<Vec<Function>, ProbeError>) -> Check {
    const NAME: &str = "functions";
    let functions = match functions {
        Ok(functions) => functions,
        Err(error) => return unread(NAME, error, "lambda:ListTags"),
    };
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for function in functions {
        let version = function.secret_version.as_deref().unwrap_or("none");
        versions.entry(version).or_default().push(&function.name);
    }
    if versions.len() > 1 {
        let each = versions
            .iter()
            .map(|(version, names)| format!("{version}: {}", list(names)));
        return Check::wrong(
            NAME,
            format!(
                "they have different versions of the secret ({})",
                list(each)
            ),
            "After a rotation, some functions are refused by Hasura or by each other.",
            "Deploy with another value of SecretVersion: that makes every function read the secret \
             again.",
        );
    }
    let finding = match versions.keys().next() {
        Some(&"none") | None => {
            "no version of the secret is named: after a rotation, only functions that change get \
             the new one"
                .to_owned()
        }
        Some(version) => format!(
            "all {} have the same secret, version {version}",
            functions.len()
        ),
    };
    Check::ok(NAME, finding)
}

/// How long before a token's end doctor warns. People are away for weeks.
const SOON: SignedDuration = SignedDuration::from_hours(28 * 24);

/// The functions' tokens for Hasura, by that of `reconcile`: they are made together. None if it has
/// no token.
pub fn tokens(token: Option<&TokenClaims>, now: Timestamp) -> Check {
    const NAME: &str = "tokens";
    const MEANING: &str = "Hasura refuses what this function asks.";
    const REMEDY: &str = "Make new tokens of all functions: docs/operations.md, \"The functions' \
                          tokens\".";
    let Some(token) = token else {
        let finding = "the token of reconcile is no token for Hasura";
        return Check::wrong(NAME, finding, MEANING, REMEDY);
    };
    let role = FunctionRole::Passes;
    if token.role != role.name() {
        let finding = format!(
            "the token of reconcile is of the role {}, not {}",
            token.role,
            role.name()
        );
        let remedy = format!("Look at `{}` of the secret. {REMEDY}", role.secret_key());
        return Check::wrong(NAME, finding, MEANING, remedy);
    }
    let end = token.expires_at;
    if end <= now {
        let finding = format!("the token of reconcile ended at {end}");
        return Check::wrong(NAME, finding, MEANING, REMEDY);
    }
    if end.duration_since(now) < SOON {
        return Check::warning(
            NAME,
            format!("the token of reconcile ends at {end}"),
            "From then on, Hasura refuses what the functions ask.",
            REMEDY,
        );
    }
    Check::ok(NAME, format!("the token of reconcile is valid until {end}"))
}
