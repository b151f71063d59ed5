//! The addresses of services that the functions and the instances call.

use std::net::IpAddr;

use http::Uri;
use shared::words::quoted;

use super::environment::{ConfigError, Environment, Stage};

/// Checks that `text`, the value of the variable `name`, is an HTTP URL, and in production one with
/// TLS or on this machine: whoever is on the way would read the secrets that are sent, and could
/// replace the answers. `parameter` is the template's parameter that sets the variable.
///
/// # Errors
/// When it is not, or `ENVIRONMENT` is not set.
pub fn check_url(
    env: &dyn Environment,
    name: &'static str,
    parameter: &'static str,
    text: &str,
) -> Result<(), ConfigError> {
    let stage = Stage::from_env(env)?;
    let expected = match text.parse::<Uri>() {
        Ok(url) if url.host().is_none_or(str::is_empty) => "an https:// URL",
        Ok(url) => match url.scheme_str() {
            Some("https") => return Ok(()),
            Some("http") if stage == Stage::Other || is_loopback(&url) => return Ok(()),
            Some("http") => {
                "an https:// URL in prod: http:// is accepted only for a loopback address, or \
                 where Environment is dev or staging"
            }
            _ => "an https:// URL",
        },
        Err(_) => "an https:// URL",
    };
    Err(ConfigError::BadSetting {
        name,
        problem: format!(
            "{} must be {expected} (parameter {parameter})",
            quoted(text)
        ),
    })
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<IpAddr, _> = address.parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn check(environment: &'static str, url: &str) -> Result<(), ConfigError> {
        let env = HashMap::from([("ENVIRONMENT", environment)]);
        check_url(&env, "HASURA_URL", "HasuraUrl", url)
    }

    #[test]
    fn production_accepts_tls_and_loopback_only() {
        for url in [
            "https://hasura.example",
            "https://hasura.example:8443/path",
            "http://127.0.0.1:8080",
            "http://127.1.2.3",
            "http://[::1]:8080/x",
            "http://localhost:8080",
        ] {
            assert_eq!(check("prod", url), Ok(()), "{url}");
        }
        for url in [
            "http://hasura.example",
            "http://10.0.0.1:8080",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://127.0.0.1@evil.example",
            "http://[2001:db8::1]",
        ] {
            let error = check("prod", url).unwrap_err().to_string();
            for words in ["HASURA_URL", "HasuraUrl", url, "https", "prod"] {
                assert!(error.contains(words), "{error}");
            }
            for environment in ["dev", "staging"] {
                assert_eq!(check(environment, url), Ok(()), "{url}");
            }
        }
    }

    #[test]
    fn other_texts_are_no_urls_anywhere() {
        for url in [
            "",
            "hasura.example",
            "//hasura.example",
            "/path",
            "ftp://hasura.example",
            "file:///etc/keys",
            "https://",
            "https:///path",
            "http://evil.example\\@127.0.0.1",
            "https://a b",
            "https://hasura.example\n",
        ] {
            for environment in ["dev", "prod"] {
                let error = check(environment, url).unwrap_err().to_string();
                assert!(error.contains("HASURA_URL"), "{error}");
            }
        }
    }

    #[test]
    fn stage_is_one_of_three() {
        for environment in ["production", "PROD", "Prod", "test"] {
            let error = check(environment, "https://hasura.example").unwrap_err();
            let error = error.to_string();
            assert!(error.contains("ENVIRONMENT"), "{error}");
        }
    }
}
