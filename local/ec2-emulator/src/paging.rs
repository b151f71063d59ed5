//! `MaxResults` and `NextToken`.
//!
//! A token says after which item the next page starts, so that what comes and goes between two
//! pages neither repeats nor hides another item.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::ApiError;
use crate::params::Params;

/// What EC2 puts on a page at most, also when the request sets no limit.
const MAX_PAGE: usize = 1000;

/// The fewest items that a request may ask for on a page.
const MIN_PAGE: usize = 5;

#[derive(Debug)]
pub struct Page {
    size: usize,
    after: Option<u64>,
}

impl Page {
    /// Takes the parameters. `ids` is the name of the set of ids in the request, if it has any:
    /// EC2 refuses it together with a page size.
    pub fn take(params: &mut Params, ids: Option<&str>) -> Result<Self, ApiError> {
        let size = params.number::<usize>("MaxResults")?;
        if let (Some(_), Some(ids)) = (size, ids) {
            return Err(ApiError::invalid_combination(format!(
                "The parameter {ids} cannot be used with the parameter maxResults"
            )));
        }
        if let Some(size) = size
            && !(MIN_PAGE..=MAX_PAGE).contains(&size)
        {
            return Err(ApiError::invalid_value(
                "maxResults",
                &size.to_string(),
                &format!("Expecting a value between {MIN_PAGE} and {MAX_PAGE}."),
            ));
        }
        let after = params
            .optional("NextToken")
            .map(|token| decode(&token))
            .transpose()?;
        Ok(Self {
            size: size.unwrap_or(MAX_PAGE),
            after,
        })
    }

    /// The items of this page, and the token of the next one if there is more. `items` come in
    /// the order of their keys.
    pub fn cut<T>(&self, items: impl IntoIterator<Item = (u64, T)>) -> (Vec<T>, Option<String>) {
        let mut rest = items
            .into_iter()
            .skip_while(|(key, _)| self.after.is_some_and(|after| *key <= after))
            .peekable();
        let mut page = Vec::new();
        let mut last = 0;
        while page.len() < self.size {
            let Some((key, item)) = rest.next() else {
                break;
            };
            page.push(item);
            last = key;
        }
        (page, rest.peek().map(|_| encode(last)))
    }
}

fn encode(after: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("after {after}"))
}

fn decode(token: &str) -> Result<u64, ApiError> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix("after ")?.parse().ok())
        .ok_or_else(|| {
            ApiError::client(
                "InvalidPaginationToken",
                format!("The pagination token {token} is not valid"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(pairs: &[(&str, &str)], ids: Option<&str>) -> Result<Page, ApiError> {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Page::take(&mut Params::new(pairs)?, ids)
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let items = || (1..=12u64).map(|n| (n, n));
        let (first, token) = page(&[("MaxResults", "5")], None).unwrap().cut(items());
        assert_eq!(first, [1, 2, 3, 4, 5]);
        let token = token.unwrap();
        let again = page(&[("MaxResults", "5"), ("NextToken", &token)], None).unwrap();
        // An item that went away in the meantime hides no other one.
        let (second, _) = again.cut(items().filter(|(n, _)| *n != 5 && *n != 7));
        assert_eq!(second, [6, 8, 9, 10, 11]);
    }

    #[test]
    fn the_last_page_has_no_token() {
        let (items, token) = page(&[("MaxResults", "5")], None).unwrap().cut([(1, 'a')]);
        assert_eq!((items, token), (vec!['a'], None));
    }

    #[test]
    fn a_page_size_beside_ids_or_out_of_range_is_refused() {
        let with_ids = page(&[("MaxResults", "5")], Some("instancesSet")).unwrap_err();
        assert_eq!(with_ids.code, "InvalidParameterCombination");
        for size in ["4", "1001", "many"] {
            let error = page(&[("MaxResults", size)], None).unwrap_err();
            assert_eq!(error.code, "InvalidParameterValue", "{size}");
        }
        let token = page(&[("NextToken", "???")], None).unwrap_err();
        assert_eq!(token.code, "InvalidPaginationToken");
    }
}
