//! `local-stack demo`: simulates a day of users in a few minutes, on a stack of its own, for a
//! person who watches the status page.
//!
//! - `clock`, `regions`, `arrivals`: the plan of the day: when users arrive, where, with which
//!   client;
//! - `stack`, `status`, `sessions`: the stack, and what is read from it: the status page, and from
//!   the database how each session ended;
//! - `day`, `watch`: the running day, and the loop that reads the status page;
//! - `users`, `line`: simulated users, who send HTTP requests, and wait in line;
//! - `announcements`, `interruption`, `shortage`, `rollout`: the other events of the day;
//! - `evaluate`, `summary`, `checks`, `history`, `witness`: the result of the day, and whether it is as expected,
//!   also in the service's own history;
//! - `bill`: what the day cost, replayed with other settings;
//! - `options`, `text`: the command's options, and the format of printed lines.

mod announcements;
mod arrivals;
mod bill;
mod checks;
mod clock;
mod day;
mod evaluate;
mod history;
mod interruption;
mod line;
mod options;
mod regions;
mod rollout;
mod sessions;
mod shortage;
mod stack;
mod status;
mod summary;
mod text;
mod users;
mod watch;
mod witness;

use anyhow::{Result, ensure};
use futures::future::try_join_all;

pub use self::bill::Bill;
use self::day::Day;
pub use self::history::DayHistory;
pub use self::interruption::Interruption;
pub use self::options::{Algorithm, DemoOptions};
pub use self::rollout::Rollout;
pub use self::sessions::RECORD_SESSIONS_SQL;
use self::stack::DemoStack;
pub use self::summary::Summary;
use self::users::Users;
pub use self::users::Wait;
use crate::signals::run_until_signal;

/// Runs the demonstration until the day is over or Ctrl-C.
///
/// # Errors
/// When a component cannot be started or ends by itself, or with `leave`, when a check of the day
/// failed.
pub async fn demo(options: &DemoOptions) -> Result<()> {
    run_until_signal(run(options)).await
}

async fn run(options: &DemoOptions) -> Result<()> {
    let stack = Box::pin(DemoStack::start(options)).await?;
    stack
        .run_with_passes(async {
            let summary = Box::pin(run_day(&stack, options)).await?;
            println!("\n{summary}");
            if options.leave {
                ensure!(
                    summary.problems.is_empty(),
                    "the day did not go as expected: see the problems above"
                );
                return Ok(());
            }
            println!(
                "The stack and the remaining sessions keep running. Status page: {}\n\
                 Ctrl-C stops everything.",
                stack.stack.env().status_url
            );
            std::future::pending().await
        })
        .await
}

/// Runs a day on a stack of its own, and removes the stack. Returns the day's result.
///
/// # Errors
/// When a component cannot be started or ends by itself.
pub async fn play(options: &DemoOptions) -> Result<Summary> {
    let stack = Box::pin(DemoStack::start(options)).await?;
    stack
        .run_with_passes(Box::pin(run_day(&stack, options)))
        .await
}

async fn run_day(stack: &DemoStack, options: &DemoOptions) -> Result<Summary> {
    let arrivals = arrivals::arrivals(options.seed, options.users());
    let midnight = stack.sessions.now().await?;
    let day = Day::begin(stack);
    let users = Users::new(&day, options.seed);
    let rush_hours = (0..regions::REGIONS.len())
        .map(|region| announcements::announce_rush_hour(&day, &users, region));
    let events = Box::pin(async {
        tokio::try_join!(
            users.run(&arrivals),
            announcements::announce_times(&day),
            try_join_all(rush_hours),
            shortage::run_shortage(&day),
            interruption::run_interruption(&day, &users),
            rollout::run_rollout(&day),
        )
    });
    let (.., interruption, rollout) = tokio::select! {
        result = events => result?,
        error = watch::watch(&day, &users) => match error? {},
    };
    let mut summary =
        evaluate::evaluate(&day, &users, arrivals.len(), interruption, rollout).await?;
    summary.bill = bill::Bill::read(&day, midnight).await?;
    summary
        .problems
        .extend(summary.bill.differences(stack.pace));
    Ok(summary)
}
