//! The whole way of an image, while clients of both versions ask all the time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures::future::join4;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::json;

use crate::clients::Clients;
use crate::fleet::{Fleet, NEW, OLD, Seen, TARGET};

/// Short, so that slots come and go.
pub(crate) const SESSION_MS: u64 = 1_500;

/// Long enough to turn back and forth in.
const BAKE_SECONDS: u32 = 20;

/// Between two passes of the schedule, in this story.
const TICK: Duration = Duration::from_millis(500);

pub(crate) async fn under_constant_assigning(deployed: &Deployed) {
    let fleet = Fleet::of(deployed, "us-east-1");
    fleet.publish(OLD).await;
    fleet.filled(json!({"bake_seconds": BAKE_SECONDS})).await;
    let old = Clients::of(&fleet, OLD, 1);
    let new = Clients::of(&fleet, NEW, 2);
    let stop = Cell::new(false);
    let steps = async {
        image_by_image(&fleet).await;
        stop.set(true);
    };
    join4(
        steps,
        schedule(&fleet, &stop),
        old.ask_all_the_time(&stop),
        new.ask_all_the_time(&stop),
    )
    .await;
    println!("   old clients: {:?}", old.tally());
    println!("   new clients: {:?}", new.tally());
    nobody_was_refused_what_the_target_could_serve(&old, &new);

    // The last ones of the old image leave as they empty.
    let look = async || {
        fleet.region.scheduled().await;
        fleet.state(1).await.expect("its row stays")
    };
    let is_empty = |seen: &Seen| seen.instances == 0;
    eventually("the old image is empty", SOON, look, is_empty).await;
    fleet.region.settle().await;
    fleet.region.promises_kept().await;
    let image = fleet.state(2).await.unwrap();
    assert_eq!((image.state.as_str(), image.free), ("CURRENT", TARGET));
}

async fn image_by_image(fleet: &Fleet<'_>) {
    served(fleet, 1).await;
    let report = fleet.ask(&fleet.image(2), NEW).await;
    assert_ne!(report["outcome"], "failed", "{report:#}");
    // Warm, and nobody is assigned there before the app version says so.
    rows_with_machines(fleet, "CURRENT", "WARMING").await;
    let plan = async || fleet.region.plan().await.to_string();
    let waits = |plan: &String| plan.contains("awaits_app_version");
    eventually("it waits for the app version", SOON, plan, waits).await;
    // From here on each by one write: there, back, and there again.
    fleet.publish(NEW).await;
    rows_with_machines(fleet, "BAKING", "CURRENT").await;
    served(fleet, 2).await;
    fleet.publish(OLD).await;
    rows_with_machines(fleet, "CURRENT", "BAKING").await;
    fleet.publish(NEW).await;
    rows_with_machines(fleet, "BAKING", "CURRENT").await;
    is_so(fleet, "the old image is retired", |seen| {
        seen[0].state == "RETIRED" && seen[1].state == "CURRENT"
    })
    .await;
    served(fleet, 2).await;
}

/// Both images in these states, and each with a whole buffer.
async fn rows_with_machines(fleet: &Fleet<'_>, first: &str, second: &str) {
    is_so(fleet, &format!("{first} beside {second}"), |seen| {
        seen[0].state == first && seen[1].state == second && seen.iter().all(is_full)
    })
    .await;
}

/// Users have come to an image since then, and its buffer is full again.
async fn served(fleet: &Fleet<'_>, number: usize) {
    let image = |seen: &[Seen]| seen[number - 1].clone();
    is_so(fleet, "users have come", |seen| image(seen).occupied > 0).await;
    is_so(fleet, "it is full again", |seen| is_full(&image(seen))).await;
}

async fn is_so(fleet: &Fleet<'_>, what: &str, so: impl Fn(&[Seen]) -> bool) {
    let look = async || fleet.look().await.into_values().collect::<Vec<_>>();
    eventually(what, SOON, look, |seen| so(seen)).await;
}

fn is_full(seen: &Seen) -> bool {
    seen.free >= TARGET
}

/// A pass now and then, as the minute brings one. Shows both images whenever one of them is in
/// another state.
async fn schedule(fleet: &Fleet<'_>, stop: &Cell<bool>) {
    let began = Instant::now();
    let mut states = Vec::new();
    while !stop.get() {
        fleet.region.scheduled().await;
        let seen = fleet.look().await;
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

fn nobody_was_refused_what_the_target_could_serve(old: &Clients<'_>, new: &Clients<'_>) {
    const UNSERVED: &str = "COMMIT_HASH_MISMATCH";
    let (old, new) = (old.told.borrow(), new.told.borrow());
    for told in [&old, &new] {
        let slots = told.iter().filter(|told| told.is_empty()).count();
        assert!(slots > 10, "{told:?}");
        let mut refused = told.iter().filter(|told| !told.is_empty());
        let other = refused.find(|told| *told != UNSERVED);
        assert_eq!(other, None, "although the target could have served");
    }
    // The old ones until their image is retired, the new ones from the swap on, without a gap.
    let until = old.iter().position(|told| told == UNSERVED);
    let after = &old[until.unwrap_or(old.len())..];
    assert!(after.iter().all(|told| told == UNSERVED), "{old:?}");
    let from = new.iter().position(String::is_empty);
    let from = from.expect("the new ones are served");
    assert!(from > 0, "not before the swap");
    assert!(new[from..].iter().all(String::is_empty), "{new:?}");
}
