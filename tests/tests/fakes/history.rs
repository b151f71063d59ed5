//! Reading a pass's records from DynamoDB: the adapter and its fake after the same writes.

use std::time::Duration;

use jiff::SignedDuration;
use scaling_tests::table::Table;
use shared::history::{History, PAGE};
use shared::ids::{Owner, RegionName};
use shared::lock::{Lease, LockAttempt, RegionLock};
use shared::model::{Intent, LaunchRequest, LaunchTally};
use shared::report::{Decision, PassOutcome};
use shared::scaling::{Counts, Plan};
use shared::store::{IntentClosure, StateStore};
use shared::trigger::Trigger;
use testing::{FakeStore, NOW, at};

const DECISIONS: i64 = 60;

fn regions() -> [RegionName; 3] {
    // The second's name begins like the first's; no pass ran for the third.
    ["us-east-1".into(), "us-east-10".into(), "us-west-2".into()]
}

fn decision(lease: &Lease) -> Decision {
    Decision {
        region: lease.region.clone(),
        version: lease.version,
        at: NOW + SignedDuration::from_secs(lease.version),
        id: format!("event-{}", lease.version),
        trigger: Trigger::ByHand,
        plan: Plan {
            counts: Counts {
                free: u32::try_from(lease.version).unwrap(),
                ..Counts::default()
            },
            ..Plan::default()
        },
        results: vec![],
        outcome: PassOutcome::Done,
        duration_ms: 5,
    }
}

fn intent(launch: &str) -> Intent {
    Intent {
        launch_id: launch.into(),
        client_token: "token".into(),
        created_at: NOW,
        request: LaunchRequest {
            image_id: "ami-1".into(),
            client_sha: "sha".into(),
            spot: false,
            instance_type: "m6i.large".to_owned(),
            subnet_id: "subnet-a".to_owned(),
            security_group_ids: vec![],
            instance_profile: None,
            user_data: "secret".to_owned(),
            tags: vec![],
            count: 2,
            capacity: 2,
            imds_hop_limit: Some(1),
            ebs_optimized: false,
        },
    }
}

async fn taken<S: RegionLock>(store: &S, region: &RegionName, seconds: i64) -> Lease {
    let owner = Owner::new(format!("owner-{seconds}"));
    let lease = Duration::from_secs(50);
    match store
        .acquire(region, &owner, at(seconds), lease)
        .await
        .unwrap()
    {
        LockAttempt::Acquired(lease) => lease,
        LockAttempt::Held { until, .. } => panic!("held until {until}"),
    }
}

/// What some passes leave: decisions, and then a pass in progress.
async fn passes<S: RegionLock + StateStore>(store: &S, region: &RegionName) {
    for round in 1..=DECISIONS {
        let lease = taken(store, region, round).await;
        store
            .record_decision(&lease, &decision(&lease))
            .await
            .unwrap();
        store.release(&lease).await.unwrap();
    }
    let lease = taken(store, region, 100).await;
    let intents = ["launch-2", "launch-1", "launch-3"].map(intent);
    store
        .open_intents(&lease, &intents, &LaunchTally::default())
        .await
        .unwrap();
    let closing = IntentClosure {
        launch_id: "launch-2".into(),
        outcome: "no capacity".to_owned(),
        refusal: Some(testing::refusal(false, "c5.large", "subnet-a", NOW)),
    };
    store
        .close_intents(&lease, &[closing], &LaunchTally::default())
        .await
        .unwrap();
    store.set_wake_mark(region, "event-9", NOW).await.unwrap();
}

/// Every answer of the port, as text.
async fn read_all<S: History>(store: &S) -> Vec<String> {
    let mut texts = vec![];
    for region in regions() {
        texts.push(format!("{:?}", store.records(&region).await));
        texts.push(format!("{:?}", store.decided_at(&region).await));
        for since in [0, 25, 100] {
            texts.push(format!("{:?}", store.points(&region, at(since)).await));
        }
        for version in [1, DECISIONS, DECISIONS + 1, i64::MAX] {
            texts.push(format!("{:?}", store.decision(&region, version).await));
        }
        let pages = [
            (None, 1),
            (None, PAGE),
            (Some(11), PAGE),
            (Some(11), 10),
            (Some(1), 5),
        ];
        for (below, limit) in pages.into_iter().chain([(Some(0), 5), (Some(i64::MAX), 2)]) {
            texts.push(format!(
                "{:?}",
                store.decisions(&region, below, limit).await
            ));
        }
    }
    texts
}

#[tokio::test]
async fn dynamodb_and_its_fake_read_history_alike() {
    let (table, fake) = (Table::start().await, FakeStore::default());
    for region in &regions()[..2] {
        passes(&**table, region).await;
        passes(&fake, region).await;
    }
    let (from_dynamodb, from_fake) = (read_all(&**table).await, read_all(&fake).await);
    for (dynamodb, fake) in from_dynamodb.iter().zip(&from_fake) {
        assert_eq!(fake, dynamodb, "left: the fake's answer, right: DynamoDB's");
    }

    let region = &regions()[0];
    let standing = table.records(region).await.unwrap();
    let launches: Vec<_> = standing
        .open_intents
        .iter()
        .map(|open| open.launch.as_str())
        .collect();
    assert_eq!(launches, ["launch-1", "launch-3"]);
    assert_eq!(standing.marked_by.as_deref(), Some("event-9"));
    assert_eq!(standing.refusals.len(), 1);
    let lock = standing.lock.expect("it is held");
    assert_eq!((lock.version, lock.since), (DECISIONS + 1, Some(at(100))));
    assert!(!standing.is_truncated);

    let page = table.decisions(region, None, PAGE).await.unwrap();
    let versions: Vec<_> = page.decisions.iter().map(|past| past.version).collect();
    assert_eq!(
        versions,
        (11..=DECISIONS).rev().collect::<Vec<_>>(),
        "newest first"
    );
    assert_eq!(page.next, Some(11));
    let rest = table.decisions(region, page.next, PAGE).await.unwrap();
    assert_eq!((rest.decisions.len(), rest.next), (10, None));
}

#[tokio::test]
async fn reading_history_writes_nothing_and_skips_only_broken_items() {
    let table = Table::start().await;
    let region = &regions()[0];
    passes(&**table, region).await;
    let put = |version: i64, body: String| {
        let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
        table
            .client
            .put_item()
            .table_name("scaling")
            .item("pk", text(format!("DECISIONS#{region}")))
            .item("sk", text(format!("{version:020}")))
            .item("body", text(body))
            .send()
    };
    put(200, "not JSON".to_owned()).await.unwrap();
    // So large that DynamoDB's megabyte ends the page before its limit.
    for version in 201..=206 {
        let lease = Lease {
            region: region.clone(),
            owner: "owner".into(),
            version,
            expires_at: NOW,
            decided_at: None,
        };
        let mut large = decision(&lease);
        large.id = "x".repeat(290_000);
        put(version, large.to_bounded_json()).await.unwrap();
    }
    let before = table.items().await.len();
    let (mut below, mut seen, mut pages) = (None, vec![], 0);
    loop {
        let page = table.decisions(region, below, PAGE).await.unwrap();
        seen.extend(page.decisions.iter().map(|past| past.version));
        pages += 1;
        below = page.next;
        if below.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (1..=DECISIONS).chain(201..=206).rev().collect();
    assert_eq!(seen, expected, "all but the one that cannot be read");
    assert!(pages >= 2, "{pages}");
    assert!(table.decision(region, 200).await.is_err());
    assert_eq!(table.items().await.len(), before);
}
