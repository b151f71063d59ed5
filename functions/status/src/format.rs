//! Chooses the format of an answer: JSON for programs, a page for browsers.

use http::HeaderMap;
use http::header::ACCEPT;
use startup::function_url::HttpEvent;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Html,
}

impl Format {
    /// `?format=json` and `?format=html` override the header `Accept`.
    pub(crate) fn of(event: &HttpEvent) -> Self {
        match event.query("format").as_deref() {
            Some("json") => Self::Json,
            Some("html") => Self::Html,
            _ => Self::accepted(event.headers()),
        }
    }

    /// A page if `Accept` names HTML and does not prefer JSON, as browsers send it. `*/*` alone comes
    /// from programs.
    fn accepted(headers: &HeaderMap) -> Self {
        let ranges: Vec<_> = headers
            .get_all(ACCEPT)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let quality = |types: &[&str]| {
            let of_type = |range: &&str| {
                let name = range.split(';').next().unwrap_or_default().trim();
                types.iter().any(|it| name.eq_ignore_ascii_case(it))
            };
            let qualities = ranges.iter().copied().filter(|it| of_type(it)).map(weight);
            qualities.fold(0.0, f32::max)
        };
        let html = quality(&["text/html", "application/xhtml+xml"]);
        if html > 0.0 && html >= quality(&["application/json"]) {
            Self::Html
        } else {
            Self::Json
        }
    }
}

/// The parameter `q`, by default 1.
fn weight(range: &str) -> f32 {
    let mut parameters = range.split(';').skip(1).map(str::trim);
    let q = parameters.find_map(|it| it.strip_prefix("q=").or_else(|| it.strip_prefix("Q=")));
    q.map_or(1.0, |q| q.parse().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn format(accept: &str, query: &str) -> Format {
        let event = json!({
            "version": "2.0", "rawQueryString": query, "headers": {"accept": accept},
            "requestContext": {"http": {"method": "GET"}, "timeEpoch": 0},
            "isBase64Encoded": false,
        });
        Format::of(&HttpEvent::parse(event).unwrap())
    }

    #[test]
    fn browsers_get_a_page_and_programs_get_json() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,\
            image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
        for accept in [
            chromium,
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "TEXT/HTML",
            "application/json;q=0.5, text/html",
            "text/html;charset=utf-8;q=0.3",
        ] {
            assert_eq!(format(accept, ""), Format::Html, "{accept}");
        }
        for accept in [
            "*/*",
            "",
            "application/json",
            "application/json, text/html;q=0.9",
            "text/html;q=0",
            "text/html;q=x",
            "text/plain",
            "text/*",
        ] {
            assert_eq!(format(accept, ""), Format::Json, "{accept}");
        }
    }

    #[test]
    fn query_overrides_accept() {
        assert_eq!(format("text/html", "x=1&format=json"), Format::Json);
        assert_eq!(format("*/*", "format=html"), Format::Html);
        assert_eq!(format("text/html", "format=xml"), Format::Html);
    }
}
