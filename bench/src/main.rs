//! `make bench`: measures the figures that the service should reach in one run, and prints each
//! with its goal. A missed goal does not fail the run: on a busy machine a time says little.

mod assign;
mod assign_user;
mod assigning;
mod burst;
mod fake_services;
mod fleet;
mod large_pass;
mod machine;
mod quiet_pass;
mod replica_status;
mod runtime_api;
mod status_page;
mod wake_to_launch;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use local_stack::options::{Schedule, StackOptions};
use local_stack::postgres::Durability;
use local_stack::project;
use local_stack::stack::Stack;
use scaling_bench::{Figures, Section};

use crate::assigning::DurableServer;

/// What can be measured alone.
const PARTS: [&str; 6] = ["floor", "network", "requests", "quiet", "pass", "pages"];

#[tokio::main]
async fn main() -> Result<()> {
    let only = std::env::args().nth(1);
    if let Some(part) = &only {
        ensure!(
            PARTS.contains(&part.as_str()),
            "unknown argument `{part}`: it must be `floor` (assign against the floor), `network` (the \
             same on a disk behind a network), `requests` (assign against seven requests), `quiet` (a \
             quiet region's pass), `pass` (a pass over a large region), `pages` (the status page), \
             or missing"
        );
    }
    let measures = |part: &str| measures(only.as_deref(), part);
    let all = only.is_none();

    println!("# Figures of one run\n\n{}\n", machine::description());
    let mut report = Report::default();
    if all {
        // The measurements in microseconds come first, because servers keep the machine busy.
        report.add(&measure_decisions()?);
        report.add(&assign_user::measure().await?);
        report.add(&replica_status::measure().await?);
    }
    let disks = [
        ("floor", Durability::Full),
        ("network", Durability::FullOnNetworkDisk),
    ];
    for (part, disk) in disks {
        if measures(part) {
            let floor = DurableServer::start(disk).await?.measure_floor().await?;
            report.add(&floor.comparison);
            report.add(&floor.refusals);
            report.add(&floor.checks);
        }
    }
    if measures("requests") {
        let server = DurableServer::start(Durability::Full).await?;
        let requests = server.measure_requests().await?;
        report.add(&requests.speed);
        report.add(&requests.answers);
        report.add(&requests.cost);
    }
    if measures("quiet") || measures("pass") || measures("pages") {
        measure_stack(only.as_deref(), &mut report).await?;
    }
    report.print_goals();
    Ok(())
}

/// Whether a part is measured: all are, or `only` one.
fn measures(only: Option<&str>, part: &str) -> bool {
    only.is_none_or(|only| only == part)
}

/// Measures what needs the local stack, or `only` one part of it.
async fn measure_stack(only: Option<&str>, report: &mut Report) -> Result<()> {
    let all = only.is_none();
    let measures = |part: &str| measures(only, part);
    let mut options = StackOptions::named("bench");
    // A scheduled pass would be counted, too.
    options.schedule = Schedule::Off;
    let stack = Stack::start(&options).await?;
    println!();
    let sql = fleet::connect(&stack.env().database_url).await?;
    if all {
        report.add(&wake_to_launch::measure(&stack, &sql).await?);
    }
    if measures("quiet") {
        report.add(&quiet_pass::measure(&stack, &sql).await?);
    }
    if measures("pass") {
        report.add(&large_pass::measure(&stack, &sql).await?);
    }
    if measures("pages") {
        fleet::create(&sql).await?;
    }
    if all {
        report.add(&assign::measure(&stack, &sql).await?);
        report.add(&burst::measure(&stack).await?);
    }
    if measures("pages") {
        report.add(&status_page::measure(&stack, &sql).await?);
    }
    stack.stop();
    Ok(())
}

/// The goals so far: the name of each, and whether it is met.
#[derive(Default)]
struct Report(Vec<(String, bool)>);

impl Report {
    /// Prints each section immediately, as a sign of progress.
    fn add(&mut self, section: &impl Figures) {
        println!("{section}");
        self.0.extend(section.goals());
    }

    /// Prints how many goals are met, and which ones are missed.
    fn print_goals(&self) {
        let missed = self.0.iter().filter(|(_, met)| !met);
        let missed: Vec<_> = missed.map(|(name, _)| name.as_str()).collect();
        let all = self.0.len();
        println!("{} of {all} goals are met", all - missed.len());
        if !missed.is_empty() {
            println!("missed: {}", missed.join("; "));
        }
    }
}

/// Times decisions with a program in a release build, which this program is not.
fn measure_decisions() -> Result<Section> {
    let program = project::root().join("target/release/bench-decide");
    let output = Command::new(&program)
        .output()
        .with_context(|| format!("run {}: `make bench` builds it", program.display()))?;
    ensure!(output.status.success(), "{} failed", program.display());
    serde_json::from_slice(&output.stdout).context("parse the output of bench-decide")
}
