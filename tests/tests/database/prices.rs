//! Prices, and what machine time has cost: known time has its price, and the rest is named as unknown.

use anyhow::Result;
use scaling_tests::database::{Database, ENVIRONMENT, REGION, Session};
use serde_json::{Value, json};

/// A region since two days and a half, and its clock at noon of a day.
async fn region() -> Result<(Database, Session)> {
    let (database, session) = Database::with_region(0).await?;
    session
        .run(
            "CREATE OR REPLACE FUNCTION internal.clock() RETURNS timestamptz LANGUAGE sql STABLE
                 AS $$ SELECT '2026-03-02T12:00:00Z'::timestamptz $$;
             UPDATE regions SET created_at = '2026-02-28T09:00:00Z'",
        )
        .await?;
    Ok((database, session))
}

/// An instance that is gone, with when it lived.
fn gone(id: &str, kind: &str, spot: &str, from: &str, until: &str) -> String {
    format!(
        "INSERT INTO instance_history (instance_id, region, launch_id, image_id, client_sha,
             instance_type, spot, slots, launched_at, gone_at, end_reason, sessions, session_seconds,
             occupied_seconds, empty_seconds)
         VALUES ('{id}', '{REGION}', 'l', 'ami-1', 'sha', '{kind}', {spot}, 2, '{from}', '{until}',
             'DRAINED', 0, 0, 0, 0)"
    )
}

fn price(kind: &str, market: &str, from: &str, per_hour: &str) -> String {
    format!(
        "INSERT INTO prices (region, instance_type, market, valid_from, per_hour)
         VALUES ('{REGION}', '{kind}', '{market}', '{from}', {per_hour})"
    )
}

async fn costs(session: &Session) -> Result<Vec<Value>> {
    session
        .rows(&format!(
            "SELECT * FROM list_costs('{REGION}', '2026-02-01', '2026-03-03')"
        ))
        .await
}

async fn spending(session: &Session) -> Result<Value> {
    let observed = format!("SELECT spending FROM observe_region('{REGION}', '{ENVIRONMENT}')");
    Ok(session.row(&observed).await?["spending"].clone())
}

#[tokio::test]
async fn price_that_cannot_be_right_is_refused_by_a_rule_that_says_why() -> Result<()> {
    let (_database, session) = region().await?;
    session
        .run(&price("m6i.large", "SPOT", "2026-01-01", "0.03"))
        .await?;
    let cases = [
        (
            price("M6i", "SPOT", "2026-01-01", "1"),
            "prices_instance_type_a_type",
        ),
        (
            price("a.b", "spot", "2026-01-01", "1"),
            "prices_market_on_demand_or_spot",
        ),
        (
            price("a.b", "SPOT", "infinity", "1"),
            "prices_valid_from_2000_to_9998",
        ),
        (
            price("a.b", "SPOT", "2026-01-01", "-1"),
            "prices_per_hour_0_to_100000",
        ),
        (
            price("a.b", "SPOT", "2026-01-01", "'NaN'"),
            "prices_per_hour_0_to_100000",
        ),
        (price("m6i.large", "SPOT", "2026-01-01", "1"), "prices_pkey"),
        (
            price("a.b", "SPOT", "2026-01-01", "1")
                .replace("per_hour)", "per_hour, currency)")
                .replace(", 1)", ", 1, 'EUR')"),
            "prices_one_currency_in_a_region",
        ),
    ];
    for (insert, rule) in cases {
        let refused = session.run(&insert).await.unwrap_err();
        assert!(
            format!("{refused:#}").contains(rule),
            "{insert}: {refused:#}"
        );
    }
    session.run("UPDATE prices SET currency = 'EUR'").await?;
    Ok(())
}

#[tokio::test]
async fn time_costs_the_price_of_its_day_type_and_market_and_is_unknown_without_one() -> Result<()>
{
    let (_database, session) = region().await?;
    assert_eq!(spending(&session).await?, Value::Null, "no prices");
    for insert in [
        // Two hours on each side of midnight, and two and a half of another market.
        gone(
            "i-1",
            "m6i.large",
            "false",
            "2026-03-01T22:00:00Z",
            "2026-03-02T02:00:00Z",
        ),
        gone(
            "i-2",
            "m6i.large",
            "true",
            "2026-03-02T08:15:00Z",
            "2026-03-02T10:45:00Z",
        ),
        // Nobody knows how it was bought.
        gone(
            "i-3",
            "m6i.large",
            "NULL",
            "2026-03-02T01:00:00Z",
            "2026-03-02T01:30:00Z",
        ),
        price("m6i.large", "ON_DEMAND", "2026-01-01", "0.10"),
        price("m6i.large", "ON_DEMAND", "2026-03-02", "0.20"),
        price("m6i.large", "ON_DEMAND", "2026-03-03", "9"),
    ] {
        session.run(&insert).await?;
    }
    // It runs since eleven.
    session.host("i-4", 2).await?;
    session
        .run(
            "UPDATE instances SET launched_at = '2026-03-02T11:00:00Z', instance_type = 'm6i.large',
                 spot = false, subnet_id = 'subnet-1'",
        )
        .await?;
    let today = json!({
        "region": REGION, "day": "2026-03-02", "currency": "USD", "cost": 3.0 * 0.2,
        "machine_seconds": 3600 * 6, "unpriced_seconds": 3600 * 3,
        "unpriced": [
            {"instance_type": "m6i.large", "market": "SPOT", "seconds": 9000},
            {"instance_type": "m6i.large", "market": "UNKNOWN", "seconds": 1800},
        ],
        "uncounted_hours": 0,
    });
    let rounded = |mut day: Value| {
        let cost = day["cost"].as_f64().map(|cost| (cost * 1e6).round() / 1e6);
        day["cost"] = json!(cost);
        day
    };
    let days = costs(&session).await?;
    assert_eq!(days.len(), 3, "since the region is there: {days:?}");
    // The region's first three hours are more than two days ago.
    assert_eq!(
        (&days[0]["day"], &days[0]["uncounted_hours"]),
        (&json!("2026-02-28"), &json!(3))
    );
    assert_eq!(
        (&days[0]["cost"], &days[1]["uncounted_hours"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(rounded(days[1].clone())["cost"], json!(0.2));
    assert_eq!(rounded(days[2].clone()), rounded(today.clone()));

    // Counting the hours changes nothing, and the figures stay when their rows are gone.
    for _ in 0..30 {
        session
            .run(&format!("SELECT internal.count_hours('{REGION}')"))
            .await?;
    }
    assert!(session.count("SELECT FROM machine_hours").await? >= 8);
    session.run("DELETE FROM instance_history").await?;
    let counted = costs(&session).await?;
    assert_eq!(rounded(counted[2].clone()), rounded(today));
    assert_eq!(rounded(counted[1].clone())["cost"], json!(0.2));

    // A pass reads the sums of the month, without February.
    let spent = spending(&session).await?;
    for (field, value) in [
        ("month", 0.8),
        ("today", 0.6),
        ("unpriced_seconds", 10_800.0),
    ] {
        let found = spent[field].as_f64().unwrap_or_default();
        assert!((found - value).abs() < 1e-6, "{field}: {spent}");
    }
    assert_eq!(spent["until"], json!("2026-04-01T00:00:00+00:00"));

    // An hour's machines go with its figures.
    session.run("DELETE FROM usage_hours").await?;
    assert_eq!(session.count("SELECT FROM machine_hours").await?, 0);
    Ok(())
}

#[tokio::test]
async fn day_of_which_nothing_has_a_price_has_no_cost() -> Result<()> {
    let (_database, session) = region().await?;
    for insert in [
        gone(
            "i-1",
            "m6i.large",
            "false",
            "2026-03-02T02:00:00Z",
            "2026-03-02T03:00:00Z",
        ),
        price("c6i.large", "ON_DEMAND", "2026-01-01", "0.10"),
    ] {
        session.run(&insert).await?;
    }
    let days = costs(&session).await?;
    assert_eq!(days[2]["cost"], Value::Null);
    assert_eq!(days[2]["unpriced_seconds"], json!(3600));
    assert_eq!(days[1]["cost"], json!(0), "nothing ran");
    Ok(())
}

#[tokio::test]
async fn costs_are_those_of_three_months_at_most() -> Result<()> {
    let (_database, session) = region().await?;
    let refused = session
        .rows("SELECT * FROM list_costs(NULL, '2026-01-01', '2026-06-01')")
        .await
        .unwrap_err();
    assert!(
        format!("{refused:#}").contains("not be longer than 92 days"),
        "{refused:#}"
    );
    Ok(())
}
