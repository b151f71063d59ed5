//! Measures assigning against what bounds it, on a PostgreSQL server that waits for its disk.
//!
//! It is a program of its own, in a release build, because the clients share the cores with the
//! server: what they take, the server does not get. It contains nothing of the AWS SDK. `bench` starts
//! the server and runs this; it can also run by itself, on any database with the project's schema and
//! no regions.

mod assigners;
mod clients;
mod fleet;
mod floor;
mod http;
mod processor;
mod proxy;
mod requests;
mod slots;

use std::fmt::Display;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::requests::Engine;

const USAGE: &str = "\
usage: bench-assign floor DATABASE_URL [CASE] [--json]
       bench-assign requests DATABASE_URL ENGINE_ADDRESS ENGINE_PID ADMIN_SECRET TOKEN [--json]

CASE is a part of the names of the cases to measure, such as `32 clients`. TOKEN is that of
`assign-user`.";

// One thread, as the clients of one machine have it: the server gets the other core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let json = args.iter().position(|arg| arg == "--json");
    let json = json.map(|place| args.remove(place)).is_some();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["floor", database_url, ref case @ ..] if case.len() < 2 => {
            let report = floor::measure(database_url, case.first().unwrap_or(&"")).await?;
            print(
                json,
                &report,
                &[&report.comparison, &report.refusals, &report.checks],
            )
        }
        [
            "requests",
            database_url,
            address,
            process,
            admin_secret,
            token,
        ] => {
            let engine = Engine {
                address: address.to_owned(),
                process: process.parse().context("parse ENGINE_PID")?,
                admin_secret: admin_secret.to_owned(),
                token: token.to_owned(),
            };
            let report = requests::measure(database_url, &engine).await?;
            print(
                json,
                &report,
                &[&report.speed, &report.answers, &report.cost],
            )
        }
        _ => bail!(USAGE),
    }
}

/// Prints a report for a person, or for `bench`.
fn print(json: bool, report: &impl Serialize, sections: &[&dyn Display]) -> Result<()> {
    if json {
        let text = serde_json::to_string(report).context("write the report")?;
        println!("{text}");
    } else {
        for section in sections {
            println!("{section}");
        }
    }
    Ok(())
}
