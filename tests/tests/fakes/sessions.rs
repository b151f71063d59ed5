//! Sessions of the status page that ended: the adapter and its fake after the same calls.

use scaling_tests::table::Table;
use shared::sessions::EndedSessions;
use testing::{FakeStore, at};

async fn answers(store: &dyn EndedSessions) -> Vec<bool> {
    let mut answers = Vec::new();
    for ended in ["one", "two", "one"] {
        for id in ["one", "two", "three"] {
            answers.push(store.is_ended(id).await.unwrap());
        }
        store.end_session(ended, at(60)).await.unwrap();
    }
    for id in ["one", "two", "three"] {
        answers.push(store.is_ended(id).await.unwrap());
    }
    answers
}

#[tokio::test]
async fn dynamodb_and_its_fake_end_sessions_alike() {
    let table = Table::start().await;
    let of_fake = answers(&FakeStore::default()).await;
    assert_eq!(answers(&*table.store).await, of_fake);
    assert_eq!(of_fake[of_fake.len() - 3..], [true, true, false]);
}
