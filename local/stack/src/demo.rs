//! `local-stack demo`: a day of users in some minutes, on a stack of its own, for somebody who
//! watches the status page.
//!
//! - `clock`, `day`, `places`: the day as a plan: when users come, where, with which client;
//! - `stage`: the stack, its regions and its schedule; `show`: a day that is on;
//! - `users`, `queue`: those who come, over HTTP;
//! - `story`, `rollout`: what else happens;
//! - `page`, `witness`: what the status page shows, and what really became of each session;
//! - `tell`, `summary`, `verdict`: what is printed, and whether the day went as it should.

mod clock;
mod day;
mod page;
mod places;
mod queue;
mod rollout;
mod show;
mod stage;
mod story;
mod summary;
mod tell;
mod users;
mod verdict;
mod witness;

use anyhow::{Result, ensure};
use clap::Args;

pub use self::rollout::Rollout;
use self::show::Show;
use self::stage::Stage;
pub use self::story::Interruption;
pub use self::summary::Summary;
use self::users::Users;
pub use self::witness::WITNESS;
use crate::options::parse_name;
use crate::up::until_stopped;

/// As many as two cores and a patient reader can follow.
const USERS_A_MINUTE: u32 = 80;

/// How the day is played.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// How long the day takes
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub minutes: u32,
    /// The users to be expected [default: 80 for each minute]
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=5_000))]
    pub users: Option<u32>,
    /// Another seed is another day; the same one is the same
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Ends when the day is over, and fails if it did not go as it should; else the stack stays,
    /// to be looked at, until Ctrl-C
    #[arg(long)]
    pub leave: bool,
    /// The stack's name; each has its own folder, ports and data
    #[arg(long, default_value = "demo", value_parser = parse_name)]
    pub name: String,
    /// The first of seven ports in a row [default: any free ones]
    #[arg(long, value_name = "PORT")]
    pub ports_from: Option<u16>,
}

impl DemoOptions {
    fn users(&self) -> u32 {
        self.users.unwrap_or(USERS_A_MINUTE * self.minutes)
    }
}

/// Plays the day until it is over or told to stop.
///
/// # Errors
/// When a part cannot be started, or ends by itself, or the day did not go as it should.
pub async fn demo(options: &DemoOptions) -> Result<()> {
    until_stopped(run(options)).await
}

async fn run(options: &DemoOptions) -> Result<()> {
    let stage = Box::pin(Stage::set(options)).await?;
    stage
        .during(async {
            let summary = Box::pin(day(&stage, options)).await?;
            println!("\n{summary}");
            if options.leave {
                ensure!(summary.wrong.is_empty(), "the day did not go as it should: see above");
                return Ok(());
            }
            println!(
                "The page stays, and the last sessions come to their end: {}\nCtrl-C ends everything.",
                stage.stack.env().status_url
            );
            std::future::pending().await
        })
        .await
}

/// Plays a day on a stack of its own, which is gone afterwards; what it came to.
///
/// # Errors
/// When a part cannot be started, or ends by itself.
pub async fn play(options: &DemoOptions) -> Result<Summary> {
    let stage = Box::pin(Stage::set(options)).await?;
    stage.during(Box::pin(day(&stage, options))).await
}

async fn day(stage: &Stage, options: &DemoOptions) -> Result<Summary> {
    let arrivals = day::arrivals(options.seed, options.users());
    let show = Show::begin(stage);
    let users = Users::of(&show, options.seed);
    let rush_hours = (0..places::PLACES.len()).map(|place| story::rush_hour(&show, &users, place));
    let happens = Box::pin(async {
        tokio::try_join!(
            users.come(&arrivals),
            story::passes_by(&show),
            futures::future::try_join_all(rush_hours),
            story::shortage(&show),
            story::interruption(&show, &users),
            rollout::roll_out(&show),
        )
    });
    let (.., interruption, rollout) = tokio::select! {
        happened = happens => happened?,
        error = show.watch(&users) => match error? {},
    };
    Summary::of(&show, &users, arrivals.len(), interruption, rollout).await
}
