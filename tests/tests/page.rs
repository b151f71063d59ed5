//! The status page in a real browser, on the deployed stack: an empty service, a healthy one, and
//! one with all kinds of trouble, in light and dark mode and at four widths. It saves pictures to
//! `target/pages` for people to look at.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::path::Path;

use local_stack::project;
use scaling_tests::browser::Browser;
use scaling_tests::deployed::{Deployed, SOON, client_request};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

/// Made-up figures of seven days of each region: mornings, nights, and an hour without capacity.
const BUSY_WEEK: &str = r#"
    INSERT INTO usage_hours (region, hour, sessions, waited, unserved, waits, ends, lengths,
        instances_gone, died_young, machine_seconds, occupied_seconds, session_seconds, slot_seconds)
    SELECT r.name, t.hour, t.n, t.n / 12, CASE WHEN t.n > 60 THEN t.n / 30 ELSE 0 END,
        jsonb_build_array(
            jsonb_build_object('below', 1, 'sessions', t.n - t.n / 12),
            jsonb_build_object('below', 10, 'sessions', t.n / 24),
            jsonb_build_object('below', 60, 'sessions', t.n / 12 - t.n / 24 - t.n / 60),
            jsonb_build_object('below', null, 'sessions', t.n / 60)),
        jsonb_build_object('AGENT', t.n, 'LIMIT', t.n / 40),
        jsonb_build_array(
            jsonb_build_object('below', 60, 'sessions', t.n / 20),
            jsonb_build_object('below', 3600, 'sessions', t.n / 2),
            jsonb_build_object('below', 14400, 'sessions', t.n / 5),
            jsonb_build_object('below', null, 'sessions', 1)),
        2, CASE WHEN t.n > 75 THEN '{"NEVER_REGISTERED": 1}' ELSE '{}' END::jsonb,
        3600 * (2 + t.n / 5), 3600 * (t.n / 5), 3600 * (t.n / 2), 4 * 3600 * (2 + t.n / 5)
    FROM regions r
    CROSS JOIN LATERAL (
        SELECT h AS hour, (40 + 39 * sin(extract(epoch FROM h) / 86400 * 2 * pi()
            + length(r.name)))::integer AS n
        FROM generate_series(date_bin('1 hour', now() - interval '7 days', 'epoch'),
            now() - interval '1 hour', interval '1 hour') h
    ) t
    ON CONFLICT DO NOTHING"#;

const OPEN_DETAILS: &str = "document.querySelectorAll('details').forEach(it => it.open = true)";

const HOME: &str = "us-east-1";
const NEXT_IMAGE: &str = "ami-01000000000000002";

/// WCAG's reflow width (320), a phone, a tablet, a desktop.
const SIZES: [(u32, u32); 4] = [(320, 640), (390, 844), (820, 1180), (1440, 900)];

#[tokio::test]
async fn page_shows_every_condition_of_the_service() {
    let deployed = Deployed::start("page", |options| {
        options.ec2.pending_ms = Some(200);
        options.ec2.agent_boot_ms = Some(50);
        options.ec2.agent_session_ms = Some(600_000);
    })
    .await;
    let browser = Browser::start(deployed.stack.dir()).await;
    let page = Page {
        url: deployed.stack.env().status_url.clone(),
        browser: &browser,
    };
    page.admits_only_the_token(&deployed).await;
    page.empty().await;
    page.healthy(&deployed).await;
    page.refreshes_in_place(&deployed).await;
    page.shows_a_failed_refresh().await;
    page.shows_trouble(&deployed).await;
    page.shows_usage(&deployed).await;
    page.shows_a_replay().await;
    page.without_scripts().await;
    page.logs_out().await;
    browser.stop().await;
    deployed.stack.stop();
}

struct Page<'t> {
    url: String,
    browser: &'t Browser,
}

impl Page<'_> {
    async fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.url)).await;
    }

    /// Asserts that the page is readable at every size in light and dark mode, loads nothing from
    /// elsewhere, and logs nothing to the console.
    async fn is_sound(&self, name: &str) {
        for dark in [false, true] {
            self.browser.set_dark_mode(dark).await;
            for (width, height) in SIZES {
                self.browser.set_size(width, height).await;
                let widest = "return document.scrollingElement.scrollWidth";
                let widest = self.browser.run(widest, json!([])).await;
                assert!(
                    widest.as_u64() <= Some(width.into()),
                    "{name}: {widest} of {width}"
                );
                let wrong = self.browser.violations().await;
                assert_eq!(wrong, [""; 0], "{name} at {width}, dark: {dark}");
                let light = if dark { "dark" } else { "light" };
                let picture = format!("target/pages/{name}-{width}-{light}.png");
                let picture = project::root().join(Path::new(&picture));
                self.browser.save_picture(&picture).await;
            }
        }
        let others = "return performance.getEntriesByType('resource').map(it => it.name)";
        let others = self.browser.run(others, json!([])).await;
        for other in others.as_array().unwrap() {
            let other = other.as_str().unwrap();
            let is_own = other.starts_with(&self.url) || other.starts_with("data:");
            assert!(is_own, "{name} loads {other}");
        }
        self.assert_console_is_empty(name).await;
    }

    async fn assert_console_is_empty(&self, name: &str) {
        let console_messages = self.browser.console_messages().await;
        assert_eq!(console_messages, [Value::Null; 0], "{name}");
    }

    async fn admits_only_the_token(&self, deployed: &Deployed) {
        self.open("").await;
        self.browser.wait_for_text("Status token").await;
        let console_messages = self.browser.console_messages().await;
        let is_refusal = |it: &Value| it["message"].as_str().is_some_and(|it| it.contains("401"));
        assert!(
            console_messages.iter().all(is_refusal),
            "{console_messages:#?}"
        );
        self.is_sound("login").await;
        self.browser.type_into("#token", "not the token").await;
        self.browser
            .wait_for_text("this is not the status token")
            .await;
        let token = &deployed.stack.env().status_token;
        self.browser.type_into("#token", token).await;
        self.browser.wait_for_text("No region is set up yet").await;
        let cookies = "return document.cookie";
        let cookies = self.browser.run(cookies, json!([])).await;
        assert_eq!(cookies, "", "scripts do not see the session");
        assert!(!self.browser.source().await.contains(token));
        self.browser.console_messages().await;
    }

    async fn empty(&self) {
        self.open("").await;
        self.browser.wait_for_text("No region is set up yet").await;
        self.is_sound("empty").await;
    }

    async fn healthy(&self, deployed: &Deployed) {
        deployed.set_up(HOME, 10).await;
        deployed.reconcile().await;
        deployed.filled_to(4).await;
        self.open("").await;
        let text = self
            .browser
            .wait_for_text("✓ Users get a slot at once")
            .await;
        assert!(text.contains("launched 2: free 0 of 4"), "{text}");
        let chart = "return document.querySelector('.chart svg').getAttribute('aria-label')";
        let chart = self.browser.run(chart, json!([])).await;
        let chart = chart.as_str().unwrap();
        assert!(chart.contains("free slots: 4 now, fewest 0 at"), "{chart}");
        self.is_sound("healthy").await;
    }

    /// Without a reload: selections and opened parts stay.
    async fn refreshes_in_place(&self, deployed: &Deployed) {
        self.open("").await;
        self.browser.run("window.here = 1", json!([])).await;
        for user in ["ann", "ben", "cem"] {
            let ask = client_request(HOME, format!("session of {user}"));
            let answer = deployed.assign(user, &ask).await;
            assert_eq!(answer.status, 200, "{answer:#?}");
        }
        let text = self
            .browser
            .wait_for_text("▲ Fewer free slots than the target")
            .await;
        assert!(text.contains("sessions 3"), "{text}");
        for user in ["ann", "user@example.com"] {
            assert!(!text.contains(&format!(" {user} ")), "{text}");
        }
        let here = self.browser.run("return window.here", json!([])).await;
        assert_eq!(here, 1);
        let said = "return document.getElementById('said').textContent";
        let said = async || self.browser.run(said, json!([])).await;
        let is_said = |said: &Value| said.as_str().is_some_and(|said| said.contains("fewer"));
        eventually("it is said aloud", SOON, said, is_said).await;
        deployed.reconcile().await;
        deployed.filled_to(5).await;
        self.browser
            .wait_for_text("✓ Users get a slot at once")
            .await;
        self.assert_console_is_empty("a page that refreshes itself")
            .await;
    }

    async fn shows_a_failed_refresh(&self) {
        self.browser.set_offline(true).await;
        let text = self.browser.wait_for_text("No answer since").await;
        assert!(
            text.contains("sessions 3"),
            "what was there is still shown: {text}"
        );
        self.browser.set_offline(false).await;
        let text = async || self.browser.text().await;
        let is_back = |text: &String| !text.contains("No answer since");
        eventually("an answer", SOON, text, is_back).await;
        self.browser.console_messages().await;
    }

    async fn shows_trouble(&self, deployed: &Deployed) {
        trouble(deployed).await;
        self.open("").await;
        let text = self
            .browser
            .wait_for_text("✕ Users get no slot in 3 of 4 regions")
            .await;
        for words in [
            "eu-west-1 – Disabled: no user is served here",
            "sa-east-1 ✕ No slot: no image is served yet ▲ stale: no pass has decided anything yet",
            "us-west-1 ✕ No slot for clients of the app version no image here was built for",
            "m6i.large in subnet-02a0000000000000a: no capacity; the next launch there is after",
            "▲ paused: nothing is launched",
            "Upgrade to ami-01000000000000002 (sha-of-th). 0 of 4 slots are free; next: its launch choices rest",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        self.is_sound("trouble").await;

        self.open(&format!("regions/{HOME}")).await;
        let text = self
            .browser
            .wait_for_text("Upgrade to ami-01000000000000002")
            .await;
        for words in [
            "Instances",
            "ACTIVE",
            "CURRENT since",
            "invoked by hand",
            "max_instances",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        self.is_sound("region").await;
        self.browser.click("#decisions + div tbody a").await;
        self.browser.wait_for_text("Steps of the plan").await;
        self.is_sound("decision").await;
        self.open("regions/us-east-9").await;
        self.browser.wait_for_text("no region us-east-9").await;
        self.browser.console_messages().await;
        self.is_sound("nothing").await;
    }

    async fn shows_usage(&self, deployed: &Deployed) {
        deployed.sql.batch_execute(BUSY_WEEK).await.unwrap();
        for period in ["hour", "day", "week"] {
            self.open(&format!("usage?period={period}")).await;
            let heading = format!(
                "Usage of all regions, a{}",
                if period == "hour" { "n" } else { "" }
            );
            self.browser.wait_for_text(&heading).await;
            self.browser.run(OPEN_DETAILS, json!([])).await;
            self.is_sound(&format!("usage-{period}")).await;
        }
        let text = self.browser.text().await;
        for words in [
            "left without a slot",
            "NEVER_REGISTERED its agent had not registered",
            "less than 1 s",
            "us-west-2",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        self.browser.click("#regions + div tbody a").await;
        self.browser
            .wait_for_text("Usage of eu-west-1, a week")
            .await;
    }

    async fn shows_a_replay(&self) {
        self.open("replay?region=us-east-1&since=6h&algorithm=adaptive&target_free=2")
            .await;
        self.browser
            .wait_for_text("algorithm = adaptive, target_free = 2")
            .await;
        self.is_sound("replay").await;
        self.browser.click("form.replay button").await;
        self.browser
            .wait_for_text("What would other settings have cost us-east-1?")
            .await;
    }

    async fn without_scripts(&self) {
        self.browser.set_scripts_enabled(false).await;
        self.open("").await;
        let page = self.browser.source().await;
        assert!(
            page.contains("Users get no slot in 3 of 4 regions"),
            "{page}"
        );
        let refresh = "return document.querySelector('meta[http-equiv=refresh]').content";
        assert_eq!(self.browser.run(refresh, json!([])).await, "15");
        self.open("usage?period=week").await;
        let page = self.browser.source().await;
        assert!(page.contains("Half of the sessions got a slot"), "{page}");
        assert!(
            page.matches("<th scope=\"row\" class=\"nowrap\">").count() > 2 * 48,
            "{page}"
        );
        self.browser.set_scripts_enabled(true).await;
    }

    async fn logs_out(&self) {
        self.open("").await;
        self.browser.click("header form button").await;
        self.browser.wait_for_text("Status token").await;
        self.open("").await;
        self.browser.wait_for_text("Status token").await;
    }
}

/// One region is disabled, one never had a pass, one has no capacity at EC2, one is paused, and an
/// upgrade in the home region cannot launch.
async fn trouble(deployed: &Deployed) {
    let rows = r#"
        INSERT INTO regions (name, target_free, max_instances, launch_choices, security_groups,
            enabled, paused, created_at)
        VALUES ('eu-west-1', 2, 5, '[]', '[]', false, false, now()),
            ('us-west-2', 2, 5, '[]', '[]', true, true, now()),
            ('sa-east-1', 2, 5, '[]', '[]', true, false, now() - interval '1 hour'),
            ('us-west-1', 2, 5, '[{"instance_type": "m6i.large", "capacity": 2,
                "subnet_id": "subnet-02a0000000000000a"}]',
                '[{"key": "scaling", "value": "hosts"}]', true, false, now());
        INSERT INTO images (region, image_id, client_sha, state)
        VALUES ('us-west-1', 'ami-02000000000000001', 'sha', 'CURRENT'),
            ('us-west-2', 'ami-03000000000000001', 'sha', 'CURRENT')"#;
    deployed.sql.batch_execute(rows).await.unwrap();
    let full = json!({"capacity": [{"available": 0}]});
    deployed.set_faults(&full).await;
    deployed.invoke(&json!({"regions": ["us-west-1"]})).await;
    let upgrade = json!({"client_sha": "sha-of-the-next", "images": {HOME: NEXT_IMAGE}});
    deployed.invoke(&json!({"image_upgrade": upgrade})).await;
}
