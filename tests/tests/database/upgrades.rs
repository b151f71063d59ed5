//! Image upgrades: the effect of requesting an image and of moving one between states.

mod image_requests;
mod moving;
mod races;
mod roles;
mod wakes;

use anyhow::{Context as _, Result};
use scaling_tests::database::{REGION, Session, text};

/// A region that no test here changes.
const ELSEWHERE: &str = "eu-west-1";

/// Replaces the region's images. Each is `id STATE`, with the `client_sha` `sha-of-id` or the one
/// that follows. They have been in that state for an hour; a failed one has a reason.
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

/// The region's images, each as `id STATE`, then `anew` if it entered the state a moment ago, and
/// its reason if it has one.
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

/// Adds another region, in which an upgrade is in progress.
async fn add_elsewhere(session: &Session) -> Result<()> {
    session.add_region(ELSEWHERE, 0).await?;
    session
        .run(&format!(
            "INSERT INTO images (region, image_id, client_sha, state)
             VALUES ('{ELSEWHERE}', 'ami-2', 'sha-of-ami-2', 'WARMING')"
        ))
        .await
}

/// The rows of that region.
async fn elsewhere(session: &Session) -> Result<Vec<serde_json::Value>> {
    session
        .rows(&format!(
            "SELECT * FROM images WHERE region = '{ELSEWHERE}' ORDER BY image_id"
        ))
        .await
}

/// Requests an image. Returns the outcome and the image's state.
async fn ask(session: &Session, region: &str, image: &str, sha: &str) -> Result<String> {
    let call = format!("SELECT * FROM ask_upgrade('{region}', '{image}', '{sha}')");
    let row = session.row(&call).await?;
    assert_eq!(text(&row, "image_id"), image);
    let answer = format!("{} {}", text(&row, "outcome"), text(&row, "state"));
    Ok(answer.trim_end().to_owned())
}

/// The SQL call that moves an image in the region.
fn moving(version: i64, image: &str, from: &str, to: &str) -> String {
    format!("move_image('{REGION}', {version}, '{image}', '{from}', '{to}', 'because')")
}
