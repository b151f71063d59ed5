//! Two compromised instances among twenty, on the deployed stack. Each holds its agent's token, and
//! uses it in every way that it can think of: it takes users and throws them out, over and over; it
//! acts for other instances and their slots; it registers under addresses that are not its own; it
//! sends queries that cost much; and its rows are locked most of the time. Meanwhile users arrive and
//! passes run.
//!
//! No user of another instance loses a slot or a session, the compromised instances get few users,
//! users get addresses of EC2 only, and passes and assigning stay fast.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod attack;
mod users;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use scaling_tests::deployed::{Deployed, set_fast_ec2};
use scaling_tests::ledger::Machine;
use serde_json::{Value, json};

use attack::{Compromised, Findings, hold_rows};
use users::{Session, arrive};

const REGION: &str = "us-east-1";
const INSTANCES: usize = 20;
const CAPACITY: usize = 2;
const MAX_INSTANCES: usize = 28;

/// Users before the attack, and during it.
const EARLY: usize = 12;
const LATE: usize = 24;

/// The attack lasts at least this long, and until all users have a session.
const ATTACK: Duration = Duration::from_secs(30);

/// The free slots of the compromised instances, and one of each that is free again after a session
/// that ended at once. Without bounds, every user would be captured, over and over.
const MOST_CAPTURED: usize = 2 * (CAPACITY + 1);

/// Far above what a pass takes here. The rows are held most of the time, so that most passes would
/// take longer if they waited for them. A single one may be slow, because it competes with the
/// costly queries for the machine.
const PASS_LIMIT_MS: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_compromised_instances_cost_no_other_user_a_slot_or_session() {
    let deployed = Deployed::start("compromised", |options| {
        set_fast_ec2(options);
        // Sessions on other instances outlast the test.
        options.ec2.agent_session_ms = Some(3_600_000);
        options.ec2.agent_heartbeat_ms = Some(2_000);
        options.ec2.agent_poll_ms = Some(1_000);
    })
    .await;
    deployed.set_up(REGION, MAX_INSTANCES as u32).await;
    set_target(&deployed, INSTANCES * CAPACITY).await;
    deployed.reconcile().await;
    deployed.filled_to((INSTANCES * CAPACITY) as i64).await;

    let mut sessions = vec![];
    for number in 0..EARLY {
        sessions.push(arrive(&deployed, &format!("early-{number}"), Duration::ZERO).await);
    }
    // So that no instance is surplus, nor was.
    set_target(&deployed, INSTANCES * CAPACITY - EARLY).await;
    deployed.deliver_events().await;
    let compromised = next_to_be_filled(&deployed).await;
    let honest = honest_machines(&deployed, &compromised).await;
    assert_eq!(honest.len(), INSTANCES - compromised.len());
    println!("compromised: {compromised:?}");

    let stop = AtomicBool::new(false);
    let findings = Findings::default();
    let attackers = attackers(&deployed, &compromised, &findings).await;
    let passes_before = passes_begun(&deployed).await;
    let attacks = async {
        let attacks = attackers.iter().map(|attacker| attacker.attack(&stop));
        tokio::join!(join_all(attacks), hold_rows(&deployed, &compromised, &stop));
    };
    let users_and_end = async {
        let began = Instant::now();
        let users = (0..LATE).map(async |number| {
            let delay = ATTACK.mul_f64(0.8 * number as f64 / LATE as f64);
            arrive(&deployed, &format!("late-{number}"), delay).await
        });
        let sessions = join_all(users).await;
        tokio::time::sleep(ATTACK.saturating_sub(began.elapsed())).await;
        stop.store(true, Ordering::Relaxed);
        sessions
    };
    let (late, (), (passes, failed)) = tokio::select! {
        all = async { tokio::join!(users_and_end, attacks, passes(&deployed, &stop)) } => all,
        part = deployed.stack.failed() => panic!("{part}"),
    };
    sessions.extend(late);

    println!(
        "answers to the compromised instances: {:#?}",
        findings.all()
    );
    let captured: usize = sessions.iter().map(|session| session.captured).sum();
    let slowest = sessions.iter().map(|session| session.slowest).max();
    println!("{captured} sessions captured; slowest answer to a user: {slowest:.1?}");
    let begun = passes_begun(&deployed).await - passes_before;
    println!("{begun} passes; those that were asked for here: {passes:?} ms");

    let mut violations = findings.violations();
    violations.extend(lost_sessions(&deployed, &compromised, &sessions).await);
    violations.extend(wrong_addresses(&deployed, &sessions).await);
    violations.extend(disturbed_instances(&deployed, &honest).await);
    if captured > MOST_CAPTURED {
        violations.push(format!("{captured} sessions were captured"));
    }
    let thrown_out = findings.captured();
    if captured > thrown_out {
        violations.push(format!(
            "{captured} sessions ended, and only {thrown_out} by compromised instances"
        ));
    }
    violations.extend(failed);
    let slow = passes.iter().filter(|ms| **ms > PASS_LIMIT_MS).count();
    if 2 * slow > passes.len() {
        violations.push(format!("{slow} passes were slow: {passes:?}"));
    }
    if begun < 3 {
        violations.push(format!("only {begun} passes began"));
    }
    assert!(violations.is_empty(), "{violations:#?}");
    deployed.stack.stop();
}

async fn set_target(deployed: &Deployed, target_free: usize) {
    let set = "UPDATE regions SET target_free = $1, scale_up_step = 0";
    let target = i32::try_from(target_free).unwrap();
    deployed.sql.execute(set, &[&target]).await.unwrap();
}

/// The two instances without users that assigning fills next.
async fn next_to_be_filled(deployed: &Deployed) -> Vec<String> {
    let empty = "SELECT i.id FROM instances i
        WHERE NOT EXISTS (SELECT FROM slots s WHERE s.instance_id = i.id AND s.status <> 'WAITING')
        ORDER BY i.id LIMIT 2";
    let rows = deployed.sql.query(empty, &[]).await.expect(empty);
    rows.iter().map(|row| row.get(0)).collect()
}

async fn honest_machines(deployed: &Deployed, compromised: &[String]) -> Vec<Machine> {
    let mut machines = deployed.ledger().await.instances;
    machines.retain(|machine| machine.is_up() && !compromised.contains(&machine.id));
    machines
}

/// Takes the agents' place on the compromised instances.
async fn attackers<'a>(
    deployed: &'a Deployed,
    compromised: &[String],
    findings: &'a Findings,
) -> Vec<Compromised<'a>> {
    let machines = deployed.ledger().await.instances;
    let machines = machines.iter();
    machines
        .filter(|machine| compromised.contains(&machine.id))
        .map(|machine| Compromised::of(deployed, machine, findings))
        .collect()
}

/// How many passes have begun, whoever asked for them: each raises the fence by one.
async fn passes_begun(deployed: &Deployed) -> i64 {
    let fence = "SELECT version FROM region_fences WHERE region = $1";
    let row = deployed.sql.query_one(fence, &[&REGION]).await;
    row.expect(fence).get(0)
}

/// Runs passes until `stop`. Returns the duration of each, and the errors of those that failed.
async fn passes(deployed: &Deployed, stop: &AtomicBool) -> (Vec<u64>, Vec<String>) {
    let (mut durations, mut failed) = (vec![], vec![]);
    while !stop.load(Ordering::Relaxed) {
        let report = deployed.invoke(&json!({"regions": [REGION]})).await;
        let report = &report["regions"][0];
        if report["outcome"] == "failed" {
            failed.push(report["error"].to_string());
        }
        // Otherwise a pass of an event has the lock.
        if report["outcome"] != "busy" {
            durations.push(report["duration_ms"].as_u64().unwrap());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    (durations, failed)
}

/// Sessions that do not run any more, or not on an honest instance.
async fn lost_sessions(
    deployed: &Deployed,
    compromised: &[String],
    sessions: &[Session],
) -> Vec<String> {
    let sql = "SELECT instance_id, status FROM slots
               WHERE id::text = $1 AND user_id = $2 AND session_id = $3";
    let mut lost = vec![];
    for session in sessions {
        let keys: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&session.slot, &session.user, &session.session];
        let row = deployed.sql.query_opt(sql, &keys).await.expect(sql);
        let found: Option<(String, String)> = row.map(|row| (row.get(0), row.get(1)));
        match found {
            Some((instance, status)) if status == "RUNNING" && !compromised.contains(&instance) => {
            }
            other => lost.push(format!("{session:?} is on {other:?}")),
        }
    }
    lost
}

/// Addresses that users got and EC2 does not have.
async fn wrong_addresses(deployed: &Deployed, sessions: &[Session]) -> Vec<String> {
    let machines = deployed.ledger().await.instances;
    let machines = machines.iter();
    let known: BTreeSet<_> = machines.flat_map(|it| [&it.ip, &it.private_ip]).collect();
    let given = sessions.iter().flat_map(|session| &session.addresses);
    given
        .filter(|address| !known.contains(address))
        .map(|address| format!("a user got the address {:.80}", format!("{address:?}")))
        .collect()
}

/// Honest instances that were drained, ended, or whose agents are not heard any more.
async fn disturbed_instances(deployed: &Deployed, honest: &[Machine]) -> Vec<String> {
    let ids: Vec<_> = honest.iter().map(|machine| machine.id.clone()).collect();
    let sql = "SELECT i.id FROM instances i JOIN heartbeats h ON h.instance_id = i.id
               WHERE i.id = ANY($1) AND i.status = 'ACTIVE'
                   AND h.beat_at > now() - interval '30 seconds'";
    let rows = deployed.sql.query(sql, &[&ids]).await.expect(sql);
    let fine: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let machines = deployed.ledger().await.instances;
    let up: BTreeSet<_> = machines
        .iter()
        .filter(|it| it.is_up())
        .map(|it| &it.id)
        .collect();
    ids.iter()
        .filter(|id| !fine.contains(*id) || !up.contains(id))
        .map(|id| format!("{id} does not serve any more"))
        .collect()
}

/// The first row of a function's answer.
fn row<'a>(answer: &'a Value, function: &str) -> &'a Value {
    &answer["data"][function][0]
}
