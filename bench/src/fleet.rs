//! A large region that exists in PostgreSQL only, made by the calls that passes and host agents
//! make.

use anyhow::{Context as _, Result};
use tokio_postgres::{Client, NoTls};

pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const INSTANCES: u32 = 10_000;
/// Slots of each instance.
pub(crate) const SLOTS: u32 = 4;

/// The builds of three kinds of clients. Users are assigned to the lowest ids first, so that a
/// client of the second half comes after all instances of the first half.
pub(crate) const FIRST_HALF: &str = "build-of-the-first-half";
pub(crate) const SECOND_HALF: &str = "build-of-the-second-half";
pub(crate) const NOWHERE: &str = "build-that-runs-nowhere";

pub(crate) async fn connect(database_url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(database_url, NoTls)
        .await
        .context("connect to Postgres")?;
    // An error of the connection is also returned by the client, where it is reported.
    tokio::spawn(connection);
    // A fleet takes longer to make than any statement of the service.
    client.batch_execute("SET statement_timeout = 0").await?;
    Ok(client)
}

/// Creates the region with all slots free. Heartbeats are valid for a day, so that no agents are
/// needed.
pub(crate) async fn create(sql: &Client) -> Result<()> {
    let statements = format!(
        "INSERT INTO regions
             (name, target_free, max_instances, launch_choices, heartbeat_seconds, lost_seconds)
         VALUES ('{REGION}', 1000, {INSTANCES}, '[]', 86400, 172800);

         INSERT INTO images (region, image_id, client_sha, state) VALUES
             ('{REGION}', 'ami-1', '{FIRST_HALF}', 'BAKING'),
             ('{REGION}', 'ami-2', '{SECOND_HALF}', 'CURRENT'),
             ('{REGION}', 'ami-3', '{NOWHERE}', 'BAKING');

         SELECT count(*) FROM record_instances('{REGION}', 1, (
             SELECT jsonb_agg(jsonb_build_object(
                 'id', 'i-' || lpad(n::text, 17, '0'), 'launch_id', 'launch-' || n,
                 'image_id', 'ami-' || half, 'client_sha', sha,
                 'instance_type', 'm6i.large', 'capacity', {SLOTS}, 'launched_at', now(),
                 'private_ip', '10.0.0.1'))
             FROM generate_series(1, {INSTANCES}) n,
                 LATERAL (SELECT n <= {INSTANCES} / 2) f (is_first),
                 LATERAL (SELECT CASE WHEN is_first THEN 1 ELSE 2 END,
                     CASE WHEN is_first THEN '{FIRST_HALF}' ELSE '{SECOND_HALF}' END) h (half, sha)
         ));"
    );
    sql.batch_execute(&statements)
        .await
        .context("record the instances")?;
    register_all(sql, REGION).await?;
    // Autovacuum would do this some time later.
    sql.batch_execute("VACUUM ANALYZE").await?;
    Ok(())
}

/// Registers the instances of a region, as their host agents do.
pub(crate) async fn register_all(sql: &Client, region: &str) -> Result<()> {
    let register = "SELECT count(*) FROM instances i, LATERAL register_host(
                        i.id, '10.0.0.1', json_build_object('x-hasura-launch-id', i.launch_id))
                    WHERE i.region = $1 AND i.status = 'PRE_CONNECTION'";
    sql.query_one(register, &[&region])
        .await
        .context("register the instances")?;
    Ok(())
}

/// Removes the rows of a region; its agents then shut their machines down.
pub(crate) async fn remove(sql: &Client, region: &str) -> Result<()> {
    let tables = [
        ("instances", "region"),
        ("images", "region"),
        ("regions", "name"),
    ];
    for (table, column) in tables {
        sql.execute(
            &format!("DELETE FROM {table} WHERE {column} = $1"),
            &[&region],
        )
        .await
        .with_context(|| format!("remove {region} from {table}"))?;
    }
    Ok(())
}
