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
use local_stack::project;
use local_stack::stack::Stack;
use scaling_bench::{Figures, Section};

use crate::assigning::DurableServer;

/// What can be measured alone.
const PARTS: [&str; 4] = ["floor", "requests", "pass", "pages"];

#[tokio::main]
async fn main() -> Result<()> {
    let only = std::env::args().nth(1);
    if let Some(part) = &only {
        ensure!(
            PARTS.contains(&part.as_str()),
            "unknown argument `{part}`: it must be `floor` (assign against the floor), `requests` \
             (assign against seven requests), `pass` (a pass over a large region), `pages` (the \
             status page), or missing"
        );
    }
    let measures = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let all = only.is_none();

    println!("# Figures of one run\n\n{}\n", machine::description());
    let mut report = Report::default();
    if all {
        // The measurements in microseconds come first, because servers keep the machine busy.
        report.add(&measure_decisions()?);
        report.add(&assign_user::measure().await?);
        report.add(&replica_status::measure().await?);
    }
    if measures("floor") || measures("requests") {
        let server = DurableServer::start().await?;
        if measures("floor") {
            let floor = server.measure_floor().await?;
            report.add(&floor.comparison);
            report.add(&floor.refusals);
            report.add(&floor.checks);
        }
        if measures("requests") {
            let requests = server.measure_requests().await?;
            report.add(&requests.speed);
            report.add(&requests.answers);
            report.add(&requests.cost);
        }
    }
    if measures("pass") || measures("pages") {
        measure_stack(only.as_deref(), &mut report).await?;
    }
    report.print_goals();
    Ok(())
}

/// Measures what needs the local stack, or `only` one part of it.
async fn measure_stack(only: Option<&str>, report: &mut Report) -> Result<()> {
    let all = only.is_none();
    let mut options = StackOptions::named("bench");
    // A scheduled pass would be counted, too.
    options.schedule = Schedule::Off;
    let stack = Stack::start(&options).await?;
    println!();
    let sql = fleet::connect(&stack.env().database_url).await?;
    if all {
        report.add(&wake_to_launch::measure(&stack, &sql).await?);
        report.add(&quiet_pass::measure(&stack, &sql).await?);
    }
    if all || only == Some("pass") {
        report.add(&large_pass::measure(&stack, &sql).await?);
    }
    if all || only == Some("pages") {
        fleet::create(&sql).await?;
    }
    if all {
        report.add(&assign::measure(&stack, &sql).await?);
        report.add(&burst::measure(&stack).await?);
    }
    if all || only == Some("pages") {
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
