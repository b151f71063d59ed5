//! A new image, from the deploy pipeline's request until the last instance of the old image is
//! gone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::clock::DayTime;
use super::day::Day;
use super::regions::{REGIONS, next_images};
use super::status::{ImageStatus, RegionStatus};
use super::text::count;
use crate::seed::APP_VERSION;
use crate::upgrade::{
    NEXT_CLIENT_SHA, NEXT_VERSION, has_failed, publish_app_version, upgrade_payload,
};

/// When the pipeline requests the image.
pub(super) const REQUEST_TIME: DayTime = DayTime::at(17, 30);

/// When the client is published, at the earliest: the image has to be warm.
const PUBLISH_TIME: DayTime = DayTime::at(18, 45);

/// The time limit of each step is the sum of these: real time for a busy machine, and simulated
/// time for what depends on the day's clock.
const STEP_TIMEOUT_REAL: Duration = Duration::from_secs(60);
const STEP_TIMEOUT_SIMULATED: Duration = Duration::from_secs(4 * 3_600);

/// When each step was done in all regions; `None` when it was not.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    pub(super) requested: Option<DayTime>,
    pub(super) warm: Option<DayTime>,
    pub(super) published: Option<DayTime>,
    pub(super) swapped: Option<DayTime>,
    pub(super) retired: Option<DayTime>,
    pub(super) gone: Option<DayTime>,
}

impl Rollout {
    /// The first step that was not done in all regions, as a sentence.
    pub(super) fn first_missing_step(&self) -> Option<&'static str> {
        let steps = [
            (self.requested, "the new image was never requested"),
            (self.warm, "the new image never became ready"),
            (self.published, "the new client was never published"),
            (self.swapped, "the new image was never swapped in"),
            (self.retired, "the old image was never retired"),
            (self.gone, "the last VM of the old image was never removed"),
        ];
        let missing = steps.iter().find(|(time, _)| time.is_none());
        missing.map(|(_, step)| *step)
    }

    /// Whether the new image replaced the old one in every region.
    pub fn was_swapped(&self) -> bool {
        self.swapped.is_some()
    }

    /// Whether no instance of the old image was left at the end.
    pub fn old_is_gone(&self) -> bool {
        self.gone.is_some()
    }
}

/// Runs the rollout and prints its steps. Stops at the first step that is not done in time.
///
/// # Errors
/// When `reconcile` rejects the request, or the stack does not answer.
pub(super) async fn run_rollout(day: &Day<'_>) -> Result<Rollout> {
    let images = next_images(&day.stack.world)?;
    let is_new = |image: &ImageStatus| {
        images
            .as_object()
            .is_some_and(|all| all.values().any(|id| id == image.image.as_str()))
    };
    let new = |region: &RegionStatus| region.images.iter().find(|it| is_new(it)).cloned();
    let old = |region: &RegionStatus| region.images.iter().find(|it| !is_new(it)).cloned();
    let in_state = |image: Option<ImageStatus>, state: &str| {
        image.filter(|image| image.state.as_deref() == Some(state))
    };
    let mut done = Rollout::default();

    day.clock.sleep_until(REQUEST_TIME).await;
    done.requested = Some(day.clock.now());
    day.print(&format!(
        "a deploy pipeline requests a new VM image for client version {NEXT_VERSION}: every region \
         starts VMs with free slots on it, while the VMs of the old image serve the users"
    ));
    let payload = upgrade_payload(NEXT_CLIENT_SHA, &images);
    let response = day.stack.stack.reconcile(&payload).await?;
    ensure!(
        !has_failed(&response),
        "reconcile rejected the image upgrade: {response:#}"
    );
    done.warm = wait_for_all_regions(day, |region| {
        let image = in_state(new(region), "WARMING")?;
        (image.free >= region.target).then(|| {
            let free = count(image.free as usize, "free slot");
            format!("the new image is ready, with {free}; it gets no users yet")
        })
    })
    .await?;
    if done.warm.is_none() {
        return Ok(done);
    }

    day.clock.sleep_until(PUBLISH_TIME).await;
    publish_app_version(&day.stack.stack.operator(), NEXT_VERSION, NEXT_CLIENT_SHA).await?;
    done.published = Some(day.clock.now());
    day.client_published.set(done.published);
    day.print(&format!(
        "client version {NEXT_VERSION} is published; users update to it over the next hours"
    ));
    done.swapped = wait_for_all_regions(day, |region| {
        in_state(new(region), "CURRENT")?;
        Some(format!(
            "images swapped: the new image serves clients of version {NEXT_VERSION}; the old image \
             still serves version {APP_VERSION}, and stays ready for a rollback"
        ))
    })
    .await?;
    done.retired = wait_for_all_regions(day, |region| {
        let image = in_state(old(region), "RETIRED")?;
        let sessions = count(image.occupied as usize, "session");
        Some(format!(
            "the old image is retired: it gets no new users, and has {sessions} left"
        ))
    })
    .await?;
    done.gone = wait_for_all_regions(day, |region| {
        let left = old(region).map_or(0, |image| image.instances.total());
        (left == 0).then(|| "the last VM of the old image is gone".to_owned())
    })
    .await?;
    Ok(done)
}

/// Waits until `check` has returned a text for every region, and prints it. Regions with the same
/// text share a line. Returns when the last region was done; `None` when an upgrade has failed or
/// the time limit has passed.
async fn wait_for_all_regions(
    day: &Day<'_>,
    check: impl Fn(&RegionStatus) -> Option<String>,
) -> Result<Option<DayTime>> {
    let mut left: BTreeSet<_> = REGIONS.iter().map(|region| region.name).collect();
    let within = STEP_TIMEOUT_REAL + day.clock.pace.to_real(STEP_TIMEOUT_SIMULATED);
    day.poll_until(within, async || {
        let Some(status) = day.status() else {
            return Ok(None);
        };
        if let Some(failure) = status.regions.iter().find_map(failure) {
            day.print(&failure);
            return Ok(Some(None));
        }
        let found = left.iter().filter_map(|name| {
            let text = check(status.region(name)?)?;
            Some((*name, text))
        });
        let mut found: Vec<_> = found.collect();
        while let Some((_, text)) = found.first().cloned() {
            let same = found.extract_if(.., |(_, other)| *other == text);
            let names: Vec<_> = same.map(|(name, _)| name).collect();
            day.print(&format!("{}: {text}", names.join(", ")));
            left.retain(|name| !names.contains(name));
        }
        Ok(left.is_empty().then(|| Some(day.clock.now())))
    })
    .await
    .map(Option::flatten)
}

fn failure(region: &RegionStatus) -> Option<String> {
    let mut images = region.images.iter();
    let failed = images.find(|image| image.state.as_deref() == Some("FAILED"))?;
    let reason = failed.reason.as_deref().unwrap_or("no reason given");
    Some(format!(
        "{}: the image upgrade failed: {reason}",
        region.region
    ))
}
