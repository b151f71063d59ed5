//! `status` shows the state of each region, and what was decided and why. It reads only, except that it
//! lists sessions that were logged out. It serves
//! the routes of SimpleScaleVM's web server.
//!
//! event → `function_url` → [`auth`] → [`route`] → [`gather`] (a [`model`]) → `response`: the model
//! as JSON, or as a `page`. [`health`] needs no token.

mod assemble;
pub mod auth;
mod csv;
mod format;
pub mod gather;
pub mod health;
pub mod model;
mod page;
mod prometheus;
pub mod replay;
mod response;
pub mod route;
mod schedule;
pub mod settings;
pub mod usage;

use std::fmt;
use std::sync::Arc;

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::StatusCode;
use scaling_economics::replay::Replay;
use serde_json::Value;
use shared::clock::Clock;
use shared::ids::{RandomIds, RegionName, UniqueIds};
use shared::recording::Recordings;
use shared::sessions::EndedSessions;
use shared::usage::SessionHistory;
use startup::function_url::HttpEvent;

use auth::{Access, Admission, AuthError, Session, end_of_session};
use format::Format;
use gather::{Depth, GatherError, Gatherer, in_time};
use health::LastHealth;
use model::DoctorStatus;
use page::Visit;
use replay::ReplayOf;
use response::{Rejection, as_csv, as_json, as_page, as_text, redirect};
use route::{NoRoute, Part, Route, SessionsOf};
use usage::{Period, UsageStatus};

/// The log-in form has a token and a path.
const LARGEST_FORM: usize = 4 * 1024;

/// The function, and what it keeps between invocations.
pub struct StatusPage {
    pub access: Access,
    pub gatherer: Gatherer,
    pub health: LastHealth,
    /// The history of users' sessions; none without a database.
    pub usage: Option<Arc<dyn SessionHistory>>,
    /// What replays are played from; none without a database.
    pub recordings: Option<Arc<dyn Recordings>>,
    /// Sessions that were logged out.
    pub sessions: Arc<dyn EndedSessions>,
    /// The name of the environment, for the pages.
    pub environment: String,
    /// For the age of sessions.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for StatusPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusPage")
            .field("access", &self.access)
            .field("gatherer", &self.gatherer)
            .finish_non_exhaustive()
    }
}

type Answer = Result<LambdaFunctionUrlResponse, Rejection>;

impl StatusPage {
    /// Answers every event, also a malformed one: the answer says what is wrong.
    pub async fn handle(&self, event: Value) -> LambdaFunctionUrlResponse {
        let event = match HttpEvent::parse(event) {
            Ok(event) => event,
            Err(bad) => return log(bad.into()).as_json(),
        };
        let route = Route::of(&event);
        let admission = match route {
            // It needs none, and costs nothing for it.
            Ok(Route::Health) => Err(AuthError::Missing.into()),
            _ => self.admit(&event).await,
        };
        let format = match route {
            Ok(Route::Health | Route::Metrics) => Format::Json,
            _ => Format::of(&event),
        };
        let visit = self.visit(&event, &admission);
        let answer = self.answer(&event, route, admission, format, &visit).await;
        let mut response = answer.unwrap_or_else(|rejection| {
            let rejection = log(rejection);
            match format {
                Format::Json => rejection.as_json(),
                Format::Html => rejection.as_page(&visit),
            }
        });
        if event.method() == "HEAD" {
            response.body = None;
        }
        response
    }

    async fn answer(
        &self,
        event: &HttpEvent,
        route: Result<Route, NoRoute>,
        admission: Result<Admission, Rejection>,
        format: Format,
        visit: &Visit,
    ) -> Answer {
        match route {
            // A load balancer checks it without the token.
            Ok(Route::Health) => {}
            Ok(Route::Login) => return self.log_in(event, admission.is_ok(), visit),
            Ok(Route::Logout) if event.method() == "POST" => {
                return self.log_out(event, admission).await;
            }
            // Before the check of the path: strangers must not learn which paths exist.
            _ => {
                admission?;
            }
        }
        let route = route?;
        if !matches!(event.method(), "GET" | "HEAD") {
            return Err(Rejection::Method);
        }
        if let Route::History(of) = route {
            return self.history(&of).await;
        }
        match format {
            Format::Json => self.json(route).await,
            Format::Html => self.page(route, visit).await,
        }
    }

    async fn json(&self, route: Route) -> Answer {
        let ok = StatusCode::OK;
        match route {
            Route::Status => {
                let (status, _) = self.gatherer.status(Depth::Last).await?;
                Ok(as_json(ok, &status))
            }
            Route::Health => {
                let health = self.health.get(&self.gatherer, self.clock.now()).await?;
                Ok(as_json(health::status(&health), &health))
            }
            Route::Region { region, part } => {
                let page = self.gatherer.region(&region, &part).await?;
                let page = page.ok_or(Rejection::Region(region))?;
                Ok(as_json(ok, &page))
            }
            Route::Decision { region, version } => {
                let decision = self.gatherer.decision(&region, version).await?;
                let decision = decision.ok_or(Rejection::Decision { region, version })?;
                Ok(as_json(ok, &decision))
            }
            Route::Doctor => {
                let report = self.gatherer.doctor().await?;
                Ok(as_json(ok, &DoctorStatus { doctor: report }))
            }
            Route::Metrics => {
                let (status, _) = self.gatherer.status(Depth::Last).await?;
                Ok(as_text(prometheus::CONTENT_TYPE, prometheus::text(&status)))
            }
            Route::Usage { period, region } => {
                let usage = self.read_usage(period, region).await?;
                Ok(as_json(ok, &usage))
            }
            Route::Replay(of) => Ok(as_json(ok, &self.replay(&of).await?)),
            Route::History(_) | Route::Login | Route::Logout => Err(Rejection::Path),
        }
    }

    async fn page(&self, route: Route, visit: &Visit) -> Answer {
        let page = match route {
            Route::Status => {
                let (status, pasts) = self.gatherer.status(Depth::Recent).await?;
                page::overview(visit, &status, &pasts)
            }
            Route::Region { region, part } => {
                let status = self.gatherer.region(&region, &part).await?;
                let status = status.ok_or(Rejection::Region(region))?;
                let is_later = part != Part::default();
                page::region(visit, &status, self.gatherer.stale_after, is_later)
            }
            Route::Decision { region, version } => {
                let decision = self.gatherer.decision(&region, version).await?;
                let decision = decision.ok_or(Rejection::Decision { region, version })?;
                page::decision(visit, &decision)
            }
            Route::Doctor => {
                let report = self.gatherer.doctor().await?;
                page::doctor(visit, report.as_ref(), self.clock.now())
            }
            Route::Usage { period, region } => {
                let usage = self.read_usage(period, region).await?;
                page::usage(visit, &usage)
            }
            Route::Replay(of) => {
                let replay = self.replay(&of).await?;
                page::replay(visit, &of, &replay, self.clock.now())
            }
            Route::Health | Route::Metrics | Route::History(_) | Route::Login | Route::Logout => {
                return Err(Rejection::Path);
            }
        };
        Ok(as_page(StatusCode::OK, page))
    }

    /// It takes seconds of a processor, so that it is not for everybody even if the rest is.
    async fn replay(&self, of: &ReplayOf) -> Result<Replay, Rejection> {
        if matches!(self.access, Access::Open) {
            return Err(Rejection::ReplayOpen);
        }
        let recordings = self.recordings.as_ref().ok_or(Rejection::NoHistory)?;
        Ok(replay::run(recordings.as_ref(), self.clock.clone(), of).await?)
    }

    async fn read_usage(
        &self,
        period: Period,
        region: Option<RegionName>,
    ) -> Result<UsageStatus, Rejection> {
        let history = self.usage.as_ref().ok_or(Rejection::NoHistory)?;
        let now = self.clock.now();
        let usage = usage::read(history.as_ref(), period, region.as_ref(), now).await?;
        match region {
            // One that has a row has figures of the current step.
            Some(region) if usage.regions.is_empty() => Err(Rejection::Region(region)),
            _ => Ok(usage),
        }
    }

    /// A page of sessions as CSV, whatever format was asked for. It names users, so that it is not for
    /// everybody even if the rest is.
    async fn history(&self, of: &SessionsOf) -> Answer {
        if matches!(self.access, Access::Open) {
            return Err(Rejection::OpenAccess);
        }
        let usage = self.usage.as_ref().ok_or(Rejection::NoHistory)?;
        let sessions = usage.sessions(of.from, of.to, of.after.as_ref(), csv::PAGE);
        let sessions = sessions.await.map_err(GatherError::from)?;
        let next = csv::next_page(of, &sessions);
        Ok(as_csv(csv::table(&sessions), next.as_deref()))
    }

    /// Whether the caller has access. A session must not have been logged out.
    async fn admit(&self, event: &HttpEvent) -> Result<Admission, Rejection> {
        let admission = self.access.check(event, self.clock.now())?;
        if let Admission::Session(session) = &admission {
            let is_ended = self.sessions.is_ended(&session.id);
            if in_time(is_ended).await? {
                return Err(AuthError::Missing.into());
            }
        }
        Ok(admission)
    }

    /// Ends the session everywhere, and makes the browser forget it.
    ///
    /// A request from a page of another site has no session cookie, because it is `SameSite`. It ends
    /// nothing, and its answer leaves the browser's cookie as it is.
    async fn log_out(&self, event: &HttpEvent, admission: Result<Admission, Rejection>) -> Answer {
        match admission {
            Ok(Admission::Session(Session { id, until })) if is_from_this_site(event) => {
                in_time(self.sessions.end_session(&id, until)).await?;
                Ok(redirect("/login", Some(end_of_session())))
            }
            Ok(_) | Err(Rejection::Auth(_)) => Ok(redirect("/login", None)),
            // Not logged out: the answer must not say so.
            Err(other) => Err(other),
        }
    }

    /// Shows the log-in form, and handles what it sends.
    fn log_in(&self, event: &HttpEvent, is_admitted: bool, visit: &Visit) -> Answer {
        match event.method() {
            "GET" | "HEAD" if is_admitted => Ok(redirect("/", None)),
            "GET" | "HEAD" => Ok(as_page(StatusCode::OK, page::login(visit, "/", None))),
            "POST" => {
                let body = event.body(LARGEST_FORM)?;
                let field = |name: &str| {
                    let mut fields = form_urlencoded::parse(&body);
                    fields.find_map(|(given, value)| (given == name).then_some(value))
                };
                let next = field("next").unwrap_or_default();
                let token = field("token").unwrap_or_default();
                match self.access.verify(token.trim().as_bytes()) {
                    Ok(()) => {
                        let session = RandomIds.unique();
                        let cookie = self.access.new_session(&session, self.clock.now());
                        Ok(redirect(&next, Some(cookie)))
                    }
                    Err(error) => {
                        let error = log(Rejection::from(error));
                        let page = page::login(visit, &next, Some(error.to_string()));
                        Ok(as_page(error.status(), page))
                    }
                }
            }
            _ => Err(Rejection::Method),
        }
    }

    fn visit(&self, event: &HttpEvent, admission: &Result<Admission, Rejection>) -> Visit {
        Visit {
            base: Visit::base_of(event.raw_path()),
            here: event.raw_path().to_owned(),
            environment: self.environment.clone(),
            refreshes: event.query("refresh").as_deref() != Some("off"),
            has_session: matches!(admission, Ok(Admission::Session(_))),
            has_usage: self.usage.is_some(),
        }
    }
}

/// Whether no other site has caused the request, as far as the browser says. `SameSite` alone does not
/// tell neighbours below one domain apart.
fn is_from_this_site(event: &HttpEvent) -> bool {
    let site = event.headers().get("sec-fetch-site");
    site.is_none_or(|site| matches!(site.as_bytes(), b"same-origin" | b"none"))
}

fn log(rejection: Rejection) -> Rejection {
    let status = rejection.status();
    if status.is_server_error() {
        tracing::error!(error = %rejection, "request failed");
    } else {
        let status = status.as_u16();
        tracing::info!(status, error = rejection.name(), reason = %rejection, "request rejected");
    }
    rejection
}
