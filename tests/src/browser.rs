//! A real browser, driven over the WebDriver protocol (<https://www.w3.org/TR/webdriver2/>).
//! `local/browser.sh` installs it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use local_stack::dir::StackDir;
use local_stack::ports::Ports;
use local_stack::process::{Process, Program};
use local_stack::project;
use reqwest::Method;
use serde_json::{Value, json};

use crate::wait::eventually;

const START: Duration = Duration::from_secs(30);

/// Without a sandbox, which root cannot have, and without requests for updates.
const ARGUMENTS: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// One browser window. It ends with its driver, at the latest when this is dropped.
pub struct Browser {
    http: reqwest::Client,
    /// The session's URL.
    session: String,
    axe: String,
    _driver: Process,
}

impl Browser {
    pub async fn start(dir: &StackDir) -> Self {
        let mut ports = Ports::free();
        let port = ports
            .reserve("chromedriver")
            .expect("a free port")
            .release();
        let driver = Program::new("chromedriver", "/usr/bin/chromedriver")
            .arg(format!("--port={port}"))
            .start(dir)
            .expect("chromedriver starts: local/browser.sh installs it");
        let http = reqwest::Client::new();
        let url = format!("http://127.0.0.1:{port}");
        let answers = async || {
            let answer = http.get(format!("{url}/status")).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        let ready = driver.ready(START, answers).await;
        ready.expect("chromedriver answers");
        let profile = format!("--user-data-dir={}", dir.tmp().join("browser").display());
        let arguments: Vec<_> = ARGUMENTS.into_iter().chain([profile.as_str()]).collect();
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let axe = project::local().join("axe/axe_playwright_python/axe.min.js");
        let mut browser = Self {
            http,
            session: format!("{url}/session"),
            axe: fs::read_to_string(axe).expect("local/browser.sh installs axe"),
            _driver: driver,
        };
        let session = browser.send(Method::POST, "", &capabilities).await;
        let id = session["sessionId"].as_str().expect("a session");
        browser.session = format!("{url}/session/{id}");
        browser
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.session);
        let mut request = self.http.request(method.clone(), &url);
        if method == Method::POST {
            request = request.json(body);
        }
        let answer = request.send().await.expect("chromedriver answers");
        let status = answer.status();
        let mut answer: Value = answer.json().await.expect("a JSON body");
        assert!(status.is_success(), "{path} {body}: {answer:#}");
        answer["value"].take()
    }

    pub async fn open(&self, url: &str) {
        self.send(Method::POST, "/url", &json!({ "url": url }))
            .await;
    }

    /// The page's current HTML.
    pub async fn source(&self) -> String {
        let source = self.send(Method::GET, "/source", &Value::Null).await;
        source.as_str().expect("a text").to_owned()
    }

    /// Runs the body of a function in the page.
    pub async fn run(&self, script: &str, arguments: Value) -> Value {
        let body = json!({"script": script, "args": arguments});
        self.send(Method::POST, "/execute/sync", &body).await
    }

    /// The visible text.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body.innerText", json!([])).await;
        let text = text.as_str().expect("a text");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Waits until the visible text contains `words`, and returns the text.
    pub async fn wait_for_text(&self, words: &str) -> String {
        let text = async || self.text().await;
        eventually(words, START, text, |text| text.contains(words)).await
    }

    /// Enters text key by key, as a person does, with Enter at the end.
    pub async fn type_into(&self, css: &str, text: &str) {
        let path = format!("/element/{}/value", self.element(css).await);
        let keys = json!({"text": format!("{text}\u{e007}")});
        self.send(Method::POST, &path, &keys).await;
    }

    /// Clicks in one step: a page that refreshes itself may have replaced the element by the next
    /// step.
    pub async fn click(&self, css: &str) {
        let script = "document.querySelector(arguments[0]).click()";
        self.run(script, json!([css])).await;
    }

    async fn element(&self, css: &str) -> String {
        let selector = json!({"using": "css selector", "value": css});
        let found = self.send(Method::POST, "/element", &selector).await;
        let mut ids = found
            .as_object()
            .into_iter()
            .flat_map(|element| element.values());
        let id = ids.next().and_then(Value::as_str);
        id.expect("an element").to_owned()
    }

    /// Runs a command of the DevTools protocol.
    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.send(Method::POST, "/goog/cdp/execute", &body).await
    }

    pub async fn set_size(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    pub async fn set_dark_mode(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    pub async fn set_scripts_enabled(&self, does: bool) {
        let off = json!({ "value": !does });
        self.devtools("Emulation.setScriptExecutionDisabled", off)
            .await;
    }

    pub async fn set_offline(&self, offline: bool) {
        self.devtools("Network.enable", json!({})).await;
        let network = json!({"offline": offline, "latency": 0, "downloadThroughput": -1,
            "uploadThroughput": -1});
        self.devtools("Network.emulateNetworkConditions", network)
            .await;
    }

    /// Saves the whole page as a picture.
    pub async fn save_picture(&self, file: &Path) {
        let metrics = self.devtools("Page.getLayoutMetrics", json!({})).await;
        let size = &metrics["cssContentSize"];
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"],
            "scale": 1});
        let picture = json!({"captureBeyondViewport": true, "clip": clip});
        let picture = self.devtools("Page.captureScreenshot", picture).await;
        let data = picture["data"].as_str().expect("a picture");
        let data = STANDARD.decode(data).expect("a picture");
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, data).expect("the picture is saved");
    }

    /// The console messages of the page and the browser since the last call.
    pub async fn console_messages(&self) -> Vec<Value> {
        let log = json!({"type": "browser"});
        let log = self.send(Method::POST, "/se/log", &log).await;
        log.as_array().expect("a list").clone()
    }

    /// The violations of axe-core's rules (WCAG 2 A and AA, best practices).
    pub async fn violations(&self) -> Vec<String> {
        let script = format!(
            "{}; const done = arguments[0]; axe.run().then(found => done(found.violations.map(it => \
             it.id + ': ' + it.nodes.map(node => node.html + ' ' + node.failureSummary).join(' | ')\
             )), problem => done([String(problem)]))",
            self.axe
        );
        let body = json!({"script": script, "args": []});
        let found = self.send(Method::POST, "/execute/async", &body).await;
        serde_json::from_value(found).expect("a list of texts")
    }

    pub async fn stop(self) {
        self.send(Method::DELETE, "", &Value::Null).await;
    }
}
