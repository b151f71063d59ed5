//! The status as HTML: each page is one answer that loads nothing else and works without its script.
//! It shows what the JSON has, as sentences, tables and charts.

mod bars;
mod chart;
mod costs;
mod decision;
mod distribution;
mod doctor;
mod overview;
mod region;
mod replay;
mod schedules;
mod sentences;
mod usage;
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
pub(crate) use doctor::doctor;
pub(crate) use overview::overview;
pub(crate) use region::region;
pub(crate) use replay::replay;
pub(crate) use usage::usage;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/refresh.js");

/// Allows the page's own style and script and requests to its own address, and no frame around it.
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// What a page uses of its request.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// The relative path from here to `/`. Links are relative, because a local function URL has a path
    /// prefix.
    pub(crate) base: String,
    /// The path of the request, to return to after the log-in.
    pub(crate) here: String,
    pub(crate) environment: String,
    /// The request is without `refresh=off`.
    pub(crate) refreshes: bool,
    /// The request is authenticated by a session, not by a header.
    pub(crate) has_session: bool,
    /// There is a database, and so there are figures of what was used.
    pub(crate) has_usage: bool,
}

impl Visit {
    /// The relative path to `/` from `path`, as it was sent: a slash at its end adds a level.
    pub(crate) fn base_of(path: &str) -> String {
        match path.matches('/').count() {
            0 | 1 => "./".to_owned(),
            steps => "../".repeat(steps - 1),
        }
    }
}

/// The parts that all pages have.
struct Layout {
    title: String,
    base: String,
    environment: String,
    /// The time of the data; empty on pages without data.
    as_of: String,
    refreshes: bool,
    may_refresh: bool,
    has_session: bool,
    has_usage: bool,
    /// The page shows a later part of a list.
    paged: bool,
}

impl Layout {
    fn of(visit: &Visit, title: String, now: Option<Timestamp>) -> Self {
        Self {
            title,
            base: visit.base.clone(),
            environment: visit.environment.clone(),
            as_of: now.map(words::full).unwrap_or_default(),
            refreshes: visit.refreshes && now.is_some(),
            may_refresh: now.is_some(),
            has_session: visit.has_session,
            has_usage: visit.has_usage,
            paged: false,
        }
    }

    /// Does not refresh: its content cannot change.
    fn static_page(mut self) -> Self {
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

/// `problem` is why the last attempt failed.
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

/// A `temporary` problem may be over soon: the page refreshes.
pub(crate) fn problem(
    visit: &Visit,
    heading: &str,
    message: &str,
    temporary: bool,
) -> Result<String, askama::Error> {
    let mut layout = Layout::of(visit, format!("{heading} · Scaling service"), None);
    layout.refreshes = temporary && visit.refreshes;
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
    fn base_has_a_step_for_each_level_of_the_path() {
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
    fn style_and_script_do_not_end_their_elements() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</"), "it would end its element");
        }
    }

    #[test]
    fn policy_allows_only_what_it_names() {
        assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!POLICY.contains("unsafe"));
    }
}
