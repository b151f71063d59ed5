//! The status for people: one HTML answer, complete in itself, that works without a script. What
//! is in it is what the JSON tells, in words and drawings.

mod chart;
mod decision;
mod overview;
mod region;
mod sentences;
mod verdict;
mod view;
mod words;

use std::sync::LazyLock;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

pub(crate) use decision::decision;
pub(crate) use overview::overview;
pub(crate) use region::region;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/refresh.js");

/// Nothing but the page's own style and script, its own address, and no frame around it.
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// What a page has to know of the request for it.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// The way from here to `/`: links are relative, because a local function URL has a path in
    /// front of its own.
    pub(crate) base: String,
    /// The path, to come back to after a log-in.
    pub(crate) here: String,
    pub(crate) environment: String,
    /// It was asked for without `refresh=off`.
    pub(crate) refreshes: bool,
    /// It was let in by a log-in, not by a header.
    pub(crate) has_session: bool,
}

impl Visit {
    /// `path` as it was sent: a slash at its end is a step more.
    pub(crate) fn base_of(path: &str) -> String {
        match path.matches('/').count() {
            0 | 1 => "./".to_owned(),
            steps => "../".repeat(steps - 1),
        }
    }
}

/// What all pages have around them.
struct Layout {
    title: String,
    base: String,
    environment: String,
    /// As of when it tells; empty where it tells nothing.
    told: String,
    refreshes: bool,
    may_refresh: bool,
    has_session: bool,
    /// It is a later part of a list.
    paged: bool,
}

impl Layout {
    fn of(visit: &Visit, title: String, now: Option<Timestamp>) -> Self {
        Self {
            title,
            base: visit.base.clone(),
            environment: visit.environment.clone(),
            told: now.map(words::full).unwrap_or_default(),
            refreshes: visit.refreshes && now.is_some(),
            may_refresh: now.is_some(),
            has_session: visit.has_session,
            paged: false,
        }
    }

    /// What has happened stays as it is.
    fn still(mut self) -> Self {
        self.refreshes = false;
        self.may_refresh = false;
        self
    }

    #[expect(clippy::unused_self, reason = "templates call methods only")]
    fn style(&self) -> &'static str {
        STYLE
    }

    #[expect(clippy::unused_self, reason = "templates call methods only")]
    fn script(&self) -> &'static str {
        SCRIPT
    }
}

/// A name and its value.
struct Figure {
    name: String,
    value: String,
}

impl Figure {
    fn new(name: impl Into<String>, value: &(impl ToString + ?Sized)) -> Self {
        Self {
            name: name.into(),
            value: value.to_string(),
        }
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    layout: Layout,
    /// The path to go to afterwards.
    next: String,
    problem: Option<String>,
}

/// `problem` is why the last attempt was not let in.
pub(crate) fn login(
    visit: &Visit,
    next: &str,
    problem: Option<String>,
) -> Result<String, askama::Error> {
    let page = LoginPage {
        layout: Layout::of(visit, "Log in · Scaling service".to_owned(), None),
        next: next.to_owned(),
        problem,
    };
    page.render()
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    layout: Layout,
    heading: String,
    message: String,
}

/// `passing` is one that may be over in a moment: the page asks again by itself.
pub(crate) fn problem(
    visit: &Visit,
    heading: &str,
    message: &str,
    passing: bool,
) -> Result<String, askama::Error> {
    let mut layout = Layout::of(visit, format!("{heading} · Scaling service"), None);
    layout.refreshes = passing && visit.refreshes;
    let page = ProblemPage {
        layout,
        heading: heading.to_owned(),
        message: message.to_owned(),
    };
    page.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_as_long_as_the_path() {
        for (path, base) in [
            ("", "./"),
            ("/", "./"),
            ("/login", "./"),
            ("/regions/us-east-1", "../"),
            ("/regions/us-east-1/", "../../"),
            ("/decisions/us-east-1/7", "../../"),
        ] {
            assert_eq!(Visit::base_of(path), base, "{path}");
        }
    }

    #[test]
    fn style_and_script_end_nothing_that_they_are_in() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</"), "it would end its element");
        }
    }

    #[test]
    fn the_policy_lets_in_nothing_but_what_it_names() {
        assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!POLICY.contains("unsafe"));
    }
}
