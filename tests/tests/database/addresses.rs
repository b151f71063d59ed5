//! The addresses that users get: EC2's, or names that agents report and the database checks.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use scaling_tests::database::{Database, PRIVATE_IP, REGION, Session, VERSION, claims_of, text};
use serde_json::json;

const SUFFIX: &str = "sandbox.example.com";
/// Ids with the form of EC2's.
const OWN: &str = "i-0a1b2c3d4e5f60718";
const OTHER: &str = "i-0fedcba9876543210";

async fn set_source(session: &Session, source: &str) -> Result<()> {
    session
        .run(&format!(
            "UPDATE regions SET address_source = '{source}', address_suffix = '{SUFFIX}'"
        ))
        .await
}

fn register(id: &str, address: &str) -> String {
    let address = address.replace('\'', "''");
    format!("register_host('{id}', '{address}', '{}')", claims_of(id))
}

/// What users get.
async fn ip_addr(session: &Session, id: &str) -> Result<String> {
    let query = format!("SELECT ip_addr FROM instances WHERE id = '{id}'");
    Ok(text(&session.row(&query).await?, "ip_addr"))
}

/// A write of a pass, after EC2 has answered.
fn noted(id: &str, private: Option<&str>, public: Option<&str>) -> String {
    let addresses = json!([{"id": id, "private_ip": private, "public_ip": public}]);
    format!("note_addresses('{REGION}', {VERSION}, '{addresses}')")
}

/// The message of the error that the call raises.
async fn refusal(session: &Session, call: &str) -> Result<String> {
    let answer = session.rows(&format!("SELECT * FROM {call}")).await;
    let shown: String = call.chars().take(200).collect();
    let Err(error) = answer else {
        anyhow::bail!("accepted: {shown}")
    };
    let error = error
        .downcast_ref::<tokio_postgres::Error>()
        .and_then(tokio_postgres::Error::as_db_error)
        .context(shown)?;
    ensure!(error.code().code() == "22023", "{error:?}");
    Ok(error.message().to_owned())
}

/// What an agent can send instead of an address, by family.
fn odd_addresses() -> Vec<String> {
    let mut odd = [
        // Addresses of others, or of nobody.
        "1.2.3.4",
        "127.0.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        // Numbers that programs read as addresses.
        "2852039166",
        "0xA9FEA9FE",
        "0251.0376.0251.0376",
        "1.1.1.1/24",
        // More than a host.
        "10.0.0.1:22",
        "[::1]:22",
        "https://sandbox.example.com",
        "user@a.sandbox.example.com",
        "user:secret@a.sandbox.example.com",
        "a.sandbox.example.com/path",
        "a.sandbox.example.com?q#f",
        "a.sandbox.example.com:443",
        // Names that are not under the suffix.
        "evil.example",
        "localhost",
        "sandbox.example.com",
        ".sandbox.example.com",
        "a.sandbox.example.com.evil.example",
        "evilsandbox.example.com",
        "a.sandbox.example.com.",
        // No names.
        "",
        " ",
        "*.sandbox.example.com",
        "a..sandbox.example.com",
        "-a.sandbox.example.com",
        "a-.sandbox.example.com",
        "a_b.sandbox.example.com",
        "a b.sandbox.example.com",
        " a.sandbox.example.com",
        "<b>a</b>.sandbox.example.com",
        "a';DROP TABLE slots;--.sandbox.example.com",
        // Characters that look like others, or that change lines and directions.
        "\u{e4}.sandbox.example.com",
        "\u{430}.sandbox.example.com",
        "\u{212a}.sandbox.example.com",
        "a.sandbox\u{3002}example.com",
        "a\u{202e}.sandbox.example.com",
        "a\u{200b}.sandbox.example.com",
        "a\u{2028}.sandbox.example.com",
        "a.sandbox.example.com\n",
        "a\r\nX-Header: 1.sandbox.example.com",
        "a\t.sandbox.example.com",
        "a\u{7f}.sandbox.example.com",
        "a\u{1b}[31m.sandbox.example.com",
    ]
    .map(str::to_owned)
    .to_vec();
    odd.push(format!("{}.{SUFFIX}", "a".repeat(64)));
    odd.push(format!("{}{SUFFIX}", "a.".repeat(118)));
    odd.push("x".repeat(7 << 20));
    odd.push("\u{202e}".repeat(1 << 20));
    odd
}

#[tokio::test]
async fn reported_text_that_is_not_a_name_under_the_suffix_is_rejected() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    set_source(&session, "reported").await?;
    session.launch(REGION, OWN, 1).await?;
    for odd in odd_addresses() {
        let message = refusal(&session, &register(OWN, &odd)).await?;
        let shown: String = odd.chars().take(80).collect();
        assert!(
            message.starts_with("register_host: ip_addr "),
            "{shown:?}: {message}"
        );
        assert!(message.len() <= 512, "{shown:?}: {} bytes", message.len());
        let is_plain = message.chars().all(|c| (' '..='~').contains(&c));
        assert!(is_plain, "{shown:?}: {message:?}");
        if odd.len() <= 253 {
            assert!(message.contains(SUFFIX), "{shown:?}: {message}");
        }
    }
    let states = "SELECT FROM instances WHERE status <> 'PRE_CONNECTION'";
    assert_eq!(session.count(states).await?, 0);
    Ok(())
}

/// Whoever writes the column.
#[tokio::test]
async fn users_get_an_ip_address_or_a_name_and_nothing_else() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host(OWN, 1).await?;
    let write = |address: &str| {
        let address = address.replace('\'', "''");
        format!("UPDATE instances SET ip_addr = '{address}'")
    };
    for sound in ["10.0.0.1", "2001:db8::9", "a.sandbox.example.com"] {
        session.run(&write(sound)).await?;
    }
    for odd in [
        "10.0.0.1/24",
        "10.0.0.1/32",
        "10.0.0.1:22",
        "10.1",
        "1.2.3.4.5",
        "300.1.1.1",
        "[2001:db8::9]",
        "2001:db8::9/64",
        "2001:DB8::9",
        "fe80::1%eth0",
        "A.example.com",
        "localhost",
        "a.example.com.",
        "a.example.com\n",
        "user@a.example.com",
        "a\u{202e}.example.com",
        " ",
        &"a.".repeat(127),
        &"x".repeat(7 << 20),
    ] {
        let rule = session.violated(&write(odd)).await?;
        let shown: String = odd.chars().take(40).collect();
        assert_eq!(rule, "instances_ip_addr_is_an_address", "{shown:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_agent_reports_is_ignored_where_the_address_comes_from_ec2() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (number, odd) in odd_addresses().iter().enumerate() {
        let id = format!("i-{number}");
        session.launch(REGION, &id, 1).await?;
        let call = register(&id, odd);
        if odd.len() > 253 {
            // What is too long for any address is an error, so that nobody relies on it.
            refusal(&session, &call).await?;
            continue;
        }
        assert_eq!(session.outcome(&call).await?, "REGISTERED", "{odd:?}");
        assert_eq!(ip_addr(&session, &id).await?, PRIVATE_IP, "{odd:?}");
    }
    Ok(())
}

#[tokio::test]
async fn reported_name_under_the_suffix_is_given_to_users_in_lower_case() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    set_source(&session, "reported").await?;
    let names = [
        "A.Sandbox.Example.COM".to_owned(),
        "1.2.3.4.sandbox.example.com".to_owned(),
        "xn--nxasmq6b.sandbox.example.com".to_owned(),
        format!("{OWN}.{SUFFIX}"),
        format!("{}{SUFFIX}", "a.".repeat(117)),
    ];
    session.launch(REGION, OWN, 1).await?;
    for name in names {
        assert_eq!(session.outcome(&register(OWN, &name)).await?, "REGISTERED");
        assert_eq!(ip_addr(&session, OWN).await?, name.to_lowercase());
    }
    Ok(())
}

#[tokio::test]
async fn name_of_another_instance_is_rejected() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    set_source(&session, "reported").await?;
    session.launch(REGION, OWN, 1).await?;
    session.launch(REGION, OTHER, 1).await?;
    for name in [
        format!("{OTHER}.{SUFFIX}"),
        format!("x{}y.{SUFFIX}", OTHER.to_uppercase()),
        format!("{OWN}.{OTHER}.{SUFFIX}"),
    ] {
        let message = refusal(&session, &register(OWN, &name)).await?;
        assert!(
            message.contains("has the id of another instance"),
            "{message}"
        );
        assert!(message.contains(OWN), "{message}");
    }
    let name = format!("a.{SUFFIX}");
    session.outcome(&register(OTHER, &name)).await?;
    let message = refusal(&session, &register(OWN, &name)).await?;
    assert!(
        message.contains("is the name of another instance"),
        "{message}"
    );
    // Its own again is no conflict, and the name of an instance that ends is free.
    assert_eq!(
        session.outcome(&register(OTHER, &name)).await?,
        "REGISTERED"
    );
    let end = format!("UPDATE instances SET status = 'TERMINATING' WHERE id = '{OTHER}'");
    session.run(&end).await?;
    assert_eq!(session.outcome(&register(OWN, &name)).await?, "REGISTERED");
    Ok(())
}

#[tokio::test]
async fn two_instances_that_report_one_name_at_once_do_not_both_get_it() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    set_source(&session, "reported").await?;
    session.launch(REGION, OWN, 1).await?;
    session.launch(REGION, OTHER, 1).await?;
    let name = format!("a.{SUFFIX}");
    session.run("BEGIN").await?;
    session.outcome(&register(OWN, &name)).await?;
    let second = database.connect().await?;
    let call = register(OTHER, &name);
    let late = tokio::spawn(async move { refusal(&second, &call).await });
    let watcher = database.connect().await?;
    watcher.wait_for_a_blocked_session().await?;
    session.run("COMMIT").await?;
    let message = late.await??;
    assert!(
        message.contains("is the name of another instance"),
        "{message}"
    );
    Ok(())
}

#[tokio::test]
async fn agent_is_told_to_retry_until_a_pass_has_recorded_its_address() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    set_source(&session, "public").await?;
    session.launch(REGION, OWN, 2).await?;
    let wakes = "SELECT FROM region_wakeups";
    let call = register(OWN, "203.0.113.66");
    assert_eq!(session.outcome(&call).await?, "RETRY");
    assert_eq!(session.count(wakes).await?, 1, "a pass is to look");
    assert_eq!(session.count("SELECT FROM slots").await?, 0);

    // A pass has just looked, and EC2 had none.
    session.run("DELETE FROM region_wakeups").await?;
    session.set_watched_for_an_hour().await?;
    assert_eq!(session.outcome(&call).await?, "RETRY");
    assert_eq!(session.count(wakes).await?, 0, "not again at once");
    let before = "UPDATE region_fences SET last_pass_at = now() - interval '11 seconds'";
    session.run(before).await?;
    assert_eq!(session.outcome(&call).await?, "RETRY");
    assert_eq!(session.count(wakes).await?, 1);

    let note = noted(OWN, Some(PRIVATE_IP), Some("203.0.113.9"));
    assert_eq!(session.outcomes(&note).await?, [format!("{OWN}=DONE")]);
    assert_eq!(
        ip_addr(&session, OWN).await?,
        "",
        "users get it with the registration"
    );
    assert_eq!(session.outcomes(&note).await?, [format!("{OWN}=ALREADY")]);
    assert_eq!(session.outcome(&call).await?, "REGISTERED");
    assert_eq!(ip_addr(&session, OWN).await?, "203.0.113.9");
    Ok(())
}

#[tokio::test]
async fn address_that_changes_at_ec2_is_given_to_the_next_users() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host(OWN, 1).await?;
    set_source(&session, "public").await?;
    for (public, given) in [
        (Some("203.0.113.9"), "203.0.113.9"),
        (Some("2001:db8::9"), "2001:db8::9"),
        // An ACTIVE instance has an address. Passes alert operators.
        (None, "2001:db8::9"),
        (Some("198.51.100.7"), "198.51.100.7"),
    ] {
        let note = noted(OWN, Some(PRIVATE_IP), public);
        assert_eq!(session.outcomes(&note).await?, [format!("{OWN}=DONE")]);
        assert_eq!(ip_addr(&session, OWN).await?, given);
    }
    // The operator changes the source: the next pass writes the other address.
    set_source(&session, "private").await?;
    let note = noted(OWN, Some("10.0.0.2"), Some("198.51.100.7"));
    session.outcomes(&note).await?;
    assert_eq!(ip_addr(&session, OWN).await?, "10.0.0.2");
    // Names are the agents'.
    set_source(&session, "reported").await?;
    session
        .outcomes(&noted(OWN, Some("10.0.0.3"), None))
        .await?;
    assert_eq!(ip_addr(&session, OWN).await?, "10.0.0.2");
    session
        .run("UPDATE instances SET status = 'TERMINATING'")
        .await?;
    let outcomes = session.outcomes(&noted(OWN, None, None)).await?;
    assert_eq!(outcomes, [format!("{OWN}=WRONG_STATE")]);
    let unknown = session.outcomes(&noted(OTHER, None, None)).await?;
    assert_eq!(unknown, [format!("{OTHER}=UNKNOWN")]);
    Ok(())
}

/// An agent can hold its row for as long as its statement may run.
#[tokio::test]
async fn row_that_an_agent_holds_is_skipped() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host(OWN, 1).await?;
    session.host(OTHER, 1).await?;
    let agent = database.connect().await?;
    agent.run("BEGIN").await?;
    agent
        .outcome(&format!("heartbeat('{OWN}', '{}')", claims_of(OWN)))
        .await?;
    let addresses = json!([
        {"id": OWN, "private_ip": "10.0.0.2"},
        {"id": OTHER, "private_ip": "10.0.0.3"},
    ]);
    let note = format!("note_addresses('{REGION}', {VERSION}, '{addresses}')");
    let began = Instant::now();
    let outcomes = session.outcomes(&note).await?;
    assert_eq!(outcomes, [format!("{OWN}=BUSY"), format!("{OTHER}=DONE")]);
    assert!(began.elapsed() < Duration::from_secs(20), "it waited");
    agent.run("COMMIT").await?;
    let outcomes = session.outcomes(&note).await?;
    assert_eq!(
        outcomes,
        [format!("{OWN}=DONE"), format!("{OTHER}=ALREADY")]
    );
    Ok(())
}

#[tokio::test]
async fn addresses_of_a_lost_lock_are_not_written() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host(OWN, 1).await?;
    session
        .run(&format!(
            "SELECT * FROM begin_pass('{REGION}', {})",
            VERSION + 1
        ))
        .await?;
    let outcomes = session
        .outcomes(&noted(OWN, Some("10.0.0.2"), None))
        .await?;
    assert_eq!(outcomes, [format!("{REGION}=FENCED")]);
    assert_eq!(ip_addr(&session, OWN).await?, PRIVATE_IP);
    Ok(())
}

/// A row from before the rule can hold any text, and its instance has to end all the same.
#[tokio::test]
async fn old_row_with_another_text_can_still_be_ended() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host(OWN, 1).await?;
    session
        .run(
            "ALTER TABLE instances DISABLE TRIGGER instances_have_addresses;
             UPDATE instances SET ip_addr = 'host-1:8080';
             ALTER TABLE instances ENABLE TRIGGER instances_have_addresses",
        )
        .await?;
    for status in ["DRAINING", "TERMINATING"] {
        session
            .run(&format!("UPDATE instances SET status = '{status}'"))
            .await?;
    }
    let rule = session
        .violated("UPDATE instances SET ip_addr = 'host-2:8080'")
        .await?;
    assert_eq!(rule, "instances_ip_addr_is_an_address");
    Ok(())
}

/// Whatever an agent sends, answers, rows and errors stay small.
#[tokio::test]
async fn texts_of_agents_are_bounded() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host(OWN, 1).await?;
    let (long, claims) = ("i".repeat(7 << 20), claims_of(OWN));
    for call in [
        format!("register_host('{long}', '', '{claims}')"),
        format!("heartbeat('{long}', '{claims}')"),
        format!("leave_host('{long}', 'broken', '{claims}')"),
    ] {
        let message = refusal(&session, &call).await?;
        assert!(
            message.contains("instance_id has 7340032 bytes"),
            "{message}"
        );
    }
    let call = format!("leave_host('{OWN}', 'broken{long}', '{claims}')");
    assert_eq!(session.outcome(&call).await?, "LEAVING");
    let row = session
        .row("SELECT length(leave_reason) AS length FROM instances")
        .await?;
    assert_eq!(row["length"], 500);
    // Compared only, and neither stored nor answered.
    let slot = "SELECT id FROM slots LIMIT 1";
    let slot = text(&session.row(slot).await?, "id");
    let call = format!("claim_slot('{slot}', '{long}', '{long}', '{claims}')");
    assert_eq!(session.outcome(&call).await?, "REFUSED");
    let call = format!("report_slot('{slot}', '{long}', '{claims}')");
    assert_eq!(session.outcome(&call).await?, "REFUSED");
    Ok(())
}
