//! Passes that renew the tokens of host agents.

use jiff::SignedDuration;
use shared::agent_token::AgentTokens;
use shared::clock::Clock as _;
use shared::ids::LaunchId;
use shared::pass::{PassRequest, Reconciler};
use shared::report::PassReport;
use shared::trigger::Trigger;
use testing::{AgentAnswer, AgentClaims, World, instance};

const NEXT_KEY: &str = "another key of more than thirty-two bytes";

fn world() -> World {
    World::with(["i-1", "i-2"].map(instance))
}

/// A heartbeat of `i-1`, with the token that the agent has.
fn beat(world: &World, claims: &AgentClaims) -> AgentAnswer {
    let tables = &mut world.database.rows().tables;
    tables.heartbeat(&"i-1".into(), claims.clone(), world.clock.now())
}

fn of_launch() -> AgentClaims {
    (&LaunchId::from("launch-of-i-1")).into()
}

/// Advances the time while agents send heartbeats.
fn advance(world: &World, by: SignedDuration) {
    world.clock.advance(by);
    let now = world.clock.now();
    for beat in world.database.rows().tables.heartbeats.values_mut() {
        beat.beat_at = now;
    }
}

async fn pass(world: &World, reconciler: &Reconciler) -> PassReport {
    let request = PassRequest {
        trigger: Trigger::ByHand,
        id: "test".to_owned(),
        began: world.clock.now(),
        approve_mass_removal: false,
    };
    reconciler.run(&World::region(), &request).await
}

#[tokio::test]
async fn token_is_renewed_for_as_long_as_its_instance_lives() {
    let world = world();
    assert!(!format!("{:?}", world.pass().await).contains("renew"));
    let mut claims = of_launch();
    // The first tokens end after 30 days.
    for _ in 0..5 {
        advance(&world, SignedDuration::from_hours(24 * 15 + 1));
        world.pass().await;
        let answer = beat(&world, &claims);
        assert!(answer.token.is_some(), "{answer:?}");
        let row = world.database.rows().tables.agent_tokens[&"i-1".into()].clone();
        claims.token = Some(row.token_id);
        assert_eq!(beat(&world, &claims).token, None);
    }
    let tables = &world.database.rows().tables;
    assert_eq!(
        tables.instances.len(),
        2,
        "nothing ended because of a token"
    );
}

#[tokio::test]
async fn rotation_renews_every_token_once() {
    let world = world();
    let mut reconciler = world.reconciler();
    let tokens = reconciler.launches.tokens.take().unwrap();
    let rotating = tokens.with_next_key(NEXT_KEY.to_owned().into()).unwrap();
    reconciler.launches.tokens = Some(rotating);
    pass(&world, &reconciler).await;
    let next = AgentTokens::new(NEXT_KEY.to_owned().into(), SignedDuration::from_hours(1));
    let next_key = next.unwrap().policy().key;
    let before = world.database.rows().tables.agent_tokens.clone();
    assert_eq!(before.len(), 2);
    assert!(before.values().all(|row| row.key_id == next_key));
    assert!(beat(&world, &of_launch()).token.is_some());
    pass(&world, &reconciler).await;
    assert_eq!(world.database.rows().tables.agent_tokens, before);

    // The rotation is called off: what the next key signed is renewed with the key in use.
    world.pass().await;
    let after = &world.database.rows().tables.agent_tokens;
    assert!(after.values().all(|row| row.key_id != next_key));
}
