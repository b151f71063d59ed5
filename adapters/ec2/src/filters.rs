//! Filters by tag that match literally. EC2 reads `*` and `?` in a filter's value as wildcards, so
//! a tag of the settings that contains them would also find what belongs to others.

use aws_sdk_ec2::types::{Filter, Tag};

/// A filter for this tag. A wildcard in the value is escaped. EC2 does not document how to escape
/// one in the key, so what it returns is checked by [`has_tag`].
pub(crate) fn by_tag(key: &str, value: &str) -> Filter {
    Filter::builder()
        .name(format!("tag:{key}"))
        .values(literal(value))
        .build()
}

/// Whether a resource has exactly this tag.
pub(crate) fn has_tag(tags: &[Tag], key: &str, value: &str) -> bool {
    let mut tags = tags.iter();
    tags.any(|tag| tag.key() == Some(key) && tag.value() == Some(value))
}

/// The pattern that matches only this text. Source: `Filter` in EC2's API reference, where
/// `\*amazon\?\\` is the pattern for `*amazon?\`.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_and_escapes_of_a_value_are_escaped() {
        for (value, pattern) in [
            ("hosts", "hosts"),
            ("hosts-*", r"hosts-\*"),
            (r"*amazon?\", r"\*amazon\?\\"),
            ("größe?", r"größe\?"),
            ("", ""),
        ] {
            assert_eq!(by_tag("Name", value).values(), [pattern]);
        }
    }

    #[test]
    fn tag_that_only_matches_a_pattern_is_another_tag() {
        let tag = Tag::builder().key("Name").value("hosts-a").build();
        assert!(has_tag(std::slice::from_ref(&tag), "Name", "hosts-a"));
        for (key, value) in [("Name", "hosts-*"), ("N*", "hosts-a"), ("name", "hosts-a")] {
            assert!(!has_tag(std::slice::from_ref(&tag), key, value));
        }
    }
}
