//! A new image, from the pipeline's order to the last machine of the old one.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::clock::DayTime;
use super::page::{Image, Region};
use super::places::{PLACES, next_images};
use super::show::Show;
use super::tell::count;
use crate::seed::APP_VERSION;
use crate::upgrade::{NEXT_CLIENT_SHA, NEXT_VERSION, order, publish, was_refused};

const ORDERED: DayTime = DayTime::at(17, 30);

/// At the earliest: it has to be warm.
const PUBLISHED: DayTime = DayTime::at(18, 45);

/// Longer than each step should take: on a busy machine, and by the day's clock.
const SOON: Duration = Duration::from_secs(60);
const HOURS: Duration = Duration::from_secs(4 * 3_600);

/// When each step was done in all regions; none if it was not.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    pub(super) ordered: Option<DayTime>,
    pub(super) warm: Option<DayTime>,
    pub(super) published: Option<DayTime>,
    pub(super) swapped: Option<DayTime>,
    pub(super) retired: Option<DayTime>,
    pub(super) gone: Option<DayTime>,
}

impl Rollout {
    /// The first step that was not done.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let steps = [
            (self.ordered, "ordered"),
            (self.warm, "warm"),
            (self.published, "published"),
            (self.swapped, "swapped in"),
            (self.retired, "alone in service"),
            (self.gone, "alone on machines"),
        ];
        let missing = steps.iter().find(|(time, _)| time.is_none());
        missing.map(|(_, step)| *step)
    }

    /// Whether the new image took the place of the old one everywhere.
    pub fn was_swapped(&self) -> bool {
        self.swapped.is_some()
    }

    /// Whether no machine of the old image was left in the end.
    pub fn old_is_gone(&self) -> bool {
        self.gone.is_some()
    }
}

pub(super) async fn roll_out(show: &Show<'_>) -> Result<Rollout> {
    let images = next_images(&show.stage.world)?;
    let is_new = |image: &Image| {
        images
            .as_object()
            .is_some_and(|all| all.values().any(|id| id == image.image.as_str()))
    };
    let new = |region: &Region| region.images.iter().find(|it| is_new(it)).cloned();
    let old = |region: &Region| region.images.iter().find(|it| !is_new(it)).cloned();
    let state = |image: Option<Image>, wanted: &str| {
        image.filter(|image| image.state.as_deref() == Some(wanted))
    };
    let mut done = Rollout::default();

    show.clock.reach(ORDERED).await;
    done.ordered = Some(show.clock.now());
    show.say(&format!(
        "a deploy pipeline asks for a new image, for client {NEXT_VERSION}: in every region a second \
         buffer starts on it, beside the one that serves"
    ));
    let answer = show
        .stage
        .stack
        .reconcile(&order(NEXT_CLIENT_SHA, &images))
        .await?;
    ensure!(
        !was_refused(&answer),
        "the order of the image was refused: {answer:#}"
    );
    done.warm = everywhere(show, |region| {
        let image = state(new(region), "WARMING")?;
        (image.free >= region.target).then(|| {
            let free = count(image.free as usize, "place");
            format!("the new image is warm, {free} free on it; nobody is put there yet")
        })
    })
    .await?;
    if done.warm.is_none() {
        return Ok(done);
    }

    show.clock.reach(PUBLISHED).await;
    publish(&show.stage.stack.operator(), NEXT_VERSION, NEXT_CLIENT_SHA).await?;
    done.published = Some(show.clock.now());
    show.published.set(done.published);
    show.say(&format!(
        "client {NEXT_VERSION} is published; people update over the next hours"
    ));
    done.swapped = everywhere(show, |region| {
        state(new(region), "CURRENT")?;
        Some(format!(
            "swapped. {NEXT_VERSION} is served by the new image, {APP_VERSION} by the old one, kept \
             for a way back"
        ))
    })
    .await?;
    done.retired = everywhere(show, |region| {
        let image = state(old(region), "RETIRED")?;
        let sessions = count(image.occupied as usize, "session");
        Some(format!("the old image is retired; still on it: {sessions}"))
    })
    .await?;
    done.gone = everywhere(show, |region| {
        let left = old(region).map_or(0, |image| image.instances.all());
        (left == 0).then(|| "the last machine of the old image is gone".to_owned())
    })
    .await?;
    Ok(done)
}

/// Until something can be said of each region, and says it, once of those of which it is the same.
async fn everywhere(
    show: &Show<'_>,
    what: impl Fn(&Region) -> Option<String>,
) -> Result<Option<DayTime>> {
    let mut left: BTreeSet<_> = PLACES.iter().map(|place| place.region).collect();
    let within = SOON + show.clock.pace.real(HOURS);
    show.until(within, async || {
        let Some(page) = show.page() else {
            return Ok(None);
        };
        if let Some(why) = page.regions.iter().find_map(failure) {
            show.say(&format!("the upgrade failed: {why}"));
            return Ok(Some(None));
        }
        let found = left.iter().filter_map(|name| {
            let said = what(page.region(name)?)?;
            Some((*name, said))
        });
        let mut found: Vec<_> = found.collect();
        while let Some((_, said)) = found.first().cloned() {
            let same = found.extract_if(.., |(_, other)| *other == said);
            let names: Vec<_> = same.map(|(name, _)| name).collect();
            show.say(&format!("{}: {said}", names.join(", ")));
            left.retain(|name| !names.contains(name));
        }
        Ok(left.is_empty().then(|| Some(show.clock.now())))
    })
    .await
    .map(Option::flatten)
}

fn failure(region: &Region) -> Option<String> {
    let mut images = region.images.iter();
    let failed = images.find(|image| image.state.as_deref() == Some("FAILED"))?;
    let why = failed.reason.as_deref().unwrap_or("without a reason");
    Some(format!("{}: {why}", region.region))
}
