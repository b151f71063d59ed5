//! The options of `local-stack demo`.

use clap::{Args, ValueEnum};

use super::regions::{DemoRegion, REGIONS};
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
    /// How many slots regions keep free, instead of the demonstration's own numbers, such as
    /// `eu-west-1=7,us-east-1=11`: always with the default algorithm, at least with `adaptive`
    #[arg(
        long,
        value_name = "REGION=SLOTS",
        value_delimiter = ',',
        value_parser = parse_target
    )]
    pub target_free: Vec<(String, u32)>,
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

/// Parses `eu-west-1=7`.
fn parse_target(text: &str) -> Result<(String, u32), String> {
    let (region, slots) = text
        .split_once('=')
        .ok_or("use a region's name, `=`, and a number of slots")?;
    if !REGIONS.iter().any(|known| known.name == region) {
        let names = REGIONS.map(|known| known.name).join(", ");
        return Err(format!(
            "`{region}` is not one of the day's regions: {names}"
        ));
    }
    let slots = slots
        .parse()
        .map_err(|_| format!("`{slots}` should be a number of slots"))?;
    Ok((region.to_owned(), slots))
}

impl DemoOptions {
    /// The slots that the operator wants a region to keep free.
    pub(super) fn target_free(&self, region: &DemoRegion) -> Option<u32> {
        let mut targets = self.target_free.iter();
        let (_, slots) = targets.find(|(name, _)| name == region.name)?;
        Some(*slots)
    }

    /// The expected number of users of the day.
    pub(super) fn users(&self) -> u32 {
        self.users.unwrap_or(USERS_PER_MINUTE * self.minutes)
    }
}
