//! `make bench`: measures the figures that the service should reach in one run, and prints each
//! with its goal. A missed goal does not fail the run: on a busy machine a time says little.

mod assign;
mod assign_user;
mod burst;
mod fake_services;
mod fleet;
mod machine;
mod quiet_pass;
mod replica_status;
mod status_page;
mod wake_to_launch;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use local_stack::options::{Schedule, StackOptions};
use local_stack::project;
use local_stack::stack::Stack;
use scaling_bench::{Row, Section};

#[tokio::main]
async fn main() -> Result<()> {
    println!("# Figures of one run\n\n{}\n", machine::description());
    let mut report = Report::default();
    let only = std::env::args().nth(1);
    ensure!(
        matches!(only.as_deref(), None | Some("pages")),
        "unknown argument: it must be `pages` (only the status page) or missing"
    );
    let all = only.is_none();
    if all {
        // The measurements in microseconds come first, because the stack keeps the machine busy.
        report.add(measure_decisions()?);
        report.add(assign_user::measure().await?);
        report.add(replica_status::measure().await?);
    }

    let mut options = StackOptions::named("bench");
    // A scheduled pass would be counted, too.
    options.schedule = Schedule::Off;
    let stack = Stack::start(&options).await?;
    println!();
    let sql = fleet::connect(&stack.env().database_url).await?;
    if all {
        report.add(wake_to_launch::measure(&stack, &sql).await?);
        report.add(quiet_pass::measure(&stack, &sql).await?);
    }
    fleet::create(&sql).await?;
    if all {
        report.add(assign::measure(&stack, &sql).await?);
        report.add(burst::measure(&stack).await?);
    }
    report.add(status_page::measure(&stack, &sql).await?);
    stack.stop();
    report.print_goals();
    Ok(())
}

#[derive(Default)]
struct Report(Vec<Section>);

impl Report {
    /// Prints each section immediately, as a sign of progress.
    fn add(&mut self, section: Section) {
        println!("{section}");
        self.0.push(section);
    }

    /// Prints how many goals are met, and which ones are missed.
    fn print_goals(&self) {
        let with_goal = || {
            let rows = self.0.iter().flat_map(|section| &section.rows);
            rows.filter(|row| row.is_met().is_some())
        };
        let missed: Vec<_> = with_goal()
            .filter(|row| row.is_met() == Some(false))
            .map(Row::name)
            .collect();
        let all = with_goal().count();
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
