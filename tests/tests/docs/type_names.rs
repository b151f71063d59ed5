//! Debug output is for developers: no text of the service that others read may have it. It would show
//! `RegionName("…")` and `Some(…)`, and it changes with every refactoring.

use local_stack::project;

use crate::paths::files;

/// Where the code of what is deployed is.
const DEPLOYED: [&str; 5] = [
    "shared/src/",
    "adapters/",
    "functions/",
    "startup/src/",
    "wiring/src/",
];

#[test]
fn no_debug_output_is_in_a_text_of_the_service() {
    let sources = files().into_iter().filter(|file| is_deployed(file));
    let mut found = Vec::new();
    for file in sources {
        let text = std::fs::read_to_string(project::root().join(&file)).expect(&file);
        // Tests are at the end of a file.
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            if has_debug_output(line) {
                found.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "write these in words: {found:#?}");
}

fn is_deployed(file: &str) -> bool {
    let is_test = file.contains("/tests/") || file.ends_with("/tests.rs");
    file.ends_with(".rs") && !is_test && DEPLOYED.iter().any(|folder| file.starts_with(folder))
}

/// A format with `?`, or a field of a log line that is formatted so. `DisplayErrorContext` of the AWS
/// SDK ends with Debug output, too.
fn has_debug_output(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.contains(":?}")
        || code.contains(":#?}")
        || code.contains("DisplayErrorContext")
        || code.contains("type_name")
        || is_debug_field(code)
}

/// `?name` or `name = ?value`, as in the macros of `tracing`.
fn is_debug_field(code: &str) -> bool {
    code.match_indices('?').any(|(place, _)| {
        let before = code[..place].trim_end();
        let starts_name = code[place + 1..].starts_with(|c: char| c.is_ascii_lowercase());
        let is_first = before.is_empty() || before.ends_with(['(', ',', '=']);
        starts_name && is_first
    })
}

#[test]
fn debug_output_is_found() {
    for line in [
        r#"format!("{id:?}")"#,
        r#"#[error("field is {0:?}")]"#,
        r#"warn!(%error, ?released, "lost");"#,
        "            ?regions,",
        "error!(stale = ?health.stale);",
        "DisplayErrorContext(error).to_string()",
    ] {
        assert!(has_debug_output(line), "{line}");
    }
    for line in [
        "let row = rows.next()?;",
        "    .ok_or(Error)?,",
        "// `{id:?}` would show the type",
        r#"format!("{id}?")"#,
        r#"let query = "?after=x";"#,
    ] {
        assert!(!has_debug_output(line), "{line}");
    }
}
