//! Every fault of EC2, Hasura and DynamoDB on one deployed stack, asserted from outside: the
//! invariants hold during each, each is reported as documented, and afterwards the region comes to
//! rest in the right state.
//!
//! The schedule is off and the database's events are delivered: launches without a pass by hand are
//! caused by events. Each theme has a region of its own, which is left as it is at the theme's end.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod agents;
mod boots;
mod burst;
mod capacity;
mod events;
mod launches;
mod listings;
mod logged_errors;
mod outages;
mod silence;
mod world;

use futures::future::{FutureExt as _, LocalBoxFuture, join};
use scaling_tests::deployed::{Deployed, set_fast_ec2};
use scaling_tests::logs::leaks_and_panics;
use scaling_tests::proxy::{Proxy, dynamodb_action};
use scaling_tests::region::Region;
use scaling_tests::settings;
use scaling_tests::themes;

#[tokio::test]
async fn every_fault_is_survived_with_all_invariants() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployed = Deployed::start("faults", |options| {
        options.ec2.world = Some(world::REGIONS.write(folder.path(), world::content));
        set_fast_ec2(options);
        // A user with a slot keeps it.
        options.ec2.agent_session_ms = Some(3_600_000);
        options.ec2.agent_heartbeat_ms = Some(2_000);
        options.ec2.agent_poll_ms = Some(1_000);
    })
    .await;
    deployed.deliver_events().await;
    let table = between_functions_and_dynamodb(&deployed).await;
    let mut engine = outages::Engine::of(&deployed);

    let here = &deployed;
    let themes: [(&str, LocalBoxFuture<'_, ()>); 8] = [
        // The two do not disturb each other, and both mostly wait.
        (
            "events, boots",
            join(
                events::refill_the_buffer_under_any_delivery(here),
                boots::failed_instance_is_replaced(here),
            )
            .map(|_| ())
            .boxed_local(),
        ),
        (
            "capacity",
            capacity::is_found_elsewhere_or_waited_for(here).boxed_local(),
        ),
        ("launches", launches::each_is_made_once(here).boxed_local()),
        (
            "listings",
            listings::wrong_listings_remove_nothing(here).boxed_local(),
        ),
        (
            "silence",
            silence::replaces_the_instance_in_time(here).boxed_local(),
        ),
        (
            "outages",
            outages::are_survived(here, &mut engine, &table).boxed_local(),
        ),
        (
            "burst",
            burst::costs_a_bounded_number_of_wakes(here).boxed_local(),
        ),
        ("afterwards", assert_final_state(here).boxed_local()),
    ];
    themes::run(themes).await;
    // The engine is dropped before the stack that it is a part of.
    drop(engine);
    deployed.stack.stop();
}

/// A proxy: the local AWS also runs the functions, so it cannot be stopped to take DynamoDB down.
async fn between_functions_and_dynamodb(deployed: &Deployed) -> Proxy {
    let env = deployed.stack.env();
    let proxy = Proxy::start(&env.aws_endpoint_url, dynamodb_action).expect("a proxy");
    for function in [&env.reconcile_function, &deployed.hasura_event_function()] {
        let to_proxy = [("AWS_ENDPOINT_URL_DYNAMODB", proxy.url())];
        let set = settings::set(&deployed.stack, function, &to_proxy).await;
        set.expect("the function uses the proxy");
    }
    proxy
}

/// Asserts that every theme's region is as it was left, and that the logs show no secret.
async fn assert_final_state(deployed: &Deployed) {
    for name in world::REGIONS.0 {
        let region = Region { deployed, name };
        assert_eq!(region.rows().await, region.machines().await, "{name}");
    }
    let (logs, secrets) = (deployed.logs().await, deployed.secrets().await);
    let assert_logged = |part: &str, text: &str| {
        let mut logs = logs.iter().filter(|log| log.name.contains(part));
        assert!(logs.any(|log| log.text.contains(text)), "{part}: {text}");
    };
    // A search in the wrong place would find nothing either.
    assert_logged("-reconcile", "pass done");
    assert_logged("-hasura-event", "regions marked for a pass");
    assert_logged("-assign-user", "slot assigned");
    let found = leaks_and_panics(&logs, &secrets);
    assert!(found.is_empty(), "{found:#?}");
}
