//! Each served image has a buffer of its own and wakes its region by itself.

use anyhow::Result;
use scaling_tests::database::{Database, REGION, SHA, Session, SlotRequest};

/// A region with a target of two and this many free slots on the current and on the baking image.
async fn buffers(current: i32, baking: i32) -> Result<(Database, Session)> {
    let (database, session) = Database::with_region(2).await?;
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state)
             VALUES ('{REGION}', 'ami-old', 'old', 'BAKING')"
        ))
        .await?;
    session.host("i-current", current).await?;
    session.host("i-old", baking).await?;
    session
        .run("UPDATE instances SET image_id = 'ami-old', client_sha = 'old' WHERE id = 'i-old'")
        .await?;
    Ok((database, session))
}

/// Where a user with that build is put, and whether that wakes the region.
async fn assigned(session: &Session, sha: &str) -> Result<(String, bool)> {
    session.run("DELETE FROM region_wakeups").await?;
    let mut ask = SlotRequest::new(&format!("user of {sha}"), "1");
    ask.sha = sha.to_owned();
    let instance = session.request_slot(&ask).await?.instance();
    let wakeups = session.count("SELECT FROM region_wakeups").await?;
    Ok((instance, wakeups > 0))
}

#[tokio::test]
async fn baking_image_below_target_wakes_its_region_while_the_current_one_is_full() -> Result<()> {
    let (_database, session) = buffers(9, 2).await?;
    assert_eq!(assigned(&session, "old").await?, ("i-old".into(), true));
    Ok(())
}

#[tokio::test]
async fn current_image_below_target_wakes_its_region_while_the_baking_one_is_full() -> Result<()> {
    let (_database, session) = buffers(2, 9).await?;
    assert_eq!(assigned(&session, SHA).await?, ("i-current".into(), true));
    Ok(())
}

#[tokio::test]
async fn full_image_does_not_wake_its_region_while_another_one_is_short() -> Result<()> {
    let (_database, session) = buffers(1, 3).await?;
    assert_eq!(assigned(&session, "old").await?, ("i-old".into(), false));
    let (_database, session) = buffers(3, 1).await?;
    let current = assigned(&session, SHA).await?;
    assert_eq!(current, ("i-current".into(), false));
    Ok(())
}

#[tokio::test]
async fn images_of_the_same_build_each_have_a_buffer() -> Result<()> {
    // The current image's is filled first: its last slot but two.
    let (_database, session) = buffers(2, 9).await?;
    session
        .run(&format!("UPDATE images SET client_sha = '{SHA}'"))
        .await?;
    assert_eq!(assigned(&session, SHA).await?, ("i-current".into(), true));
    Ok(())
}
