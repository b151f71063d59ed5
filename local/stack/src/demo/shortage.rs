//! EC2 has no capacity in one zone while a region needs it most.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::clock::DayTime;
use super::day::Day;
use super::regions::{REGIONS, SHORTAGE_REGION};
use super::text::duration;

/// Around the region's rush hour.
const SHORTAGE: (DayTime, DayTime) = (DayTime::at(13, 0), DayTime::at(16, 0));

/// Takes the capacity of a region's first zone away and gives it back.
///
/// # Errors
/// When the emulator does not answer.
pub(super) async fn run_shortage(day: &Day<'_>) -> Result<()> {
    let region = REGIONS[SHORTAGE_REGION].name;
    let subnets = &day.stack.world.region(region)?.subnets;
    let subnet = subnets
        .first()
        .with_context(|| format!("the EC2 world has no subnet in {region}"))?;
    day.clock.sleep_until(SHORTAGE.0).await;
    let none = json!({"region": region, "subnet_id": subnet.id, "available": 0});
    day.stack.set_capacity_faults(vec![none]).await?;
    day.print(&format!(
        "{region}: EC2 has no capacity left in the first availability zone"
    ));
    let time = day.clock.pace.to_real(SHORTAGE.1.since(SHORTAGE.0));
    let refused = day.poll_until(time, async || {
        let status = day.status();
        let region = status.as_ref().and_then(|status| status.region(region));
        Ok(region
            .is_some_and(|region| !region.refusals.is_empty())
            .then_some(()))
    });
    if refused.await?.is_some() {
        day.print(&format!(
            "{region}: EC2 refused a launch in that zone; VMs are launched in another zone instead"
        ));
    }
    day.clock.sleep_until(SHORTAGE.1).await;
    day.stack.set_capacity_faults(Vec::new()).await?;
    let lasted = duration(SHORTAGE.1.since(SHORTAGE.0));
    day.print(&format!(
        "{region}: EC2 has capacity in the first zone again, after {lasted}"
    ));
    Ok(())
}
