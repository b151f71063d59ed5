//! Agents that take their instances out of service, up to the limit and at its bounds of time.

use jiff::{SignedDuration, Timestamp};
use shared::ids::InstanceId;
use testing::NOW;

use super::postgres::PostgresSide;
use super::sides::{FakeSide, Side as _, take, without_settings};
use super::steps::{Action, REGIONS, Step, launch_of};

/// More than ten times the smallest limit, so that a tenth of them is more than it.
const INSTANCES: usize = 42;

fn id(number: usize) -> InstanceId {
    format!("i-{number:02}").into()
}

fn leave(number: usize) -> Action {
    let id = id(number);
    Action::Leave(id.clone(), "the GPU is gone".to_owned(), launch_of(&id))
}

/// Instances of both regions that are registered.
fn rows(session: &FakeSide, at: Timestamp) -> String {
    let tables = &mut session.fake.rows().tables;
    let mut sql = Vec::new();
    for number in 0..INSTANCES + 4 {
        let region = REGIONS[usize::from(number >= INSTANCES)].into();
        let instance = shared::model::Instance {
            launch_id: launch_of(&id(number)),
            status: shared::model::InstanceStatus::PreConnection,
            launched_at: at,
            active_at: None,
            beat_at: None,
            slots: shared::model::SlotCounts::default(),
            pool: None,
            ..testing::instance(id(number).as_str())
        };
        tables.add_instance(&region, &instance);
        sql.push(format!(
            "('{}', '{region}', '{}', 'ami-1', 'sha-of-ami-1', 'c5.large', 2, '{at}')",
            instance.id, instance.launch_id
        ));
    }
    format!(
        "INSERT INTO instances (id, region, launch_id, image_id, client_sha, instance_type, capacity,
             launched_at) VALUES {}",
        sql.join(", ")
    )
}

#[tokio::test]
async fn agents_leave_alike() {
    let (postgres, fake) = (PostgresSide::start().await.unwrap(), FakeSide::new());
    postgres.empty().await.unwrap();
    postgres.run(rows(&fake, NOW)).await;
    let hour = SignedDuration::from_hours(1);
    let just_before = hour - SignedDuration::from_micros(1);
    let register = |number| Action::Register(id(number), launch_of(&id(number)));
    let mut steps: Vec<(SignedDuration, Action)> = Vec::new();
    let mut push = |after, action| steps.push((after, action));
    let at_once = SignedDuration::ZERO;
    for number in 0..INSTANCES + 3 {
        push(at_once, register(number));
    }
    // A tenth of the large region leaves, three of the small one; the others are held.
    for number in (0..6).chain(INSTANCES..INSTANCES + 4) {
        push(at_once, leave(number));
        push(at_once, leave(number));
    }
    push(
        at_once,
        Action::Leave(id(7), "another launch".to_owned(), launch_of(&id(8))),
    );
    push(at_once, leave(99));
    // One that is held registers again: it is well. One that leaves does not come back.
    push(at_once, register(5));
    push(at_once, register(0));
    // The hour is not over, and then it is.
    push(just_before, leave(4));
    push(hour, leave(4));
    push(hour, leave(5));
    push(hour, leave(INSTANCES + 3));
    let mut outcomes = Vec::new();
    for (number, (after, action)) in steps.into_iter().enumerate() {
        let at = NOW + after;
        let step = Step { at, action };
        let answer = take(&postgres, &step).await;
        assert_eq!(answer, take(&fake, &step).await, "step {number}: {step:?}");
        let fake_rows = without_settings(&fake.fake.rows().tables);
        assert_eq!(postgres.rows().await, fake_rows, "step {number}: {step:?}");
        if matches!(step.action, Action::Leave(..)) {
            outcomes.push(answer);
        }
    }
    let count = |outcome: &str| {
        outcomes
            .iter()
            .filter(|text| text.contains(outcome))
            .count()
    };
    let counts = ["Leaving", "Held", "ShutDown", "Retry"].map(count);
    assert_eq!(counts, [17, 7, 1, 1], "{outcomes:#?}");
}
