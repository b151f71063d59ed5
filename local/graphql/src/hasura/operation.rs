//! The operation of a request, as far as its fields at the root are concerned.

use std::collections::BTreeSet;

use async_graphql_parser::parse_query;
use async_graphql_parser::types::{
    ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
};
use serde::Deserialize;

/// What the end of the name of an aggregate is.
pub(super) const AGGREGATE: &str = "_aggregate";

#[derive(Debug)]
pub(super) struct Operation {
    /// The whole document, of which the operation may be a part.
    document: String,
    name: Option<String>,
    is_mutation: bool,
    /// The fields at the root, by the names that the schema has for them, in order.
    fields: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    query: String,
    operation_name: Option<String>,
}

impl Operation {
    /// `None` if the body is not one request with a valid document: nothing would be executed.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let body: Body = serde_json::from_slice(body).ok()?;
        let document = parse_query(&body.query).ok()?;
        let (name, operation) = chosen(&document, body.operation_name.as_deref())?;
        let mut fields = Vec::new();
        collect(&document, &operation.selection_set.node, &mut fields, 0);
        Some(Self {
            name: name.map(str::to_owned),
            is_mutation: operation.ty == OperationType::Mutation,
            fields,
            document: body.query,
        })
    }

    pub(super) fn document(&self) -> &str {
        &self.document
    }

    /// The first field of a query that the role does not have.
    pub(super) fn hidden_from(
        &self,
        role: &str,
        hidden: &BTreeSet<(String, String)>,
    ) -> Option<&str> {
        let is_hidden = |field: &&String| hidden.contains(&(role.to_owned(), (*field).clone()));
        let found = self.fields.iter().find(is_hidden);
        found.filter(|_| !self.is_mutation).map(String::as_str)
    }

    /// Whether it has this name, or a field of this name at its root.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name) || self.fields.iter().any(|field| field == name)
    }

    /// The first field that is the aggregate of a function. Hasura has none in mutations.
    pub(super) fn aggregate_of_a_function(&self, functions: &[String]) -> Option<&str> {
        let is_aggregate = |field: &&String| {
            field
                .strip_suffix(AGGREGATE)
                .is_some_and(|function| functions.iter().any(|name| name == function))
        };
        let found = self.fields.iter().find(is_aggregate);
        found.filter(|_| self.is_mutation).map(String::as_str)
    }

    /// Whether postrust would run its fields in several transactions.
    ///
    /// # Errors
    /// When a field that writes a table is before one that calls a function: postrust holds its
    /// connection for the former, so that the latter has none.
    pub(super) fn shares_a_transaction(&self, functions: &[String]) -> Result<bool, &'static str> {
        let is_function = |field: &String| functions.contains(field);
        if !self.is_mutation || self.fields.len() < 2 || !self.fields.iter().any(is_function) {
            return Ok(false);
        }
        let calls = self.fields.iter().take_while(|field| is_function(field));
        let tables = self.fields.iter().skip(calls.count());
        if tables.into_iter().any(is_function) {
            return Err("the local engine needs the functions of a mutation before its tables");
        }
        Ok(true)
    }
}

/// The operation that is executed, with its name.
fn chosen<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<(Option<&'a str>, &'a OperationDefinition)> {
    let mut operations = document.operations.iter().map(|(of, operation)| {
        let of = of.map(|name| name.as_str());
        (of, &operation.node)
    });
    match name {
        Some(name) => operations.find(|(of, _)| *of == Some(name)),
        None => operations.next(),
    }
}

/// Fragments are followed to a depth that no document of the project has; postrust refuses cycles.
fn collect(
    document: &ExecutableDocument,
    selections: &SelectionSet,
    fields: &mut Vec<String>,
    depth: usize,
) {
    if depth > 8 {
        return;
    }
    for selection in &selections.items {
        let nested = match &selection.node {
            Selection::Field(field) => {
                fields.push(field.node.name.node.to_string());
                continue;
            }
            Selection::InlineFragment(fragment) => &fragment.node.selection_set,
            Selection::FragmentSpread(spread) => {
                match document.fragments.get(&spread.node.fragment_name.node) {
                    Some(fragment) => &fragment.node.selection_set,
                    None => continue,
                }
            }
        };
        collect(document, &nested.node, fields, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operation(query: &str) -> Operation {
        Operation::parse(json!({"query": query}).to_string().as_bytes()).unwrap()
    }

    fn functions() -> Vec<String> {
        ["begin_pass", "observe_region"].map(str::to_owned).into()
    }

    #[test]
    fn several_functions_of_a_mutation_share_a_transaction() {
        for (query, shares) in [
            ("mutation { begin_pass { a } observe_region { a } }", true),
            ("mutation { a: begin_pass { a } b: begin_pass { a } }", true),
            (
                "mutation M { ...F } fragment F on mutation_root { begin_pass { a } observe_region { a } }",
                true,
            ),
            (
                "mutation { ... on mutation_root { begin_pass { a } observe_region { a } } }",
                true,
            ),
            ("mutation { begin_pass { a } }", false),
            // postrust itself runs these in one.
            (
                "mutation { insert_regions { a } delete_regions { a } }",
                false,
            ),
            ("query { regions { a } images { a } }", false),
        ] {
            let found = operation(query).shares_a_transaction(&functions());
            assert_eq!(found, Ok(shares), "{query}");
        }
        let mixed = operation("mutation { insert_regions { a } begin_pass { a } }");
        assert!(mixed.shares_a_transaction(&functions()).is_err());
        let ordered = operation("mutation { begin_pass { a } insert_regions { a } }");
        assert_eq!(ordered.shares_a_transaction(&functions()), Ok(true));
    }

    #[test]
    fn operation_is_chosen_by_its_name() {
        let body = json!({
            "query": "mutation A { begin_pass { a } } mutation B { observe_region { a } }",
            "operationName": "B",
        });
        let operation = Operation::parse(body.to_string().as_bytes()).unwrap();
        assert!(operation.is_called("B") && operation.is_called("observe_region"));
        assert!(!operation.is_called("A") && !operation.is_called("begin_pass"));
    }

    #[test]
    fn aggregate_of_a_function_is_found_in_mutations_only() {
        let query = "mutation { begin_pass_aggregate { a } }";
        let found = operation(query);
        assert_eq!(
            found.aggregate_of_a_function(&functions()),
            Some("begin_pass_aggregate")
        );
        let query = operation("query { begin_pass_aggregate { a } }");
        assert_eq!(query.aggregate_of_a_function(&functions()), None);
    }
}
