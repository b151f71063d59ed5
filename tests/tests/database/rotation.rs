//! The key of the agents' tokens is replaced while an instance runs.

use anyhow::{Context as _, Result};
use jiff::SignedDuration;
use scaling_tests::database::{Database, REGION, launch_of};
use scaling_tests::graphql::{Engine, JWT_KEY, agent_claims, error_code, sign};
use serde_json::{Value, json};
use shared::agent_token::{AgentToken, AgentTokens};
use shared::clock::Clock as _;
use shared::db::{Fence, InstanceDatabase as _, WriteOutcome};
use shared::function_token::FunctionRole;
use shared::ids::InstanceId;
use startup::SystemClock;

const NEXT_KEY: &str = "another key of more than thirty-two bytes";
const BEAT: &str = r#"mutation { heartbeat(args: {instance_id: "i-1"}) { outcome status token } }"#;

fn tokens() -> Result<AgentTokens> {
    let valid_for = SignedDuration::from_hours(24);
    Ok(AgentTokens::new(JWT_KEY.to_owned().into(), valid_for)?)
}

async fn renew(engine: &Engine, token: AgentToken) -> Result<()> {
    let fence = Fence {
        region: REGION.into(),
        version: 1,
    };
    let id = InstanceId::from("i-1");
    let written = engine
        .adapter(FunctionRole::Passes)?
        .renew_tokens(&fence, &[(id, token)])
        .await?;
    assert_eq!(written[0].outcome, WriteOutcome::Done);
    Ok(())
}

fn answered(answer: &Value) -> Result<String> {
    let row = &answer["data"]["heartbeat"][0];
    assert_eq!(row["outcome"], "OK", "{answer}");
    let token = row["token"].as_str().map(str::to_owned);
    token.with_context(|| answer.to_string())
}

#[tokio::test]
async fn rotated_key_silences_no_agent_and_an_older_token_works_until_then() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let launch = launch_of("i-1").into();
    let engine = Engine::start(&database).await?;
    let first = sign(&agent_claims("i-1", 4_102_444_800), JWT_KEY)?;

    // Renewed with the key in use: both tokens work.
    renew(&engine, tokens()?.renew(&launch, SystemClock.now())?).await?;
    let second = answered(&engine.bearer(&first, BEAT).await?)?;
    let answer = engine.bearer(&second, BEAT).await?;
    let used = json!([{"outcome": "OK", "status": "ACTIVE", "token": null}]);
    assert_eq!(answer["data"]["heartbeat"], used, "{answer}");
    answered(&engine.bearer(&first, BEAT).await?)?;

    // Before the rotation, each agent fetches a token that Hasura does not accept yet.
    let rotating = tokens()?.with_next_key(NEXT_KEY.to_owned().into())?;
    renew(&engine, rotating.renew(&launch, SystemClock.now())?).await?;
    let third = answered(&engine.bearer(&second, BEAT).await?)?;
    let early = engine.bearer(&third, BEAT).await?;
    assert_eq!(error_code(&early), "invalid-jwt", "{early}");
    answered(&engine.bearer(&second, BEAT).await?)?;
    drop(engine);

    let engine = Engine::with(&database, |options| {
        NEXT_KEY.clone_into(&mut options.jwt_key);
    })
    .await?;
    for old in [first, second] {
        let late = engine.bearer(&old, BEAT).await?;
        assert_eq!(error_code(&late), "invalid-jwt", "{late}");
    }
    let answer = engine.bearer(&third, BEAT).await?;
    assert_eq!(answer["data"]["heartbeat"], used, "{answer}");
    let other = BEAT.replace("i-1", "i-2");
    let answer = engine.bearer(&third, &other).await?;
    assert_eq!(
        answer["data"]["heartbeat"][0]["outcome"], "SHUT_DOWN",
        "{answer}"
    );
    Ok(())
}
