//! The shapes of names and ids of AWS, as far as a value of another shape can never work.

use crate::words::quoted;

/// The longest part of an item that an error shows.
const LONGEST_SHOWN: usize = 200;

/// EC2's limits of a tag, in characters.
const LONGEST_TAG_KEY: usize = 128;
const LONGEST_TAG_VALUE: usize = 256;

/// The longest name of an instance profile; an ARN has a path of up to 512 characters before it.
const LONGEST_PROFILE: usize = 128;
const LONGEST_PROFILE_ARN: usize = 700;

/// `m6i.large`, `u-6tb1.metal`, `mac2-m2pro.metal`.
pub(super) fn instance_type(text: &str) -> Result<(), String> {
    let fits = |part: &str| {
        let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(is_name)
    };
    match text.split_once('.') {
        Some((family, size)) if text.len() <= 64 && fits(family) && fits(size) => Ok(()),
        _ => Err(format!(
            "`instance_type` is {}: it must be a type of EC2, such as m6i.large",
            quoted(&shortened(text))
        )),
    }
}

/// An id that EC2 made: the prefix, and 8 or, since 2016, 17 hexadecimal digits.
pub(super) fn id(prefix: &str, text: &str) -> Result<(), String> {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match text.strip_prefix(prefix) {
        Some(digits) if (8..=17).contains(&digits.len()) && digits.bytes().all(is_hex) => Ok(()),
        _ => Err(format!(
            "{} is not an id: it must be `{prefix}` and 8 to 17 of the digits 0-9 and a-f; \
             select by a tag with {{\"key\": …, \"value\": …}}",
            quoted(&shortened(text))
        )),
    }
}

/// The longest suffix: a name below it still has room for an instance's id, in the 253 bytes of the
/// longest DNS name.
const LONGEST_SUFFIX: usize = 200;

/// A DNS suffix of two labels or more, in lower case. The last one begins with a letter: a suffix of
/// numbers would be an IP address.
pub(super) fn dns_suffix(text: &str) -> Result<(), String> {
    let is_label = |label: &str| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit_once('.').map(|(_, last)| last);
    let is_suffix = text.len() <= LONGEST_SUFFIX
        && text.split('.').all(is_label)
        && last.is_some_and(|last| last.starts_with(|c: char| c.is_ascii_lowercase()));
    if is_suffix {
        Ok(())
    } else {
        Err(format!(
            "{} must be a DNS suffix of at most {LONGEST_SUFFIX} bytes, in lower case and without a \
             leading dot, such as sandbox.example.com",
            quoted(&shortened(text))
        ))
    }
}

/// A tag that selects. EC2 reads `*` and `?` in the values of filters as wildcards, so that one tag
/// would select what belongs to others.
pub(super) fn tag(key: &str, value: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("the tag's `key` is empty".to_owned());
    }
    if key.chars().count() > LONGEST_TAG_KEY || value.chars().count() > LONGEST_TAG_VALUE {
        return Err(format!(
            "a tag's `key` has at most {LONGEST_TAG_KEY} characters, its `value` {LONGEST_TAG_VALUE}"
        ));
    }
    if key.contains(['*', '?']) || value.contains(['*', '?']) {
        return Err(
            "the tag contains `*` or `?`, which EC2 reads as wildcards: give the id, or use another \
             tag"
            .to_owned(),
        );
    }
    Ok(())
}

/// The name of an instance profile, or its ARN.
pub(super) fn instance_profile(text: &str) -> Result<(), String> {
    let is_name = |name: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
        (1..=LONGEST_PROFILE).contains(&name.len()) && name.bytes().all(fits)
    };
    let valid = match text.strip_prefix("arn:") {
        None => is_name(text),
        Some(rest) => {
            let parts: Vec<_> = rest.splitn(5, ':').collect();
            let resource = |path: &str| {
                let name = path.strip_prefix("instance-profile/");
                name.is_some_and(|path| path.rsplit('/').next().is_some_and(is_name))
            };
            text.len() <= LONGEST_PROFILE_ARN
                && matches!(parts.as_slice(), [partition, "iam", "", account, path]
                    if partition.starts_with("aws")
                        && account.len() == 12
                        && account.bytes().all(|b| b.is_ascii_digit())
                        && resource(path))
        }
    };
    if valid {
        Ok(())
    } else {
        Err(format!(
            "{} must be the name of an instance profile (not of a role), or its ARN: \
             arn:aws:iam::ACCOUNT:instance-profile/NAME",
            quoted(&shortened(text))
        ))
    }
}

/// The beginning of a value, for an error.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_that_ec2_has_is_accepted() {
        for text in [
            "m6i.large",
            "u-6tb1.metal",
            "mac2-m2pro.metal",
            "u7i-12tb.224xlarge",
        ] {
            assert_eq!(instance_type(text), Ok(()));
        }
        for text in ["subnet-01a2b3c4", "subnet-01a0000000000000a"] {
            assert_eq!(id("subnet-", text), Ok(()));
        }
        assert_eq!(tag("aws:cloudformation:logical-id", ""), Ok(()));
        assert_eq!(tag("Name", "Hosts (a) ✓"), Ok(()));
        for text in [
            "hosts",
            "Hosts_1+=,.@-",
            "arn:aws:iam::123456789012:instance-profile/hosts",
            "arn:aws-cn:iam::123456789012:instance-profile/team/a/hosts",
        ] {
            assert_eq!(instance_profile(text), Ok(()));
        }
    }

    #[test]
    fn other_shapes_are_rejected() {
        let long = format!("m6i.{}", "x".repeat(64));
        for text in [
            "",
            "large",
            "m6i.",
            ".large",
            "M6i.large",
            "m6i large",
            "m6i.la.rge",
            &long,
        ] {
            assert!(instance_type(text).is_err(), "{text}");
        }
        for text in [
            "",
            "subnet-",
            "subnet-a",
            "sg-01a2b3c4",
            "subnet-01A2B3C4",
            "subnet-*",
        ] {
            assert!(id("subnet-", text).is_err(), "{text}");
        }
        for (key, value) in [
            ("", "hosts"),
            ("Name", "hosts-*"),
            ("Name", "hosts?"),
            ("N*", "x"),
            (&"k".repeat(129), "x"),
            ("Name", &"v".repeat(257)),
        ] {
            assert!(tag(key, value).is_err(), "{key}={value}");
        }
        for text in [
            "two words",
            "arn:aws:iam::123456789012:role/hosts",
            "arn:aws:iam::12:instance-profile/hosts",
            "arn:aws:ec2:us-east-1:123456789012:instance/i-1",
            "arn:",
        ] {
            assert!(instance_profile(text).is_err(), "{text}");
        }
    }

    #[test]
    fn long_value_is_shortened_between_characters() {
        assert_eq!(shortened(&"é".repeat(201)), format!("{}…", "é".repeat(200)));
    }
}
