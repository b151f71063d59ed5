//! Passes and operators that change the same images at the same moment in different ways.

use std::time::Duration;

use anyhow::Result;
use futures::future::{try_join, try_join_all};
use scaling_tests::database::{Database, REGION, Session};

use super::{ask, images, moving, set_images};

const ROUNDS: usize = 60;

/// The index of the one of two possible orders that happened.
fn one_of(left: &[String], orders: &[&[&str]; 2]) -> Result<usize> {
    let order = orders.iter().position(|order| left == *order);
    order.ok_or_else(|| anyhow::anyhow!("{left:#?} is neither of {orders:#?}"))
}

/// The side that lost starts earlier in the next round, by more each time: on any machine the two
/// eventually meet.
#[derive(Default)]
struct Leads {
    of: [u64; 2],
    won: [usize; 2],
}

impl Leads {
    /// Delays one of the two sides by its handicap.
    async fn wait(&self, which: usize) {
        tokio::time::sleep(Duration::from_millis(self.of[1 - which])).await;
    }

    fn won(&mut self, winner: usize) {
        self.won[winner] += 1;
        self.of[winner] = 0;
        self.of[1 - winner] += 1;
    }

    fn both_won(&self) {
        assert!(!self.won.contains(&0), "no race took place: {:?}", self.won);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_request_and_move_leave_one_current_and_one_warming() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.wait_for_locks().await?;
    let sessions = database.sessions(2).await?;
    let mut leads = Leads::default();
    for round in 0..ROUNDS {
        set_images(&session, &["ami-1 CURRENT", "ami-2 WARMING"]).await?;
        let requests = async {
            leads.wait(0).await;
            ask(&sessions[0], REGION, "ami-3", "sha-of-ami-3").await
        };
        let call = moving(1, "ami-2", "WARMING", "CURRENT");
        let moves = async {
            leads.wait(1).await;
            sessions[1].outcomes(&call).await
        };
        let (requested, moved) = try_join(requests, moves).await?;
        assert_eq!(requested, "ASKED WARMING", "round {round}");
        let failed = "ami-2 FAILED anew: a newer upgrade was asked for, to ami-3";
        let orders: [&[&str]; 2] = [
            &["ami-1 CURRENT", failed, "ami-3 WARMING anew"],
            &[
                "ami-1 BAKING anew",
                "ami-2 CURRENT anew",
                "ami-3 WARMING anew",
            ],
        ];
        let first = one_of(&images(&session).await?, &orders)?;
        assert_eq!(moved, [["ami-2=WRONG_STATE", "ami-2=DONE"][first]]);
        leads.won(first);
    }
    leads.both_won();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_requests_leave_the_later_image_warming() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let sessions = database.sessions(2).await?;
    let mut leads = Leads::default();
    for _ in 0..ROUNDS {
        set_images(&session, &["ami-1 CURRENT"]).await?;
        // Neither of them could hold a fence here.
        session.run("DELETE FROM region_fences").await?;
        let requests = async |which: usize, image: &str| {
            leads.wait(which).await;
            ask(&sessions[which], REGION, image, &format!("sha-of-{image}")).await
        };
        let (one, two) = try_join(requests(0, "ami-2"), requests(1, "ami-3")).await?;
        assert_eq!(
            (one.as_str(), two.as_str()),
            ("ASKED WARMING", "ASKED WARMING")
        );
        let failed = "FAILED anew: a newer upgrade was asked for, to";
        let (two, three) = (
            format!("ami-2 {failed} ami-3"),
            format!("ami-3 {failed} ami-2"),
        );
        let orders: [&[&str]; 2] = [
            &["ami-1 CURRENT", &two, "ami-3 WARMING anew"],
            &["ami-1 CURRENT", "ami-2 WARMING anew", &three],
        ];
        leads.won(one_of(&images(&session).await?, &orders)?);
    }
    leads.both_won();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_moves_of_one_image_succeed_once() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.wait_for_locks().await?;
    let sessions = database.sessions(2).await?;
    let mut leads = Leads::default();
    for round in 0..ROUNDS {
        set_images(&session, &["ami-1 CURRENT", "ami-2 BAKING"]).await?;
        session.run("DELETE FROM region_fences").await?;
        let retire = moving(1, "ami-2", "BAKING", "RETIRED");
        let back = moving(2, "ami-2", "BAKING", "CURRENT");
        let old = async {
            leads.wait(0).await;
            sessions[0].outcomes(&retire).await
        };
        let new = async {
            leads.wait(1).await;
            sessions[1].outcomes(&back).await
        };
        let (old, new) = try_join(old, new).await?;
        let orders: [&[&str]; 2] = [
            &["ami-1 CURRENT", "ami-2 RETIRED anew"],
            &["ami-1 BAKING anew", "ami-2 CURRENT anew"],
        ];
        let first = one_of(&images(&session).await?, &orders)?;
        let fenced = format!("{REGION}=FENCED");
        let answers = [
            ("ami-2=DONE", "ami-2=WRONG_STATE"),
            (fenced.as_str(), "ami-2=DONE"),
        ];
        let outcomes = (old.concat(), new.concat());
        assert_eq!(
            (outcomes.0.as_str(), outcomes.1.as_str()),
            answers[first],
            "round {round}"
        );
        leads.won(first);
    }
    leads.both_won();
    Ok(())
}

/// The second waits for the end of the first, not only for its fence.
#[tokio::test(flavor = "multi_thread")]
async fn second_change_of_a_region_waits_for_the_end_of_the_first() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.wait_for_locks().await?;
    let sessions = database.sessions(2).await?;
    let requests = format!("SELECT * FROM ask_upgrade('{REGION}', 'ami-3', 'sha-of-ami-3')");
    let moves = format!("SELECT * FROM {}", moving(1, "ami-2", "WARMING", "CURRENT"));
    let cases: [(&str, &str, bool, &[&str]); 4] = [
        (&requests, &moves, true, &["ASKED", "WRONG_STATE"]),
        (&requests, &moves, false, &["ASKED", "DONE"]),
        (&moves, &requests, true, &["DONE", "ASKED"]),
        (&moves, &requests, false, &["DONE", "ASKED"]),
    ];
    for (first, second, commits, outcomes) in cases {
        set_images(&session, &["ami-1 CURRENT", "ami-2 WARMING"]).await?;
        session.run("DELETE FROM region_fences").await?;
        sessions[0].run("BEGIN").await?;
        let begun = sessions[0].row(first).await?;
        let end = async {
            session.wait_for_a_blocked_session().await?;
            let word = if commits { "COMMIT" } else { "ROLLBACK" };
            sessions[0].run(word).await
        };
        let (ended, ()) = try_join(sessions[1].row(second), end).await?;
        assert_eq!(begun["outcome"], outcomes[0]);
        assert_eq!(ended["outcome"], outcomes[1], "{first}, then {second}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_changes_leave_one_current_and_one_warming_image() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let swaps = ["false", "true"];
    let mut moved = 0;
    set_images(
        &session,
        &["ami-1 CURRENT", "ami-2 BAKING", "ami-3 WARMING"],
    )
    .await?;
    let sessions = database.sessions(6).await?;
    let count = async |state: &str| {
        let of_state = format!("SELECT FROM images WHERE state = '{state}'");
        session.count(&of_state).await
    };
    for round in 0..ROUNDS {
        let swap = swaps[round / 3 % 2];
        session
            .run(&format!("UPDATE regions SET swap_when_warm = {swap}"))
            .await?;
        let works = sessions
            .iter()
            .enumerate()
            .map(|(number, session)| work(session, round + number, number));
        moved += try_join_all(works).await?.iter().sum::<usize>();
        assert_eq!(count("CURRENT").await?, 1, "round {round}");
        assert!(count("WARMING").await? <= 1, "round {round}");
    }
    assert!(moved > 0, "no race took place");
    Ok(())
}

/// Half of the workers request images; the others run the writes of a pass, all under the same
/// version. Returns the number of moved images.
async fn work(session: &Session, place: usize, number: usize) -> Result<usize> {
    let image = format!("ami-{}", 1 + place % 4);
    if number.is_multiple_of(2) {
        ask(session, REGION, &image, &format!("sha-of-{image}")).await?;
        return Ok(0);
    }
    let (from, to) = [
        ("WARMING", "CURRENT"),
        ("BAKING", "CURRENT"),
        ("WARMING", "FAILED"),
        ("BAKING", "RETIRED"),
    ][place % 5 % 4];
    let outcomes = session.outcomes(&moving(1, &image, from, to)).await?;
    Ok(usize::from(outcomes.concat().ends_with("=DONE")))
}
