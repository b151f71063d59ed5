//! A region full of users, in the database only.

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::slots::Slots;

pub(crate) const REGION: &str = "us-east-1";
pub(crate) const SHA: &str = "3b1f";
pub(crate) const ENVIRONMENT: &str = "dev";

/// The size of the region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    pub(crate) slots: u32,
    /// Slots of each instance.
    pub(crate) capacity: u32,
}

/// A database whose regions are not ours must not be overwritten.
pub(crate) async fn ensure_unused(sql: &Client) -> Result<()> {
    let others: i64 = sql
        .query_one("SELECT count(*) FROM regions WHERE name <> $1", &[&REGION])
        .await
        .context("count the regions")?
        .get(0);
    let instances: i64 = sql
        .query_one(
            "SELECT count(*) FROM instances WHERE launch_id NOT LIKE 'bench-%'",
            &[],
        )
        .await?
        .get(0);
    ensure!(
        others + instances == 0,
        "the database has regions or instances that are not of a benchmark: name another one"
    );
    Ok(())
}

/// Fills the region: all instances are ACTIVE, and all slots have users, who stay for long.
/// Heartbeats and claims are valid for a day, so that no agents are needed.
pub(crate) async fn create(sql: &Client, fleet: Fleet) -> Result<()> {
    let Fleet { slots, capacity } = fleet;
    let instances = slots / capacity;
    sql.batch_execute(&format!(
        "TRUNCATE regions, instances, images, waiting_users, region_wakeups, app_versions CASCADE;
         INSERT INTO regions (name, target_free, max_instances, launch_choices, heartbeat_seconds,
             lost_seconds, claim_seconds)
         VALUES ('{REGION}', 0, {instances}, '[]', 86400, 172800, 86400);
         INSERT INTO images (region, image_id, client_sha, state)
         VALUES ('{REGION}', 'ami-1', '{SHA}', 'CURRENT');
         INSERT INTO app_versions VALUES ('{ENVIRONMENT}', '1.2.3', '{SHA}');
         INSERT INTO instances (id, region, launch_id, image_id, client_sha, instance_type, capacity,
             ip_addr, status, launched_at, active_at)
         SELECT 'i-0' || left(md5(n::text), 16), '{REGION}', 'bench-' || n, 'ami-1', '{SHA}',
             'm6i.large', {capacity}, '10.0.0.1', 'ACTIVE', now(), now()
         FROM generate_series(1, {instances}) n;
         INSERT INTO heartbeats (instance_id, beat_at) SELECT id, now() FROM instances;
         INSERT INTO slots (instance_id, status, user_id, session_id, allocated_at,
             first_allocated_at)
         SELECT id, 'ALLOCATED', 'resident-' || id || '-' || n, 'session', now(), now()
         FROM instances, generate_series(1, {capacity}) n;"
    ))
    .await
    .with_context(|| format!("fill the region with {instances} instances"))?;
    tidy(sql).await
}

/// Has exactly `free` free slots, at random places, because sessions end at random. Half as many are
/// the target, so that an assign has to find out whether they are still enough, and they are.
pub(crate) async fn set_free(sql: &Client, free: usize) -> Result<()> {
    choose_free(sql, free, "random()").await?;
    tidy(sql).await
}

/// The same, but all slots of some instances are free, and statements keep their plans.
pub(crate) async fn empty_instances(sql: &Client, fleet: Fleet, free: usize) -> Result<()> {
    debug_assert!(free.is_multiple_of(usize::try_from(fleet.capacity)?));
    choose_free(sql, free, "instance_id").await
}

/// The first slots in this order are free.
async fn choose_free(sql: &Client, free: usize, order: &str) -> Result<()> {
    let free = i64::try_from(free)?;
    let statements = format!(
        "WITH ranked AS (
             SELECT id, status, row_number() OVER (ORDER BY {order}) <= {free} AS is_free FROM slots)
         UPDATE slots s SET
             status = CASE WHEN r.is_free THEN 'WAITING' ELSE 'ALLOCATED' END,
             user_id = CASE WHEN r.is_free THEN NULL ELSE 'resident-' || s.id END,
             session_id = CASE WHEN r.is_free THEN NULL ELSE 'session' END,
             allocated_at = CASE WHEN r.is_free THEN NULL ELSE now() END,
             first_allocated_at = CASE WHEN r.is_free THEN NULL ELSE now() END
         FROM ranked r WHERE r.id = s.id AND r.is_free = (s.status <> 'WAITING');
         UPDATE regions SET target_free = {free} / 2;
         DELETE FROM waiting_users"
    );
    sql.batch_execute(&statements)
        .await
        .with_context(|| format!("have {free} free slots"))
}

/// What autovacuum does within a minute.
async fn tidy(sql: &Client) -> Result<()> {
    let tables = "slots, instances, heartbeats, waiting_users, region_wakeups, regions, images";
    sql.batch_execute(&format!("VACUUM (ANALYZE) {tables}"))
        .await
        .context("vacuum")
}

/// The slots of the region: those that are free, and those that are not.
pub(crate) async fn read(sql: &Client) -> Result<(Slots, Slots)> {
    let rows = sql
        .query("SELECT id, status = 'WAITING' FROM slots", &[])
        .await
        .context("read the slots")?;
    let which = |free: bool| {
        let rows = rows.iter().filter(move |row| row.get::<_, bool>(1) == free);
        rows.map(|row| row.get::<_, Uuid>(0)).collect()
    };
    Ok((which(true), which(false)))
}
