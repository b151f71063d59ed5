//! PostgreSQL and its fake.

mod bounds;
mod endings;
mod flaws;
mod histories;
mod leaves;
mod line;
mod postgres;
mod retention;
mod running;
mod sessions;
mod sides;
mod steps;
mod tokens;

use testing::Tables;
use tokio::sync::OnceCell;

use crate::comparison;

use flaws::Flaw;
use histories::Generator;
use postgres::PostgresSide;
use sides::{FakeSide, Side as _, take, without_settings};
use steps::Step;

/// The seeds of the histories, each of [`STEPS`] steps. Together they distinguish every wrong fake.
const SEEDS: [u64; 11] = [9, 30, 46, 47, 52, 61, 100, 129, 205, 221, 287];
const STEPS: usize = 170;

type Recorded = comparison::Recorded<Step, Tables>;

/// PostgreSQL's histories by their seeds, for both tests of this file.
static HISTORIES: OnceCell<Vec<(u64, Vec<Recorded>)>> = OnceCell::const_new();

/// The histories of this file.
async fn histories() -> &'static [(u64, Vec<Recorded>)] {
    HISTORIES
        .get_or_init(|| {
            compared(&SEEDS, STEPS, |seed| {
                let mut generator = Generator::of(seed);
                move |tables: &Tables| generator.next(tables)
            })
        })
        .await
}

/// Runs a history for each seed on both sides and compares them at every step. `steps_of` a seed makes
/// its steps.
async fn compared<Next: FnMut(&Tables) -> Step>(
    seeds: &[u64],
    steps: usize,
    steps_of: impl Fn(u64) -> Next,
) -> Vec<(u64, Vec<Recorded>)> {
    let postgres = PostgresSide::start().await.unwrap();
    let mut all = vec![];
    for seed in seeds {
        all.push((
            *seed,
            history(&postgres, *seed, steps, steps_of(*seed)).await,
        ));
    }
    let actions = all.iter().flat_map(|(_, history)| history);
    let actions = actions.map(|recorded| recorded.step.action.name());
    comparison::assert_compared(actions, seeds.len() * steps);
    all
}

/// Asserts that these histories distinguish every wrong fake.
async fn assert_distinguished(histories: &[(u64, Vec<Recorded>)], flaws: Vec<Flaw>) {
    comparison::assert_distinguished(histories, flaws, async |history, flaw| {
        distinguishing_step(history, flaw).await
    })
    .await;
}

/// Makes one step after the other from the current tables, and compares both sides after each.
async fn history(
    postgres: &PostgresSide,
    seed: u64,
    steps: usize,
    mut next: impl FnMut(&Tables) -> Step,
) -> Vec<Recorded> {
    postgres.empty().await.unwrap();
    let fake = FakeSide::new();
    let mut history: Vec<Recorded> = vec![];
    for number in 0..steps {
        let before = fake.fake.rows().tables.clone();
        let step = next(&before);
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
    histories().await;
}

#[tokio::test]
async fn every_wrong_fake_is_distinguished() {
    assert_distinguished(histories().await, flaws::all()).await;
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
