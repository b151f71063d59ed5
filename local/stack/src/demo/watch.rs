//! The loop that reads the status page during the day.

use std::convert::Infallible;

use anyhow::Result;
use tokio::time::sleep;

use super::day::{Day, POLL};
use super::regions::REGIONS;
use super::status::Status;
use super::users::Users;

/// Simulated seconds between two reports about all regions.
const REPORT_INTERVAL: u32 = 2 * 3_600;

/// How many consecutive reads of the page may fail, as the machine may be busy.
const MAX_FAILED_READS: u32 = 10;

/// Reads the status page for the day's other tasks, and prints the state of all regions every two
/// hours of the day. Runs until an error.
///
/// # Errors
/// When more than [`MAX_FAILED_READS`] consecutive reads fail.
pub(super) async fn watch(day: &Day<'_>, users: &Users<'_>) -> Result<Infallible> {
    let mut next_report = REPORT_INTERVAL;
    let mut failed = 0;
    loop {
        match Status::read(day.stack.stack.env()).await {
            Ok(status) => {
                failed = 0;
                day.set_status(status);
            }
            Err(error) if failed == MAX_FAILED_READS => return Err(error),
            Err(_) => failed += 1,
        }
        users.report_lines();
        if day.clock.now().0 >= next_report {
            print_regions(day);
            next_report += REPORT_INTERVAL;
        }
        sleep(POLL).await;
    }
}

fn print_regions(day: &Day<'_>) {
    let Some(status) = day.status() else { return };
    let regions = REGIONS.iter();
    for region in regions.filter_map(|region| status.region(region.name)) {
        day.print(&region.line());
    }
}
