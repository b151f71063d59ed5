//! The parameters of a Query request, which have flat names such as `Filter.1.Value.2`.
//!
//! Reading a parameter removes it. What is left at the end is unsupported, and is rejected rather
//! than ignored.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::error::ApiError;

/// The unread parameters of a request, or of one structure in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// The common prefix of their names in the request (`Filter.1.`), for error messages.
    prefix: String,
    values: BTreeMap<String, String>,
}

impl Params {
    /// # Errors
    /// If a parameter occurs twice.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ApiError> {
        let mut values = BTreeMap::new();
        for (name, value) in pairs {
            if values.contains_key(&name) {
                return Err(ApiError::client(
                    "MalformedQueryString",
                    format!("The query string contains the parameter {name} twice"),
                ));
            }
            values.insert(name, value);
        }
        Ok(Self {
            prefix: String::new(),
            values,
        })
    }

    /// The unread parameters by name.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Reads a parameter; an empty value counts as absent.
    pub fn optional(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).filter(|value| !value.is_empty())
    }

    pub fn required(&mut self, name: &str) -> Result<String, ApiError> {
        self.optional(name)
            .ok_or_else(|| ApiError::missing_parameter(&self.full_name(name)))
    }

    /// Reads an integer; `None` if absent.
    pub fn number<N: FromStr>(&mut self, name: &str) -> Result<Option<N>, ApiError> {
        self.optional(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::invalid_value(
                        &self.full_name(name),
                        &text,
                        "Expecting an integer that is not negative.",
                    )
                })
            })
            .transpose()
    }

    /// Reads a boolean; false if absent.
    pub fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        match self.optional(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(ApiError::invalid_value(
                &self.full_name(name),
                other,
                "Expecting \"true\" or \"false\".",
            )),
        }
    }

    /// Reads the strings `name.1`, `name.2`, …, in the order of their numbers.
    pub fn list(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        self.members(name)?
            .into_iter()
            .map(|mut member| {
                let value = member.values.remove("").unwrap_or_default();
                member.finish()?;
                Ok(value)
            })
            .collect()
    }

    /// Reads the structures `name.1.*`, `name.2.*`, …, in the order of their numbers.
    pub fn members(&mut self, name: &str) -> Result<Vec<Params>, ApiError> {
        let start = format!("{name}.");
        let mut members: BTreeMap<u32, Params> = BTreeMap::new();
        for (full, value) in self.extract(&start) {
            let rest = &full[start.len()..];
            let (index, field) = rest.split_once('.').unwrap_or((rest, ""));
            let Ok(number) = index.parse::<u32>() else {
                return Err(unknown(&self.full_name(&full)));
            };
            let member = members.entry(number).or_insert_with(|| Params {
                prefix: format!("{}{start}{index}.", self.prefix),
                values: BTreeMap::new(),
            });
            member.values.insert(field.to_owned(), value);
        }
        Ok(members.into_values().collect())
    }

    /// Reads the structure `name.*`; empty if absent.
    pub fn structure(&mut self, name: &str) -> Params {
        let start = format!("{name}.");
        let values = self
            .extract(&start)
            .into_iter()
            .map(|(full, value)| (full[start.len()..].to_owned(), value))
            .collect();
        Params {
            prefix: format!("{}{start}", self.prefix),
            values,
        }
    }

    /// # Errors
    /// If a parameter was not read, because EC2 or this emulator does not know it.
    pub fn finish(self) -> Result<(), ApiError> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(name) => Err(unknown(self.full_name(name).trim_end_matches('.'))),
        }
    }

    fn extract(&mut self, start: &str) -> BTreeMap<String, String> {
        let (found, rest) = std::mem::take(&mut self.values)
            .into_iter()
            .partition(|(name, _)| name.starts_with(start));
        self.values = rest;
        found
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

fn unknown(name: &str) -> ApiError {
    ApiError::client(
        "UnknownParameter",
        format!("The parameter {name} is not recognized (by this emulator)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::new(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        )
        .unwrap()
    }

    #[test]
    fn list_is_ordered_by_number_not_by_name() {
        let mut params = params(&[("Id.10", "c"), ("Id.2", "b"), ("Id.1", "a")]);
        assert_eq!(params.list("Id").unwrap(), ["a", "b", "c"]);
        params.finish().unwrap();
    }

    #[test]
    fn nested_structures_are_read() {
        let mut params = params(&[("Filter.1.Name", "n"), ("Filter.1.Value.1", "v")]);
        let mut filters = params.members("Filter").unwrap();
        assert_eq!(filters[0].required("Name").unwrap(), "n");
        assert_eq!(filters[0].list("Value").unwrap(), ["v"]);
    }

    #[test]
    fn unread_parameter_is_named_in_full() {
        let mut params = params(&[("A.1.B", "x"), ("A.1.Name", "y")]);
        let mut member = params.members("A").unwrap().remove(0);
        member.optional("Name");
        let error = member.finish().unwrap_err();
        assert_eq!(error.code, "UnknownParameter");
        assert!(error.message.contains("A.1.B "), "{error}");
    }

    #[test]
    fn parameter_given_twice_is_malformed() {
        let twice = [
            ("A".to_owned(), "1".to_owned()),
            ("A".to_owned(), "2".to_owned()),
        ];
        assert_eq!(Params::new(twice).unwrap_err().code, "MalformedQueryString");
    }

    #[test]
    fn malformed_number_or_flag_is_named() {
        let mut params = params(&[("MaxCount", "-1"), ("DryRun", "maybe")]);
        assert!(
            params
                .number::<u32>("MaxCount")
                .unwrap_err()
                .message
                .contains("MaxCount")
        );
        assert!(
            params
                .flag("DryRun")
                .unwrap_err()
                .message
                .contains("DryRun")
        );
    }
}
