//! The region lock, wake marks and launch intents in the local AWS's DynamoDB, with dozens of
//! contenders.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use dynamodb_adapter::DynamoStore;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use scaling_tests::table::Table;
use shared::ids::{ClientToken, LaunchId, Owner, RegionName};
use shared::lock::{Lease, LockAttempt, LockError, RegionLock};
use shared::model::{Intent, LaunchRequest, LaunchTally};
use shared::report::{Decision, PassOutcome};
use shared::scaling::Plan;
use shared::store::{IntentClosure, StateStore};
use shared::trigger::Trigger;
use testing::{NOW, at};

const LEASE: Duration = Duration::from_secs(50);
const CONTENDERS: usize = 32;
const ROUNDS: usize = 20;

fn region() -> RegionName {
    "us-east-1".into()
}

async fn take(store: &DynamoStore, owner: &Owner, now: Timestamp) -> LockAttempt {
    store
        .acquire(&region(), owner, now, LEASE)
        .await
        .expect("DynamoDB answers")
}

async fn held(store: &DynamoStore, now: Timestamp) -> Lease {
    match take(store, &Owner::random(), now).await {
        LockAttempt::Acquired(lease) => lease,
        attempt @ LockAttempt::Held { .. } => panic!("{attempt:?}"),
    }
}

fn intent() -> Intent {
    Intent {
        launch_id: LaunchId::random(),
        client_token: ClientToken::random(),
        created_at: NOW,
        request: LaunchRequest {
            image_id: "ami-1".into(),
            client_sha: "sha".into(),
            spot: false,
            instance_type: "m6i.large".to_owned(),
            subnet_id: "subnet-a".to_owned(),
            security_group_ids: vec!["sg-1".to_owned()],
            instance_profile: Some("hosts".to_owned()),
            user_data: "IyEvYmluL3No".to_owned(),
            tags: vec![("Name".to_owned(), "host".to_owned())],
            count: 2,
            capacity: 2,
            imds_hop_limit: Some(1),
            ebs_optimized: false,
        },
    }
}

fn decision(lease: &Lease) -> Decision {
    Decision {
        region: region(),
        version: lease.version,
        at: NOW,
        id: "test".to_owned(),
        trigger: Trigger::Schedule,
        plan: Plan::default(),
        results: vec![],
        outcome: PassOutcome::Done,
        duration_ms: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_dozens_of_contenders_wins_and_versions_grow_by_one() {
    let store = Table::start().await;
    for round in 1..=ROUNDS {
        let attempts = join_all((0..CONTENDERS).map(|_| {
            let store = store.store.clone();
            tokio::spawn(async move { take(&store, &Owner::random(), NOW).await })
        }))
        .await;
        let leases: Vec<_> = attempts
            .into_iter()
            .filter_map(|attempt| match attempt.expect("no panic") {
                LockAttempt::Acquired(lease) => Some(lease),
                LockAttempt::Held { .. } => None,
            })
            .collect();
        assert_eq!(leases.len(), 1, "round {round}: {leases:?}");
        assert_eq!(leases[0].version, i64::try_from(round).expect("small"));
        store.release(&leases[0]).await.expect("released");
    }
}

#[tokio::test]
async fn expired_lock_is_acquired_only_after_the_margin() {
    let store = Table::start().await;
    let first = held(&store, NOW).await;
    let other = Owner::random();
    assert_eq!(
        take(&store, &other, at(51)).await,
        LockAttempt::Held {
            until: first.expires_at,
            decided_at: first.decided_at,
        }
    );
    let LockAttempt::Acquired(second) = take(&store, &other, at(53)).await else {
        panic!("held")
    };
    assert_eq!(second.version, first.version + 1);
    let lost = store.release(&first).await;
    assert!(
        matches!(lost, Err(LockError::Lost { version: 1, .. })),
        "{lost:?}"
    );
    store
        .release(&second)
        .await
        .expect("released by its holder");
}

#[tokio::test]
async fn only_the_holder_advances_its_version() {
    let store = Table::start().await;
    let first = held(&store, NOW).await;
    let lifted = store.advance_past_fence(&first, 40).await.unwrap();
    assert_eq!(lifted.version, 41);
    let lost = store.advance_past_fence(&first, 50).await;
    assert!(
        matches!(lost, Err(LockError::Lost { version: 1, .. })),
        "{lost:?}"
    );
    store.release(&lifted).await.unwrap();
    assert_eq!(held(&store, NOW).await.version, 42, "it grows from there");
}

#[tokio::test]
async fn repeated_attempt_of_the_same_owner_returns_its_lease() {
    let store = Table::start().await;
    let owner = Owner::random();
    let LockAttempt::Acquired(first) = take(&store, &owner, NOW).await else {
        panic!("held")
    };
    assert_eq!(
        take(&store, &owner, at(1)).await,
        LockAttempt::Acquired(first.clone())
    );
    store.release(&first).await.expect("released");
    store
        .release(&first)
        .await
        .expect("a repeated release is no loss");
}

#[tokio::test(flavor = "multi_thread")]
async fn wake_mark_is_set_once_and_visible_until_cleared() {
    let store = Table::start().await;
    assert!(!store.has_wake_mark(&region()).await.unwrap());
    let marks = join_all((0..CONTENDERS).map(|_| {
        let store = store.store.clone();
        tokio::spawn(async move { store.set_wake_mark(&region(), "test", NOW).await })
    }));
    for mark in marks.await {
        mark.unwrap().expect("marking what is marked is fine");
    }
    let mark = store
        .region_state(&region(), NOW)
        .await
        .unwrap()
        .wake_mark
        .expect("a mark");
    store.clear_wake_mark(&region(), &mark).await.unwrap();
    assert!(!store.has_wake_mark(&region()).await.unwrap());
    store
        .clear_wake_mark(&region(), &mark)
        .await
        .expect("clearing what is clear is fine");

    store.set_wake_mark(&region(), "test", NOW).await.unwrap();
    store.clear_wake_mark(&region(), &mark).await.unwrap();
    assert!(
        store.has_wake_mark(&region()).await.unwrap(),
        "a late clearing takes no later wake"
    );
}

#[tokio::test]
async fn intent_is_read_back_exactly_until_it_is_closed() {
    let store = Table::start().await;
    let lease = held(&store, NOW).await;
    let intent = intent();
    store
        .open_intents(
            &lease,
            std::slice::from_ref(&intent),
            &LaunchTally::default(),
        )
        .await
        .unwrap();
    let state = store.region_state(&region(), NOW).await.unwrap();
    assert_eq!(state.open_intents.as_slice(), std::slice::from_ref(&intent));

    let refused = |spot| testing::refusal(spot, "m6i.large", "subnet-a", at(180));
    for spot in [true, false] {
        let closing = IntentClosure {
            launch_id: intent.launch_id.clone(),
            outcome: "no capacity".to_owned(),
            refusal: Some(refused(spot)),
        };
        store
            .close_intents(&lease, &[closing], &LaunchTally::default())
            .await
            .unwrap();
    }
    let state = store.region_state(&region(), NOW).await.unwrap();
    assert!(state.open_intents.is_empty());
    assert_eq!(
        state.refusals,
        [refused(false), refused(true)],
        "each market's own"
    );
    assert!(
        store
            .region_state(&region(), at(180 + 3600))
            .await
            .unwrap()
            .refusals
            .is_empty(),
        "forgotten an hour later"
    );
}

#[tokio::test]
async fn holder_that_lost_its_lock_writes_nothing() {
    let store = Table::start().await;
    let first = held(&store, NOW).await;
    let opened = intent();
    store
        .open_intents(
            &first,
            std::slice::from_ref(&opened),
            &LaunchTally::default(),
        )
        .await
        .unwrap();
    let second = held(&store, at(60)).await;

    let late = store
        .open_intents(&first, &[intent()], &LaunchTally::default())
        .await;
    assert!(
        matches!(late, Err(LockError::Lost { version: 1, .. })),
        "{late:?}"
    );
    let closing = IntentClosure {
        launch_id: opened.launch_id.clone(),
        outcome: "late".to_owned(),
        refusal: None,
    };
    let closing = [closing];
    let late = store
        .close_intents(&first, &closing, &LaunchTally::default())
        .await;
    assert!(
        matches!(late, Err(LockError::Lost { version: 1, .. })),
        "{late:?}"
    );
    assert_eq!(
        store
            .region_state(&region(), at(60))
            .await
            .unwrap()
            .open_intents,
        [opened]
    );
    store
        .close_intents(&second, &closing, &LaunchTally::default())
        .await
        .expect("the holder's write goes through");
}

#[tokio::test(flavor = "multi_thread")]
async fn intents_are_written_while_the_lock_is_contended() {
    let store = Table::start().await;
    let lease = held(&store, NOW).await;
    let contenders: Vec<_> = (0..CONTENDERS)
        .map(|_| {
            let store = store.store.clone();
            tokio::spawn(async move {
                let owner = Owner::random();
                for _ in 0..ROUNDS {
                    let attempt = take(&store, &owner, NOW).await;
                    assert!(matches!(attempt, LockAttempt::Held { .. }), "{attempt:?}");
                }
            })
        })
        .collect();
    let mut written = BTreeSet::new();
    for _ in 0..ROUNDS {
        let intent = intent();
        written.insert(intent.launch_id.clone());
        store
            .open_intents(
                &lease,
                std::slice::from_ref(&intent),
                &LaunchTally::default(),
            )
            .await
            .expect("the holder gets through");
    }
    for contender in contenders {
        contender.await.expect("no contender took a held lock");
    }
    let open = store
        .region_state(&region(), NOW)
        .await
        .unwrap()
        .open_intents;
    assert_eq!(
        open.into_iter()
            .map(|i| i.launch_id)
            .collect::<BTreeSet<_>>(),
        written
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn event_id_is_recorded_by_one_of_all_deliveries() {
    let store = Table::start().await;
    let first = join_all((0..CONTENDERS).map(|_| {
        let store = store.store.clone();
        tokio::spawn(async move { store.record_seen("event-1", NOW).await.unwrap() })
    }));
    let first = first
        .await
        .into_iter()
        .filter(|seen| *seen.as_ref().unwrap())
        .count();
    assert_eq!(first, 1);
    assert!(store.record_seen("event-2", NOW).await.unwrap());
}

#[tokio::test]
async fn region_state_excludes_other_regions_and_the_history() {
    let store = Table::start().await;
    let lease = held(&store, NOW).await;
    store
        .open_intents(&lease, &[intent()], &LaunchTally::default())
        .await
        .unwrap();
    let decision = decision(&lease);
    store.record_decision(&lease, &decision).await.unwrap();
    let other = store
        .region_state(&"us-east-10".into(), NOW + SignedDuration::ZERO)
        .await
        .unwrap();
    assert!(other.open_intents.is_empty());
    assert_eq!(
        store
            .region_state(&region(), NOW)
            .await
            .unwrap()
            .open_intents
            .len(),
        1
    );
}
