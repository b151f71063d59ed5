//! What passes delete of the history, at the bound of its age. Ninety days are too long for the other
//! histories: all agents fall silent.

use jiff::{SignedDuration, Timestamp};
use shared::assign::{AssignRequest, ClientBuild, SessionId, SessionLimits, UserId};
use shared::db::Fence;
use shared::ids::InstanceId;
use shared::model::{NewInstance, TerminateIf};
use testing::{NOW, Tables};

use super::steps::{Action, IMAGES, REGIONS, Step, launch_of};
use super::{Flaw, assert_distinguished, compared};

const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const MOMENT: SignedDuration = SignedDuration::from_micros(1);

pub(super) fn fence(place: usize) -> Fence {
    Fence {
        region: REGIONS[place].into(),
        version: 1,
    }
}

/// An instance that is launched in one of the regions.
pub(super) fn launched(place: usize, id: &InstanceId) -> NewInstance {
    NewInstance {
        id: id.clone(),
        launch_id: launch_of(id),
        image_id: IMAGES[place].into(),
        client_sha: format!("sha-of-{}", IMAGES[place]).into(),
        instance_type: "c5.large".to_owned(),
        subnet_id: Some("subnet-0".to_owned()),
        spot: false,
        capacity: 1,
        private_ip: "10.0.0.1".parse().ok(),
        public_ip: "203.0.113.1".parse().ok(),
        launched_at: NOW,
    }
}

/// An instance that has a session and ends a second later, in one of the regions.
fn life(place: usize) -> Vec<Step> {
    let id = InstanceId::from(format!("i-{place:02}"));
    let user = format!("user-{place}");
    let request = AssignRequest {
        user: UserId::parse(&user).unwrap(),
        session: SessionId::parse("1").unwrap(),
        regions: vec![REGIONS[place].into()],
        client: ClientBuild::CurrentImage,
        limits: SessionLimits::default(),
    };
    let end = Action::End {
        user,
        session: "1".to_owned(),
        by_operator: true,
    };
    let ids = vec![id.clone()];
    let begins = [
        Action::BeginPass(fence(place)),
        Action::Record(fence(place), vec![launched(place, &id)]),
        Action::Register(id.clone(), launch_of(&id)),
        Action::Assign(request),
    ];
    let ends = [
        end,
        Action::DrainByHand(id),
        Action::Terminate(fence(place), ids.clone(), TerminateIf::Empty),
    ];
    let steps = |at: Timestamp, actions: Vec<Action>| {
        let step = move |action| Step { at, action };
        actions.into_iter().map(step).collect::<Vec<_>>()
    };
    let gone = vec![Action::Remove(fence(place), ids)];
    [
        steps(NOW, begins.into()),
        steps(NOW + SECOND, ends.into()),
        steps(NOW + SECOND + SECOND, gone),
    ]
    .concat()
}

fn steps() -> Vec<Step> {
    let mut steps = [life(0), life(1)].concat();
    steps.sort_by_key(|step| step.at);
    // The session ended a second before its instance was gone.
    for ended in [NOW + SECOND, NOW + SECOND + SECOND] {
        for at in [ended + KEPT, ended + KEPT + MOMENT] {
            let action = Action::BeginPass(fence(0));
            steps.push(Step { at, action });
        }
    }
    let at = NOW + KEPT + SECOND * 3;
    let action = Action::BeginPass(fence(1));
    steps.push(Step { at, action });
    steps
}

fn flaws() -> Vec<Flaw> {
    /// Deletes what a pass of this step should not.
    fn delete(now: &mut Tables, step: &Step, is_deleted: impl Fn(&str, &Fence, Timestamp) -> bool) {
        if let Action::BeginPass(fence) = &step.action {
            now.session_history.retain(|row| {
                let ended = row.ended_at.unwrap_or(step.at);
                !is_deleted(row.region.as_str(), fence, ended)
            });
        }
    }
    vec![
        Flaw::wrong_result(
            "a pass deletes the history of all regions",
            |_, now, step, _| {
                delete(now, step, |_, _, ended| ended < step.at - KEPT);
            },
        ),
        Flaw::wrong_result("a session is deleted at the bound", |_, now, step, _| {
            delete(now, step, |region, fence, ended| {
                region == fence.region.as_str() && ended <= step.at - KEPT
            });
        }),
        Flaw::wrong_result("sessions are kept for ever", |was, now, step, _| {
            if matches!(step.action, Action::BeginPass(_)) {
                now.session_history.clone_from(&was.session_history);
            }
        }),
        Flaw::wrong_result("instances are deleted with sessions", |_, now, step, _| {
            if let Action::BeginPass(fence) = &step.action {
                let is_left = |row: &testing::InstanceRecord| {
                    row.region != fence.region || row.gone_at >= step.at - KEPT + SECOND
                };
                now.instance_history.retain(is_left);
            }
        }),
        Flaw::wrong_result("instances are kept for ever", |was, now, step, _| {
            if matches!(step.action, Action::BeginPass(_)) {
                now.instance_history.clone_from(&was.instance_history);
            }
        }),
    ]
}

#[tokio::test]
async fn passes_delete_old_history_alike() {
    let count = steps().len();
    let histories = compared(&[0], count, |_| {
        let mut steps = steps().into_iter();
        move |_: &Tables| steps.next().unwrap()
    })
    .await;
    let (_, history) = &histories[0];
    let kept = |number: usize| {
        let state = &history[number].state;
        (state.session_history.len(), state.instance_history.len())
    };
    let all: Vec<_> = (count - 5..count).map(kept).collect();
    assert_eq!(all, [(2, 2), (1, 2), (1, 2), (1, 1), (0, 0)]);
    assert_distinguished(&histories, flaws()).await;
}
