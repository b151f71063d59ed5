//! Pagination by `MaxResults` and `NextToken`.
//!
//! A token names the item after which the next page starts, instead of an offset. Items that are
//! added or removed between two pages therefore neither repeat nor hide another item.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::ApiError;
use crate::params::Params;

/// EC2's limit on the items of a page, also if the request sets none.
const MAX_PAGE: usize = 1000;

/// The lowest `MaxResults` that EC2 accepts.
const MIN_PAGE: usize = 5;

#[derive(Debug)]
pub struct Page {
    size: usize,
    after: Option<u64>,
}

impl Page {
    /// Reads the parameters. `ids` is the name of the set of ids in the request, if it has any.
    ///
    /// # Errors
    /// If `MaxResults` is out of range or comes together with ids, or if the token is invalid.
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

    /// Returns the items of this page, and the token of the next page if there is one. `items` must
    /// be in the order of their keys.
    pub fn paginate<T>(
        &self,
        items: impl IntoIterator<Item = (u64, T)>,
    ) -> (Vec<T>, Option<String>) {
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
    fn next_page_continues_without_gap_or_repetition() {
        let items = || (1..=12u64).map(|n| (n, n));
        let (first, token) = page(&[("MaxResults", "5")], None)
            .unwrap()
            .paginate(items());
        assert_eq!(first, [1, 2, 3, 4, 5]);
        let token = token.unwrap();
        let next = page(&[("MaxResults", "5"), ("NextToken", &token)], None).unwrap();
        // Items 5 and 7 were removed between the two pages.
        let (second, _) = next.paginate(items().filter(|(n, _)| *n != 5 && *n != 7));
        assert_eq!(second, [6, 8, 9, 10, 11]);
    }

    #[test]
    fn last_page_has_no_token() {
        let (items, token) = page(&[("MaxResults", "5")], None)
            .unwrap()
            .paginate([(1, 'a')]);
        assert_eq!((items, token), (vec!['a'], None));
    }

    #[test]
    fn page_size_with_ids_or_out_of_range_is_rejected() {
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
