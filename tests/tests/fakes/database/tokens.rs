//! Tokens of agents: renewed, taken, and revoked.

use jiff::SignedDuration;
use shared::agent_token::AgentToken;
use shared::db::Fence;
use shared::ids::{InstanceId, LaunchId};
use shared::model::{Instance, NewInstance, TerminateIf};
use testing::{AgentClaims, NOW};

use super::postgres::PostgresSide;
use super::sides::{FakeSide, Side as _, take, without_settings};
use super::steps::{Action, REGIONS, Step, launch_of};

fn fence(version: i64) -> Fence {
    Fence {
        region: REGIONS[0].into(),
        version,
    }
}

fn new(id: &str) -> NewInstance {
    let Instance {
        id,
        image_id,
        client_sha,
        ..
    } = testing::instance(id);
    NewInstance {
        launch_id: launch_of(&id),
        id,
        image_id,
        client_sha,
        instance_type: "c5.large".to_owned(),
        subnet_id: None,
        spot: false,
        capacity: 2,
        private_ip: "10.0.0.1".parse().ok(),
        public_ip: None,
        launched_at: NOW,
    }
}

fn token(id: &str, number: u32) -> (InstanceId, AgentToken) {
    let token = AgentToken {
        token: format!("token {number} of {id}").into(),
        token_id: format!("key-{number}").into(),
        key_id: "key".into(),
        valid_until: NOW + SignedDuration::from_hours(i64::from(number)),
    };
    (id.into(), token)
}

fn beat(id: &str, token: Option<&str>, launch: &str) -> Action {
    let claims = AgentClaims {
        launch: LaunchId::from(format!("launch-of-{launch}")),
        token: token.map(Into::into),
    };
    Action::BeatWith(id.into(), claims)
}

#[tokio::test]
async fn tokens_are_renewed_taken_and_revoked_alike() {
    let (postgres, fake) = (PostgresSide::start().await.unwrap(), FakeSide::new());
    postgres.empty().await.unwrap();
    let ids = ["i-1", "i-2", "i-3", "i-4"];
    let own = |id: &str| Action::Own(id.into(), launch_of(&id.into()));
    let register = |id: &str| Action::Register(id.into(), launch_of(&id.into()));
    let mut steps = vec![Action::Record(fence(1), ids.map(new).into())];
    steps.extend(["i-1", "i-2", "i-4"].map(register));
    steps.extend([
        own("i-1"),
        Action::Own("i-1".into(), launch_of(&"i-2".into())),
        Action::Terminate(fence(1), vec!["i-4".into()], TerminateIf::Gone),
        Action::Renew(
            fence(1),
            vec![
                token("i-4", 1),
                token("i-1", 1),
                token("i-3", 1),
                token("i-9", 1),
            ],
        ),
        Action::Renew(fence(0), vec![token("i-2", 1)]),
        // The other region's.
        Action::Renew(
            Fence {
                region: REGIONS[1].into(),
                version: 1,
            },
            vec![token("i-2", 1)],
        ),
        Action::Observe(REGIONS[0].into()),
        // With the launch's token, with another one, with the next one, and again with an older one.
        beat("i-1", None, "i-1"),
        beat("i-1", Some("key-7"), "i-1"),
        beat("i-1", Some("key-1"), "i-1"),
        beat("i-1", None, "i-1"),
        beat("i-1", Some("key-1"), "i-2"),
        beat("i-2", None, "i-2"),
        register("i-1"),
        register("i-3"),
        Action::Observe(REGIONS[0].into()),
        Action::Renew(fence(2), vec![token("i-1", 2), token("i-2", 2)]),
        Action::Observe(REGIONS[0].into()),
        beat("i-1", Some("key-1"), "i-1"),
        beat("i-1", Some("key-2"), "i-1"),
        // Revoked: nothing answers any more.
        Action::Revoke("i-1".into()),
        Action::Revoke("i-1".into()),
        Action::Revoke("i-9".into()),
        Action::Revoke("i-4".into()),
        beat("i-1", Some("key-2"), "i-1"),
        register("i-1"),
        own("i-1"),
        own("i-2"),
        Action::Leave("i-1".into(), "broken".to_owned(), launch_of(&"i-1".into())),
        Action::Renew(fence(2), vec![token("i-1", 3)]),
        Action::Observe(REGIONS[0].into()),
        Action::Terminate(
            fence(2),
            vec!["i-1".into(), "i-2".into()],
            TerminateIf::Gone,
        ),
        Action::Remove(fence(2), ids.map(Into::into).into()),
    ]);
    let mut answers = Vec::new();
    for (number, action) in steps.into_iter().enumerate() {
        let seconds = i64::try_from(number).unwrap();
        let at = NOW + SignedDuration::from_secs(seconds);
        let step = Step { at, action };
        let answer = take(&postgres, &step).await;
        assert_eq!(answer, take(&fake, &step).await, "step {number}: {step:?}");
        let fake_rows = without_settings(&fake.fake.rows().tables);
        assert_eq!(postgres.rows().await, fake_rows, "step {number}: {step:?}");
        answers.push(answer);
    }
    let count = |text: &str| answers.iter().filter(|it| it.contains(text)).count();
    assert_eq!(count("token 1 of i-1"), 4, "{answers:#?}");
    assert_eq!(count("token 2 of i-1"), 1, "{answers:#?}");
    assert_eq!(count("ShutDown"), 4, "{answers:#?}");
    let rows = fake.rows().await;
    assert!(rows.instances.keys().map(InstanceId::as_str).eq(["i-3"]));
    assert!(rows.agent_tokens.keys().eq(rows.instances.keys()));
}
