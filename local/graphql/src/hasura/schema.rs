//! The schema as Hasura shows it.

use serde_json::Value;

use super::operation::AGGREGATE;

/// Removes the aggregates of functions from mutations in an answer to an introspection query.
pub(super) fn without_aggregates(answer: &mut Value, functions: &[String]) {
    let Some(Value::Array(types)) = answer.pointer_mut("/data/__schema/types") else {
        return;
    };
    for declared in types {
        if declared["name"] != "mutation_root" {
            continue;
        }
        let Some(Value::Array(fields)) = declared.get_mut("fields") else {
            continue;
        };
        fields.retain(|field| {
            let function = field["name"]
                .as_str()
                .and_then(|name| name.strip_suffix(AGGREGATE));
            !function.is_some_and(|function| functions.iter().any(|name| name == function))
        });
    }
}
