//! Users who left the line without a slot, and figures of shorter times than an hour.

use anyhow::{Result, ensure};
use scaling_tests::database::{Database, REGION, Session, SlotRequest};

const OTHER: &str = "eu-west-1";

/// A region's line is left after 15 seconds.
async fn make_older(session: &Session, user: &str, seconds: u32) -> Result<()> {
    session
        .run(&format!(
            "UPDATE waiting_users SET first_at = first_at - interval '{seconds} seconds',
                 last_at = last_at - interval '{seconds} seconds' WHERE user_id = '{user}'"
        ))
        .await
}

async fn refuse(session: &Session, user: &str, regions: &[&str], sha: &str) -> Result<()> {
    let mut request = SlotRequest::new(user, "1");
    request.regions = regions.iter().copied().map(str::to_owned).collect();
    sha.clone_into(&mut request.sha);
    let outcome = session.request_slot(&request).await?.outcome();
    ensure!(outcome == "NO_INSTANCE_AVAILABLE", "{outcome}");
    Ok(())
}

async fn pass(session: &Session, region: &str) -> Result<()> {
    let call = format!("SELECT * FROM begin_pass('{region}', 1)");
    session.rows(&call).await.map(|_| ())
}

/// Users who left, in the figures of a region's last hours.
async fn unserved(session: &Session, region: &str) -> Result<i64> {
    let sum = format!(
        "SELECT sum(unserved)::integer AS n FROM list_usage('{region}', now() - interval '2 hours',
             now() + interval '1 second')"
    );
    Ok(session.row(&sum).await?["n"].as_i64().unwrap_or(-1))
}

async fn two_regions() -> Result<(Database, Session)> {
    let (database, session) = Database::with_region(0).await?;
    session.add_region(OTHER, 0).await?;
    Ok((database, session))
}

#[tokio::test]
async fn user_who_is_still_asking_or_is_served_has_not_left() -> Result<()> {
    let (_database, session) = two_regions().await?;
    for user in ["ann", "bob"] {
        refuse(&session, user, &[REGION, OTHER], "3b1f").await?;
        make_older(&session, user, 14).await?;
    }
    assert_eq!(unserved(&session, REGION).await?, 0);
    session.host("i-1", 1).await?;
    assert_eq!(session.assign("ann", "1").await?.outcome(), "ASSIGNED");
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 2, "bob");
    for region in [REGION, OTHER] {
        pass(&session, region).await?;
        assert_eq!(unserved(&session, region).await?, 0, "{region}");
    }
    assert_eq!(
        session.count("SELECT FROM internal.unserved_users").await?,
        0
    );
    Ok(())
}

#[tokio::test]
async fn user_who_left_counts_once_in_the_first_region_also_before_a_pass_forgets_them()
-> Result<()> {
    let (_database, session) = two_regions().await?;
    refuse(&session, "ann", &[OTHER, REGION], "3b1f").await?;
    make_older(&session, "ann", 16).await?;
    let found = async || -> Result<(i64, i64)> {
        Ok((
            unserved(&session, REGION).await?,
            unserved(&session, OTHER).await?,
        ))
    };
    assert_eq!(found().await?, (0, 1), "their rows are still there");
    for region in [REGION, OTHER] {
        pass(&session, region).await?;
        assert_eq!(found().await?, (0, 1), "after a pass of {region}");
    }
    assert_eq!(session.count("SELECT FROM waiting_users").await?, 0);
    let left = "SELECT FROM internal.unserved_users
        WHERE left_at = last_at + interval '15 seconds' AND region = 'eu-west-1'";
    assert_eq!(session.count(left).await?, 1);
    Ok(())
}

#[tokio::test]
async fn user_who_asks_elsewhere_or_with_another_client_is_on_the_same_visit() -> Result<()> {
    let (_database, session) = two_regions().await?;
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state)
                 VALUES ('{REGION}', 'ami-2', 'new', 'BAKING')"
        ))
        .await?;
    // In any order of the passes that forget them.
    for (number, order) in [[REGION, OTHER], [OTHER, REGION]].into_iter().enumerate() {
        let user = format!("user {number}");
        refuse(&session, &user, &[OTHER], "3b1f").await?;
        make_older(&session, &user, 5).await?;
        refuse(&session, &user, &[REGION], "3b1f").await?;
        make_older(&session, &user, 5).await?;
        refuse(&session, &user, &[REGION], "new").await?;
        make_older(&session, &user, 20).await?;
        for region in order {
            pass(&session, region).await?;
        }
    }
    assert_eq!(unserved(&session, OTHER).await?, 0);
    assert_eq!(unserved(&session, REGION).await?, 2);
    Ok(())
}

#[tokio::test]
async fn user_who_comes_back_later_has_left_once_more() -> Result<()> {
    let (_database, session) = two_regions().await?;
    refuse(&session, "ann", &[REGION, OTHER], "3b1f").await?;
    make_older(&session, "ann", 16).await?;
    // No pass has forgotten them yet.
    refuse(&session, "ann", &[REGION, OTHER], "3b1f").await?;
    assert_eq!(unserved(&session, REGION).await?, 1);
    // A pass forgets them between two visits, and the third is served at once.
    make_older(&session, "ann", 16).await?;
    pass(&session, REGION).await?;
    pass(&session, OTHER).await?;
    assert_eq!(unserved(&session, REGION).await?, 2);
    refuse(&session, "ann", &[REGION, OTHER], "3b1f").await?;
    make_older(&session, "ann", 16).await?;
    session.host("i-1", 1).await?;
    let served = session.assign("ann", "1").await?;
    assert_eq!(served.outcome(), "ASSIGNED");
    assert_eq!(served.0["waited_seconds"], 0, "{served:?}");
    assert_eq!(unserved(&session, REGION).await?, 3);
    assert_eq!(unserved(&session, OTHER).await?, 0);
    Ok(())
}

#[tokio::test]
async fn user_who_ends_their_request_has_left_at_that_moment() -> Result<()> {
    let (_database, session) = two_regions().await?;
    refuse(&session, "ann", &[REGION], "3b1f").await?;
    let end = "SELECT internal.end_session('ann', '1', 'USER')";
    session.rows(end).await?;
    assert_eq!(unserved(&session, REGION).await?, 1);
    let now = "SELECT FROM internal.unserved_users WHERE left_at BETWEEN last_at AND now()";
    assert_eq!(session.count(now).await?, 1);
    Ok(())
}

#[tokio::test]
async fn hour_that_was_counted_keeps_its_number_when_rows_are_forgotten() -> Result<()> {
    let (_database, session) = two_regions().await?;
    session
        .run("UPDATE regions SET created_at = now() - interval '3 hours'")
        .await?;
    refuse(&session, "ann", &[REGION], "3b1f").await?;
    make_older(&session, "ann", 4000).await?;
    // It counts the hour after it has forgotten the row of the line.
    pass(&session, REGION).await?;
    assert_eq!(unserved(&session, REGION).await?, 1);
    let counted = "SELECT FROM usage_hours WHERE unserved = 1";
    assert_eq!(session.count(counted).await?, 1);
    assert_eq!(session.count(counted).await?, 1);
    let rows = "SELECT FROM internal.unserved_users";
    // Who left is kept as long as sessions, and three days at least.
    for (kept, hours, left) in [(5, 119, 1), (1, 71, 1), (1, 73, 0)] {
        session
            .run(&format!(
                "UPDATE regions SET history_days = {kept};
                 UPDATE internal.unserved_users SET left_at = now() - interval '{hours} hours'"
            ))
            .await?;
        pass(&session, REGION).await?;
        assert_eq!(session.count(rows).await?, left, "{hours} h of {kept} days");
    }
    Ok(())
}

#[tokio::test]
async fn forgotten_user_has_another_id_among_those_who_left() -> Result<()> {
    let (_database, session) = two_regions().await?;
    refuse(&session, "ann", &[REGION], "3b1f").await?;
    make_older(&session, "ann", 16).await?;
    pass(&session, REGION).await?;
    refuse(&session, "ann", &[REGION], "3b1f").await?;
    session.rows("SELECT * FROM forget_user('ann')").await?;
    let left = "SELECT FROM internal.unserved_users";
    assert_eq!(session.count(left).await?, 2);
    let named = format!("{left} WHERE user_id = 'ann'");
    assert_eq!(session.count(&named).await?, 0);
    Ok(())
}

#[tokio::test]
async fn steps_of_minutes_add_up_to_the_hours() -> Result<()> {
    let (_database, session) = two_regions().await?;
    session
        .run(&format!(
            "INSERT INTO session_history
             SELECT 'u', 's', '{REGION}', 'i-1', 'ami-1', NULL, gen_random_uuid(), a, a, a, a,
                 least(a + n * interval '17 seconds', now()), 'AGENT', NULL, n % 3
             FROM (SELECT n, now() - n * interval '19 seconds' AS a FROM generate_series(1, 300) n) t;
             INSERT INTO instance_history
             SELECT 'i-1', '{REGION}', 'l', 'ami-1', '3b1f', 't3.large', NULL, NULL, 2,
                 now() - interval '100 minutes', NULL, NULL, NULL, NULL, NULL, NULL,
                 now() - interval '20 minutes', 'LOST', 0, 0, 0, 0"
        ))
        .await?;
    // In one transaction, so that both are of the same moment, but for the clock's progress.
    let sums = |step: &str| {
        format!(
            "(SELECT sum(sessions) AS sessions, sum(waited) AS waited, sum(instances_gone) AS gone,
                 round(sum(machine_seconds)) AS machine, round(sum(occupied_seconds)) AS occupied,
                 round(sum(session_seconds)) AS used
              FROM list_usage('{REGION}', date_bin('1 hour', now() - interval '1 hour', 'epoch'),
                  now(), {step}))"
        )
    };
    let hours = session
        .row(&format!("SELECT * FROM {} h", sums("NULL")))
        .await?;
    assert_eq!(hours["gone"], 1, "{hours}");
    let same = format!(
        "SELECT FROM {} h JOIN {} s ON h = s",
        sums("NULL"),
        sums("300")
    );
    assert_eq!(session.count(&same).await?, 1, "{hours}");
    let steps = "SELECT FROM list_usage(NULL, now() - interval '1 hour', now(), 300)
         WHERE hour = date_bin('5 minutes', hour, 'epoch')";
    assert_eq!(session.count(steps).await?, 2 * 13, "of both regions");
    for (from, step) in [("1 hour", 59), ("1 hour", 3601), ("61 minutes", 60)] {
        let call =
            format!("SELECT * FROM list_usage(NULL, now() - interval '{from}', now(), {step})");
        assert!(session.rows(&call).await.is_err(), "{from} by {step}");
    }
    Ok(())
}
