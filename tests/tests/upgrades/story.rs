//! The whole life of an image, while clients of both versions request slots all the time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures::future::join4;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::clients::Clients;
use crate::fleet::{Fleet, NEW, OLD, Seen, TARGET};

/// Short, so that slots are freed and taken.
pub(crate) const SESSION_MS: u64 = 1_500;

/// Long enough to swap back and forth in, on a busy machine, too.
const BAKE_SECONDS: u32 = 600;

/// Slots for the clients of a version, in the whole story.
const MANY: usize = 10;

/// Between two scheduled passes.
const TICK: Duration = Duration::from_millis(500);

pub(crate) async fn under_constant_assigning(deployed: &Deployed) {
    let fleet = Fleet::of(deployed, "us-east-1");
    fleet.publish(OLD).await;
    fleet.filled(json!({"bake_seconds": BAKE_SECONDS})).await;
    let old = Clients::of(&fleet, OLD, 1);
    let new = Clients::of(&fleet, NEW, 2);
    let stop = Cell::new(false);
    let steps = async {
        many_were_served(&old).await;
        swap_back_and_forth(&fleet).await;
        many_were_served(&new).await;
        stop.set(true);
    };
    join4(
        steps,
        schedule(&fleet, &stop),
        old.request_slots(&stop),
        new.request_slots(&stop),
    )
    .await;
    println!("   old clients: {:?}", old.tally());
    println!("   new clients: {:?}", new.tally());
    assert_no_refusal_within_the_target(&old, &new);

    // The last instances of the old image leave as they become empty.
    let observe = async || {
        fleet.region.scheduled().await;
        fleet.state(1).await.expect("its row stays")
    };
    let is_empty = |seen: &Seen| seen.instances == 0;
    eventually("the old image is empty", SOON, observe, is_empty).await;
    // Users who were refused are demand until they have left the line.
    let rests = async || {
        fleet.region.scheduled().await;
        fleet.region.settle().await;
        fleet.region.plan().await
    };
    let is_empty = |plan: &Value| plan["steps"] == json!([]);
    eventually("nothing is left to do", SOON, rests, is_empty).await;
    fleet.region.assert_invariants().await;
    let image = fleet.state(2).await.unwrap();
    assert_eq!((image.state.as_str(), image.free), ("CURRENT", TARGET));
}

async fn swap_back_and_forth(fleet: &Fleet<'_>) {
    wait_until_served(fleet, 1).await;
    let report = fleet.ask(&fleet.image(2), NEW).await;
    assert_ne!(report["outcome"], "failed", "{report:#}");
    // It is warm, and no user is assigned there before the app version names it.
    assert_states_and_buffers(fleet, "CURRENT", "WARMING").await;
    let plan = async || fleet.region.plan().await.to_string();
    let waits = |plan: &String| plan.contains("awaits_app_version");
    eventually("it waits for the app version", SOON, plan, waits).await;
    // From here on, each swap is one write: there, back, and there again.
    fleet.publish(NEW).await;
    assert_states_and_buffers(fleet, "BAKING", "CURRENT").await;
    wait_until_served(fleet, 2).await;
    fleet.publish(OLD).await;
    assert_states_and_buffers(fleet, "CURRENT", "BAKING").await;
    fleet.publish(NEW).await;
    assert_states_and_buffers(fleet, "BAKING", "CURRENT").await;
    // It has baked by now.
    fleet.region.set(&json!({"bake_seconds": 1})).await;
    wait_until(fleet, "the old image is retired", |seen| {
        seen[0].state == "RETIRED" && seen[1].state == "CURRENT"
    })
    .await;
    wait_until_served(fleet, 2).await;
}

/// Asserts that both images are in these states, each with a whole buffer.
async fn assert_states_and_buffers(fleet: &Fleet<'_>, first: &str, second: &str) {
    wait_until(fleet, &format!("{first} beside {second}"), |seen| {
        seen[0].state == first && seen[1].state == second && seen.iter().all(is_full)
    })
    .await;
}

/// Waits until users have come to an image and its buffer is full again.
async fn wait_until_served(fleet: &Fleet<'_>, number: usize) {
    let image = |seen: &[Seen]| seen[number - 1].clone();
    wait_until(fleet, "users have come", |seen| image(seen).occupied > 0).await;
    wait_until(fleet, "it is full again", |seen| is_full(&image(seen))).await;
}

async fn wait_until(fleet: &Fleet<'_>, what: &str, expected: impl Fn(&[Seen]) -> bool) {
    let observe = async || fleet.images().await.into_values().collect::<Vec<_>>();
    eventually(what, SOON, observe, |seen| expected(seen)).await;
}

/// Waits until there were enough answers for the checks to mean something.
async fn many_were_served(clients: &Clients<'_>) {
    let served = async || clients.served();
    eventually("slots for many users", SOON, served, |served| {
        *served > MANY
    })
    .await;
}

fn is_full(seen: &Seen) -> bool {
    seen.free >= TARGET
}

/// Runs a pass every tick, as the schedule does, and prints both images when one changes its state.
async fn schedule(fleet: &Fleet<'_>, stop: &Cell<bool>) {
    let began = Instant::now();
    let mut states = Vec::new();
    while !stop.get() {
        fleet.region.scheduled().await;
        let seen = fleet.images().await;
        let now: Vec<_> = seen.values().map(|seen| seen.state.clone()).collect();
        if now != states {
            println!("   {:4.1} s", began.elapsed().as_secs_f32());
            for (image, seen) in &seen {
                println!(
                    "      {image} {:8} {} instances, {} free, {} occupied",
                    seen.state, seen.instances, seen.free, seen.occupied
                );
            }
            states = now;
        }
        tokio::time::sleep(TICK).await;
    }
}

fn assert_no_refusal_within_the_target(old: &Clients<'_>, new: &Clients<'_>) {
    const UNSERVED: &str = "COMMIT_HASH_MISMATCH";
    let (old, new) = (old.answers.borrow(), new.answers.borrow());
    for answers in [&old, &new] {
        let mut refused = answers.iter().filter(|answer| !answer.is_empty());
        let other = refused.find(|answer| *answer != UNSERVED);
        assert_eq!(other, None, "although the target could have served");
    }
    // The old clients until their image is retired, the new ones from the swap on, without a gap.
    let until = old.iter().position(|answer| answer == UNSERVED);
    let after = &old[until.unwrap_or(old.len())..];
    assert!(after.iter().all(|answer| answer == UNSERVED), "{old:?}");
    let from = new.iter().position(String::is_empty);
    let from = from.expect("the new ones are served");
    assert!(from > 0, "not before the swap");
    assert!(new[from..].iter().all(String::is_empty), "{new:?}");
}
