//! Requesting an image.

use anyhow::Result;
use scaling_tests::database::{Database, REGION};

use super::{add_elsewhere, ask, elsewhere, images, set_images};

const FAILED: &str = "FAILED anew: a newer upgrade was asked for, to";

struct Case {
    name: &'static str,
    given: &'static [&'static str],
    swap_when_warm: bool,
    /// The image and its client_sha.
    requested: (&'static str, &'static str),
    answer: &'static str,
    left: &'static [&'static str],
}

/// A case in a region where the app version decides when the image is swapped.
const fn case(
    name: &'static str,
    given: &'static [&'static str],
    requested: (&'static str, &'static str),
    answer: &'static str,
    left: &'static [&'static str],
) -> Case {
    Case {
        name,
        given,
        swap_when_warm: false,
        requested,
        answer,
        left,
    }
}

const TWO: (&str, &str) = ("ami-2", "sha-of-ami-2");
const ONE: (&str, &str) = ("ami-1", "sha-of-ami-1");

fn cases() -> Vec<Case> {
    let mut cases = of_new_ones();
    cases.extend(of_known_ones());
    cases.extend(of_baking_ones());
    cases
}

fn of_new_ones() -> Vec<Case> {
    vec![
        case(
            "a new image warms",
            &["ami-1 CURRENT"],
            TWO,
            "ASKED WARMING",
            &["ami-1 CURRENT", "ami-2 WARMING anew"],
        ),
        case(
            "a region's first image warms, too",
            &[],
            TWO,
            "ASKED WARMING",
            &["ami-2 WARMING anew"],
        ),
        case(
            "a newer one wins over the one that warms, and over no other",
            &[
                "ami-1 CURRENT",
                "ami-3 WARMING",
                "ami-4 BAKING",
                "ami-5 RETIRED",
                "ami-6 FAILED",
            ],
            TWO,
            "ASKED WARMING",
            &[
                "ami-1 CURRENT",
                "ami-2 WARMING anew",
                "ami-3 FAILED anew: a newer upgrade was asked for, to ami-2",
                "ami-4 BAKING",
                "ami-5 RETIRED",
                "ami-6 FAILED: of old",
            ],
        ),
        case(
            "several may be built from one commit",
            &["ami-1 CURRENT sha-of-ami-2"],
            TWO,
            "ASKED WARMING",
            &["ami-1 CURRENT", "ami-2 WARMING anew"],
        ),
    ]
}

fn of_known_ones() -> Vec<Case> {
    vec![
        case(
            "the same again changes nothing",
            &["ami-1 CURRENT", "ami-2 WARMING"],
            TWO,
            "ALREADY WARMING",
            &["ami-1 CURRENT", "ami-2 WARMING"],
        ),
        case(
            "the current one cancels what warms",
            &["ami-1 CURRENT", "ami-2 WARMING"],
            ONE,
            "ALREADY CURRENT",
            &[
                "ami-1 CURRENT",
                "ami-2 FAILED anew: a newer upgrade was asked for, to ami-1",
            ],
        ),
        case(
            "the current one alone stays",
            &["ami-1 CURRENT", "ami-2 BAKING"],
            ONE,
            "ALREADY CURRENT",
            &["ami-1 CURRENT", "ami-2 BAKING"],
        ),
        case(
            "a retired one warms again",
            &["ami-1 CURRENT", "ami-2 RETIRED"],
            TWO,
            "ASKED WARMING",
            &["ami-1 CURRENT", "ami-2 WARMING anew"],
        ),
        case(
            "a failed one warms again, and wins over the one that warms",
            &["ami-1 CURRENT", "ami-2 FAILED", "ami-3 WARMING"],
            TWO,
            "ASKED WARMING",
            &[
                "ami-1 CURRENT",
                "ami-2 WARMING anew",
                "ami-3 FAILED anew: a newer upgrade was asked for, to ami-2",
            ],
        ),
    ]
}

fn of_baking_ones() -> Vec<Case> {
    vec![
        case(
            "one that bakes is kept ready from now on",
            &["ami-1 CURRENT", "ami-2 BAKING"],
            TWO,
            "ASKED BAKING",
            &["ami-1 CURRENT", "ami-2 BAKING anew"],
        ),
        case(
            "one that bakes wins over the one that warms",
            &["ami-1 CURRENT", "ami-2 BAKING", "ami-3 WARMING"],
            TWO,
            "ASKED BAKING",
            &[
                "ami-1 CURRENT",
                "ami-2 BAKING anew",
                "ami-3 FAILED anew: a newer upgrade was asked for, to ami-2",
            ],
        ),
        Case {
            swap_when_warm: true,
            ..case(
                "where no app version decides, one that bakes is swapped at once",
                &["ami-1 CURRENT", "ami-2 BAKING", "ami-3 WARMING"],
                TWO,
                "ASKED CURRENT",
                &[
                    "ami-1 BAKING anew",
                    "ami-2 CURRENT anew",
                    "ami-3 FAILED anew: a newer upgrade was asked for, to ami-2",
                ],
            )
        },
        case(
            "where none can decide, one that bakes is swapped at once",
            &["ami-1 CURRENT sha-of-ami-2", "ami-2 BAKING"],
            TWO,
            "ASKED CURRENT",
            &["ami-1 BAKING anew", "ami-2 CURRENT anew"],
        ),
        case(
            "without a current one no app version is the same",
            &["ami-2 BAKING"],
            TWO,
            "ASKED BAKING",
            &["ami-2 BAKING anew"],
        ),
        Case {
            swap_when_warm: true,
            ..case(
                "only what bakes is swapped at once",
                &["ami-1 CURRENT", "ami-2 RETIRED"],
                TWO,
                "ASKED WARMING",
                &["ami-1 CURRENT", "ami-2 WARMING anew"],
            )
        },
    ]
}

#[tokio::test]
async fn image_request_leaves_the_expected_states() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    add_elsewhere(&session).await?;
    let untouched = elsewhere(&session).await?;
    for case in cases() {
        let Case {
            name,
            swap_when_warm,
            requested: (image, sha),
            ..
        } = case;
        set_images(&session, case.given).await?;
        session
            .run(&format!(
                "UPDATE regions SET swap_when_warm = {swap_when_warm}"
            ))
            .await?;
        let answer = ask(&session, REGION, image, sha).await?;
        assert_eq!(answer, case.answer, "{name}");
        assert_eq!(images(&session).await?, case.left, "{name}");
        assert_eq!(elsewhere(&session).await?, untouched, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn image_keeps_its_client_sha() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for state in ["WARMING", "CURRENT", "BAKING", "RETIRED", "FAILED"] {
        let given = format!("ami-2 {state}");
        set_images(&session, &[&given, "ami-3 WARMING"]).await?;
        let before = session.rows("SELECT * FROM images").await?;
        let other = ask(&session, REGION, "ami-2", "of-another").await?;
        assert_eq!(other, format!("OTHER_SHA {state}"));
        let none = format!("SELECT outcome FROM ask_upgrade('{REGION}', 'ami-2', NULL)");
        assert_eq!(session.row(&none).await?["outcome"], "OTHER_SHA");
        assert_eq!(session.rows("SELECT * FROM images").await?, before);
    }
    Ok(())
}

#[tokio::test]
async fn malformed_image_is_refused_and_cancels_nothing() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    set_images(&session, &["ami-1 CURRENT", "ami-3 WARMING"]).await?;
    assert_eq!(ask(&session, "nowhere", "ami-2", "new").await?, "UNKNOWN");
    let fences = "SELECT FROM region_fences WHERE region = 'nowhere'";
    assert_eq!(session.count(fences).await?, 0);
    for (image, sha, rule) in [
        ("", "new", "images_image_id_not_blank"),
        ("ami-2", "", "images_client_sha_not_blank"),
    ] {
        let call = format!("SELECT * FROM ask_upgrade('{REGION}', '{image}', '{sha}')");
        assert_eq!(session.violated(&call).await?, rule);
    }
    assert_eq!(images(&session).await?, ["ami-1 CURRENT", "ami-3 WARMING"]);
    Ok(())
}

#[tokio::test]
async fn image_request_does_not_raise_the_fence() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    let begin = async |version: i64| {
        let call = format!("SELECT granted FROM begin_pass('{REGION}', {version})");
        anyhow::Ok(session.row(&call).await?["granted"].clone())
    };
    ask(&session, REGION, "ami-2", "new").await?;
    assert_eq!(begin(1).await?, true, "requested before any pass");
    assert_eq!(begin(7).await?, true);
    ask(&session, REGION, "ami-3", "newer").await?;
    assert_eq!(begin(7).await?, true, "the holder goes on");
    assert_eq!(begin(6).await?, false, "and who lost the lock does not");
    Ok(())
}

#[tokio::test]
async fn many_image_requests_leave_one_warming_image() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    set_images(&session, &["ami-1 CURRENT"]).await?;
    for image in ["ami-2", "ami-3", "ami-2", "ami-4"] {
        let answer = ask(&session, REGION, image, &format!("sha-of-{image}")).await?;
        assert_eq!(answer, "ASKED WARMING", "{image}");
    }
    let left = [
        "ami-1 CURRENT".to_owned(),
        format!("ami-2 {FAILED} ami-4"),
        format!("ami-3 {FAILED} ami-2"),
        "ami-4 WARMING anew".to_owned(),
    ];
    assert_eq!(images(&session).await?, left);
    Ok(())
}
