//! Ports on loopback that are free, or that the caller set.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result, bail};

/// Ports are taken from below the range that the kernel gives to outgoing
/// connections (32768 up, unless set otherwise), so that none of those can take
/// a port between its choice here and the start of the server it is for.
const FREE_RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Hands out the ports of one stack.
#[derive(Debug)]
pub struct Ports {
    next: u16,
    fixed: bool,
}

impl Ports {
    /// Any free ports.
    pub fn free() -> Self {
        // Stacks that start at the same time begin at different places.
        let offset = uuid::Uuid::new_v4().as_fields().1 % (FREE_RANGE.end - FREE_RANGE.start);
        Self {
            next: FREE_RANGE.start + offset,
            fixed: false,
        }
    }

    /// `first` and those that follow it, in the order in which the parts start.
    pub fn from(first: u16) -> Self {
        Self {
            next: first,
            fixed: true,
        }
    }

    /// A port for the part called `name`, held until its reservation is used.
    ///
    /// # Errors
    /// When a fixed port is in use, or none is free.
    pub fn reserve(&mut self, name: &str) -> Result<Reserved> {
        if self.fixed {
            let port = self.next;
            self.next = port
                .checked_add(1)
                .with_context(|| format!("no port left for {name}"))?;
            return bind(port).with_context(|| {
                format!("port {port} for {name} is in use: choose others with --ports-from")
            });
        }
        for _ in FREE_RANGE {
            let port = self.next;
            self.next = if port + 1 == FREE_RANGE.end {
                FREE_RANGE.start
            } else {
                port + 1
            };
            if let Ok(reserved) = bind(port) {
                return Ok(reserved);
            }
        }
        bail!(
            "no port between {} and {} is free for {name}",
            FREE_RANGE.start,
            FREE_RANGE.end
        )
    }
}

/// A port that nobody else can take until it is released.
#[derive(Debug)]
pub struct Reserved {
    listener: TcpListener,
    port: u16,
}

impl Reserved {
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Frees the port for the server that is about to start.
    pub fn release(self) -> u16 {
        self.port
    }

    /// The listener itself, for a server inside this process.
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}

fn bind(port: u16) -> std::io::Result<Reserved> {
    Ok(Reserved {
        listener: TcpListener::bind((Ipv4Addr::LOCALHOST, port))?,
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_twice() {
        let mut ports = Ports::free();
        let reserved: Vec<_> = (0..20).map(|_| ports.reserve("part").unwrap()).collect();
        let mut numbers: Vec<_> = reserved.iter().map(Reserved::port).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 20);
    }

    #[test]
    fn a_fixed_port_in_use_is_said_with_what_it_is_for() {
        let taken = Ports::free().reserve("first").unwrap();
        let error = Ports::from(taken.port())
            .reserve("postgres")
            .unwrap_err()
            .to_string();
        assert!(error.contains("postgres"), "{error}");
        assert!(error.contains("--ports-from"), "{error}");
    }
}
