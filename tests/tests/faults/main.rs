//! The whole story with everything that goes wrong in it, on one deployed stack, asserted from
//! outside: what is promised is kept in every fault, each is reported as it should be, and when
//! it is over the region comes to rest where it should.
//!
//! The schedule is off and the database's events are delivered: what is launched without a pass
//! by hand is launched by events. Each theme has a region of its own; at its end, the region is
//! left alone, with everything in it as it was.
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
mod outages;
mod reports;
mod silence;
mod world;

use std::time::Instant;

use futures::future::{FutureExt as _, LocalBoxFuture, join};
use scaling_tests::deployed::Deployed;
use scaling_tests::logs::offences;
use scaling_tests::proxy::{Proxy, dynamodb_action};
use scaling_tests::region::Region;
use scaling_tests::settings;

#[tokio::test]
async fn every_fault_is_survived_with_the_promises_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployed = Deployed::start("faults", |options| {
        options.ec2.world = Some(world::write(&folder));
        options.ec2.pending_ms = Some(200);
        options.ec2.shutting_down_ms = Some(200);
        options.ec2.listing_lag_ms = Some(200);
        options.ec2.agent_boot_ms = Some(50);
        options.ec2.agent_connect_ms = Some(100);
        // Whoever has a slot keeps it.
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
        // Neither is in the other's way, and both mostly wait.
        (
            "events, boots",
            join(
                events::change_nothing_by_their_ways(here),
                boots::that_fail_are_replaced(here),
            )
            .map(|_| ())
            .boxed_local(),
        ),
        (
            "capacity",
            capacity::is_looked_for_elsewhere_and_waited_for(here).boxed_local(),
        ),
        ("launches", launches::are_made_once(here).boxed_local()),
        (
            "listings",
            listings::that_are_wrong_remove_nothing(here).boxed_local(),
        ),
        ("silence", silence::is_given_up_in_time(here).boxed_local()),
        (
            "outages",
            outages::are_sat_out(here, &mut engine, &table).boxed_local(),
        ),
        (
            "burst",
            burst::costs_no_more_than_its_seconds(here).boxed_local(),
        ),
        ("afterwards", afterwards(here).boxed_local()),
    ];
    for (theme, happens) in themes {
        let started = Instant::now();
        println!("-- {theme}");
        happens.await;
        println!("-- {theme}: {:.1} s", started.elapsed().as_secs_f32());
    }
    // It goes before what it is a part of.
    drop(engine);
    deployed.stack.stop();
}

/// The local AWS runs the functions, too: it cannot be stopped for the sake of its DynamoDB.
async fn between_functions_and_dynamodb(deployed: &Deployed) -> Proxy {
    let env = deployed.stack.env();
    let proxy = Proxy::before(&env.aws_endpoint_url, dynamodb_action).expect("a proxy");
    for function in [&env.reconcile_function, &deployed.hasura_event_function()] {
        let to_proxy = [("AWS_ENDPOINT_URL_DYNAMODB", proxy.url())];
        let set = settings::set(&deployed.stack, function, &to_proxy).await;
        set.expect("the function asks the proxy");
    }
    proxy
}

/// Every theme's region is as it was left, and the logs have shown nobody's secret.
async fn afterwards(deployed: &Deployed) {
    for name in world::REGIONS {
        let region = Region { deployed, name };
        assert_eq!(region.rows().await, region.machines().await, "{name}");
    }
    let (logs, secrets) = (deployed.logs().await, deployed.secrets().await);
    let told = |part: &str, text: &str| {
        let mut logs = logs.iter().filter(|log| log.name.contains(part));
        assert!(logs.any(|log| log.text.contains(text)), "{part}: {text}");
    };
    // A check that looked in the wrong place would find nothing, either.
    told("-reconcile", "pass done");
    told("-hasura-event", "regions marked for a pass");
    told("-assign-user", "slot assigned");
    let found = offences(&logs, &secrets);
    assert!(found.is_empty(), "{found:#?}");
}
