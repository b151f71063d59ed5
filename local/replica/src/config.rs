//! The settings of a replica: its address from the environment, the others from its user data.

use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The instance's private address (`INSTANCE_PRIVATE_IP`).
    pub(crate) address: IpAddr,
    /// The port of the status (`REPLICA_API_PORT` in the user data; 8080 if absent).
    pub(crate) port: u16,
    /// The free capacity at the start (`SCALING_CAPACITY` in the user data; 1 if absent).
    pub(crate) capacity: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the variable {0} is not set")]
    Missing(&'static str),
    #[error("{name} should be {expected}, not {value:?}")]
    Invalid {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("read the user data in {file}")]
    UserData {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Config {
    #[expect(clippy::disallowed_methods, reason = "this is where settings are read")]
    pub(crate) fn from_env() -> Result<Self, ConfigError> {
        let required = |name| std::env::var(name).map_err(|_| ConfigError::Missing(name));
        let file = PathBuf::from(required("USER_DATA_FILE")?);
        let user_data = std::fs::read_to_string(&file)
            .map_err(|source| ConfigError::UserData { file, source })?;
        Self::parse(&required("INSTANCE_PRIVATE_IP")?, &user_data)
    }

    fn parse(address: &str, user_data: &str) -> Result<Self, ConfigError> {
        let invalid = |name, value: &str, expected| ConfigError::Invalid {
            name,
            value: value.to_owned(),
            expected,
        };
        let line = |name: &str| {
            let mut lines = user_data.lines().filter_map(|line| line.split_once('='));
            lines
                .find(|(key, _)| key.trim() == name)
                .map(|it| it.1.trim())
        };
        // Another address may be reachable from outside this machine.
        let loopback = "a loopback address: give the emulated subnet a CIDR within 127.0.0.0/8";
        let wrong = || invalid("INSTANCE_PRIVATE_IP", address, loopback);
        let ip: IpAddr = address.parse().map_err(|_| wrong())?;
        if !ip.is_loopback() {
            return Err(wrong());
        }
        let port = line("REPLICA_API_PORT").unwrap_or("8080");
        let capacity = line("SCALING_CAPACITY").unwrap_or("1");
        Ok(Self {
            address: ip,
            port: port
                .parse()
                .map_err(|_| invalid("REPLICA_API_PORT", port, "a port"))?,
            capacity: capacity
                .parse()
                .map_err(|_| invalid("SCALING_CAPACITY", capacity, "a whole number"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_and_capacity_are_read_from_user_data() {
        let user_data = "#!/bin/sh\nSCALING_CAPACITY=3\nREPLICA_API_PORT=9000\n";
        let config = Config::parse("127.128.0.4", user_data).unwrap();
        assert_eq!((config.port, config.capacity), (9000, 3));
        let config = Config::parse("127.128.0.4", "").unwrap();
        assert_eq!((config.port, config.capacity), (8080, 1));
    }

    #[test]
    fn address_outside_loopback_is_rejected() {
        for address in ["10.1.0.4", "0.0.0.0", "::", "localhost"] {
            let error = Config::parse(address, "").unwrap_err();
            assert!(error.to_string().contains(address), "{error}");
        }
    }

    #[test]
    fn malformed_line_is_named_in_error() {
        let error = Config::parse("127.0.0.1", "REPLICA_API_PORT=many").unwrap_err();
        let expected = "REPLICA_API_PORT should be a port, not \"many\"";
        assert_eq!(error.to_string(), expected);
    }
}
