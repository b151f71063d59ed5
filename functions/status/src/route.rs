//! Parses paths and queries into routes.

use shared::ids::{InstanceId, RegionName};
use startup::function_url::HttpEvent;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    Path,
    /// The query's `before` is not a version.
    Before,
    /// The query's `after` is not an instance's id.
    After,
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
            "/login" => return Ok(Self::Login),
            "/logout" => return Ok(Self::Logout),
            _ => {}
        }
        if let Some(name) = path.strip_prefix("/regions/") {
            let region = plausible(name).ok_or(NoRoute::Path)?;
            let before = event
                .query("before")
                .map(|value| version(value).ok_or(NoRoute::Before))
                .transpose()?;
            let after = event
                .query("after")
                .map(|id| instance(id).ok_or(NoRoute::After))
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
    use serde_json::json;

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
