//! Errors that a test requests with `PUT /_faults`, with the admin secret:
//!
//! ```json
//! {"rules": [{"trouble": "deadlock", "operation": "AssignSlot", "next": 1, "when": "before"}]}
//! ```
//!
//! A `PUT` replaces all rules, and `{}` removes them. `GET` returns them with the remaining counts.
//! The first rule that matches decides.

use serde::{Deserialize, Serialize};

use super::Answer;
use super::errors::{self, Cause};
use super::operation::Operation;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Faults {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    trouble: Trouble,
    /// The name of an operation or of a field at its root. Without it, every operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    /// How many requests the rule still affects. Without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<u32>,
    #[serde(default)]
    when: When,
}

/// Whether the request is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum When {
    /// It is not.
    #[default]
    Before,
    /// It is, and only its answer is lost.
    After,
}

/// What PostgreSQL is in trouble with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    Deadlock,
    SerializationFailure,
    StatementTimeout,
    /// A standby that is not promoted yet.
    ReadOnly,
    LostConnection,
    TooManyConnections,
    /// No connection of Hasura's pool became free within `pool_timeout`.
    PoolTimeout,
}

impl Trouble {
    pub(super) fn answer(self) -> Answer {
        let cause = match self {
            Self::Deadlock => Cause::statement("40P01", "deadlock detected"),
            Self::SerializationFailure => Cause::statement(
                "40001",
                "could not serialize access due to concurrent update",
            ),
            Self::StatementTimeout => {
                Cause::statement("57014", "canceling statement due to statement timeout")
            }
            Self::ReadOnly => {
                Cause::statement("25006", "cannot execute UPDATE in a read-only transaction")
            }
            Self::LostConnection => Cause::Connection(
                "server closed the connection unexpectedly\n\tThis probably means the server \
                 terminated abnormally\n\tbefore or while processing the request.\n"
                    .to_owned(),
            ),
            Self::TooManyConnections => {
                Cause::Connection("FATAL:  sorry, too many clients already\n".to_owned())
            }
            Self::PoolTimeout => {
                Cause::Connection("connection acquisition timeout expired".to_owned())
            }
        };
        let (message, extensions) = errors::hasuras(&cause, "$");
        Answer::error(message, &extensions)
    }
}

impl Faults {
    /// The fault for an operation, if any. It counts against the rule's `next`.
    pub(super) fn choose(&mut self, operation: &Operation) -> Option<(Trouble, When)> {
        let matches = |rule: &&mut Rule| {
            let name = rule.operation.as_deref();
            rule.next != Some(0) && name.is_none_or(|name| operation.is_called(name))
        };
        let rule = self.rules.iter_mut().find(matches)?;
        rule.next = rule.next.map(|left| left - 1);
        Some((rule.trouble, rule.when))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rule_affects_the_next_operations_of_its_name() {
        let rules = json!({"rules": [
            {"trouble": "deadlock", "operation": "begin_pass", "next": 1, "when": "after"},
        ]});
        let mut faults: Faults = serde_json::from_value(rules).unwrap();
        let operation =
            |query: &str| Operation::parse(json!({"query": query}).to_string().as_bytes()).unwrap();
        assert_eq!(faults.choose(&operation("query { regions { a } }")), None);
        let begin = operation("mutation { begin_pass { a } }");
        let fault = Some((Trouble::Deadlock, When::After));
        assert_eq!(faults.choose(&begin), fault);
        assert_eq!(faults.choose(&begin), None);
    }
}
