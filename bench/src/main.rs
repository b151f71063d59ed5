//! `make bench`: the figures that the service should reach, taken in one run, each beside its
//! goal. They are printed and nothing fails on them: on a busy machine a time says little.

mod assign;
mod burst;
mod fleet;
mod function;
mod lambda;
mod machine;
mod pages;
mod quiet_pass;
mod replicas;
mod wake;

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
        "the argument can only be `pages`: the status page alone"
    );
    let all = only.is_none();
    if all {
        // First what is measured to the microsecond: the stack keeps the machine busy.
        report.add(decide()?);
        report.add(function::measure().await?);
        report.add(replicas::measure().await?);
    }

    let mut options = StackOptions::named("bench");
    // A pass that comes by itself would be counted too.
    options.schedule = Schedule::Off;
    let stack = Stack::start(&options).await?;
    println!();
    let sql = fleet::connect(&stack.env().database_url).await?;
    if all {
        report.add(wake::measure(&stack, &sql).await?);
        report.add(quiet_pass::measure(&stack, &sql).await?);
    }
    fleet::create(&sql).await?;
    if all {
        report.add(assign::measure(&stack, &sql).await?);
        report.add(burst::measure(&stack).await?);
    }
    report.add(pages::measure(&stack, &sql).await?);
    stack.stop();
    report.sum_up();
    Ok(())
}

#[derive(Default)]
struct Report(Vec<Section>);

impl Report {
    /// Printed at once: whoever waits sees that it goes on.
    fn add(&mut self, section: Section) {
        println!("{section}");
        self.0.push(section);
    }

    fn sum_up(&self) {
        let with_goal = || {
            let rows = self.0.iter().flat_map(|section| &section.rows);
            rows.filter(|row| row.is_met().is_some())
        };
        let missed: Vec<_> = with_goal()
            .filter(|row| row.is_met() == Some(false))
            .map(Row::what)
            .collect();
        let all = with_goal().count();
        println!("{} of {all} goals met", all - missed.len());
        if !missed.is_empty() {
            println!("missed: {}", missed.join("; "));
        }
    }
}

/// Times decisions in a release build, which this program is not.
fn decide() -> Result<Section> {
    let program = project::root().join("target/release/bench-decide");
    let output = Command::new(&program)
        .output()
        .with_context(|| format!("run {}: `make bench` builds it", program.display()))?;
    ensure!(output.status.success(), "{} failed", program.display());
    serde_json::from_slice(&output.stdout).context("read what bench-decide printed")
}
