//! What doctor answers: one check for each thing that it looked at.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::RegionName;

/// From good to bad: the verdict of several checks is the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// Works, or could not be checked; somebody should look.
    Warning,
    /// Does not work, or will not.
    Wrong,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Names the check for programs: it never changes.
    pub check: String,
    /// None for what all regions share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// What follows from it. Empty if all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub meaning: String,
    /// What to do. Empty if all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Check {
    pub fn ok(check: &str, finding: impl Into<String>) -> Self {
        Self::of(check, Verdict::Ok, finding, "", "")
    }

    pub fn warning(
        check: &str,
        finding: impl Into<String>,
        meaning: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::of(check, Verdict::Warning, finding, meaning, remedy)
    }

    pub fn wrong(
        check: &str,
        finding: impl Into<String>,
        meaning: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::of(check, Verdict::Wrong, finding, meaning, remedy)
    }

    fn of(
        check: &str,
        verdict: Verdict,
        finding: impl Into<String>,
        meaning: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            check: check.to_owned(),
            region: None,
            verdict,
            finding: finding.into(),
            meaning: meaning.into(),
            remedy: remedy.into(),
        }
    }

    /// The same check, of one region.
    #[must_use]
    pub fn in_region(self, region: &RegionName) -> Self {
        Self {
            region: Some(region.clone()),
            ..self
        }
    }
}

/// One examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it began.
    pub at: Timestamp,
    pub duration_ms: i64,
    /// The worst of all checks.
    pub verdict: Verdict,
    /// Those of the whole stack first, then region by region.
    pub checks: Vec<Check>,
}

impl Report {
    pub fn new(at: Timestamp, duration_ms: i64, checks: Vec<Check>) -> Self {
        let verdict = checks.iter().map(|check| check.verdict).max();
        Self {
            at,
            duration_ms,
            verdict: verdict.unwrap_or(Verdict::Ok),
            checks,
        }
    }

    pub fn count(&self, verdict: Verdict) -> usize {
        let of = |check: &&Check| check.verdict == verdict;
        self.checks.iter().filter(of).count()
    }
}

/// For a terminal: what is wrong comes last, where people look.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in [Verdict::Ok, Verdict::Warning, Verdict::Wrong] {
            for check in self.checks.iter().filter(|it| it.verdict == verdict) {
                let place = check.region.as_ref().map(RegionName::as_str);
                let place = place.map(|region| format!(" {region}")).unwrap_or_default();
                writeln!(f, "{verdict:<8} {}{place}: {}", check.check, check.finding)?;
                if !check.meaning.is_empty() {
                    writeln!(f, "         {}", check.meaning)?;
                }
                if !check.remedy.is_empty() {
                    writeln!(f, "         → {}", check.remedy)?;
                }
            }
        }
        let [ok, warnings, wrong] =
            [Verdict::Ok, Verdict::Warning, Verdict::Wrong].map(|verdict| self.count(verdict));
        write!(
            f,
            "{}: {ok} ok, {warnings} warnings, {wrong} wrong",
            self.at
        )
    }
}
