//! Free loopback ports that stay free.
//!
//! A port from `bind(0)` lies in the kernel's ephemeral range: any outgoing
//! connection may take it between the probe and the start, or while a killed
//! server is down and about to come back. So ports are drawn from below that
//! range and probed, and this process never hands one out twice.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

use anyhow::{Context, Result};
use rand::Rng;

/// Below Linux's default ephemeral range (32768 and up), above well-known services.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// How many ports are probed before giving up.
const ATTEMPTS: usize = 1000;

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A loopback address nobody listens on, not handed out before.
///
/// # Errors
/// When no port of the range is free.
pub fn free() -> Result<SocketAddr> {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    (0..ATTEMPTS)
        .map(|_| rand::rng().random_range(RANGE))
        .find(|port| !taken.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .map(|port| {
            taken.insert(port);
            SocketAddr::from((Ipv4Addr::LOCALHOST, port))
        })
        .with_context(|| format!("no free loopback port in {RANGE:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_handed_out_once_and_can_be_bound() {
        let ports: BTreeSet<_> = (0..50).map(|_| free().unwrap().port()).collect();
        assert_eq!(ports.len(), 50);
        let address = free().unwrap();
        TcpListener::bind(address).unwrap();
    }
}
