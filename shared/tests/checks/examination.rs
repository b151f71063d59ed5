//! The examination as a whole.

use shared::assign::AppVersion;
use shared::doctor::{Report, Verdict, examine};
use shared::lock::RegionLock;
use shared::model::ImageState;
use shared::report::{Decision, PassOutcome};
use shared::scaling::Plan;
use shared::settings::Selector;
use shared::trigger::Trigger;
use testing::{ENVIRONMENT, NOW, World, image, instance};

use crate::named;
use crate::probes::{Sound, Way};

/// A region as it has to be, with spot in its choices.
fn world() -> World {
    let world = World::with([instance("i-1")]);
    {
        let mut rows = world.database.rows();
        let tables = &mut rows.tables;
        let app = AppVersion {
            version: "1.0.0".to_owned(),
            client_sha: image("ami-1", ImageState::Current).client_sha,
        };
        tables.app_versions.insert(ENVIRONMENT.to_owned(), app);
        let region = tables.regions.get_mut(&World::region()).unwrap();
        region.settings.launch_choices[1].spot = true;
        region.settings.security_groups = vec![Selector::Id("sg-1".to_owned())];
        region.settings.instance_profile = Some("host".to_owned());
    }
    let decision = Decision {
        region: World::region(),
        version: 1,
        at: NOW,
        id: "event-1".to_owned(),
        trigger: Trigger::Schedule,
        plan: Plan::default(),
        results: vec![],
        outcome: PassOutcome::Done,
        duration_ms: 250,
    };
    let mut items = world.store.items();
    items.of(&World::region()).decisions.insert(1, decision);
    drop(items);
    world
}

async fn report(world: &World, sound: Sound) -> Report {
    examine(&world.reconciler(), &sound.probes(world)).await
}

#[tokio::test]
async fn sound_deployment_is_ok_and_its_report_is_stored() {
    let world = world();
    let report = report(&world, Sound(None)).await;
    let bad: Vec<_> = report
        .checks
        .iter()
        .filter(|it| it.verdict != Verdict::Ok)
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(report.verdict, Verdict::Ok);
    assert_eq!(world.store.items().report.as_ref(), Some(&report));
    let of_region = report
        .checks
        .iter()
        .filter(|it| it.region.is_some())
        .count();
    assert_eq!((report.checks.len(), of_region), (29, 10), "{report}");
}

#[tokio::test]
async fn call_that_fails_or_hangs_spoils_its_own_checks_only() {
    let database = [
        "schema",
        "postgresql",
        "event-triggers",
        "database-user",
        "clock",
    ];
    let calls: [(&str, &[&str]); 15] = [
        ("database", &database),
        ("events", &["events"]),
        (
            "hasura",
            &["metadata", "roles", "migrations", "pool", "allow-list"],
        ),
        ("as agent", &["host-agents", "allow-list"]),
        ("table", &["table"]),
        ("topic", &["alerts"]),
        ("functions", &["functions"]),
        ("keys", &["keys"]),
        ("spot role", &["spot-role"]),
        ("quota", &["quota"]),
        ("image", &["image"]),
        // The sizes of the types are part of the quota.
        ("types", &["image", "quota"]),
        ("subnets", &["subnets"]),
        ("groups", &["security-groups"]),
        ("rehearse", &["launch", "instance-profile"]),
    ];
    for (call, spoiled) in calls {
        for way in [Way::Fails, Way::Hangs] {
            let report = report(&world(), Sound(Some((call, way)))).await;
            let mut bad: Vec<_> = report
                .checks
                .iter()
                .filter(|it| it.verdict != Verdict::Ok)
                .map(|it| it.check.as_str())
                .collect();
            let mut expected = spoiled.to_vec();
            bad.sort_unstable();
            expected.sort_unstable();
            assert_eq!(bad, expected, "{call} {way:?}: {report}");
            assert_eq!(report.checks.len(), 29, "{call} {way:?}: {report}");
        }
    }
}

#[tokio::test]
async fn stack_without_regions_is_told_so() {
    let world = world();
    world.database.rows().tables.regions.clear();
    let report = report(&world, Sound(None)).await;
    assert_eq!(named(&report.checks, "regions").verdict, Verdict::Wrong);
    assert!(report.checks.iter().all(|check| check.region.is_none()));
}

#[tokio::test]
async fn disabled_region_is_not_asked_about_at_ec2() {
    let world = world();
    {
        let mut rows = world.database.rows();
        let tables = &mut rows.tables;
        tables
            .regions
            .get_mut(&World::region())
            .unwrap()
            .settings
            .enabled = false;
    }
    let report = report(&world, Sound(Some(("rehearse", Way::Fails)))).await;
    assert_eq!(named(&report.checks, "settings").verdict, Verdict::Warning);
    assert!(!report.checks.iter().any(|check| check.check == "launch"));
    assert_eq!(named(&report.checks, "spot-role").verdict, Verdict::Ok);
}

#[tokio::test]
async fn region_without_an_image_says_so_once() {
    let world = world();
    {
        let mut rows = world.database.rows();
        let tables = &mut rows.tables;
        let region = World::region();
        tables.images.retain(|(of, _), _| *of != region);
        tables.add_image(&region, image("ami-1", ImageState::Retired));
    }
    let report = report(&world, Sound(None)).await;
    assert_eq!(named(&report.checks, "image").verdict, Verdict::Wrong);
    assert!(!report.checks.iter().any(|check| check.check == "launch"));
}

#[tokio::test]
async fn user_data_that_cannot_be_made_stops_the_rehearsal() {
    let world = world();
    {
        let mut rows = world.database.rows();
        let tables = &mut rows.tables;
        let region = tables.regions.get_mut(&World::region()).unwrap();
        region.settings.user_data_template = Some("no token".to_owned());
    }
    let report = report(&world, Sound(None)).await;
    let launch = named(&report.checks, "launch");
    assert_eq!(launch.verdict, Verdict::Wrong);
    assert!(launch.finding.contains("AGENT_TOKEN"), "{launch:#?}");
}

#[tokio::test]
async fn nothing_is_changed_but_the_report() {
    let world = world();
    let owner = shared::ids::Owner::new("holder");
    let lease = std::time::Duration::from_secs(50);
    let region = World::region();
    world
        .store
        .acquire(&region, &owner, NOW, lease)
        .await
        .unwrap();
    let table = format!("{:?}", world.store.items().regions);
    let rows = format!("{:?}", world.database.rows().tables);
    let report = report(&world, Sound(None)).await;
    assert_eq!(named(&report.checks, "lock").verdict, Verdict::Ok);
    assert_eq!(format!("{:?}", world.store.items().regions), table);
    assert_eq!(format!("{:?}", world.database.rows().tables), rows);
    assert!(world.host.state().launches.is_empty());
}

#[tokio::test]
async fn report_that_cannot_be_stored_is_still_answered() {
    let world = world();
    let lost = shared::lock::LockError::Unavailable {
        operation: "write",
        reason: "it is down".to_owned(),
    };
    world.store.items().next_error = Some(("store report", lost));
    let report = report(&world, Sound(None)).await;
    assert_eq!(named(&report.checks, "report").verdict, Verdict::Warning);
    assert_eq!(report.verdict, Verdict::Warning);
}

#[tokio::test]
async fn text_ends_with_what_is_wrong_and_its_remedy() {
    let world = world();
    world.database.rows().tables.regions.clear();
    let text = report(&world, Sound(None)).await.to_string();
    let lines: Vec<_> = text.lines().rev().collect();
    assert!(lines[0].ends_with("1 wrong"), "{text}");
    assert!(lines[1].contains("→ Insert a row"), "{text}");
    assert!(lines[3].starts_with("wrong    regions: "), "{text}");
}
