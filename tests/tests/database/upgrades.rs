//! How a region comes to a new image: what asking for one and moving one leave behind.

mod asking;
mod moving;
mod races;
mod roles;
mod wakes;

use anyhow::{Context as _, Result};
use scaling_tests::database::{REGION, Session, text};

/// A region of which no test here says a word: nothing may change there.
const ELSEWHERE: &str = "eu-west-1";

/// Gives the region these images and no others, each as `id STATE` with the `client_sha`
/// `sha-of-id`, or with the one that follows. They have been so for an hour; what failed has a
/// reason.
async fn set_images(session: &Session, images: &[&str]) -> Result<()> {
    let mut sql = format!("DELETE FROM images WHERE region = '{REGION}';");
    for image in images {
        let mut words = image.split(' ');
        let id = words.next().context("an id")?;
        let state = words.next().context("a state")?;
        let sha = words
            .next()
            .map_or_else(|| format!("sha-of-{id}"), str::to_owned);
        sql += &format!(
            "INSERT INTO images (region, image_id, client_sha, state, state_since, reason)
             VALUES ('{REGION}', '{id}', '{sha}', '{state}', now() - interval '1 hour',
                 CASE '{state}' WHEN 'FAILED' THEN 'of old' END);"
        );
    }
    session.run(&sql).await
}

/// The region's images, each as `id STATE`, then `anew` if its time began a moment ago, and the
/// reason if there is one.
async fn images(session: &Session) -> Result<Vec<String>> {
    let rows = session
        .rows(&format!(
            "SELECT image_id || ' ' || state
                 || CASE WHEN state_since > now() - interval '10 minutes' THEN ' anew' ELSE '' END
                 || coalesce(': ' || reason, '') AS line
             FROM images WHERE region = '{REGION}' ORDER BY image_id"
        ))
        .await?;
    Ok(rows.iter().map(|row| text(row, "line")).collect())
}

/// Another region, where an upgrade is on its way.
async fn add_elsewhere(session: &Session) -> Result<()> {
    session.add_region(ELSEWHERE, 0).await?;
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state)
             VALUES ('{ELSEWHERE}', 'ami-2', 'sha-of-ami-2', 'WARMING')"
        ))
        .await
}

/// What nobody here may touch.
async fn elsewhere(session: &Session) -> Result<Vec<serde_json::Value>> {
    session
        .rows(&format!(
            "SELECT * FROM images WHERE region = '{ELSEWHERE}' ORDER BY image_id"
        ))
        .await
}

/// The outcome of asking, and the image's state.
async fn ask(session: &Session, region: &str, image: &str, sha: &str) -> Result<String> {
    let call = format!("SELECT * FROM ask_upgrade('{region}', '{image}', '{sha}')");
    let row = session.row(&call).await?;
    assert_eq!(text(&row, "image_id"), image);
    let answer = format!("{} {}", text(&row, "outcome"), text(&row, "state"));
    Ok(answer.trim_end().to_owned())
}

/// A move in the region.
fn moving(version: i64, image: &str, from: &str, to: &str) -> String {
    format!("move_image('{REGION}', {version}, '{image}', '{from}', '{to}', 'because')")
}
