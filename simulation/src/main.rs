//! `simulate`: runs many schedules, or repeats one and prints its trace.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use scaling_simulation::faults::{Counts, Fault};
use scaling_simulation::run::{Options, Outcome, run};
use scaling_simulation::with_timers;

/// Runs the functions over fakes with faults in a random order, and checks invariants after each
/// step.
#[derive(Debug, Parser)]
struct Args {
    /// The number of schedules, one for each seed.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Runs only this seed, and prints its last steps.
    #[arg(long)]
    seed: Option<u64>,
    /// With `--seed`: the number of lines to print.
    #[arg(long, default_value_t = 200)]
    lines: usize,
    /// Only these faults, at their full rate, instead of each seed's own choice:
    /// `--only pause,late-request`.
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<Fault>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    with_timers(|| match args.seed {
        Some(seed) => run_one(seed, &args),
        None => run_many(&args),
    })
}

fn run_one(seed: u64, args: &Args) -> ExitCode {
    let options = Options {
        traced: args.lines,
        only: args.only.clone(),
    };
    let outcome = run(seed, &options);
    for line in &outcome.trace {
        println!("{line}");
    }
    match &outcome.violation {
        None => {
            let (steps, passes) = (outcome.steps, outcome.passes_to_converge);
            println!(
                "seed {seed}: no violation in {steps} steps; passes until convergence: {passes}"
            );
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

/// The summary of many schedules.
#[derive(Default)]
struct Summary {
    schedules: u64,
    steps: u64,
    violations: Vec<Outcome>,
    faults: Counts,
    done: BTreeMap<&'static str, u64>,
    passes_to_converge: u32,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        self.schedules += 1;
        self.steps += outcome.steps;
        self.passes_to_converge = self.passes_to_converge.max(outcome.passes_to_converge);
        for (fault, count) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (what, count) in &outcome.done {
            *self.done.entry(what).or_default() += count;
        }
        if outcome.violation.is_some() {
            self.violations.push(outcome);
        }
    }

    fn print(&self, duration: Duration) {
        println!("actions");
        for (what, count) in &self.done {
            println!("{count:>10}  {what}");
        }
        println!("faults");
        for (fault, count) in &self.faults {
            println!("{count:>10}  {fault}");
        }
        println!("summary");
        println!(
            "{:>10}  schedules in {:.1} s",
            self.schedules,
            duration.as_secs_f64()
        );
        println!("{:>10}  steps, with all checks after each", self.steps);
        println!(
            "{:>10}  passes at most until convergence",
            self.passes_to_converge
        );
        println!("{:>10}  violations", self.violations.len());
    }
}

fn run_many(args: &Args) -> ExitCode {
    let options = Options {
        traced: 0,
        only: args.only.clone(),
    };
    let started = Instant::now();
    let mut last_progress = started;
    let mut summary = Summary::default();
    for seed in args.from..args.from.saturating_add(args.seeds) {
        let outcome = run(seed, &options);
        if let Some(violation) = &outcome.violation {
            eprintln!("seed {seed}: {violation}");
        }
        summary.add(outcome);
        if last_progress.elapsed() >= Duration::from_secs(1) {
            last_progress = Instant::now();
            print_progress(&summary, args.seeds, started);
        }
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    summary.print(started.elapsed());
    let Some(first) = summary.violations.first() else {
        return ExitCode::SUCCESS;
    };
    println!("repeat the first one: make simulate SEED={}", first.seed);
    ExitCode::FAILURE
}

/// Overwrites one line on a terminal, and prints a line each second elsewhere.
fn print_progress(summary: &Summary, schedules: u64, started: Instant) {
    let per_second = f64::from(u32::try_from(summary.schedules).unwrap_or(u32::MAX))
        / started.elapsed().as_secs_f64();
    let line = format!(
        "{} of {schedules} schedules, {per_second:.0} per second, {} violations",
        summary.schedules,
        summary.violations.len()
    );
    let mut stderr = std::io::stderr();
    let _ = if stderr.is_terminal() {
        write!(stderr, "\r{line}")
    } else {
        writeln!(stderr, "{line}")
    };
}
