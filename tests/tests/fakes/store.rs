//! DynamoDB against its fake.

mod flaws;
mod histories;
mod sides;
mod steps;

use std::collections::BTreeMap;

use dynamodb_adapter::DynamoStore;
use scaling_tests::table::Table;
use testing::FakeStore;
use tokio::sync::OnceCell;

use flaws::{Flaw, Was};
use histories::Generator;
use sides::{Kept, Side};
use steps::{Ask, Step};

/// Each makes one history, of so many steps.
const SEEDS: [u64; 3] = [1, 2, 3];
const STEPS: usize = 250;

/// A step, what the adapter answered, and what the table held afterwards.
struct Recorded {
    step: Step,
    answer: String,
    kept: Kept,
}

/// What DynamoDB did, for both tests of this file.
static HISTORIES: OnceCell<Vec<Vec<Recorded>>> = OnceCell::const_new();

/// Drives both with the same histories, and compares them at every step.
async fn histories() -> &'static [Vec<Recorded>] {
    HISTORIES
        .get_or_init(|| async {
            let table = Table::start().await;
            let mut all = vec![];
            for seed in SEEDS {
                all.push(history(&table, seed).await);
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
        let faked = fake.take(&step).await;
        let kept = Kept::by_dynamodb(table).await;
        let fake_kept = Kept::by_fake(&fake.store);
        if (&faked, &fake_kept) != (&answer, &kept) {
            println!("seed {seed}, step {number}: {step:#?}\nitems before: {before:#?}");
            assert_eq!(faked, answer, "left: the fake's answer, right: DynamoDB's");
            assert_eq!(fake_kept, kept, "left: the fake's items, right: DynamoDB's");
        }
        history.push(Recorded { step, answer, kept });
    }
    history
}

#[tokio::test]
async fn dynamodb_and_its_fake_answer_alike() {
    let histories = histories().await;
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for recorded in histories.iter().flatten() {
        *asked.entry(recorded.step.ask.name()).or_default() += 1;
    }
    let steps: usize = asked.values().sum();
    println!("compared {steps} answers, and all items as often: {asked:?}");
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

/// The first step at which a wrong fake answers or keeps something else than DynamoDB did.
async fn told_by(history: &[Recorded], flaw: &Flaw) -> Option<usize> {
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
        if matches!(step.ask, Ask::Clear(_, mark) if mark >= side.marks()) {
            return Some(number);
        }
        let mut answer = side.take(&step).await;
        (flaw.after)(&was, &mut side.store.items(), &recorded.step, &mut answer);
        if answer != recorded.answer || Kept::by_fake(&side.store) != recorded.kept {
            return Some(number);
        }
    }
    None
}
