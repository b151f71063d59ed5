//! The decisions of passes about upgrades: each drain and each move of an image is compared with
//! what the pass had observed.

use std::collections::{BTreeMap, BTreeSet};

use shared::db::Fence;
use shared::ids::{ImageId, InstanceId, RegionName};
use shared::model::{DrainCause, ImageState, InstanceStatus};
use testing::Tables;

use super::context::StepContext;
use super::rule::{Check, Violation};
use super::view::{self, View};
use crate::effects::Effect;
use crate::yield_points::ProcessId;

#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// What passes observed last, by region and by version of the lock.
    views: BTreeMap<RegionName, BTreeMap<i64, View>>,
    /// The instances that may serve users, before this step.
    serving: BTreeSet<InstanceId>,
}

impl Decisions {
    pub(super) fn check_step(
        &mut self,
        context: &StepContext<'_>,
        tables: &Tables,
        effects: &[(ProcessId, Effect)],
        found: &mut Vec<Violation>,
    ) {
        for (_, effect) in effects {
            match effect {
                Effect::PassBegan { fence, .. } => {
                    let view = View::of(context, tables, &fence.region);
                    let views = self.views.entry(fence.region.clone()).or_default();
                    // The database accepts nothing below this version any more.
                    *views = views.split_off(&fence.version);
                    views.insert(fence.version, view);
                }
                Effect::DatabaseWrite {
                    call: "drain",
                    fence,
                    ..
                } => self.check_drained(context, tables, fence, found),
                Effect::ImageMoved {
                    fence,
                    image,
                    states,
                } => self.check_move(context, tables, fence, (image, *states), found),
                _ => {}
            }
        }
        let serves = |status| {
            matches!(
                status,
                InstanceStatus::PreConnection | InstanceStatus::Active
            )
        };
        let serving = tables
            .instances
            .iter()
            .filter(|(_, row)| serves(row.status));
        let is_same = serving.clone().count() == self.serving.len();
        if !is_same || !serving.clone().all(|(id, _)| self.serving.contains(id)) {
            self.serving = serving.map(|(id, _)| id.clone()).collect();
        }
    }

    fn check_drained(
        &self,
        context: &StepContext<'_>,
        tables: &Tables,
        fence: &Fence,
        found: &mut Vec<Violation>,
    ) {
        let views = self.views.get(&fence.region);
        let Some(view) = views.and_then(|views| views.get(&fence.version)) else {
            return;
        };
        let drained: Vec<_> = self
            .serving
            .iter()
            .filter(|id| {
                let row = tables.instances.get(*id);
                row.is_some_and(|row| {
                    row.region == fence.region && row.status == InstanceStatus::Draining
                })
            })
            .collect();
        let live = view::live(context, tables, &fence.region).max(view.live);
        for id in &drained {
            // An instance that EC2 is about to take may be drained, one that fails its users, and an old
            // one that makes room for its own replacement.
            let noticed = tables.instances.get(*id).is_some_and(|row| {
                let cause = row.drain_cause;
                row.notice.is_some()
                    || matches!(cause, Some(DrainCause::Suspect | DrainCause::MaxAge))
            });
            let Some(row) = view.rows.get(*id).filter(|row| !row.noticed && !noticed) else {
                continue;
            };
            let short = view.short_of(context, &fence.region);
            match view.images.get(&row.image).map(|image| image.state) {
                Some(ImageState::Warming) if short.is_empty() => {
                    let text = format!(
                        "{id} of {} warms and was drained, and no served image needs its room",
                        row.image
                    );
                    found.push(Violation::new(Check::WarmingNotDrained, text));
                }
                Some(state @ (ImageState::Current | ImageState::Baking)) => {
                    let free = view.free_without(&row.image, &drained);
                    let demand = view.demand(state);
                    let gives_way =
                        state == ImageState::Baking && short.contains(&ImageState::Current);
                    if free < demand && live <= view.max && !gives_way {
                        let text = format!(
                            "{id} of {}, which is {state}, was drained: {free} of {demand} are \
                             left, with {live} of {} live",
                            row.image, view.max
                        );
                        found.push(Violation::new(Check::UpgradeKeepsFreeSlots, text));
                    }
                }
                _ => {}
            }
        }
    }

    /// Checks that an image was moved for a reason.
    fn check_move(
        &self,
        context: &StepContext<'_>,
        tables: &Tables,
        fence: &Fence,
        (id, (from, to)): (&ImageId, (ImageState, ImageState)),
        found: &mut Vec<Violation>,
    ) {
        use ImageState::{Baking, Current, Failed, Retired, Warming};
        let region = &fence.region;
        let views = self.views.get(region);
        let Some(view) = views.and_then(|views| views.get(&fence.version)) else {
            return;
        };
        let Some(image) = view.images.get(id) else {
            return;
        };
        let age = view.at.duration_since(image.since);
        let current = view.images.values().find(|image| image.state == Current);
        let is_named =
            |image: &shared::model::Image| view.named.as_ref() == Some(&image.client_sha);
        let live = view::live(context, tables, region).max(view.live);
        let free = view.free_without(id, &[]);
        let objection = match (from, to) {
            // The first image of a region becomes current without conditions.
            (Warming, Current) if current.is_none() => None,
            (Warming, Current) if !is_named(image) && !view.upgrades.swap_when_warm => {
                Some("the app version does not name it")
            }
            (Warming, Current) if free < view.demand(Warming) && live < view.max => {
                Some("it is not warm, and the maximum leaves room")
            }
            (Baking, Current) if !is_named(image) || current.is_some_and(is_named) => {
                Some("the app version was not reverted to it")
            }
            (Baking, Retired) if age < view.upgrades.bake => {
                Some("it has not baked for long enough")
            }
            (Warming, Failed)
                if age < view.upgrades.deadline
                    && view.free_and_running(context, region, id) > 0 =>
            {
                Some("its deadline is not over, and it has free slots")
            }
            _ => None,
        };
        if let Some(objection) = objection {
            let text = format!("{id} in {region} went from {from} to {to}: {objection}");
            found.push(Violation::new(Check::ImagesMoveForAReason, text));
        }
    }
}
