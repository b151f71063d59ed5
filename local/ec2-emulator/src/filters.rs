//! `Filter.N` of a listing.
//!
//! A resource must match every filter, each by at least one value. `*` and `?` are wildcards.

use crate::error::ApiError;
use crate::params::Params;
use crate::world::Tags;

/// EC2's limit on the values of all filters of one request.
const MAX_VALUES: usize = 200;

#[derive(Debug)]
struct Filter {
    name: String,
    values: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Filters(Vec<Filter>);

/// A resource that can be filtered.
pub trait Filterable {
    /// The names of the supported filters, except those for tags.
    const NAMES: &'static [&'static str];

    /// The resource's values for the filter `name`, which is one of [`Filterable::NAMES`].
    fn field(&self, name: &str) -> Vec<String>;

    fn tags(&self) -> &Tags;
}

impl Filters {
    /// Reads the filters of a request for resources of type `R`.
    ///
    /// # Errors
    /// If a filter is unknown or has no value, or if there are too many values.
    pub fn take<R: Filterable>(params: &mut Params) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        for mut member in params.members("Filter")? {
            let name = member.required("Name")?;
            if !is_tag(&name) && !R::NAMES.contains(&name.as_str()) {
                return Err(ApiError::client(
                    "InvalidParameterValue",
                    format!("The filter '{name}' is invalid"),
                ));
            }
            let values = member.list("Value")?;
            member.finish()?;
            if values.is_empty() {
                return Err(ApiError::client(
                    "InvalidParameterValue",
                    format!("The filter '{name}' has no value"),
                ));
            }
            filters.push(Filter { name, values });
        }
        let values: usize = filters.iter().map(|filter| filter.values.len()).sum();
        if values > MAX_VALUES {
            return Err(ApiError::client(
                "FilterLimitExceeded",
                format!(
                    "The maximum number of filter values specified on a single call is {MAX_VALUES}"
                ),
            ));
        }
        Ok(Self(filters))
    }

    /// Whether there is a filter of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|filter| filter.name == name)
    }

    pub fn matches(&self, resource: &impl Filterable) -> bool {
        self.0.iter().all(|filter| {
            let present = match filter.name.strip_prefix("tag:") {
                Some(key) => resource.tags().get(key).cloned().into_iter().collect(),
                None if filter.name == "tag-key" => resource.tags().keys().cloned().collect(),
                None => resource.field(&filter.name),
            };
            filter
                .values
                .iter()
                .any(|pattern| present.iter().any(|value| matches_pattern(pattern, value)))
        })
    }
}

fn is_tag(name: &str) -> bool {
    name == "tag-key" || name.starts_with("tag:")
}

/// Whether `text` matches `pattern`. `*` stands for any characters, `?` for exactly one, and a
/// backslash escapes the next character.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // The positions behind the last `*` in the pattern, and in the text: where to try again if the
    // rest does not match.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('?') => text.get(t).map(|_| 1),
            Some('\\') if p + 1 < pattern.len() => {
                text.get(t).filter(|c| **c == pattern[p + 1]).map(|_| 2)
            }
            Some(expected) => text.get(t).filter(|c| *c == expected).map(|_| 1),
            None if t == text.len() => return true,
            None => None,
        };
        match (step, &mut retry) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after_star, from))) if *from < text.len() => {
                *from += 1;
                (p, t) = (*after_star, *from);
            }
            (None, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Resource(Tags);

    impl Filterable for Resource {
        const NAMES: &'static [&'static str] = &["colour"];

        fn field(&self, _colour: &str) -> Vec<String> {
            vec!["red".into(), "blue".into()]
        }

        fn tags(&self) -> &Tags {
            &self.0
        }
    }

    fn filters(pairs: &[(&str, &str)]) -> Result<Filters, ApiError> {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Filters::take::<Resource>(&mut Params::new(pairs)?)
    }

    fn resource() -> Resource {
        Resource(Tags::from([("Name".into(), "web-1".into())]))
    }

    #[test]
    fn pattern_with_wildcards_matches_as_in_ec2() {
        for (pattern, text, expected) in [
            ("web-*", "web-1", true),
            ("web-*", "web-", true),
            ("*-1", "web-1-1", true),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("", "", true),
            ("*", "", true),
            ("Web", "web", false),
        ] {
            assert_eq!(
                matches_pattern(pattern, text),
                expected,
                "{pattern} ~ {text}"
            );
        }
    }

    #[test]
    fn resource_must_match_one_value_of_every_filter() {
        let both = filters(&[
            ("Filter.1.Name", "colour"),
            ("Filter.1.Value.1", "green"),
            ("Filter.1.Value.2", "blue"),
            ("Filter.2.Name", "tag:Name"),
            ("Filter.2.Value.1", "web-*"),
        ])
        .unwrap();
        assert!(both.matches(&resource()));
        let one_fails = filters(&[
            ("Filter.1.Name", "colour"),
            ("Filter.1.Value.1", "blue"),
            ("Filter.2.Name", "tag-key"),
            ("Filter.2.Value.1", "Owner"),
        ])
        .unwrap();
        assert!(!one_fails.matches(&resource()));
    }

    #[test]
    fn unknown_filter_is_named_in_error() {
        let error = filters(&[("Filter.1.Name", "color"), ("Filter.1.Value.1", "x")]).unwrap_err();
        assert_eq!(error.code, "InvalidParameterValue");
        assert_eq!(error.message, "The filter 'color' is invalid");
    }

    #[test]
    fn more_than_two_hundred_values_are_rejected() {
        let mut pairs = vec![("Filter.1.Name".to_owned(), "colour".to_owned())];
        pairs.extend((1..=201).map(|n| (format!("Filter.1.Value.{n}"), "x".to_owned())));
        let error = Filters::take::<Resource>(&mut Params::new(pairs).unwrap()).unwrap_err();
        assert_eq!(error.code, "FilterLimitExceeded");
    }
}
