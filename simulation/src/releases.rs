//! What operators and pipelines do with images: releases, second thoughts, mistakes.

use std::collections::BTreeMap;

use shared::assign::AppVersion;
use shared::model::ImageState;

use crate::faults::Fault;
use crate::rollouts::{Flaw, Wish, image_id, seconds, upgrade_event, upgrades};
use crate::simulation::{Happening, Simulation};
use crate::world::ENVIRONMENT;

impl Simulation {
    /// The first of it, in a run that has any.
    pub(crate) fn begin_rollouts(&mut self) {
        let Some(rolling) = self.scenario.rolling.clone() else {
            return;
        };
        if rolling.is_named {
            self.names(1);
        }
        self.happens_in(seconds(rolling.every / 2), Happening::Rollout);
    }

    pub(crate) fn rollout(&mut self) {
        let Some(rolling) = self.scenario.rolling.clone().filter(|_| !self.over) else {
            return;
        };
        match self.rollouts.dice.below(14) {
            0..=3 => self.release(true),
            4 => self.release(false),
            5 => self.wish(self.rollouts.latest()),
            6 => {
                let build = self.rollouts.any();
                self.wish(build);
            }
            7 => {
                self.release(true);
                let build = if self.rollouts.dice.chance(500) {
                    self.make_build(true)
                } else {
                    self.rollouts.any()
                };
                let wish = self.wish_for(build);
                let soon = self.rollouts.dice.between(0..=20);
                self.happens_in(seconds(soon), Happening::AsksFor(wish));
            }
            8 => {
                let build = self.rollouts.any();
                self.names(build);
            }
            9 => self.names(self.rollouts.latest()),
            10 | 11 => self.give_up_by_hand(),
            12 => {
                let mut wish = self.wish_for(self.rollouts.latest());
                wish.client_sha = "somebody else's".into();
                self.asks_for(&wish);
            }
            _ => self.change_upgrades(),
        }
        let wait = self.rollouts.dice.between(1..=2 * rolling.every);
        self.happens_in(seconds(wait), Happening::Rollout);
    }

    /// A build, asked for, and named by the app version before that, after it, or never.
    fn release(&mut self, new_commit: bool) {
        let build = self.make_build(new_commit);
        let wait = seconds(self.rollouts.dice.between(1..=150));
        match self.rollouts.dice.below(5) {
            0 | 1 => self.names(build),
            2 | 3 => self.happens_in(wait, Happening::Names(build)),
            _ => {}
        }
        self.wish(build);
    }

    /// A new build: some cannot boot, some do not last, some were not copied everywhere.
    fn make_build(&mut self, new_commit: bool) -> u32 {
        let commit = self.rollouts.commits.last().copied().unwrap_or(1) + u32::from(new_commit);
        self.rollouts.commits.push(commit);
        let build = self.rollouts.latest();
        for (place, region) in self.scenario.names().iter().enumerate() {
            let image = image_id(place, build);
            let flaw = if self.faults.strikes(Fault::ImageNeverBoots) {
                Some(Flaw::NeverBoots)
            } else if self.faults.strikes(Fault::ImageDies) {
                Some(Flaw::Dies)
            } else {
                None
            };
            if let Some(flaw) = flaw {
                self.rollouts.flaws.insert(image.clone(), flaw);
            }
            if self.faults.strikes(Fault::ImageMissing) {
                let host = self.world.host(region);
                host.state().unknown_images.insert(image);
            }
        }
        build
    }

    fn wish(&mut self, build: u32) {
        let wish = self.wish_for(build);
        self.asks_for(&wish);
    }

    /// In most regions.
    fn wish_for(&mut self, build: u32) -> Wish {
        let regions = self.scenario.names();
        let mut chosen: Vec<_> = regions
            .iter()
            .filter(|_| self.rollouts.dice.chance(800))
            .cloned()
            .collect();
        if chosen.is_empty() {
            chosen = regions;
        }
        Wish {
            build,
            client_sha: self.rollouts.sha_of(build),
            regions: chosen,
        }
    }

    pub(crate) fn asks_for(&mut self, wish: &Wish) {
        let all = self.scenario.names();
        let images: BTreeMap<_, _> = all
            .iter()
            .enumerate()
            .filter(|(_, region)| wish.regions.contains(region))
            .map(|(place, region)| (region.clone(), image_id(place, wish.build)))
            .collect();
        self.reconcile("image upgrade", upgrade_event(&wish.client_sha, &images));
    }

    pub(crate) fn names(&mut self, build: u32) {
        let client_sha = self.rollouts.sha_of(build);
        let tables = &mut self.world.database.rows().tables;
        let version = AppVersion {
            version: format!("1.{build}"),
            client_sha,
        };
        tables.app_versions.insert(ENVIRONMENT.to_owned(), version);
    }

    /// An operator sets an image that is not current to `FAILED`.
    fn give_up_by_hand(&mut self) {
        let now = self.now();
        let wanted = if self.rollouts.dice.chance(700) {
            ImageState::Warming
        } else {
            ImageState::Baking
        };
        let tables = &mut self.world.database.rows().tables;
        let keys: Vec<_> = tables
            .images
            .iter()
            .filter(|(_, image)| image.state == wanted)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            if self.rollouts.dice.chance(700) {
                tables.set_image_state(&key, ImageState::Failed, now);
                self.checks.image_set_by_hand(&key.0);
            }
        }
    }

    fn change_upgrades(&mut self) {
        let regions = self.scenario.names();
        let region = self.rollouts.dice.pick(&regions).clone();
        let upgrades = upgrades(&mut self.rollouts.dice);
        if let Some(settings) = self.world.database.rows().tables.settings_mut(&region) {
            settings.upgrades = upgrades;
        }
    }
}
