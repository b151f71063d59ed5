//! Postgres against its fake.

mod bounds;
mod flaws;
mod histories;
mod postgres;
mod sides;
mod steps;

use std::collections::BTreeMap;

use testing::Tables;
use tokio::sync::OnceCell;

use flaws::Flaw;
use histories::Generator;
use postgres::PostgresSide;
use sides::{FakeSide, Side as _, take, without_settings};
use steps::Step;

/// Each makes one history, of so many steps. Of the first 300 they are six that together tell
/// every wrong fake at least twice.
const SEEDS: [u64; 6] = [42, 46, 58, 74, 96, 177];
const STEPS: usize = 170;

/// A step, what Postgres answered, and its rows afterwards.
#[derive(Debug)]
struct Recorded {
    step: Step,
    answer: String,
    rows: Tables,
}

/// What Postgres did, for both tests of this file.
static HISTORIES: OnceCell<Vec<Vec<Recorded>>> = OnceCell::const_new();

/// Drives both with the same histories, and compares them at every step.
async fn histories() -> &'static [Vec<Recorded>] {
    HISTORIES
        .get_or_init(|| async {
            let postgres = PostgresSide::start().await.unwrap();
            let mut all = vec![];
            for seed in SEEDS {
                postgres.empty().await.unwrap();
                all.push(history(&postgres, seed).await);
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
        let faked = take(&fake, &step).await;
        let rows = postgres.rows().await;
        let fake_rows = fake.rows().await;
        if (&faked, &fake_rows) != (&answer, &rows) {
            println!("seed {seed}, step {number}: {step:#?}\nrows before: {before:#?}");
            assert_eq!(faked, answer, "left: the fake's answer, right: Postgres'");
            assert_eq!(fake_rows, rows, "left: the fake's rows, right: Postgres'");
        }
        history.push(Recorded { step, answer, rows });
    }
    history
}

#[tokio::test]
async fn postgres_and_its_fake_answer_alike() {
    let histories = histories().await;
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for recorded in histories.iter().flatten() {
        *asked.entry(recorded.step.ask.name()).or_default() += 1;
    }
    let steps: usize = asked.values().sum();
    println!("compared {steps} answers, and all rows as often: {asked:?}");
    assert_eq!(steps, SEEDS.len() * STEPS);
}

#[tokio::test]
async fn every_wrong_fake_is_told() {
    let histories = histories().await;
    for history in histories {
        let told = told_by(history, &flaws::none()).await;
        assert_eq!(told, None, "the right fake is not told from itself");
    }
    let mut untold = vec![];
    for flaw in flaws::all() {
        let mut told = None;
        for (history, seed) in histories.iter().zip(SEEDS) {
            told = told.or(told_by(history, &flaw).await.map(|number| (seed, number)));
        }
        match told {
            Some((seed, number)) => println!("{}: seed {seed}, step {number}", flaw.name),
            None => untold.push(flaw.name),
        }
    }
    assert!(
        untold.is_empty(),
        "not told from the right fake: {untold:#?}"
    );
}

/// The first step at which a wrong fake answers or leaves something else than Postgres did.
async fn told_by(history: &[Recorded], flaw: &Flaw) -> Option<usize> {
    let side = FakeSide::new();
    for (number, recorded) in history.iter().enumerate() {
        let was = side.fake.rows().tables.clone();
        let mut step = recorded.step.clone();
        (flaw.before)(&mut side.fake.rows().tables, &mut step);
        let mut answer = take(&side, &step).await;
        let tables = &mut side.fake.rows().tables;
        (flaw.after)(&was, tables, &recorded.step, &mut answer);
        let same_rows = without_settings(tables) == recorded.rows;
        if answer != recorded.answer || !same_rows {
            return Some(number);
        }
    }
    None
}
