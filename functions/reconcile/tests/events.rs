//! Sample events of this function are parsed, malformed ones are rejected with a reason.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;
use std::path::Path;

use reconcile::Request;
use serde_json::Value;
use shared::trigger::Trigger;

fn samples(folder: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../events")
        .join(folder);
    let mut samples: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("reconcile")
                && path.extension().is_some_and(|e| e == "json")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (
                name,
                serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap(),
            )
        })
        .collect();
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    samples
}

#[test]
fn samples_are_parsed() {
    let samples = samples("");
    assert!(samples.len() >= 5, "samples are missing: {samples:?}");
    for (name, event) in samples {
        let request = Request::parse(event).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            request.trigger == Trigger::Schedule,
            name == "reconcile-schedule",
            "{name}"
        );
        assert_eq!(request.dry_run, name == "reconcile-dry-run", "{name}");
        let upgrade = name == "reconcile-image-upgrade";
        assert_eq!(request.image_upgrade.is_some(), upgrade, "{name}");
        let approve = name == "reconcile-approve-mass-removal";
        assert_eq!(request.approve_mass_removal, approve, "{name}");
        assert_eq!(request.doctor, name == "reconcile-doctor", "{name}");
        let replay = name == "reconcile-replay";
        assert_eq!(request.replay.is_some(), replay, "{name}");
    }
}

#[test]
fn malformed_samples_are_rejected_with_a_reason() {
    let expected = [
        ("reconcile-bad-region", "`regions`"),
        ("reconcile-doctor-with-regions", "`doctor`"),
        ("reconcile-not-an-object", "JSON object"),
        ("reconcile-regions-not-a-list", "`regions`"),
        ("reconcile-unknown-field", "`regoins`"),
        ("reconcile-upgrade-no-client-sha", "`client_sha`"),
        ("reconcile-upgrade-with-dry-run", "exclude each other"),
    ];
    let samples = samples("malformed");
    assert_eq!(samples.len(), expected.len());
    for ((name, event), (expected_name, hint)) in samples.into_iter().zip(expected) {
        assert_eq!(name, expected_name);
        let error = Request::parse(event).unwrap_err().to_string();
        assert!(error.contains(hint), "{name}: {error}");
    }
}
