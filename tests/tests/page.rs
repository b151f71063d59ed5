//! The status page in a real browser, on the deployed stack: what a person sees of an empty
//! service, a healthy one, and one in all kinds of trouble; by day and night, on a phone and on a
//! wall. Its pictures are in `target/pages`, for a look with one's own eyes.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use std::path::Path;

use local_stack::project;
use local_stack::seed::{APP_VERSION, CLIENT_SHA, RegionSeed};
use scaling_tests::browser::Browser;
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

const HOME: &str = "us-east-1";
const NEXT_IMAGE: &str = "ami-01000000000000002";

/// Narrow as WCAG's reflow asks for (320), a phone, a tablet, a desk.
const SIZES: [(u32, u32); 4] = [(320, 640), (390, 844), (820, 1180), (1440, 900)];

#[tokio::test]
async fn a_person_sees_how_it_is() {
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
    page.let_in_by_the_token_only(&deployed).await;
    page.empty().await;
    page.healthy(&deployed).await;
    page.brings_what_has_changed(&deployed).await;
    page.says_when_nobody_answers().await;
    page.in_trouble(&deployed).await;
    page.without_scripts().await;
    page.lets_out_again().await;
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

    /// Readable at every size, by day and night; nothing is loaded from anywhere, and the browser
    /// has nothing to complain of.
    async fn is_sound(&self, name: &str) {
        for dark in [false, true] {
            self.browser.prefers_dark(dark).await;
            for (width, height) in SIZES {
                self.browser.is_of_size(width, height).await;
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
        self.complains_of_nothing(name).await;
    }

    async fn complains_of_nothing(&self, name: &str) {
        let complaints = self.browser.complaints().await;
        assert_eq!(complaints, [Value::Null; 0], "{name}");
    }

    async fn let_in_by_the_token_only(&self, deployed: &Deployed) {
        self.open("").await;
        self.browser.sees("Status token").await;
        let complaints = self.browser.complaints().await;
        let is_refusal = |it: &Value| it["message"].as_str().is_some_and(|it| it.contains("401"));
        assert!(complaints.iter().all(is_refusal), "{complaints:#?}");
        self.is_sound("login").await;
        self.browser.type_into("#token", "not the token").await;
        self.browser.sees("this is not the status token").await;
        let token = &deployed.stack.env().status_token;
        self.browser.type_into("#token", token).await;
        self.browser.sees("No region is set up yet").await;
        let cookies = "return document.cookie";
        let cookies = self.browser.run(cookies, json!([])).await;
        assert_eq!(cookies, "", "scripts do not see the session");
        assert!(!self.browser.source().await.contains(token));
        self.browser.complaints().await;
    }

    async fn empty(&self) {
        self.open("").await;
        self.browser.sees("No region is set up yet").await;
        self.is_sound("empty").await;
    }

    async fn healthy(&self, deployed: &Deployed) {
        let seed = RegionSeed {
            region: HOME.to_owned(),
            target_free: 4,
            max_instances: 10,
            capacity: 2,
        };
        deployed.set_up(&seed).await;
        deployed.reconcile().await;
        deployed.filled_to(4).await;
        self.open("").await;
        let text = self.browser.sees("✓ Users get a slot at once").await;
        assert!(text.contains("launched 2: free 0 of 4"), "{text}");
        let chart = "return document.querySelector('.chart svg').getAttribute('aria-label')";
        let chart = self.browser.run(chart, json!([])).await;
        let chart = chart.as_str().unwrap();
        assert!(chart.contains("free slots: 4 now, fewest 0 at"), "{chart}");
        self.is_sound("healthy").await;
    }

    /// Without being loaded anew: what somebody has marked or opened stays.
    async fn brings_what_has_changed(&self, deployed: &Deployed) {
        self.open("").await;
        self.browser.run("window.here = 1", json!([])).await;
        for user in ["ann", "ben", "cem"] {
            let ask = json!({
                "regions": [HOME],
                "client_commit_hash": CLIENT_SHA,
                "user_email": "user@example.com",
                "version": APP_VERSION,
                "session_id": format!("session of {user}"),
            });
            let answer = deployed.assign(user, &ask).await;
            assert_eq!(answer.status, 200, "{answer:#?}");
        }
        let text = self
            .browser
            .sees("▲ Fewer free slots than the target")
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
        self.browser.sees("✓ Users get a slot at once").await;
        self.complains_of_nothing("a page that refreshes itself")
            .await;
    }

    async fn says_when_nobody_answers(&self) {
        self.browser.is_offline(true).await;
        let text = self.browser.sees("No answer since").await;
        assert!(
            text.contains("sessions 3"),
            "what was there is still shown: {text}"
        );
        self.browser.is_offline(false).await;
        let text = async || self.browser.text().await;
        let is_back = |text: &String| !text.contains("No answer since");
        eventually("an answer", SOON, text, is_back).await;
        self.browser.complaints().await;
    }

    async fn in_trouble(&self, deployed: &Deployed) {
        trouble(deployed).await;
        self.open("").await;
        let text = self
            .browser
            .sees("✕ Users get no slot in 3 of 4 regions")
            .await;
        for words in [
            "eu-west-1 – Disabled: no user is served here",
            "sa-east-1 ✕ No slot: no image is served yet ▲ stale: no pass has decided anything yet",
            "us-west-1 ✕ No slot is free EC2 has no capacity for m6i.large in subnet-02",
            "▲ paused: nothing is launched",
            "Upgrade to ami-01000000000000002 (sha-of-th). 0 of 4 slots are free; next: EC2 has no capacity",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        self.is_sound("trouble").await;

        self.open(&format!("regions/{HOME}")).await;
        let text = self.browser.sees("Upgrade to ami-01000000000000002").await;
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
        self.browser.sees("Steps of the plan").await;
        self.is_sound("decision").await;
        self.open("regions/us-east-9").await;
        self.browser.sees("no region us-east-9").await;
        self.browser.complaints().await;
        self.is_sound("nothing").await;
    }

    async fn without_scripts(&self) {
        self.browser.runs_scripts(false).await;
        self.open("").await;
        let page = self.browser.source().await;
        assert!(
            page.contains("Users get no slot in 3 of 4 regions"),
            "{page}"
        );
        let refresh = "return document.querySelector('meta[http-equiv=refresh]').content";
        assert_eq!(self.browser.run(refresh, json!([])).await, "15");
        self.browser.runs_scripts(true).await;
    }

    async fn lets_out_again(&self) {
        self.open("").await;
        self.browser.click("header form button").await;
        self.browser.sees("Status token").await;
        self.open("").await;
        self.browser.sees("Status token").await;
    }
}

/// One region disabled, one that was never looked at, one that EC2 has no room for, one paused,
/// and an upgrade at home that cannot launch.
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
