//! The overview: all regions on one page.

use askama::Template;
use jiff::{SignedDuration, Timestamp};

use super::chart::Frame;
use super::verdict::Tone;
use super::view::RegionView;
use super::words::count;
use super::{Figure, Layout, Visit};
use crate::gather::OVERVIEW_WINDOW;
use crate::model::{Past, Status};

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    layout: Layout,
    banner: Banner,
    tiles: Vec<Figure>,
    regions: Vec<RegionView>,
}

/// Whether users get a slot, in one sentence.
struct Banner {
    tone: Tone,
    text: String,
    /// One for each region with a problem.
    details: Vec<Detail>,
}

struct Detail {
    region: String,
    text: String,
}

/// `pasts` has the history of each region of `status`, in the same order.
pub(crate) fn overview(
    visit: &Visit,
    status: &Status,
    pasts: &[Past],
) -> Result<String, askama::Error> {
    // Without a region there is neither the database's time nor anything to compare with it.
    let now = status.now.unwrap_or(Timestamp::UNIX_EPOCH);
    let frame = Frame {
        now,
        window: OVERVIEW_WINDOW,
        gap: SignedDuration::from_secs(status.stale_seconds),
    };
    let regions: Vec<_> = status
        .regions
        .iter()
        .zip(pasts)
        .map(|(region, past)| RegionView::of(visit, region, past, frame))
        .collect();
    let banner = banner(&regions);
    let title = format!("{} {} · Scaling service", banner.tone.sign(), banner.text);
    let page = OverviewPage {
        layout: Layout::of(visit, title, status.now),
        tiles: tiles(status),
        banner,
        regions,
    };
    page.render()
}

fn tiles(status: &Status) -> Vec<Figure> {
    let regions = &status.regions;
    let sum = |of: fn(&crate::model::RegionStatus) -> Option<u32>| -> u64 {
        regions.iter().filter_map(of).map(u64::from).sum()
    };
    let free = sum(|region| region.free);
    let target = sum(|region| Some(region.target));
    let running = sum(|region| {
        let counts = region.instances?;
        Some(counts.active + counts.pre_connection)
    });
    let word = |n: usize, one: &str, many: &str| if n == 1 { one } else { many }.to_owned();
    vec![
        Figure::new(word(regions.len(), "region", "regions"), &regions.len()),
        Figure::new(format!("free slots, target {target}"), &free),
        Figure::new("sessions", &sum(|region| region.occupied)),
        Figure::new("instances in service or starting", &running),
        Figure::new("users waiting", &sum(|region| Some(region.waiting))),
    ]
}

fn banner(regions: &[RegionView]) -> Banner {
    let of = |tone: Tone| regions.iter().filter(move |region| region.is(tone));
    let [out, low, unknown] = [Tone::Out, Tone::Low, Tone::Unknown].map(|tone| of(tone).count());
    let served = regions.len() - of(Tone::Off).count();
    let many = |n: usize| count(u64::try_from(n).unwrap_or(u64::MAX), "region");
    let (tone, text) = if regions.is_empty() {
        (Tone::Off, "No region is set up yet".to_owned())
    } else if served == 0 {
        (Tone::Off, "No region serves users".to_owned())
    } else if out == served {
        (Tone::Out, "Users get no slot".to_owned())
    } else if out > 0 {
        let text = format!("Users get no slot in {out} of {}", many(served));
        (Tone::Out, text)
    } else if low > 0 {
        let text = "Users get a slot, but fewer are free than the target".to_owned();
        (Tone::Low, text)
    } else if unknown > 0 {
        let text = format!(
            "It is not known yet whether users get a slot in {}",
            many(unknown)
        );
        (Tone::Unknown, text)
    } else {
        (Tone::Good, "Users get a slot at once".to_owned())
    };
    let troubled = regions.iter().filter(|region| region.is_troubled());
    // In a region without passes, the free slots may be gone by now.
    let (tone, text) = match (tone, troubled.clone().count()) {
        (Tone::Good, n @ 1..) => {
            let verb = if n == 1 { "needs" } else { "need" };
            (Tone::Low, format!("{text}; {} {verb} attention", many(n)))
        }
        _ => (tone, text),
    };
    Banner {
        tone,
        text,
        details: troubled
            .map(|region| Detail {
                region: region.name.clone(),
                text: region.trouble(),
            })
            .collect(),
    }
}
