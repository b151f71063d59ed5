//! PostgreSQL and its fake.

mod bounds;
mod flaws;
mod histories;
mod postgres;
mod sides;
mod steps;

use testing::Tables;
use tokio::sync::OnceCell;

use crate::comparison;

use flaws::Flaw;
use histories::Generator;
use postgres::PostgresSide;
use sides::{FakeSide, Side as _, take, without_settings};
use steps::Step;

/// The seeds of the histories, each of [`STEPS`] steps. Of the first 300 seeds, these nine together
/// distinguish every wrong fake at least twice.
const SEEDS: [u64; 9] = [10, 79, 216, 230, 268, 283, 287, 291, 298];
const STEPS: usize = 170;

type Recorded = comparison::Recorded<Step, Tables>;

/// PostgreSQL's histories by their seeds, for both tests of this file.
static HISTORIES: OnceCell<Vec<(u64, Vec<Recorded>)>> = OnceCell::const_new();

/// Runs the same histories on both sides and compares them at every step.
async fn histories() -> &'static [(u64, Vec<Recorded>)] {
    HISTORIES
        .get_or_init(|| async {
            let postgres = PostgresSide::start().await.unwrap();
            let mut all = vec![];
            for seed in SEEDS {
                postgres.empty().await.unwrap();
                all.push((seed, history(&postgres, seed).await));
            }
            all
        })
        .await
}

async fn history(postgres: &PostgresSide, seed: u64) -> Vec<Recorded> {
    let fake = FakeSide::new();
    let mut generator = Generator::of(seed);
    let mut history: Vec<Recorded> = vec![];
    for number in 0..STEPS {
        let before = fake.fake.rows().tables.clone();
        let step = generator.next(&before);
        let answer = take(postgres, &step).await;
        let fake_answer = take(&fake, &step).await;
        let state = postgres.rows().await;
        let recorded = Recorded {
            step,
            answer,
            state,
        };
        let place = format!("seed {seed}, step {number}");
        recorded.assert_equals(&fake_answer, &fake.rows().await, &place, &before);
        history.push(recorded);
    }
    history
}

#[tokio::test]
async fn postgresql_and_its_fake_answer_alike() {
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

/// The first step at which a wrong fake differs from PostgreSQL in its answer or its rows.
async fn distinguishing_step(history: &[Recorded], flaw: &Flaw) -> Option<usize> {
    let side = FakeSide::new();
    for (number, recorded) in history.iter().enumerate() {
        let was = side.fake.rows().tables.clone();
        let mut step = recorded.step.clone();
        (flaw.before)(&mut side.fake.rows().tables, &mut step);
        let mut answer = take(&side, &step).await;
        let tables = &mut side.fake.rows().tables;
        (flaw.after)(&was, tables, &recorded.step, &mut answer);
        let same_rows = without_settings(tables) == recorded.state;
        if answer != recorded.answer || !same_rows {
            return Some(number);
        }
    }
    None
}
