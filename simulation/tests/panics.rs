//! A bug of the code under test in one region, which no fault from outside would trigger.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::sync::Arc;

use futures::FutureExt;
use scaling_simulation::builds::upgrade_event;
use scaling_simulation::world::World;
use shared::host::{HostHandler, HostHandlers};
use shared::ids::RegionName;
use shared::model::ImageState;
use shared::pass::Reconciler;
use shared::report::PassOutcome;
use shared::settings::RegionSettings;
use testing::{FakeHosts, image, settings};

struct PanicsIn(RegionName, Arc<FakeHosts>);

impl HostHandlers for PanicsIn {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostHandler> {
        assert_ne!(*region, self.0, "broken on purpose");
        self.1.in_region(region)
    }
}

#[test]
fn panic_in_one_region_does_not_affect_upgrades_of_others() {
    let world = World::default();
    let names = ["ap-south-1", "eu-west-1", "us-east-1"].map(RegionName::from);
    for name in &names {
        let tables = &mut world.database.rows().tables;
        tables.add_region(RegionSettings {
            name: name.clone(),
            ..settings()
        });
        tables.add_image(name, image("ami-1", ImageState::Current));
    }
    let passes = Reconciler {
        hosts: Arc::new(PanicsIn(names[1].clone(), world.hosts.clone())),
        ..world.direct_reconciler()
    };
    let images = names
        .iter()
        .map(|name| (name.clone(), "ami-00000002".into()));
    let event = upgrade_event(&"sha-of-ami-00000002".into(), &images.collect());
    let answer = reconcile::handle(&passes, event, "by hand");
    let answer = answer.now_or_never().unwrap().unwrap();
    let failed: Vec<_> = answer
        .regions
        .iter()
        .map(|report| matches!(report.outcome, PassOutcome::Failed { .. }))
        .collect();
    assert_eq!(failed, [false, true, false], "{:?}", answer.regions);
    let warming = |name: &RegionName| {
        let key = (name.clone(), "ami-00000002".into());
        let rows = world.database.rows();
        rows.tables.images.get(&key).map(|image| image.state)
    };
    let state = Some(ImageState::Warming);
    assert_eq!(names.each_ref().map(warming), [state, None, state]);
}
