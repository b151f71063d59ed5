//! DynamoDB and its fake.

mod flaws;
mod histories;
mod sides;
mod steps;

use dynamodb_adapter::DynamoStore;
use scaling_tests::table::Table;
use testing::FakeStore;
use tokio::sync::OnceCell;

use crate::comparison;

use flaws::{Flaw, Was};
use histories::Generator;
use sides::{Kept, Side};
use steps::{Action, Step};

/// The seeds of the histories, each of [`STEPS`] steps.
const SEEDS: [u64; 3] = [1, 2, 3];
const STEPS: usize = 250;

type Recorded = comparison::Recorded<Step, Kept>;

/// DynamoDB's histories by their seeds, for both tests of this file.
static HISTORIES: OnceCell<Vec<(u64, Vec<Recorded>)>> = OnceCell::const_new();

/// Runs the same histories on both sides and compares them at every step.
async fn histories() -> &'static [(u64, Vec<Recorded>)] {
    HISTORIES
        .get_or_init(|| async {
            let table = Table::start().await;
            let mut all = vec![];
            for seed in SEEDS {
                all.push((seed, history(&table, seed).await));
                table.empty().await;
            }
            all
        })
        .await
}

async fn history(table: &Table, seed: u64) -> Vec<Recorded> {
    let dynamodb = Side::<DynamoStore>::of(DynamoStore::clone(&table.store));
    let fake = Side::of(FakeStore::default());
    let mut generator = Generator::of(seed);
    let mut history: Vec<Recorded> = vec![];
    for number in 0..STEPS {
        let step = generator.next(&fake);
        let before = Kept::by_fake(&fake.store);
        let answer = dynamodb.take(&step).await;
        let fake_answer = fake.take(&step).await;
        let state = Kept::by_dynamodb(table).await;
        let recorded = Recorded {
            step,
            answer,
            state,
        };
        let place = format!("seed {seed}, step {number}");
        let fake_state = Kept::by_fake(&fake.store);
        recorded.assert_equals(&fake_answer, &fake_state, &place, &before);
        history.push(recorded);
    }
    history
}

#[tokio::test]
async fn dynamodb_and_its_fake_answer_alike() {
    let steps = histories().await.iter().flat_map(|(_, history)| history);
    let actions = steps.map(|recorded| recorded.step.action.name());
    comparison::assert_compared(actions, SEEDS.len() * STEPS);
}

#[tokio::test]
async fn every_wrong_fake_is_distinguished() {
    let histories = histories().await;
    comparison::assert_distinguished(histories, flaws::all(), async |history, flaw| {
        distinguishing_step(history, flaw).await
    })
    .await;
}

/// The first step at which a wrong fake differs from DynamoDB in its answer or its items.
async fn distinguishing_step(history: &[Recorded], flaw: &Flaw) -> Option<usize> {
    let side = Side::of(FakeStore::default());
    for (number, recorded) in history.iter().enumerate() {
        let mut step = recorded.step.clone();
        let was = {
            let mut items = side.store.items();
            let was = Was {
                regions: items.regions.clone(),
                seen: items.seen.clone(),
            };
            (flaw.before)(&mut items, &mut step);
            was
        };
        // A mark that it never showed.
        if matches!(step.action, Action::Clear(_, mark) if mark >= side.marks()) {
            return Some(number);
        }
        let mut answer = side.take(&step).await;
        (flaw.after)(&was, &mut side.store.items(), &recorded.step, &mut answer);
        if answer != recorded.answer || Kept::by_fake(&side.store) != recorded.state {
            return Some(number);
        }
    }
    None
}
