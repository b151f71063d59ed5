//! `economics`: plays traces under policies, prints a table and draws a chart of each trace.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use scaling_economics::frontier::{Goal, Player, Point, Results};
use scaling_economics::policy::{POLICIES, Policy};
use scaling_economics::random::LogNormal;
use scaling_economics::run::Conditions;
use scaling_economics::trace::Trace;
use scaling_economics::workload::{Reading, Workload};
use scaling_economics::{chart, goals, millis, recorded, synthetic, table};

/// Plays weeks of arrivals around the real passes, and prints what policies cost and who waits.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Plays this CSV file instead of all other traces; may be given several times.
    #[arg(long = "trace", value_name = "FILE")]
    traces: Vec<PathBuf>,
    /// Where the four recorded traces are. They are left out if they are not there.
    #[arg(long, value_name = "DIR", default_value = "../shared/traces")]
    recorded: PathBuf,
    /// Only traces whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Leaves the made-up traces out.
    #[arg(long)]
    recorded_only: bool,
    /// With `--trace`: scales counts to this many sessions at a time.
    #[arg(long, value_name = "SESSIONS")]
    load: Option<f64>,
    /// With `--trace`: what is measured begins after this many hours.
    #[arg(long, value_name = "HOURS", default_value_t = 0.0)]
    warm_up: f64,
    /// Plays only this many days of each trace.
    #[arg(long, value_name = "DAYS")]
    days: Option<f64>,
    /// These policies only.
    #[arg(long, value_delimiter = ',', value_parser = policy)]
    policies: Vec<&'static Policy>,
    /// The share of users who may not be served at once, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    goal: f64,
    /// Plays each policy with this parameter only, instead of searching the least that reaches the goal.
    #[arg(long, value_name = "NUMBER")]
    parameter: Option<u32>,
    /// Half of the boots take this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    boot: f64,
    /// 95 % of the boots take at most this many seconds; twice `--boot` if it is not given.
    #[arg(long, value_name = "SECONDS")]
    boot_p95: Option<f64>,
    /// Slots of an instance.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: u32,
    /// The mean length of sessions that the trace does not say, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1200.0)]
    session: f64,
    /// How long a user in line asks again before they leave, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    patience: f64,
    /// EC2 has a bad day, for all of the trace: boots fail, pools are empty, listings lag.
    #[arg(long)]
    rough: bool,
    /// Plays only the three settings that `adaptive` has goals for, on the recorded traces. Without any
    /// choice of traces and policies, they are played first; then all traces, with --boot, --slots and
    /// --goal.
    #[arg(long)]
    goals: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the charts and `runs.csv` are written.
    #[arg(long, value_name = "DIR", default_value = "target/economics-charts")]
    out: PathBuf,
}

fn policy(name: &str) -> Result<&'static Policy, String> {
    let known = || POLICIES.map(|policy| policy.name).join(", ");
    Policy::named(name).ok_or_else(|| format!("it must be one of {}", known()))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let is_whole = args.traces.is_empty()
        && args.only.is_none()
        && args.days.is_none()
        && args.policies.is_empty()
        && args.recorded.is_dir();
    let result = if args.goals {
        compare_with_goals(&args)
    } else if is_whole {
        compare_with_goals(&args).and_then(|()| compare(&args))
    } else {
        compare(&args)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<()> {
    let goal = Goal {
        not_at_once: args.goal / 100.0,
    };
    let policies = policies(args);
    let results = play(args, goal)?;
    println!("{}", table::text(&results, &policies, &goal));
    write_files(&args.out, &results, &goal)
}

/// The charts of each setting are in a folder of their own.
fn compare_with_goals(args: &Args) -> Result<()> {
    let policies = policies(args);
    for setting in &goals::SETTINGS {
        let of_setting = Args {
            boot: setting.boot,
            boot_p95: None,
            slots: setting.slots,
            // The made-up traces have no goals.
            recorded_only: true,
            goals: true,
            ..args.clone()
        };
        let results = play(&of_setting, setting.goal)?;
        println!("{}", goals::text(setting, &results, &policies));
        let folder = format!("boots-{:.0}-slots-{}", setting.boot, setting.slots);
        write_files(&args.out.join(folder), &results, &setting.goal)?;
    }
    Ok(())
}

fn policies(args: &Args) -> Vec<&'static Policy> {
    match &args.policies[..] {
        [] => POLICIES.iter().collect(),
        some => some.to_vec(),
    }
}

fn play(args: &Args, goal: Goal) -> Result<Vec<Results>> {
    let workloads = workloads(args)?;
    let conditions = Conditions {
        seed: args.seed,
        patience: millis(args.patience),
        ..Conditions::default()
    };
    let player = Player {
        policies: policies(args),
        goal,
        parameter: args.parameter,
        goals_only: args.goals,
        conditions: if args.rough {
            conditions.rough()
        } else {
            conditions
        },
        progress: &progress,
    };
    Ok(player.play(&workloads)?)
}

/// A run takes up to minutes, so that each is told when it is over.
fn progress(workload: &Workload, policy: &Policy, point: &Point) {
    eprintln!(
        "{}: {} {}: {:.0} machine-hours, {:.3} % not at once",
        workload.name,
        policy.name,
        point.parameter,
        point.outcome.machine_hours(),
        100.0 * point.outcome.share_not_at_once()
    );
}

fn workloads(args: &Args) -> Result<Vec<Workload>> {
    ensure!(args.boot > 0.0, "--boot must be more than 0");
    ensure!(args.session > 0.0, "--session must be more than 0");
    ensure!(
        (0.0..=100.0).contains(&args.goal),
        "--goal must be from 0 to 100"
    );
    let p95 = args.boot_p95.unwrap_or(2.0 * args.boot);
    ensure!(p95 >= args.boot, "--boot-p95 must be at least --boot");
    let boots = LogNormal::of_quantiles(args.boot, p95);
    let mut readings = if args.traces.is_empty() {
        let mut readings = recorded::found_in(&args.recorded, boots, args.slots)?;
        if readings.is_empty() {
            eprintln!("no recorded traces in {}", args.recorded.display());
        }
        if !args.recorded_only {
            readings.extend(synthetic::all(boots, args.slots));
        }
        readings
    } else {
        let readings = args.traces.iter().map(|path| reading(args, path, boots));
        readings.collect::<Result<_>>()?
    };
    if let Some(part) = &args.only {
        readings.retain(|reading| reading.name.contains(part.as_str()));
    }
    ensure!(!readings.is_empty(), "there is no trace to play");
    let mut workloads: Vec<_> = readings
        .iter()
        .map(|reading| reading.workload(args.seed))
        .collect();
    if let Some(days) = args.days {
        for workload in &mut workloads {
            workload.until = workload.until.min(millis(days * 86_400.0));
            let (name, until) = (&workload.name, workload.until);
            ensure!(
                workload.from < until,
                "{name}: --days is within the warm-up, so that nothing is measured"
            );
            workload.users.retain(|user| user.arrives < until);
        }
    }
    Ok(workloads)
}

fn reading(args: &Args, path: &Path, boots: LogNormal) -> Result<Reading> {
    let name = path.file_stem().unwrap_or(path.as_os_str());
    Ok(Reading {
        name: name.to_string_lossy().into_owned(),
        trace: Trace::read(path)?,
        load: args.load,
        sessions: LogNormal::of_mean(args.session, 1.0),
        boots,
        slots: args.slots,
        warm_up: args.warm_up * 3600.0,
    })
}

fn write_files(out: &Path, results: &[Results], goal: &Goal) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let write = |name: String, content: String| {
        let path = out.join(name);
        std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    };
    for result in results {
        write(format!("{}.svg", result.workload), chart::svg(result, goal))?;
    }
    write("runs.csv".to_owned(), table::csv(results))?;
    println!("charts and runs.csv: {}", out.display());
    Ok(())
}
