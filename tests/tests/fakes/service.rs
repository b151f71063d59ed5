//! The record of the service as a whole: the adapter and its fake after the same calls.

use jiff::Timestamp;
use scaling_tests::table::Table;
use shared::service::{Condition, ServiceRecords};
use testing::{FakeStore, at};

/// The answers to one history of calls, as text.
async fn answers(store: &dyn ServiceRecords) -> Vec<String> {
    use Condition::{DatabaseDown, ScheduleStopped};
    let mut answers = Vec::new();
    let record = async || format!("{:?}", store.service_record().await.unwrap());
    answers.push(record().await);
    for condition in [DatabaseDown, ScheduleStopped] {
        answers.push(format!("{:?}", store.end(condition).await.unwrap()));
        for seconds in [10, 20] {
            let began = store.begin(condition, at(seconds)).await.unwrap();
            answers.push(format!("{began:?}"));
        }
        answers.push(record().await);
    }
    for seconds in [30, 90] {
        let before = store.record_schedule(at(seconds)).await.unwrap();
        answers.push(format!("{before:?}"));
    }
    for _ in 0..2 {
        let since: Option<Timestamp> = store.end(DatabaseDown).await.unwrap();
        answers.push(format!("{since:?}"));
    }
    answers.push(format!(
        "{:?}",
        store.begin(DatabaseDown, at(95)).await.unwrap()
    ));
    // The last search was at 100: at the bound, before it and after it.
    for (now, before) in [(100, 0), (101, 99), (102, 100), (103, 101), (104, 103)] {
        let claimed = store.claim_search(at(now), at(before)).await.unwrap();
        answers.push(format!("{claimed:?}"));
    }
    answers.push(record().await);
    answers
}

#[tokio::test]
async fn dynamodb_and_its_fake_remember_the_service_alike() {
    let table = Table::start().await;
    let of_fake = answers(&FakeStore::default()).await;
    assert_eq!(answers(&*table.store).await, of_fake);
    let claims = &of_fake[of_fake.len() - 6..of_fake.len() - 1];
    assert_eq!(claims, ["true", "false", "true", "false", "true"]);
}
