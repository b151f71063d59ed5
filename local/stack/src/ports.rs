//! Free or configured ports on loopback for the stack's servers.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result, bail};

/// Below the range from which the kernel takes ports for outgoing connections (from 32768, unless
/// configured otherwise). An outgoing connection therefore cannot take a port between its choice
/// here and the start of its server.
const FREE_RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Reserves the ports of one stack.
#[derive(Debug)]
pub struct Ports {
    next: u16,
    fixed: bool,
}

impl Ports {
    /// Reserves any free ports.
    pub fn free() -> Self {
        // Stacks that start at the same time begin at different ports.
        let offset = uuid::Uuid::new_v4().as_fields().1 % (FREE_RANGE.end - FREE_RANGE.start);
        Self {
            next: FREE_RANGE.start + offset,
            fixed: false,
        }
    }

    /// Reserves `first` and the ports that follow it, in the order of the reservations.
    pub fn starting_at(first: u16) -> Self {
        Self {
            next: first,
            fixed: true,
        }
    }

    /// Reserves a port for the component `name`.
    ///
    /// # Errors
    /// When a configured port is in use, or no port is free.
    pub fn reserve(&mut self, name: &str) -> Result<ReservedPort> {
        if self.fixed {
            let port = self.next;
            self.next = port
                .checked_add(1)
                .with_context(|| format!("no port is left for {name}: use a lower --ports-from"))?;
            return bind(port).with_context(|| {
                format!("port {port} for {name} is in use: choose another range with --ports-from")
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

/// A bound port, which no other program can take until it is released.
#[derive(Debug)]
pub struct ReservedPort {
    listener: TcpListener,
    port: u16,
}

impl ReservedPort {
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Releases the port for the server that is about to start.
    pub fn release(self) -> u16 {
        self.port
    }

    /// The listener, for a server inside this process.
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}

fn bind(port: u16) -> std::io::Result<ReservedPort> {
    Ok(ReservedPort {
        listener: TcpListener::bind((Ipv4Addr::LOCALHOST, port))?,
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_all_different() {
        let mut ports = Ports::free();
        let reserved: Vec<_> = (0..20)
            .map(|_| ports.reserve("component").unwrap())
            .collect();
        let mut numbers: Vec<_> = reserved.iter().map(ReservedPort::port).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 20);
    }

    #[test]
    fn configured_port_in_use_error_names_its_component_and_the_flag() {
        let taken = Ports::free().reserve("first").unwrap();
        let error = Ports::starting_at(taken.port())
            .reserve("postgres")
            .unwrap_err()
            .to_string();
        assert!(error.contains("postgres"), "{error}");
        assert!(error.contains("--ports-from"), "{error}");
    }
}
