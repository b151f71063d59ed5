//! What assigning reads instead of instances, regions and images is always what they say: slots copy their
//! instance, and `served_hashes` what each client hash is served with. Whatever changes them: a function, or an
//! operator by hand.

use anyhow::Result;
use scaling_tests::database::{Database, IMAGE, REGION, SHA, Session, claims_of};

const SLOTS_THAT_DIFFER: &str = "SELECT FROM slots s JOIN instances i ON i.id = s.instance_id
    WHERE (s.region, s.image_id, s.instance_active)
        IS DISTINCT FROM (i.region, i.image_id, i.status = 'ACTIVE')";

const HASHES_THAT_DIFFER: &str = "WITH expected AS (
        SELECT r.name, i.client_sha,
            array_agg(i.image_id ORDER BY i.state = 'CURRENT' DESC, i.state_since DESC, i.image_id),
            min(i.image_id) FILTER (WHERE i.state = 'CURRENT'), r.heartbeat_seconds, r.line_seconds
        FROM regions r JOIN images i ON i.region = r.name AND i.state IN ('CURRENT', 'BAKING')
        WHERE r.enabled GROUP BY r.name, i.client_sha)
    (TABLE expected EXCEPT TABLE internal.served_hashes)
    UNION ALL (TABLE internal.served_hashes EXCEPT TABLE expected)";

async fn expect_copies(session: &Session, after: &str) -> Result<()> {
    assert_eq!(session.count(SLOTS_THAT_DIFFER).await?, 0, "{after}");
    assert_eq!(session.count(HASHES_THAT_DIFFER).await?, 0, "{after}");
    Ok(())
}

#[tokio::test]
async fn slots_copy_their_instance_whatever_changes_it() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    session.host("i-2", 1).await?;
    let drain = |cause: &str| format!("drain_instances('{REGION}', 1, '[\"i-1\"]', {cause})");
    for change in [
        format!("SELECT {}", drain("'SURPLUS'")),
        format!("SELECT reopen_instances('{REGION}', 1, '[\"i-1\"]')"),
        "INSERT INTO slots (instance_id) VALUES ('i-1'), ('i-2')".to_owned(),
        "INSERT INTO slots (instance_id, image_id, region, instance_active)
         VALUES ('i-1', 'wrong', 'wrong', false)"
            .to_owned(),
        "UPDATE slots SET image_id = 'wrong', instance_active = false".to_owned(),
        "UPDATE slots SET instance_id = 'i-2' WHERE id = (
             SELECT id FROM slots WHERE instance_id = 'i-1' LIMIT 1)"
            .to_owned(),
        "UPDATE instances SET image_id = 'ami-2' WHERE id = 'i-1'".to_owned(),
        "UPDATE instances SET status = 'DRAINING' WHERE id = 'i-1'".to_owned(),
        "INSERT INTO slots (instance_id) VALUES ('i-1')".to_owned(),
        format!("SELECT terminate_instances('{REGION}', 1, '[\"i-1\"]', 'EMPTY')"),
        "UPDATE instances SET status = 'TERMINATING' WHERE id = 'i-2'".to_owned(),
    ] {
        session.run(&change).await?;
        expect_copies(&session, &change).await?;
    }
    assert_eq!(
        session
            .count("SELECT FROM slots WHERE instance_active")
            .await?,
        0
    );

    // An instance that registers, and a slot that its agent replaces.
    session.host("i-3", 1).await?;
    expect_copies(&session, "register_host").await?;
    let got = session.assign("ann", "1").await?;
    let (slot, claims) = (got.slot(), claims_of(&got.instance()));
    for call in [
        format!("claim_slot('{slot}', 'ann', '1', '{claims}')"),
        format!("report_slot('{slot}', 'RUNNING', '{claims}')"),
        format!("report_slot('{slot}', 'DYING', '{claims}')"),
        format!("replace_slot('{slot}', '{claims}')"),
    ] {
        session.outcome(&call).await?;
        expect_copies(&session, &call).await?;
    }
    Ok(())
}

#[tokio::test]
async fn hashes_are_served_as_regions_and_images_say_whatever_changes_them() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for change in [
        format!("INSERT INTO images (region, image_id, client_sha, state)
                 VALUES ('{REGION}', 'ami-2', '{SHA}', 'BAKING'), ('{REGION}', 'ami-3', 'new', 'WARMING')"),
        format!("UPDATE images SET state = 'BAKING' WHERE image_id = '{IMAGE}'"),
        "UPDATE images SET state = 'CURRENT' WHERE image_id = 'ami-3'".to_owned(),
        "UPDATE images SET client_sha = 'newer' WHERE image_id = 'ami-3'".to_owned(),
        "UPDATE regions SET heartbeat_seconds = heartbeat_seconds + 1".to_owned(),
        "UPDATE regions SET line_seconds = line_seconds + 1".to_owned(),
        "UPDATE regions SET enabled = false".to_owned(),
        "UPDATE regions SET enabled = true".to_owned(),
        "UPDATE images SET image_id = 'ami-4' WHERE image_id = 'ami-2'".to_owned(),
        "DELETE FROM images WHERE image_id = 'ami-4'".to_owned(),
        "INSERT INTO regions (name, target_free, max_instances, launch_choices)
         VALUES ('eu-west-1', 0, 1, '[]')"
            .to_owned(),
        "UPDATE images SET region = 'eu-west-1' WHERE image_id = 'ami-3'".to_owned(),
        "DELETE FROM images WHERE region = 'eu-west-1'".to_owned(),
        "DELETE FROM regions WHERE name = 'eu-west-1'".to_owned(),
    ] {
        session.run(&change).await?;
        expect_copies(&session, &change).await?;
    }
    assert_eq!(
        session.count("SELECT FROM internal.served_hashes").await?,
        1
    );
    Ok(())
}
