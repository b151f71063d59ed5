//! The allow list: which documents a role other than the administrator's may send.
//!
//! Hasura compares whole documents (`RQL/Types/Allowlist.hs`): all operations and fragments, in order,
//! with their names and variables, but without layout, comments and `__typename`. Which of its operations
//! a request executes does not matter. Here the tokens are compared, which is stricter: Hasura also
//! accepts arguments in another order.

use std::collections::HashSet;

#[derive(Debug)]
pub(crate) struct AllowList {
    documents: HashSet<Vec<String>>,
}

impl AllowList {
    pub(crate) fn new(documents: &[String]) -> Self {
        Self {
            documents: documents.iter().map(|text| normalized(text)).collect(),
        }
    }

    pub(super) fn allows(&self, document: &str) -> bool {
        self.documents.contains(&normalized(document))
    }
}

fn normalized(document: &str) -> Vec<String> {
    let tokens = tokens(document);
    // Hasura leaves inline fragments as they are.
    let has_inline_fragment = tokens
        .windows(2)
        .any(|pair| pair[0] == "..." && matches!(pair[1].as_str(), "on" | "{" | "@"));
    if has_inline_fragment {
        return tokens;
    }
    let mut kept: Vec<String> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if token != "__typename" {
            kept.push(token);
        } else if kept.last().is_some_and(|last| last == ":") {
            // With its alias.
            kept.truncate(kept.len().saturating_sub(2));
        }
    }
    kept
}

/// The tokens of a document. What is not GraphQL becomes tokens that no document of the list has.
fn tokens(document: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = document;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => {
                rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
                continue;
            }
            ',' | '\u{feff}' => {
                rest = &rest[first.len_utf8()..];
                continue;
            }
            space if space.is_whitespace() => {
                rest = &rest[space.len_utf8()..];
                continue;
            }
            '"' => string_length(rest),
            '.' if rest.starts_with("...") => 3,
            part if is_word(part) => rest.find(|it| !is_word(it)).unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = after;
    }
    tokens
}

/// Names and numbers.
fn is_word(part: char) -> bool {
    part.is_ascii_alphanumeric() || part == '_' || part == '-'
}

/// The length of the text's first token, a string.
fn string_length(text: &str) -> usize {
    let quote = if text.starts_with("\"\"\"") {
        "\"\"\""
    } else {
        "\""
    };
    let mut at = quote.len();
    while let Some(rest) = text.get(at..) {
        if rest.is_empty() {
            break;
        }
        if rest.starts_with(quote) {
            return at + quote.len();
        }
        let escaped = rest.starts_with('\\');
        let mut chars = rest.chars();
        at += chars.next().map_or(0, char::len_utf8);
        if escaped {
            at += chars.next().map_or(0, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = r#"
        # Two operations
        query A($id: String!) { rows(where: {id: {_eq: $id}}, limit: 1) { id ...F } }
        mutation B { call(args: {text: "a # b"}) { id } }
        fragment F on rows { name }"#;

    #[test]
    fn document_is_allowed_with_another_layout_and_type_names() {
        let list = AllowList::new(&[LISTED.to_owned()]);
        for same in [
            LISTED.to_owned(),
            LISTED.replace("# Two operations", ""),
            LISTED.replace('{', "\n{\t"),
            LISTED.replace(", limit", " limit"),
            LISTED.replace("{ name }", "{ __typename name }"),
            LISTED.replace("{ name }", "{ name kind: __typename }"),
        ] {
            assert!(list.allows(&same), "{same}");
        }
    }

    #[test]
    fn document_that_differs_is_not_allowed() {
        let list = AllowList::new(&[LISTED.to_owned()]);
        for other in [
            String::new(),
            "{ __typename }".to_owned(),
            "query Unlisted { __typename }".to_owned(),
            LISTED.replace("limit: 1", "limit: 2"),
            LISTED.replace("query A", "query C"),
            LISTED.replace("name }", "name secret }"),
            LISTED.replace("{ id ...F", "{ x: id ...F"),
            LISTED.replace("a # b", "a  # b"),
            LISTED.replace("{ name }", "{ ... on rows { name } }"),
            // One operation of the document alone.
            "mutation B { call(args: {text: \"a # b\"}) { id } }".to_owned(),
            format!("{LISTED} query D {{ rows {{ id }} }}"),
        ] {
            assert!(!list.allows(&other), "{other}");
        }
    }

    #[test]
    fn string_that_does_not_end_ends_with_the_document() {
        assert_eq!(tokens(r#"a "b\""#), ["a", r#""b\""#]);
        assert_eq!(tokens(r#"""" " """ b"#), [r#"""" " """"#, "b"]);
    }
}
