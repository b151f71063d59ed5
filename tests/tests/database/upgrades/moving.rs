//! Moving an image from one state to the next, as passes do.

use anyhow::Result;
use scaling_tests::database::{Database, REGION};

use super::{add_elsewhere, ask, elsewhere, images, moving, set_images};

const STATES: [&str; 5] = ["WARMING", "CURRENT", "BAKING", "RETIRED", "FAILED"];
const MOVES: [(&str, &str); 4] = [
    ("WARMING", "CURRENT"),
    ("BAKING", "CURRENT"),
    ("WARMING", "FAILED"),
    ("BAKING", "RETIRED"),
];

/// The region's other image, next to one in that state.
fn other(state: &str) -> &'static str {
    match state {
        "CURRENT" => "ami-1 BAKING",
        _ => "ami-1 CURRENT",
    }
}

/// The expected state of `ami-2`, and of the other one, after the move.
fn moved(to: &str) -> [&'static str; 2] {
    match to {
        "CURRENT" => ["ami-1 BAKING anew", "ami-2 CURRENT anew"],
        "FAILED" => ["ami-1 CURRENT", "ami-2 FAILED anew: because"],
        _ => ["ami-1 CURRENT", "ami-2 RETIRED anew"],
    }
}

#[tokio::test]
async fn every_known_move_leaves_the_expected_states() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    add_elsewhere(&session).await?;
    let untouched = elsewhere(&session).await?;
    for (from, to) in MOVES {
        for state in STATES {
            let name = format!("{from} to {to} of one that is {state}");
            let given = format!("ami-2 {state}");
            set_images(&session, &[other(state), &given]).await?;
            let before = images(&session).await?;
            let outcome = session.outcomes(&moving(1, "ami-2", from, to)).await?;
            if state == from {
                assert_eq!(outcome, ["ami-2=DONE"], "{name}");
                assert_eq!(images(&session).await?, moved(to), "{name}");
            } else {
                let refusal = if state == to {
                    "ALREADY"
                } else {
                    "WRONG_STATE"
                };
                assert_eq!(outcome, [format!("ami-2={refusal}")], "{name}");
                assert_eq!(images(&session).await?, before, "{name}");
            }
            assert_eq!(elsewhere(&session).await?, untouched, "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn unknown_move_is_an_error_and_raises_no_fence() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let word = |state: Option<&str>| state.map_or("NULL".to_owned(), |state| format!("'{state}'"));
    let known = STATES.map(Some).into_iter().chain([None, Some("OLD")]);
    let mut refused = 0;
    for (from, to) in known
        .clone()
        .flat_map(|from| known.clone().map(move |to| (from, to)))
    {
        if MOVES.map(|(f, t)| (Some(f), Some(t))).contains(&(from, to)) {
            continue;
        }
        let state = from.filter(|state| STATES.contains(state));
        let given = format!("ami-2 {}", state.unwrap_or("WARMING"));
        set_images(&session, &[other(state.unwrap_or("WARMING")), &given]).await?;
        let before = images(&session).await?;
        let (from, to) = (word(from), word(to));
        let call = format!("move_image('{REGION}', 9, 'ami-2', {from}, {to}, 'because')");
        let error = session.outcomes(&call).await.unwrap_err();
        assert!(format!("{error:#?}").contains("no image goes"), "{error:?}");
        assert_eq!(images(&session).await?, before, "{from} to {to}");
        refused += 1;
    }
    assert_eq!(refused, 7 * 7 - MOVES.len());
    assert_eq!(session.count("SELECT FROM region_fences").await?, 0);
    Ok(())
}

#[tokio::test]
async fn image_of_another_region_is_unknown() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    add_elsewhere(&session).await?;
    let call = moving(1, "ami-2", "WARMING", "CURRENT");
    assert_eq!(session.outcomes(&call).await?, ["ami-2=UNKNOWN"]);
    let nowhere = "move_image('nowhere', 1, 'ami-2', 'WARMING', 'CURRENT', 'because')";
    assert_eq!(session.outcomes(nowhere).await?, ["ami-2=UNKNOWN"]);
    Ok(())
}

#[tokio::test]
async fn swap_leaves_one_current_image_even_if_there_was_none() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    set_images(&session, &["ami-2 WARMING", "ami-3 BAKING"]).await?;
    let first = moving(1, "ami-2", "WARMING", "CURRENT");
    assert_eq!(session.outcomes(&first).await?, ["ami-2=DONE"]);
    let back = moving(1, "ami-3", "BAKING", "CURRENT");
    assert_eq!(session.outcomes(&back).await?, ["ami-3=DONE"]);
    let left = ["ami-2 BAKING anew", "ami-3 CURRENT anew"];
    assert_eq!(images(&session).await?, left);
    Ok(())
}

#[tokio::test]
async fn move_with_an_older_version_is_fenced_and_a_newer_one_raises_the_fence() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session
        .row(&format!("SELECT * FROM begin_pass('{REGION}', 5)"))
        .await?;
    set_images(&session, &["ami-1 CURRENT", "ami-2 WARMING"]).await?;
    let call = |version| moving(version, "ami-2", "WARMING", "CURRENT");
    let fenced = [format!("{REGION}=FENCED")];
    assert_eq!(session.outcomes(&call(4)).await?, fenced);
    assert_eq!(images(&session).await?, ["ami-1 CURRENT", "ami-2 WARMING"]);
    assert_eq!(session.outcomes(&call(6)).await?, ["ami-2=DONE"]);
    assert_eq!(session.outcomes(&call(5)).await?, fenced, "even a repeat");
    Ok(())
}

#[tokio::test]
async fn image_requested_after_the_observation_is_not_moved() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let observe = format!("SELECT * FROM begin_pass('{REGION}', 1)");
    set_images(&session, &["ami-1 CURRENT", "ami-2 BAKING"]).await?;
    session.row(&observe).await?;
    // It has baked long enough, but was just requested again.
    let requested = ask(&session, REGION, "ami-2", "sha-of-ami-2").await?;
    assert_eq!(requested, "ASKED BAKING");
    let retire = moving(1, "ami-2", "BAKING", "RETIRED");
    assert_eq!(session.outcomes(&retire).await?, ["ami-2=WRONG_STATE"]);
    let kept = ["ami-1 CURRENT", "ami-2 BAKING anew"];
    assert_eq!(images(&session).await?, kept);
    session.row(&observe).await?;
    assert_eq!(session.outcomes(&retire).await?, ["ami-2=DONE"]);

    // It was late, was cancelled, and has its full time again.
    set_images(&session, &["ami-1 CURRENT", "ami-2 WARMING"]).await?;
    session.row(&observe).await?;
    for image in ["ami-3", "ami-2"] {
        let answer = ask(&session, REGION, image, &format!("sha-of-{image}")).await?;
        assert_eq!(answer, "ASKED WARMING");
    }
    let too_late = moving(1, "ami-2", "WARMING", "FAILED");
    assert_eq!(session.outcomes(&too_late).await?, ["ami-2=WRONG_STATE"]);
    Ok(())
}

#[tokio::test]
async fn operators_change_has_its_own_time_and_reason() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (given, change, left) in [
        ("WARMING", "state = 'RETIRED'", "RETIRED anew"),
        ("WARMING", "state = 'WARMING'", "WARMING"),
        ("WARMING", "client_sha = 'x', state = 'WARMING'", "WARMING"),
        ("FAILED", "state = 'FAILED'", "FAILED: of old"),
        ("FAILED", "state = 'RETIRED'", "RETIRED anew"),
        (
            "BAKING",
            "state = 'FAILED', reason = 'by hand'",
            "FAILED anew: by hand",
        ),
    ] {
        set_images(&session, &[&format!("ami-2 {given}")]).await?;
        session.run(&format!("UPDATE images SET {change}")).await?;
        let left = [format!("ami-2 {left}")];
        assert_eq!(images(&session).await?, left, "{given}: {change}");
    }
    Ok(())
}
