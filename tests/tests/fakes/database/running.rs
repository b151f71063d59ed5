//! Since when instances run: what EC2's events, passes and agents say of it, in any order.

use jiff::SignedDuration;
use shared::ids::InstanceId;
use shared::model::TerminateIf;
use testing::{NOW, Tables};

use super::retention::{fence, launched};
use super::steps::{Action, Step, launch_of};
use super::{Flaw, assert_distinguished, compared};

/// Each with what is said of it: the second that it is said in, and the second that is said.
const TOLD: [(&str, &[(i64, i64)]); 4] = [
    // The clock of whoever says it may be ahead; an event may be late, or come again.
    ("i-00", &[(20, 3600), (25, 12), (30, 12), (35, 28)]),
    // After it registered, which is not known to be later.
    ("i-01", &[(60, 55)]),
    ("i-02", &[]),
    ("i-03", &[(30, 29)]),
];

const REGISTERED: SignedDuration = SignedDuration::from_secs(40);

fn steps() -> Vec<Step> {
    let ids = TOLD.map(|(id, _)| InstanceId::from(id));
    let at = |seconds| NOW + SignedDuration::from_secs(seconds);
    let rows = ids.iter().map(|id| launched(0, id)).collect();
    let mut actions = vec![
        (0, Action::BeginPass(fence(0))),
        (0, Action::Record(fence(0), rows)),
        (22, Action::NoteRunning(vec![("i-else".into(), at(20))])),
        // One of them twice.
        (
            50,
            Action::NoteRunning(
                [(0, 49), (3, 27), (3, 26)]
                    .map(|(n, s)| (ids[n].clone(), at(s)))
                    .into(),
            ),
        ),
    ];
    for (id, told) in TOLD {
        for (when, since) in told {
            let running = vec![(id.into(), at(*since))];
            actions.push((*when, Action::NoteRunning(running)));
        }
    }
    for id in &ids[..2] {
        let register = Action::Register(id.clone(), launch_of(id));
        actions.push((REGISTERED.as_secs(), register));
    }
    actions.push((90, Action::BeginPass(fence(0))));
    actions.extend(ids.iter().map(|id| (91, Action::DrainByHand(id.clone()))));
    let end = Action::Terminate(fence(0), ids.to_vec(), TerminateIf::Empty);
    actions.push((92, end));
    actions.push((93, Action::Remove(fence(0), ids.to_vec())));
    actions.sort_by_key(|(seconds, _)| *seconds);
    let steps = actions.into_iter().map(|(seconds, action)| Step {
        at: at(seconds),
        action,
    });
    steps.collect()
}

fn flaws() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("the last word counts", |_, now, step, _| {
            if let Action::NoteRunning(running) = &step.action {
                for (id, at) in running {
                    if let Some(row) = now.instances.get_mut(id) {
                        row.running_at = Some(step.at.min(*at));
                    }
                }
            }
        }),
        Flaw::wrong_result("a time that is to come counts", |_, now, step, answer| {
            if let Action::NoteRunning(running) = &step.action
                && answer.contains("Done")
                && let [(id, at)] = running.as_slice()
                && let Some(row) = now.instances.get_mut(id)
            {
                row.running_at = Some(*at);
            }
        }),
        Flaw::wrong_result("what agents say does not count", |was, now, _, _| {
            for record in &mut now.instance_history {
                if let Some(row) = was.instances.get(&record.instance_id) {
                    record.running_at = row.running_at;
                }
            }
        }),
    ]
}

#[tokio::test]
async fn instances_run_since_the_same_time() {
    let histories = compared(&[0], steps().len(), |_| {
        let mut steps = steps().into_iter();
        move |_: &Tables| steps.next().unwrap()
    })
    .await;
    let last = histories[0].1.last().unwrap();
    let history = last.state.instance_history.iter();
    let since: Vec<_> = history
        .map(|row| Some(row.running_at?.duration_since(NOW).as_secs()))
        .collect();
    let registered = REGISTERED.as_secs();
    assert_eq!(since, [Some(12), Some(registered), None, Some(26)]);
    assert_distinguished(&histories, flaws()).await;
}
