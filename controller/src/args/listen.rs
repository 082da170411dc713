//! Addresses to listen on, as Go writes them.

use std::io;

use tokio::net::TcpListener;

/// `host:port`; an empty host means every interface, port 0 a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    host: String,
    port: u16,
}

impl Listen {
    /// Reads an address. Empty and `0` mean: do not listen.
    pub fn optional(text: &str) -> Result<Option<Self>, String> {
        if text.is_empty() || text == "0" {
            return Ok(None);
        }
        let read = || {
            let (host, port) = text.rsplit_once(':')?;
            let bare = match host.strip_prefix('[') {
                Some(inner) => inner.strip_suffix(']')?,
                None => Some(host).filter(|host| !host.contains(':'))?,
            };
            Some(Self { host: bare.to_owned(), port: port.parse().ok()? })
        };
        read()
            .map(Some)
            .ok_or_else(|| format!("{text:?} is not an address: use host:port or :port, or 0 to switch it off"))
    }

    /// Listens. Every interface means IPv6 and IPv4 where the machine has both.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        if !self.host.is_empty() {
            return TcpListener::bind((self.host.as_str(), self.port)).await;
        }
        match TcpListener::bind(("::", self.port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => TcpListener::bind(("0.0.0.0", self.port)).await,
            bound => bound,
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
