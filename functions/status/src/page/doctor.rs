//! The page of doctor's last report.

use askama::Template;
use jiff::SignedDuration;
use jiff::Timestamp;
use shared::doctor::{Check, Report, Verdict};

use super::verdict::Tone;
use super::words::{count, full};
use super::{Layout, Visit};

/// An older report says little about how things are now.
const OLD: SignedDuration = SignedDuration::from_hours(24);

#[derive(Template)]
#[template(path = "doctor.html")]
struct DoctorPage {
    layout: Layout,
    tone: Tone,
    text: String,
    /// Why the report may not say how things are now.
    old: bool,
    /// What is wrong first.
    groups: Vec<Group>,
}

struct Group {
    title: &'static str,
    tone: Tone,
    checks: Vec<Check>,
}

/// `report`: none if nobody has run doctor in the last thirty days.
pub(crate) fn doctor(
    visit: &Visit,
    report: Option<&Report>,
    now: Timestamp,
) -> Result<String, askama::Error> {
    let (tone, text) = match report {
        None => (Tone::Unknown, "Nobody has run doctor lately".to_owned()),
        Some(report) => summary(report),
    };
    let title = format!("{} {text} · Scaling service", tone.sign());
    let layout = Layout::of(visit, title, report.map(|report| report.at));
    let page = DoctorPage {
        layout: layout.static_page(),
        tone,
        text,
        old: report.is_some_and(|report| now.duration_since(report.at) > OLD),
        groups: report.map(groups).unwrap_or_default(),
    };
    page.render()
}

fn summary(report: &Report) -> (Tone, String) {
    let many = |verdict: Verdict, what: &str| {
        count(
            u64::try_from(report.count(verdict)).unwrap_or(u64::MAX),
            what,
        )
    };
    let (warnings, checks) = (
        many(Verdict::Warning, "warning"),
        count(
            u64::try_from(report.checks.len()).unwrap_or(u64::MAX),
            "check",
        ),
    );
    let at = full(report.at);
    match report.verdict {
        Verdict::Ok => (Tone::Good, format!("All is well by {checks} of {at}")),
        Verdict::Warning => (Tone::Low, format!("{warnings} in {checks} of {at}")),
        Verdict::Wrong => {
            let wrong = report.count(Verdict::Wrong);
            (
                Tone::Out,
                format!("{wrong} wrong, {warnings} in {checks} of {at}"),
            )
        }
    }
}

fn groups(report: &Report) -> Vec<Group> {
    let all = [
        ("Wrong", Tone::Out, Verdict::Wrong),
        ("Warnings", Tone::Low, Verdict::Warning),
        ("Ok", Tone::Good, Verdict::Ok),
    ];
    let groups = all.into_iter().map(|(title, tone, verdict)| Group {
        title,
        tone,
        checks: report
            .checks
            .iter()
            .filter(|check| check.verdict == verdict)
            .cloned()
            .collect(),
    });
    groups.filter(|group| !group.checks.is_empty()).collect()
}
