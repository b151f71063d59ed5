//! The pages: who gets one, what it shows, and that it is safe.

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::model::{ImageState, Instance, InstanceStatus, ReplicaStatus};
use shared::overview::{ImageOverview, RegionOverview};
use shared::report::{PassOutcome, StepResult};
use shared::scaling::{AddressReport, Note, Reason, ReplicaView};
use shared::settings::BadSetting;
use testing::{NOW, at, image_overview, instance, region_overview};

use crate::support::{Answer, TOKEN, World, decision, request};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// A browser's request, with the token in its header unless it has none.
fn browse(method: &str, path: &str, token: Option<&str>) -> Value {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut event = request(method, path, bearer.as_deref());
    event["headers"]["accept"] = json!(BROWSER);
    event
}

async fn page(world: &World, path: &str) -> String {
    let answer = world.send(browse("GET", path, Some(TOKEN))).await;
    assert_eq!(answer.status, 200, "{path}: {answer:#?}");
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    answer.page
}

/// The text of the page, without tags, scripts and styles.
fn text(page: &str) -> String {
    let main = page.split_once("<main").unwrap().1;
    let main = main.split_once("</main>").unwrap().0;
    let pieces = main.split('<').map(|piece| match piece.split_once('>') {
        Some((_, text)) => text,
        None => piece,
    });
    let text: Vec<_> = pieces.flat_map(str::split_whitespace).collect();
    text.join(" ")
}

fn log_in(form: &str) -> Value {
    let mut event = browse("POST", "/login", None);
    event["body"] = json!(form);
    event
}

fn encoded(text: &str) -> String {
    text.replace(' ', "+").replace(':', "%3A")
}

#[tokio::test]
async fn browser_gets_pages_and_program_gets_json() {
    let world = World::decided(10);
    for path in ["/", "/regions/us-east-1", "/decisions/us-east-1/1"] {
        let html = page(&world, path).await;
        assert!(html.starts_with("<!doctype html>"), "{path}");
        assert!(html.contains("us-east-1"), "{path}");
        assert_eq!(world.get(path).await.headers["vary"], "accept");
        let json = world.send(browse("GET", &format!("{path}?format=json"), Some(TOKEN)));
        assert!(json.await.body.is_object(), "{path}");
    }
    let health = world.send(browse("GET", "/healthz", None)).await;
    assert_eq!(
        health.body,
        json!({"status": 1}),
        "a monitor may be a browser"
    );
}

#[tokio::test]
async fn browser_without_token_logs_in_and_returns_to_its_page() {
    let world = World::decided(10);
    let stranger = world.send(browse("GET", "/regions/us-east-1", None)).await;
    assert_eq!(stranger.status, 401);
    let challenge = &stranger.headers["www-authenticate"];
    assert_eq!(challenge, "Bearer realm=\"status\"", "a form, no dialogue");
    assert!(
        stranger.page.contains("name=\"token\""),
        "{}",
        stranger.page
    );
    assert!(stranger.page.contains("action=\"../login\""));
    assert!(stranger.page.contains("value=\"/regions/us-east-1\""));
    assert_eq!(world.requests(), (0, 0));

    let form = format!("next=%2Fregions%2Fus-east-1&token={}", encoded(TOKEN));
    let let_in = world.send(log_in(&form)).await;
    assert_eq!(let_in.status, 303);
    assert_eq!(let_in.headers["location"], "./regions/us-east-1");
    let [cookie] = let_in.cookies.as_slice() else {
        panic!("{let_in:#?}")
    };
    assert!(!cookie.contains(TOKEN), "{cookie}");

    let mut again = browse("GET", "/regions/us-east-1", None);
    again["cookies"] = json!([cookie.split(';').next().unwrap()]);
    let shown = world.send(again).await;
    assert_eq!(shown.status, 200);
    assert!(shown.page.contains("Log out"), "{}", shown.page);
    let by_header = page(&world, "/").await;
    assert!(!by_header.contains("Log out"), "there is no session to end");

    let mut log_out = browse("POST", "/logout", None);
    log_out["cookies"] = json!([cookie.split(';').next().unwrap()]);
    let let_out = world.send(log_out).await;
    assert_eq!(let_out.status, 303);
    assert!(let_out.cookies[0].contains("Max-Age=0"), "{let_out:#?}");
}

#[tokio::test]
async fn wrong_token_shows_the_form_again() {
    let world = World::decided(10);
    for form in ["token=wrong&next=%2F", "", "next=%2F", "%ff=%fe"] {
        let answer = world.send(log_in(form)).await;
        assert_eq!(answer.status, 401, "{form}");
        assert_eq!(answer.cookies, [""; 0], "{form}");
        assert!(
            answer.page.contains("this is not the status token"),
            "{form}"
        );
    }
    let long = world.send(log_in(&"x".repeat(5_000))).await;
    assert_eq!(long.status, 413);
    assert_eq!(world.requests(), (0, 0));
}

#[tokio::test]
async fn log_in_redirects_only_to_this_service() {
    let world = World::decided(10);
    for (next, location) in [
        ("https://elsewhere.example/", "./"),
        ("elsewhere", "./"),
        ("", "./"),
        ("/%0d%0aset-cookie:x", "./"),
        ("//elsewhere.example/", ".//elsewhere.example/"),
        (
            "/regions/us-east-1?before=3",
            "./regions/us-east-1?before=3",
        ),
    ] {
        let form = format!("next={next}&token={}", encoded(TOKEN));
        let answer = world.send(log_in(&form)).await;
        assert_eq!(answer.status, 303, "{next}");
        assert_eq!(answer.headers["location"], location, "{next}");
    }
}

#[tokio::test]
async fn pages_load_nothing_and_cannot_be_framed() {
    let world = World::decided(10);
    for event in [
        browse("GET", "/", Some(TOKEN)),
        browse("GET", "/", None),
        browse("GET", "/nothing", Some(TOKEN)),
    ] {
        let Answer { headers, page, .. } = world.send(event).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["cache-control"], "no-store");
        for outside in ["src=", "url(", "@import", " style=", " onclick="] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

#[tokio::test]
async fn stored_texts_are_escaped() {
    let evil = "<script>alert(1)</script>\"'&";
    let mut region = region_overview("us-east-1");
    let mut failed = image_overview("ami-2", ImageState::Failed);
    failed.reason = Some(evil.to_owned());
    failed.client_sha = evil.into();
    region.images.push(failed);
    let world = World::of([region]);
    world.overview.state().instances = vec![Instance {
        image_id: evil.into(),
        ..instance("i-1")
    }];
    let mut past = decision("us-east-1", 1, NOW);
    past.id = evil.to_owned();
    past.results = vec![StepResult::failed(evil, evil)];
    world.record(past);
    for path in ["/", "/regions/us-east-1", "/decisions/us-east-1/1"] {
        let page = page(&world, path).await;
        assert!(page.contains("alert(1)"), "{path}: it is shown");
        assert!(!page.contains("<script>alert"), "{path}");
    }
    let mut event = browse("GET", "/\"><script>alert(1)</script>", None);
    event["rawQueryString"] = json!("format=html\"><script>");
    let form = world.send(event).await;
    assert_eq!(form.status, 401);
    assert!(!form.page.contains("<script>alert"), "{}", form.page);
}

/// As an agent's reason, EC2's message or an event's id may have them.
#[tokio::test]
async fn hidden_characters_of_stored_texts_are_shown() {
    let evil = "left\u{202e}\u{2028}\u{2029}\u{200b}\u{1b}[31m\u{85}\u{e0041}here";
    let mut region = region_overview("us-east-1");
    let mut failed = image_overview("ami-2", ImageState::Failed);
    failed.reason = Some(evil.to_owned());
    region.images.push(failed);
    let world = World::of([region]);
    world.overview.state().instances = vec![Instance {
        leave_reason: Some(evil.to_owned()),
        ..instance("i-1")
    }];
    let mut past = decision("us-east-1", 1, NOW);
    past.id = evil.to_owned();
    past.results = vec![StepResult::failed(evil, evil)];
    world.record(past);
    for path in ["/", "/regions/us-east-1", "/decisions/us-east-1/1"] {
        let page = page(&world, path).await;
        assert!(
            page.contains(r"left\u{202e}\u{2028}\u{2029}\u{200b}"),
            "{path}"
        );
        let hidden = page.chars().filter(|c| shared::words::is_hidden(*c));
        assert!(hidden.into_iter().all(|c| c == '\n'), "{path}");
    }
}

#[tokio::test]
async fn errors_are_pages_for_browsers() {
    let world = World::decided(10);
    for (path, status, says) in [
        ("/nothing", 404, "There is nothing here"),
        ("/regions/us-east-9", 404, "no region us-east-9"),
        ("/regions/us-east-1?before=x", 400, "`before`"),
        ("/regions/us-east-1?after=%20", 400, "`after`"),
        ("/decisions/us-east-1/77", 404, "no decision us-east-1/77"),
    ] {
        let answer = world.send(browse("GET", path, Some(TOKEN))).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(text(&answer.page).contains(says), "{}", answer.page);
        assert!(!answer.page.contains("http-equiv"), "it stays as it is");
    }
    world.fail("decision");
    let answer = world
        .send(browse("GET", "/decisions/us-east-1/1", Some(TOKEN)))
        .await;
    assert_eq!(answer.status, 503);
    assert!(!answer.page.contains("secret name"), "{}", answer.page);
    assert!(
        answer.page.contains("http-equiv=\"refresh\""),
        "it asks again"
    );
}

/// The text of the overview with this region.
async fn shown(region: RegionOverview, prepare: impl FnOnce(&World)) -> String {
    let world = World::of([region]);
    prepare(&world);
    text(&page(&world, "/").await)
}

fn with_free(free: u32) -> RegionOverview {
    let mut region = region_overview("us-east-1");
    region.images[0].free = free;
    region.images[0].starting = 0;
    region
}

fn decided(world: &World) {
    world.decide("us-east-1", 1, NOW);
}

fn noted(reason: Reason) -> impl FnOnce(&World) {
    move |world| {
        let mut past = decision("us-east-1", 1, NOW);
        past.plan.notes = vec![Note {
            instance: None,
            reason,
            alert: true,
        }];
        world.record(past);
    }
}

#[tokio::test]
async fn overview_says_whether_users_get_a_slot() {
    let good = shown(with_free(4), decided).await;
    assert!(
        good.starts_with("✓ Users get a slot at once region 1"),
        "{good}"
    );
    assert!(
        good.contains("us-east-1 ✓ Users get a slot at once"),
        "{good}"
    );

    let low = shown(with_free(3), decided).await;
    assert!(low.contains("▲ Users get a slot, but fewer"), "{low}");
    assert!(
        low.contains("the next pass launches the missing instances"),
        "{low}"
    );

    let out = shown(with_free(0), decided).await;
    assert!(out.contains("✕ Users get no slot"), "{out}");

    let mut disabled = with_free(4);
    disabled.enabled = false;
    let off = shown(disabled, decided).await;
    assert!(off.contains("– No region serves users"), "{off}");
    assert!(off.contains("Disabled: no user is served here"), "{off}");

    let mut no_image = with_free(4);
    no_image.images[0].state = Some(ImageState::Warming);
    let none = shown(no_image, decided).await;
    assert!(none.contains("No slot: no image is served yet"), "{none}");

    let mut replicas = with_free(4);
    replicas.algorithm = "replica".to_owned();
    let unknown = shown(replicas.clone(), |_| {}).await;
    assert!(unknown.contains("? It is not known yet"), "{unknown}");
    let known = shown(replicas, decided).await;
    assert!(
        known.contains("Fewer free slots than the target"),
        "3 of 4: {known}"
    );

    let empty = text(&page(&World::of([]), "/").await);
    assert!(empty.contains("No region is set up yet"), "{empty}");
}

#[tokio::test]
async fn page_warns_of_settings_that_cannot_work_once() {
    let problem = "item 0 (\"x\"): it must be an object";
    let mut region = with_free(0);
    region.problems = vec![BadSetting {
        column: "launch_choices",
        problem: problem.to_owned(),
    }];
    let reason = Reason::SettingInvalid {
        row: "us-east-1".into(),
        column: "launch_choices".to_owned(),
        problem: problem.to_owned(),
        choices_left: false,
    };
    // Before a pass has found it, and after.
    let text = "table `regions`, row us-east-1, column `launch_choices`: item 0";
    let before = shown(region.clone(), decided).await;
    assert!(before.contains(text), "{before}");
    assert!(!before.contains("the next pass launches"), "{before}");
    let world = World::of([region]);
    noted(reason)(&world);
    let overview = crate::page::text(&page(&world, "/").await);
    // A warning of the region, and not also a reason why slots are missing.
    let card = format!("us-east-1 ✕ No slot is free ▲ {text}");
    assert!(overview.contains(&card), "{overview}");
}

#[tokio::test]
async fn app_version_that_no_image_serves_is_the_verdict() {
    let with_another = |state: Option<ImageState>| {
        let mut region = with_free(4);
        region.app_client_sha = Some("new".into());
        let images = state.map(|state| ImageOverview {
            client_sha: "new".into(),
            ..image_overview("ami-2", state)
        });
        region.images.extend(images);
        region
    };
    for (state, verdict, reason) in [
        (
            None,
            "✕ No slot for clients of the app version",
            "no image here was built for new",
        ),
        (
            Some(ImageState::Retired),
            "✕ No slot for clients of the app version",
            "ami-2 is RETIRED: correct app_versions.client_sha",
        ),
        (
            Some(ImageState::Failed),
            "✕ No slot for clients of the app version",
            "ami-2 is FAILED",
        ),
        (
            Some(ImageState::Warming),
            "▲ Clients of the app version get no slot before their image is current",
            "ami-2 still warms",
        ),
    ] {
        let text = shown(with_another(state), decided).await;
        assert!(text.contains(verdict) && text.contains(reason), "{text}");
        assert!(!text.contains("Users get a slot at once"), "{text}");
        assert!(!text.contains("launches the missing"), "{text}");
    }
    let served = shown(with_another(Some(ImageState::Baking)), decided).await;
    assert!(served.contains("✓ Users get a slot at once"), "{served}");
}

#[tokio::test]
async fn overview_names_the_region_without_slots() {
    let [mut here, mut there] = ["eu-west-1", "us-east-1"].map(region_overview);
    (here.images[0].free, there.images[0].free) = (4, 0);
    let world = World::of([here, there]);
    for region in ["eu-west-1", "us-east-1"] {
        world.decide(region, 1, NOW);
    }
    let page = page(&world, "/").await;
    let text = text(&page);
    assert!(
        text.contains("✕ Users get no slot in 1 of 2 regions"),
        "{text}"
    );
    assert!(page.contains("<title>✕ Users get no slot in 1 of 2 regions"));
    assert!(
        text.contains("us-east-1 : No slot is free; 2 slots starting"),
        "{text}"
    );
}

#[tokio::test]
async fn overview_says_why_users_get_no_slot() {
    let at_maximum = Reason::AtMaximum {
        missing_slots: 4,
        live: 10,
        max: 10,
    };
    let text = shown(with_free(0), noted(at_maximum)).await;
    assert!(
        text.contains("did not launch: maximum of 10 reached"),
        "{text}"
    );

    let failed = |world: &World| {
        let mut past = decision("us-east-1", 1, NOW);
        past.results = vec![StepResult::failed(
            "launch from ami-1",
            "UnauthorizedOperation",
        )];
        past.outcome = PassOutcome::Incomplete;
        world.record(past);
    };
    let text = shown(with_free(0), failed).await;
    assert!(
        text.contains("did not launch: UnauthorizedOperation"),
        "{text}"
    );

    let refused = |world: &World| {
        decided(world);
        let mut items = world.store.items();
        let refusal = testing::refusal(true, "m6i.large", "subnet-a", at(90));
        let refusals = &mut items.of(&"us-east-1".into()).refusals;
        refusals.insert(refusal.key(), refusal);
    };
    let words = "spot m6i.large in subnet-a: no capacity; the next launch there is after 12:01:30";
    for free in [0, 4] {
        let text = shown(with_free(free), refused).await;
        assert!(text.contains(words), "{text}");
    }

    let mut starting = with_free(0);
    starting.images[0].starting = 6;
    let text = shown(starting, decided).await;
    assert!(text.contains("6 slots starting"), "{text}");

    let mut paused = with_free(0);
    paused.paused = true;
    let text = shown(paused, decided).await;
    assert!(text.contains("▲ paused: nothing is launched"), "{text}");
    assert!(!text.contains("the next pass launches"), "{text}");
}

#[tokio::test]
async fn stale_region_is_marked() {
    let stale = |world: &World| {
        world.decide("us-east-1", 1, NOW - SignedDuration::from_mins(7));
    };
    let text = shown(with_free(4), stale).await;
    let words = "stale: no pass has decided anything for 7 min, and the data";
    assert!(text.contains(words), "{text}");
    assert!(
        text.starts_with("▲ Users get a slot at once; 1 region needs attention us-east-1 : stale"),
        "{text}"
    );
}

#[tokio::test]
async fn upgrade_is_shown_with_its_next_step() {
    let upgrading = |free: u32, named: bool| {
        let mut region = with_free(4);
        let mut warming = image_overview("ami-2", ImageState::Warming);
        warming.free = free;
        warming.client_sha = "0123456789abcdef0123456789abcdef01234567".into();
        region.app_client_sha = named.then(|| warming.client_sha.clone());
        region.images.push(warming);
        region
    };
    let head = "Upgrade to ami-2 (012345678).";
    for (region, next) in [
        (
            upgrading(1, false),
            "1 of 4 slots are free; next: 2 slots start",
        ),
        (
            upgrading(4, false),
            "next: the app version must name 012345678; the upgrade fails at 14:30:00 (in 2 h 30 min)",
        ),
        (upgrading(4, true), "next: the next pass makes it current"),
    ] {
        let text = shown(region, decided).await;
        assert!(text.contains(head), "{text}");
        assert!(text.contains(next), "{text}");
    }
    let mut baking = with_free(4);
    baking
        .images
        .push(image_overview("ami-0", ImageState::Baking));
    let text = shown(baking, decided).await;
    assert!(
        text.contains("ami-0 is kept for a rollback. Until 12:30:00 (in 30 min)"),
        "{text}"
    );
}

#[tokio::test]
async fn quiet_decisions_are_shown_as_one() {
    let text = shown(with_free(4), |world| {
        for version in 1..=6 {
            let mut past = decision("us-east-1", version, at(version));
            if version == 2 {
                past.results = vec![StepResult::failed("drain i-1", "Hasura is down")];
            }
            world.record(past);
        }
    })
    .await;
    let words = "12:00:06 ○ nothing to do: free 3 of 4 (and 3 before) 12:00:02 ▲ did not drain i-1: \
         Hasura is down 12:00:01 ○ nothing to do: free 3 of 4";
    assert!(text.contains(words), "{text}");
}

#[tokio::test]
async fn instances_of_a_region_are_paged() {
    let world = World::decided(10);
    let instances = (0..150).map(|n| Instance {
        status: InstanceStatus::Draining,
        draining_since: Some(at(-60)),
        ..instance(&format!("i-{n:03}"))
    });
    world.overview.state().instances = instances.collect();
    let first = page(&world, "/regions/us-east-1").await;
    assert!(first.contains("href=\"?after=i-099#instances\""), "{first}");
    assert!(text(&first).contains("i-000 DRAINING"), "{first}");
    assert!(text(&first).contains("draining since 1 min ago"), "{first}");
    let second = page(&world, "/regions/us-east-1?after=i-099").await;
    assert!(text(&second).contains("i-149"), "{second}");
    assert!(!second.contains("?after="), "there are no more");
    let answer = world.get("/regions/us-east-1").await.body;
    assert_eq!(answer["instances"].as_array().unwrap().len(), 100);
    assert_eq!(answer["more_instances"], "/regions/us-east-1?after=i-099");
}

#[tokio::test]
async fn page_refreshes_unless_turned_off() {
    let world = World::decided(10);
    for (path, refreshes) in [
        ("/", true),
        ("/?refresh=off", false),
        ("/regions/us-east-1", true),
        ("/regions/us-east-1?before=9", false),
        ("/decisions/us-east-1/1", false),
    ] {
        let page = page(&world, path).await;
        assert_eq!(page.contains("http-equiv=\"refresh\""), refreshes, "{path}");
        assert_eq!(page.contains("<script>"), refreshes, "{path}");
    }
}

#[tokio::test]
async fn replicas_are_listed_with_their_decisions() {
    let mut region = region_overview("us-east-1");
    region.algorithm = "replica".to_owned();
    let world = World::of([region]);
    let mut past = decision("us-east-1", 1, NOW);
    let silent = ReplicaStatus::Unknown {
        why: "no answer within 3s".to_owned(),
    };
    past.plan.replicas = [ReplicaStatus::Healthy { capacity: 2 }, silent]
        .into_iter()
        .zip(1..)
        .map(|(status, n)| ReplicaView {
            instance: format!("i-{n}").into(),
            status,
            decided: "kept".to_owned(),
            address: (n == 1).then(|| AddressReport {
                carries: vec!["203.0.113.7".parse().unwrap()],
                decided: "stays".to_owned(),
            }),
        })
        .collect();
    world.record(past);
    for path in ["/regions/us-east-1", "/decisions/us-east-1/1"] {
        let text = text(&page(&world, path).await);
        assert!(
            text.contains("i-1 healthy, capacity 2 kept 203.0.113.7: stays"),
            "{text}"
        );
        let unknown = "i-2 unknown, no answer within 3s kept";
        assert!(text.contains(unknown), "{text}");
    }
    let text = text(&page(&world, "/regions/us-east-1").await);
    assert!(!text.contains("No instances now"), "{text}");
    assert!(
        !text.contains("sessions"),
        "replicas have no sessions: {text}"
    );
}

#[tokio::test]
async fn region_page_says_why_an_agent_took_its_instance_out_of_service() {
    let world = World::of([region_overview("us-east-1")]);
    world.decide("us-east-1", 1, NOW);
    world.overview.state().instances = vec![Instance {
        leave_reason: Some("the GPU is <gone>".to_owned()),
        ..instance("i-1")
    }];
    let page = page(&world, "/regions/us-east-1").await;
    assert!(
        page.contains("its agent wants to leave: the GPU is &#60;gone&#62;"),
        "{page}"
    );
}
