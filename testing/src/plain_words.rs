//! Finds names of Rust types in texts for people: they come from Debug output and from serde.

/// The first piece of a text that looks like Rust: `RegionName("…")`, `Some(…)`, `struct Envelope`,
/// `u32`.
pub fn rust_in(text: &str) -> Option<&str> {
    let mut words = text.split_inclusive(char::is_whitespace).peekable();
    while let Some(word) = words.next() {
        let next = words.peek().copied().unwrap_or_default();
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_type = is_number_type(bare)
            || bare == "HeaderMap"
            || word.contains("::")
            || is_debug_output(word, next)
            || (matches!(bare, "struct" | "enum") && next.starts_with(|c: char| c.is_uppercase()));
        if is_type {
            return Some(word.trim_end());
        }
    }
    None
}

/// Fails with the text if it has a name of a Rust type.
#[track_caller]
pub fn assert_plain(text: &str) {
    assert_eq!(rust_in(text), None, "{text}");
}

fn is_number_type(word: &str) -> bool {
    let is_size = |size: &str| matches!(size, "8" | "16" | "32" | "64" | "128" | "size");
    word.strip_prefix(['u', 'i']).is_some_and(is_size) || matches!(word, "f32" | "f64")
}

/// `Name(…` or `Name {`, with the name in camel case as types and variants have it.
fn is_debug_output(word: &str, next: &str) -> bool {
    // The parenthesis of a sentence comes before the name.
    let word = word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let (name, has_fields) = match word.find('(') {
        Some(end) => (&word[..end], true),
        None => (word.trim_end(), next.starts_with('{')),
    };
    let is_camel = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.contains(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    has_fields && is_camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_are_found() {
        for text in [
            "field `region` is RegionName(\"x\"), which cannot be a name",
            "state: Some(\"x\")",
            "it is Some(Unknown(UnknownVariantValue(\"x\")))",
            "expected struct Envelope",
            "expected u32",
            "expected multi-valued HeaderMap",
            "(Error { code: 7 })",
            "std::io::Error",
        ] {
            assert!(rust_in(text).is_some(), "{text}");
        }
    }

    #[test]
    fn plain_texts_pass() {
        for text in [
            "RunInstances: no capacity (InsufficientInstanceCapacity)",
            "invalid type: integer `7`, expected a string",
            "use ${REGION} and \"aws.ec2\"; see EC2 (spot) or invoke reconcile with {\"regions\":[]}",
            "the body is not valid JSON: EOF while parsing",
        ] {
            assert_eq!(rust_in(text), None, "{text}");
        }
    }
}
