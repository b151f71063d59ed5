//! Whether users get a slot in a region now, and if not, why.

use jiff::Timestamp;
use shared::model::{ImageState, Refusal};
use shared::overview::ImageOverview;

use super::sentences::{self, Kind};
use super::words::{clock, count, distance, short_sha, span};
use crate::model::{RegionStatus, WarmingImage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As many slots are free as should be.
    Good,
    /// Fewer slots are free than should be.
    Low,
    /// No slot is free.
    Out,
    /// The region keeps no free slots.
    Off,
    Unknown,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Low => "low",
            Self::Out => "out",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }

    /// A sign that shows the tone without colours.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Low => "▲",
            Self::Out => "✕",
            Self::Off => "–",
            Self::Unknown => "?",
        }
    }
}

pub(super) struct Verdict {
    pub(super) tone: Tone,
    pub(super) text: &'static str,
    /// Why fewer slots are free than should be.
    pub(super) reasons: Vec<String>,
    /// What an operator should know.
    pub(super) warnings: Vec<String>,
}

/// The buffer that most users are served from: the current image's, or all replicas'.
#[derive(Clone, Copy)]
pub(super) struct Buffer {
    pub(super) free: Option<u32>,
    pub(super) starting: u32,
    pub(super) target: u32,
}

impl Buffer {
    pub(super) fn of(region: &RegionStatus) -> Self {
        let target = region.target;
        if region.instances.is_none() {
            let starting = region.starting.unwrap_or_default();
            let free = region.free;
            return Self {
                free,
                starting,
                target,
            };
        }
        let mut images = region.images.iter();
        let current = images.find(|image| image.state == Some(ImageState::Current));
        Self {
            free: Some(current.map_or(0, |image| image.free)),
            starting: current.map_or(0, |image| image.starting),
            target,
        }
    }
}

impl Verdict {
    pub(super) fn of(region: &RegionStatus, now: Timestamp) -> Self {
        let buffer = Buffer::of(region);
        let unserved = unserved(region);
        let (tone, text) = match &unserved {
            Some(unserved) => (unserved.tone, unserved.text),
            None => tone(region, buffer),
        };
        let reasons = match tone {
            Tone::Low | Tone::Out => {
                let is_short = buffer.free.is_none_or(|free| free < buffer.target);
                let of_buffer = is_short.then(|| reasons(region, buffer, now));
                let unserved = unserved.map(|unserved| unserved.reason);
                unserved
                    .into_iter()
                    .chain(of_buffer.into_iter().flatten())
                    .collect()
            }
            // They matter when slots run low.
            Tone::Good => region.refusals.iter().map(refused).collect(),
            Tone::Off | Tone::Unknown => Vec::new(),
        };
        Self {
            tone,
            text,
            reasons,
            warnings: warnings(region, now),
        }
    }
}

/// Users of the clients that the app version names get no slot, however many are free.
struct Unserved {
    tone: Tone,
    text: &'static str,
    reason: String,
}

/// Whether no image that is served was built for the app version. None where no image is served at
/// all, which is worse.
fn unserved(region: &RegionStatus) -> Option<Unserved> {
    let client_sha = region.upgrade.app_client_sha.as_ref()?;
    let mut served = region.images.iter().filter(|image| image.is_served());
    let has_image = served.clone().next().is_some();
    let is_counted = region.enabled && region.instances.is_some();
    if !is_counted || !has_image || served.any(|image| image.client_sha == *client_sha) {
        return None;
    }
    let sha = short_sha(client_sha.as_str());
    let named = |image: &&ImageOverview| image.client_sha == *client_sha && image.state.is_some();
    let named: Vec<_> = region.images.iter().filter(named).collect();
    let warms = |image: &&&ImageOverview| image.state == Some(ImageState::Warming);
    if let Some(image) = named.iter().find(warms) {
        return Some(Unserved {
            tone: Tone::Low,
            text: "Clients of the app version get no slot before their image is current",
            reason: format!(
                "the app version names {sha}, and {} still warms",
                image.image
            ),
        });
    }
    let remedy = "correct app_versions.client_sha, or request an image for it";
    let reason = match named.first().and_then(|image| Some((image, image.state?))) {
        Some((image, state)) => {
            format!(
                "the app version names {sha}, and {} is {state}: {remedy}",
                image.image
            )
        }
        None => format!("no image here was built for {sha}, which the app version names: {remedy}"),
    };
    Some(Unserved {
        tone: Tone::Out,
        text: "No slot for clients of the app version",
        reason,
    })
}

fn tone(region: &RegionStatus, buffer: Buffer) -> (Tone, &'static str) {
    let has_image = region.images.iter().any(|image| image.is_served());
    match buffer.free {
        _ if !region.enabled => (Tone::Off, "Disabled: no user is served here"),
        _ if region.instances.is_some() && !has_image => {
            (Tone::Out, "No slot: no image is served yet")
        }
        None => (Tone::Unknown, "Not known before the first pass"),
        Some(0) if buffer.target == 0 => (Tone::Off, "No free slots are kept (target 0)"),
        Some(0) => (Tone::Out, "No slot is free"),
        Some(free) if free < buffer.target => (Tone::Low, "Fewer free slots than the target"),
        Some(_) => (Tone::Good, "Users get a slot at once"),
    }
}

fn reasons(region: &RegionStatus, buffer: Buffer, now: Timestamp) -> Vec<String> {
    let mut reasons = Vec::new();
    if buffer.starting > 0 {
        reasons.push(format!("{} starting", count(buffer.starting, "slot")));
    }
    for intent in &region.open_intents {
        let what = count(intent.count, "instance");
        let since = distance(now, intent.since);
        reasons.push(format!(
            "{what} requested {since}, without an answer from EC2 yet"
        ));
    }
    reasons.extend(region.refusals.iter().map(refused));
    if let Some(last) = &region.last_decision
        && !region.paused
    {
        // The refusals above say more than a sentence about missing capacity.
        let is_known = |text: &str| !region.refusals.is_empty() && text.contains("no capacity");
        // So do the warnings about settings, which the last pass may have found, too.
        let warned = setting_problems(region);
        let is_warned = |text: &str| warned.iter().any(|warning| text.starts_with(warning));
        let of_launches = sentences::of(&last.past).into_iter().filter(|sentence| {
            (sentence.kind == Kind::Problem || sentence.limits_launches)
                && !is_known(&sentence.text)
                && !is_warned(&sentence.text)
        });
        reasons.extend(of_launches.map(|sentence| sentence.text));
    }
    let may_launch = region.setting_problems.is_empty() && !region.paused;
    if reasons.is_empty() && may_launch && region.stale != Some(true) {
        reasons.push("the next pass launches the missing instances".to_owned());
    }
    reasons
}

pub(super) fn refused(refusal: &Refusal) -> String {
    let image = refusal.image.as_ref();
    let image = image.map(|image| format!(" on image {image}"));
    let why = match refusal.why.as_str() {
        "" => "no capacity",
        why => why,
    };
    format!(
        "{}{}: {why}; the next launch there is after {}",
        refusal.pool,
        image.unwrap_or_default(),
        clock(refusal.until)
    )
}

/// What is wrong with the region's row now, whatever the last pass found. As a pass writes it.
fn setting_problems(region: &RegionStatus) -> Vec<String> {
    let row = &region.region;
    let problems = region.setting_problems.iter();
    problems
        .map(|problem| format!("table `regions`, row {row}, {problem}"))
        .collect()
}

fn warnings(region: &RegionStatus, now: Timestamp) -> Vec<String> {
    let mut warnings = setting_problems(region);
    if region.paused {
        warnings.push("paused: nothing is launched, drained or terminated here".to_owned());
    }
    if region.stale == Some(true) {
        let since = region.last_decision.as_ref().map(|last| last.past.at);
        let since = since.map_or("yet".to_owned(), |at| {
            format!("for {}", span(now.duration_since(at)))
        });
        warnings.push(format!(
            "stale: no pass has decided anything {since}, and the data may be old: see the log of \
             reconcile"
        ));
    }
    if region.unreadable {
        warnings.push(
            "DynamoDB could not be read: locks, launches and decisions are unknown".to_owned(),
        );
    }
    if let Some(undecided @ 1..) = region.undecided {
        let passes = count(undecided.unsigned_abs(), "pass");
        warnings.push(format!("{passes} since the last decision made none"));
    }
    if region.waiting > 0 {
        let users = count(region.waiting, "user");
        warnings.push(format!("{users} asked for a slot and got none yet"));
    }
    if let Some(until) = region.no_capacity_until {
        warnings.push(format!(
            "nothing can be launched until {}: users in line are demand in their next region",
            clock(until)
        ));
    }
    warnings
}

/// The next step of the upgrade to a warming image.
pub(super) fn next_step(region: &RegionStatus, warming: &WarmingImage, now: Timestamp) -> String {
    let WarmingImage { free, target, .. } = warming;
    let next_attempt = region.refusals.iter().map(|refusal| refusal.until).min();
    let next = if free < target {
        match (warming.starting, next_attempt) {
            (starting @ 1.., _) => format!("{} start", count(starting, "slot")),
            (0, Some(at)) => format!(
                "its launch choices rest, and the next launch is after {}",
                clock(at)
            ),
            (0, None) => "its instances are launched".to_owned(),
        }
    } else if warming.named || region.settings.swap_when_warm {
        "the next pass makes it current".to_owned()
    } else {
        let sha = short_sha(warming.client_sha.as_str());
        format!("the app version must name {sha}")
    };
    let deadline = warming.deadline.map(|deadline| {
        let (at, when) = (clock(deadline), distance(now, deadline));
        format!("; the upgrade fails at {at} ({when})")
    });
    format!(
        "{free} of {target} slots are free; next: {next}{}",
        deadline.unwrap_or_default()
    )
}
