//! `simulate`: so many schedules, or one again with its trace.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use scaling_simulation::faults::{Counts, Fault};
use scaling_simulation::run::{Options, Outcome, run};
use scaling_simulation::with_timers;

/// Runs the functions over fakes under a seeded scheduler with faults, and checks what always
/// holds after each step.
#[derive(Debug, Parser)]
struct Args {
    /// How many schedules, one for each seed.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Runs this seed alone, and prints its last steps.
    #[arg(long)]
    seed: Option<u64>,
    /// How many of its last steps are printed.
    #[arg(long, default_value_t = 200)]
    lines: usize,
    /// Only these faults, often, instead of each seed's own choice: `--only pause,late-request`.
    #[arg(long, value_delimiter = ',')]
    only: Option<Vec<Fault>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    with_timers(|| match args.seed {
        Some(seed) => again(seed, &args),
        None => many(&args),
    })
}

fn again(seed: u64, args: &Args) -> ExitCode {
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
            let (steps, passes) = (outcome.steps, outcome.settled_after);
            println!("seed {seed}: {steps} steps, at rest after {passes} passes");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

/// What many schedules came to.
#[derive(Default)]
struct Sum {
    schedules: u64,
    steps: u64,
    violations: Vec<Outcome>,
    faults: Counts,
    done: BTreeMap<&'static str, u64>,
    longest: u32,
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        self.schedules += 1;
        self.steps += outcome.steps;
        self.longest = self.longest.max(outcome.settled_after);
        for (fault, often) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += often;
        }
        for (what, often) in &outcome.done {
            *self.done.entry(what).or_default() += often;
        }
        if outcome.violation.is_some() {
            self.violations.push(outcome);
        }
    }

    fn print(&self, took: Duration) {
        println!("what was done");
        for (what, often) in &self.done {
            println!("{often:>10}  {what}");
        }
        println!("faults");
        for (fault, often) in &self.faults {
            println!("{often:>10}  {fault}");
        }
        println!(
            "{:>10}  schedules, {:.1} s",
            self.schedules,
            took.as_secs_f64()
        );
        println!("{:>10}  steps, the rules checked after each", self.steps);
        println!("{:>10}  passes at most until all was at rest", self.longest);
        println!("{:>10}  violations", self.violations.len());
    }
}

fn many(args: &Args) -> ExitCode {
    let options = Options {
        traced: 0,
        only: args.only.clone(),
    };
    let started = Instant::now();
    let mut told = started;
    let mut sum = Sum::default();
    for seed in args.from..args.from.saturating_add(args.seeds) {
        let outcome = run(seed, &options);
        if let Some(violation) = &outcome.violation {
            eprintln!("seed {seed}: {violation}");
        }
        sum.add(outcome);
        if told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            progress(&sum, args.seeds, started);
        }
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    sum.print(started.elapsed());
    let Some(first) = sum.violations.first() else {
        return ExitCode::SUCCESS;
    };
    println!("the first of them again: make simulate SEED={}", first.seed);
    ExitCode::FAILURE
}

/// One line that changes on a terminal, a line a second elsewhere.
fn progress(sum: &Sum, of: u64, started: Instant) {
    let a_second = f64::from(u32::try_from(sum.schedules).unwrap_or(u32::MAX))
        / started.elapsed().as_secs_f64();
    let line = format!(
        "{} of {of} schedules, {a_second:.0} a second, {} violations",
        sum.schedules,
        sum.violations.len()
    );
    let mut stderr = std::io::stderr();
    let _ = if stderr.is_terminal() {
        write!(stderr, "\r{line}")
    } else {
        writeln!(stderr, "{line}")
    };
}
