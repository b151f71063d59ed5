//! The two ways to get a slot: one request, and seven.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::fleet::{ENVIRONMENT, REGION, SHA};
use crate::http::Connection;

/// The document of `assign-user`.
const ASSIGN: &str = include_str!("../../../../adapters/hasura/graphql/assign_slot.graphql");

/// The order of Whist's service. It asks for whole rows; here they have only the columns that it uses.
const OF_USER: &str = "query($user: String!) {
    seven_mandelboxes(where: {user_id: {_eq: $user}}) { id status } }";
const LATEST_IMAGE: &str = "query($region: String!) {
    seven_images(where: {region: {_eq: $region}}, order_by: {updated_at: desc}, limit: 1) {
        image_id client_sha } }";
const WITH_CAPACITY: &str = "query($region: String!) {
    seven_instances(
        where: {region: {_eq: $region}, status: {_eq: \"ACTIVE\"}, remaining_capacity: {_gt: 0}}
        order_by: {remaining_capacity: asc}
    ) { id image_id client_sha ip_addr remaining_capacity } }";
const WAITING: &str = "query($instance: String!) {
    seven_mandelboxes(where: {instance_id: {_eq: $instance}, status: {_eq: \"WAITING\"}}) { id } }";
const TAKE: &str = "mutation($id: uuid!, $user: String!, $session: String!, $now: timestamptz!) {
    update_seven_mandelboxes(
        where: {id: {_eq: $id}}
        _set: {status: \"ALLOCATED\", user_id: $user, session_id: $session, updated_at: $now}
    ) { affected_rows } }";
const COUNT_DOWN: &str = "mutation($id: String!, $left: Int!, $now: timestamptz!) {
    update_seven_instances(
        where: {id: {_eq: $id}}, _set: {remaining_capacity: $left, updated_at: $now}
    ) { affected_rows } }";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    One,
    Seven,
}

/// A user's request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) user: String,
    pub(crate) session: String,
    /// How many slots the user may have.
    pub(crate) limit: usize,
}

/// Returns the slot's id, or none if the user was refused. An error of the engine is a refusal, too:
/// the user has no slot.
pub(crate) async fn assign(
    way: Way,
    connection: &mut Connection,
    request: &Request,
) -> Result<Option<String>> {
    match way {
        Way::One => one(connection, request).await,
        Way::Seven => seven(connection, request).await,
    }
}

async fn one(connection: &mut Connection, request: &Request) -> Result<Option<String>> {
    let variables = json!({
        "user_id": request.user, "session_id": request.session, "regions": [REGION],
        "client_sha": SHA, "user_limit": request.limit, "environment": ENVIRONMENT,
        "local_dev": false, "max_session_seconds": 0, "max_idle_seconds": 0,
    });
    let answer = connection.send(ASSIGN, &variables).await?;
    let slot = answer
        .as_ref()
        .and_then(|it| it["assign_slot"][0]["slot_id"].as_str());
    Ok(slot.map(str::to_owned))
}

async fn seven(connection: &mut Connection, request: &Request) -> Result<Option<String>> {
    let Some(of_user) = connection
        .send(OF_USER, &json!({"user": request.user}))
        .await?
    else {
        return Ok(None);
    };
    let held = rows(&of_user, "seven_mandelboxes")?;
    if held.iter().filter(|it| it["status"] != "DYING").count() >= request.limit {
        return Ok(None);
    }
    // The latest image, with which clients under development replace their own hash.
    let region = json!({"region": REGION});
    connection.send(LATEST_IMAGE, &region).await?;
    // From here on, for each region: there is one.
    let Some(images) = connection.send(LATEST_IMAGE, &region).await? else {
        return Ok(None);
    };
    let image = &images["seven_images"][0]["image_id"];
    let Some(instances) = connection.send(WITH_CAPACITY, &region).await? else {
        return Ok(None);
    };
    let fits = |it: &&Value| it["client_sha"] == SHA && it["image_id"] == *image;
    let Some(instance) = rows(&instances, "seven_instances")?.iter().find(fits) else {
        return Ok(None);
    };
    let id = &instance["id"];
    let Some(waiting) = connection.send(WAITING, &json!({"instance": id})).await? else {
        return Ok(None);
    };
    let Some(slot) = rows(&waiting, "seven_mandelboxes")?.first() else {
        return Ok(None);
    };
    let Some(slot) = slot["id"].as_str() else {
        return Ok(None);
    };
    let left = instance["remaining_capacity"].as_i64().unwrap_or_default() - 1;
    let count_down = json!({"id": id, "left": left, "now": "now"});
    if !take(connection, slot, request).await?
        || connection.send(COUNT_DOWN, &count_down).await?.is_none()
    {
        return Ok(None);
    }
    Ok(Some(slot.to_owned()))
}

/// Gives a slot to the user, by its id. Returns whether the engine did.
pub(crate) async fn take(
    connection: &mut Connection,
    slot: &str,
    request: &Request,
) -> Result<bool> {
    let take = json!({
        "id": slot, "user": request.user, "session": request.session, "now": "now",
    });
    Ok(connection.send(TAKE, &take).await?.is_some())
}

fn rows<'a>(answer: &'a Value, table: &str) -> Result<&'a Vec<Value>> {
    answer[table]
        .as_array()
        .with_context(|| format!("the answer has no {table}: {answer}"))
}
