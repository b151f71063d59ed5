//! Parses paths and queries into routes.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use shared::ids::{InstanceId, RegionName};
use shared::usage::Place;
use startup::function_url::HttpEvent;

use crate::replay::{BadQuery, ReplayOf};
use crate::usage::Period;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`: every region.
    Status,
    /// `/healthz`: whether passes run.
    Health,
    /// `/metrics`: gauges for Prometheus.
    Metrics,
    /// `/login`: the form for the token.
    Login,
    /// `/logout`
    Logout,
    /// `/doctor`: the last examination of the deployment.
    Doctor,
    /// `/regions/NAME`: one region, and a page of its lists.
    Region { region: RegionName, part: Part },
    /// `/history.csv`: a page of the sessions of a time.
    History(SessionsOf),
    /// `/usage`: what was used in a period, of a region or of all.
    Usage {
        period: Period,
        region: Option<RegionName>,
    },
    /// `/replay`: what other settings would have cost a region.
    Replay(ReplayOf),
    /// `/decisions/REGION/VERSION`: one decision.
    Decision { region: RegionName, version: i64 },
}

/// Which part of a region's lists is requested, by default the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// `?before=VERSION`: decisions below this version.
    pub before: Option<i64>,
    /// `?after=ID`: instances after this id.
    pub after: Option<InstanceId>,
}

/// The sessions that got their slot from one time until before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionsOf {
    pub from: Timestamp,
    pub to: Timestamp,
    /// `?after=PLACE`: those after this place in their order.
    pub after: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    Path,
    /// The query's `before` is not a version.
    Before,
    /// The query's `after` is not an instance's id.
    After,
    /// This parameter of the query is not a time.
    Time(&'static str),
    /// The query's `from` is not before its `to`.
    Order,
    /// The query's `after` is not a place among sessions.
    Place,
    /// The query's `period` is unknown.
    Period,
    /// The query's `region` cannot be a region's name.
    Region,
    /// A parameter of the query for a replay cannot be used.
    Replay(BadQuery),
}

impl Route {
    /// # Errors
    /// When there is nothing at the path, or the query is invalid.
    pub fn of(event: &HttpEvent) -> Result<Self, NoRoute> {
        let path = event.path();
        match path {
            "" => return Ok(Self::Status),
            "/healthz" => return Ok(Self::Health),
            "/metrics" => return Ok(Self::Metrics),
            "/doctor" => return Ok(Self::Doctor),
            "/history.csv" => return sessions(event).map(Self::History),
            "/usage" => return usage(event),
            "/replay" => {
                return ReplayOf::of(event)
                    .map(Self::Replay)
                    .map_err(NoRoute::Replay);
            }
            "/login" => return Ok(Self::Login),
            "/logout" => return Ok(Self::Logout),
            _ => {}
        }
        if let Some(name) = path.strip_prefix("/regions/") {
            let region = plausible(name).ok_or(NoRoute::Path)?;
            let before = event
                .query("before")
                .map(|value| version(&value).ok_or(NoRoute::Before))
                .transpose()?;
            let after = event
                .query("after")
                .map(|id| instance(&id).ok_or(NoRoute::After))
                .transpose()?;
            let part = Part { before, after };
            return Ok(Self::Region { region, part });
        }
        let id = path.strip_prefix("/decisions/").ok_or(NoRoute::Path)?;
        // With a colon the id is one segment of the path. Some clients encode it as `%3A`.
        let (name, number) = ["/", ":", "%3A", "%3a"]
            .into_iter()
            .find_map(|separator| id.split_once(separator))
            .ok_or(NoRoute::Path)?;
        Ok(Self::Decision {
            region: plausible(name).ok_or(NoRoute::Path)?,
            version: version(number).ok_or(NoRoute::Path)?,
        })
    }
}

fn usage(event: &HttpEvent) -> Result<Route, NoRoute> {
    let period = event.query("period").map(|name| Period::of(&name));
    let region = event.query("region").filter(|name| !name.is_empty());
    Ok(Route::Usage {
        period: period
            .unwrap_or(Some(Period::default()))
            .ok_or(NoRoute::Period)?,
        region: region
            .map(|name| plausible(&name).ok_or(NoRoute::Region))
            .transpose()?,
    })
}

fn sessions(event: &HttpEvent) -> Result<SessionsOf, NoRoute> {
    let time_of = |name| {
        let text = event.query(name).unwrap_or_default();
        time(&text).ok_or(NoRoute::Time(name))
    };
    let (from, to) = (time_of("from")?, time_of("to")?);
    if from >= to {
        return Err(NoRoute::Order);
    }
    let after = event
        .query("after")
        .map(|place| place.parse().map_err(|_| NoRoute::Place))
        .transpose()?;
    Ok(SessionsOf { from, to, after })
}

/// A time, or a date: its beginning in UTC. An offset's plus that was not encoded has become a space.
fn time(text: &str) -> Option<Timestamp> {
    let date = || {
        let date: Date = text
            .parse()
            .ok()
            .filter(|_| text.len() == "2026-01-01".len())?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    text.replace(' ', "+").parse().ok().or_else(date)
}

fn plausible(name: &str) -> Option<RegionName> {
    Some(RegionName::new(name)).filter(RegionName::is_plausible)
}

/// EC2's ids consist of letters, digits and hyphens: they need no decoding.
fn instance(id: &str) -> Option<InstanceId> {
    let plain = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (plain && !id.is_empty()).then(|| id.into())
}

/// Versions count from 1.
fn version(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|version| digits && *version > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn route(path: &str, query: &str) -> Result<Route, NoRoute> {
        let event = json!({
            "version": "2.0", "rawPath": path, "rawQueryString": query, "headers": {},
            "requestContext": {"http": {"method": "GET"}, "timeEpoch": 0},
            "isBase64Encoded": false,
        });
        Route::of(&HttpEvent::parse(event).unwrap())
    }

    fn region(before: Option<i64>) -> Result<Route, NoRoute> {
        Ok(Route::Region {
            region: "us-east-1".into(),
            part: Part {
                before,
                after: None,
            },
        })
    }

    #[test]
    fn known_paths_have_their_routes() {
        for path in ["", "/"] {
            assert_eq!(route(path, ""), Ok(Route::Status));
        }
        for path in ["/healthz", "/healthz/"] {
            assert_eq!(route(path, ""), Ok(Route::Health));
        }
        assert_eq!(route("/doctor/", ""), Ok(Route::Doctor));
        assert_eq!(route("/metrics", ""), Ok(Route::Metrics));
        assert_eq!(route("/regions/us-east-1", ""), region(None));
        assert_eq!(
            route("/regions/us-east-1/", "x=1&before=12"),
            region(Some(12))
        );
        for path in [
            "/decisions/us-east-1/12",
            "/decisions/us-east-1:12",
            "/decisions/us-east-1%3A12",
            "/decisions/us-east-1/00000000000000000012",
        ] {
            let decision = Route::Decision {
                region: "us-east-1".into(),
                version: 12,
            };
            assert_eq!(route(path, ""), Ok(decision), "{path}");
        }
    }

    #[test]
    fn after_must_be_an_instance_id() {
        let after = |query| match route("/regions/us-east-1", query) {
            Ok(Route::Region { part, .. }) => part.after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("after=i-0a1&before=3"), Some("i-0a1".into()));
        assert_eq!(after("before=3"), None);
        for query in ["after=", "after", "after=i%200", "after=<i>"] {
            let no = route("/regions/us-east-1", query);
            assert_eq!(no, Err(NoRoute::After), "{query}");
        }
    }

    #[test]
    fn other_paths_have_no_route() {
        for path in [
            "//",
            "/health",
            "/regions",
            "/regions/",
            "/regions/US EAST",
            "/regions/a/b",
            "/regions/x#LOCK",
            "/decisions/us-east-1",
            "/decisions/us-east-1/",
            "/decisions/us-east-1/0",
            "/decisions/us-east-1/-1",
            "/decisions/us-east-1/+1",
            "/decisions/us-east-1/12/13",
            "/decisions/us-east-1/99999999999999999999",
            "/decisions//12",
        ] {
            assert_eq!(route(path, ""), Err(NoRoute::Path), "{path}");
        }
    }

    #[test]
    fn usage_has_a_period_and_may_have_a_region() {
        let cases = [
            ("", Ok((Period::Day, None))),
            ("period=hour", Ok((Period::Hour, None))),
            (
                "region=us-east-1&period=week",
                Ok((Period::Week, Some("us-east-1"))),
            ),
            ("period=day&region=", Ok((Period::Day, None))),
            ("period=month", Err(NoRoute::Period)),
            ("period=", Err(NoRoute::Period)),
            ("region=<b>", Err(NoRoute::Region)),
        ];
        for (query, expected) in cases {
            let expected = expected.map(|(period, region)| Route::Usage {
                period,
                region: region.map(Into::into),
            });
            assert_eq!(route("/usage", query), expected, "{query}");
        }
    }

    #[test]
    fn replay_has_a_region_a_time_and_settings() {
        let of = |query: &str| match route("/replay", query) {
            Ok(Route::Replay(of)) => Ok((of.since.as_hours(), Value::Object(of.settings))),
            Ok(other) => panic!("{other:?}"),
            Err(no) => Err(no),
        };
        assert_eq!(of("region=us-east-1"), Ok((168, json!({}))));
        let form = "region=us-east-1&since=1d&algorithm=adaptive&target_free=&stock_out_goal=500";
        let settings = json!({"algorithm": "adaptive", "stock_out_goal": 500});
        assert_eq!(of(form), Ok((24, settings)));
        let number = BadQuery::Setting("target_free", "a whole number");
        for (query, bad) in [
            ("", BadQuery::Region),
            ("region=", BadQuery::Region),
            ("region=%3Cb%3E", BadQuery::Region),
            ("region=us-east-1&since=ever", BadQuery::Since),
            ("region=us-east-1&target_free=many", number),
        ] {
            assert_eq!(of(query), Err(NoRoute::Replay(bad)), "{query}");
        }
    }

    fn history(query: &str) -> Result<(String, String), NoRoute> {
        match route("/history.csv", query)? {
            Route::History(SessionsOf { from, to, .. }) => Ok((from.to_string(), to.to_string())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn times_of_the_history_are_times_or_dates() {
        let new_year = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        for query in [
            "from=2026-01-01&to=2026-02-01",
            "to=2026-02-01T00:00:00Z&from=2026-01-01T00:00:00Z",
            "from=2026-01-01T00%3A00%3A00Z&to=2026-02-01T00%3A00%3A00.000Z",
            "from=2026-01-01T02:00:00%2B02:00&to=2026-01-31T22:00:00-02:00",
            "from=2026-01-01T02:00:00+02:00&to=2026-02-01",
        ] {
            let (from, to) = history(query).unwrap();
            assert_eq!((from.as_str(), to.as_str()), new_year, "{query}");
        }
    }

    #[test]
    fn parameter_of_the_history_that_is_wrong_is_named() {
        let cases = [
            ("", NoRoute::Time("from")),
            ("to=2026-01-01", NoRoute::Time("from")),
            ("from=2026-01-01", NoRoute::Time("to")),
            ("from=yesterday&to=2026-01-01", NoRoute::Time("from")),
            ("from=2026-01-01&to=2026-13-01", NoRoute::Time("to")),
            (
                "from=2026-01-01&to=2026-01-01T10:00:00",
                NoRoute::Time("to"),
            ),
            ("from=%FF&to=2026-01-01", NoRoute::Time("from")),
            ("from=2026-01-02&to=2026-01-01", NoRoute::Order),
            ("from=2026-01-01&to=2026-01-01", NoRoute::Order),
            ("from=2026-01-01&to=2026-01-02&after=i-1", NoRoute::Place),
        ];
        for (query, expected) in cases {
            assert_eq!(history(query), Err(expected), "{query}");
        }
    }

    #[test]
    fn before_must_be_a_version() {
        for query in ["before=", "before=x", "before=-1", "before=0", "before"] {
            assert_eq!(
                route("/regions/us-east-1", query),
                Err(NoRoute::Before),
                "{query}"
            );
        }
    }
}
