//! The options of `local-stack demo`.

use clap::{Args, ValueEnum};

use crate::options::parse_name;

/// Two cores can serve this many, and a person can follow them on the page.
const USERS_PER_MINUTE: u32 = 80;

/// How the simulated day runs.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// The number of real minutes in which the day passes
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub minutes: u32,
    /// The expected number of users [default: 80 for each minute]
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=5_000))]
    pub users: Option<u32>,
    /// The seed of the random numbers; the same seed gives the same arrivals of users
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Exits at the end of the day, with an error if the checks of the day failed; otherwise the
    /// stack runs until Ctrl-C
    #[arg(long)]
    pub leave: bool,
    /// What decides how many slots are kept free: a fixed number, or the region's traffic
    #[arg(long, value_enum, default_value_t = Algorithm::Default)]
    pub algorithm: Algorithm,
    /// The stack's name; each stack has its own folder, ports and data
    #[arg(long, default_value = "demo", value_parser = parse_name)]
    pub name: String,
    /// The first of seven consecutive ports [default: free ports]
    #[arg(long, value_name = "PORT")]
    pub ports_from: Option<u16>,
}

/// The algorithms that know users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Algorithm {
    Default,
    Adaptive,
}

impl DemoOptions {
    /// The expected number of users of the day.
    pub(super) fn users(&self) -> u32 {
        self.users.unwrap_or(USERS_PER_MINUTE * self.minutes)
    }
}
