//! What operators and pipelines do with images: releases, rollbacks, mistakes.

use std::collections::BTreeMap;

use shared::assign::AppVersion;
use shared::model::ImageState;

use crate::builds::{
    ImageDefect, UpgradeRequest, image_id, random_upgrade_settings, seconds, upgrade_event,
};
use crate::faults::Fault;
use crate::scheduled::Event;
use crate::simulation::Simulation;
use crate::world::ENVIRONMENT;

impl Simulation {
    /// Schedules the first activity, in a run with upgrades.
    pub(crate) fn start_releases(&mut self) {
        let Some(settings) = self.scenario.releases.clone() else {
            return;
        };
        if settings.app_version_set {
            self.set_app_version(1);
        }
        self.schedule_in(seconds(settings.interval / 2), Event::ReleaseActivity);
    }

    /// Does something with images, and schedules the next time.
    pub(crate) fn do_release_activity(&mut self) {
        let Some(settings) = self
            .scenario
            .releases
            .clone()
            .filter(|_| !self.winding_down)
        else {
            return;
        };
        match self.builds.random.below(14) {
            0..=3 => self.release(true),
            4 => self.release(false),
            5 => self.request_build(self.builds.latest()),
            6 => {
                let build = self.builds.random_build();
                self.request_build(build);
            }
            7 => {
                self.release(true);
                let build = if self.builds.random.chance(500) {
                    self.make_build(true)
                } else {
                    self.builds.random_build()
                };
                let request = self.upgrade_request_for(build);
                let soon = self.builds.random.between(0..=20);
                self.schedule_in(seconds(soon), Event::UpgradeRequested(request));
            }
            8 => {
                let build = self.builds.random_build();
                self.set_app_version(build);
            }
            9 => self.set_app_version(self.builds.latest()),
            10 | 11 => self.fail_images_by_hand(),
            12 => {
                let mut request = self.upgrade_request_for(self.builds.latest());
                request.client_sha = "another-commit".into();
                self.request_upgrade(&request);
            }
            _ => self.change_upgrade_settings(),
        }
        let wait = self.builds.random.between(1..=2 * settings.interval);
        self.schedule_in(seconds(wait), Event::ReleaseActivity);
    }

    /// Makes a build and requests it. The app version names it before that, after it, or never.
    fn release(&mut self, new_commit: bool) {
        let build = self.make_build(new_commit);
        let wait = seconds(self.builds.random.between(1..=150));
        match self.builds.random.below(5) {
            0 | 1 => self.set_app_version(build),
            2 | 3 => self.schedule_in(wait, Event::AppVersionSet(build)),
            _ => {}
        }
        self.request_build(build);
    }

    /// Makes a build. Some of its images cannot boot, some fail soon, and some are missing in a
    /// region.
    fn make_build(&mut self, new_commit: bool) -> u32 {
        let commit = self.builds.commits.last().copied().unwrap_or(1) + u32::from(new_commit);
        self.builds.commits.push(commit);
        let build = self.builds.latest();
        for (place, region) in self.scenario.region_names().iter().enumerate() {
            let image = image_id(place, build);
            let defect = if self.faults.occurs(Fault::ImageNeverBoots) {
                Some(ImageDefect::NeverBoots)
            } else if self.faults.occurs(Fault::ImageDies) {
                Some(ImageDefect::Dies)
            } else {
                None
            };
            if let Some(defect) = defect {
                self.builds.defects.insert(image.clone(), defect);
            }
            if self.faults.occurs(Fault::ImageMissing) {
                let host = self.world.host(region);
                host.state().unknown_images.insert(image);
            }
        }
        build
    }

    fn request_build(&mut self, build: u32) {
        let request = self.upgrade_request_for(build);
        self.request_upgrade(&request);
    }

    /// A request for an upgrade of most regions to `build`.
    fn upgrade_request_for(&mut self, build: u32) -> UpgradeRequest {
        let regions = self.scenario.region_names();
        let mut chosen: Vec<_> = regions
            .iter()
            .filter(|_| self.builds.random.chance(800))
            .cloned()
            .collect();
        if chosen.is_empty() {
            chosen = regions;
        }
        UpgradeRequest {
            build,
            client_sha: self.builds.sha_of(build),
            regions: chosen,
        }
    }

    pub(crate) fn request_upgrade(&mut self, request: &UpgradeRequest) {
        let all = self.scenario.region_names();
        let images: BTreeMap<_, _> = all
            .iter()
            .enumerate()
            .filter(|(_, region)| request.regions.contains(region))
            .map(|(place, region)| (region.clone(), image_id(place, request.build)))
            .collect();
        self.reconcile("image upgrade", upgrade_event(&request.client_sha, &images));
    }

    /// Sets the app version to the commit of `build`.
    pub(crate) fn set_app_version(&mut self, build: u32) {
        let client_sha = self.builds.sha_of(build);
        let tables = &mut self.world.database.rows().tables;
        let version = AppVersion {
            version: format!("1.{build}"),
            client_sha,
        };
        tables.app_versions.insert(ENVIRONMENT.to_owned(), version);
    }

    /// An operator sets warming or baking images to `FAILED`.
    fn fail_images_by_hand(&mut self) {
        let now = self.now();
        let state = if self.builds.random.chance(700) {
            ImageState::Warming
        } else {
            ImageState::Baking
        };
        let tables = &mut self.world.database.rows().tables;
        let keys: Vec<_> = tables
            .images
            .iter()
            .filter(|(_, image)| image.state == state)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            if self.builds.random.chance(700) {
                tables.set_image_state(&key, ImageState::Failed, now);
                self.checks.note_image_set_by_hand(&key.0);
            }
        }
    }

    /// An operator changes how a region does upgrades.
    fn change_upgrade_settings(&mut self) {
        let regions = self.scenario.region_names();
        let region = self.builds.random.pick(&regions).clone();
        let upgrades = random_upgrade_settings(&mut self.builds.random);
        if let Some(settings) = self.world.database.rows().tables.settings_mut(&region) {
            settings.upgrades = upgrades;
        }
    }
}
