//! Addresses to listen on and to advertise.

use std::{fmt, path::PathBuf, str::FromStr};

/// `host:port` as Go's `net.Listen` takes it; an empty host means every interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Name, IPv4 or bare IPv6 address; empty for every interface.
    pub host: String,
    /// 0 picks a free one.
    pub port: u16,
}

/// Where the gRPC services listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrpcAddress {
    /// `unix:///run/weir/s/artifact.sock`
    Unix(PathBuf),
    /// `http://127.0.0.1:9091`, plain text.
    Tcp(ListenAddress),
    /// `https://0.0.0.0:9443`, for clients with a certificate.
    Tls(ListenAddress, TlsFiles),
}

/// What mutual TLS is made of: files of PEM, read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// What the server shows: its certificate, and those between it and an authority that its clients trust.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The authorities that vouch for clients.
    pub client_authorities: PathBuf,
}

/// Why an address can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `host:port`.
    #[error("invalid address {0:?}: use host:port, :port or [ipv6]:port")]
    Listen(String),
    /// Not one of the schemes.
    #[error(
        "invalid gRPC address {0:?}: use unix:///<absolute path>, https://<address>:<port> or http://<loopback address>:<port>"
    )]
    Grpc(String),
    /// Mutual TLS without all of its files.
    #[error(
        "gRPC address {0:?} needs --grpc-tls-cert, --grpc-tls-key and --grpc-client-ca: files of PEM with certificate, key and the authority of the clients"
    )]
    NoFiles(String),
    /// Plain text where others could listen in.
    #[error(
        "gRPC address {0:?} is not a loopback address, and anybody who reaches it could change artifacts: use \
         https://, unix:///<absolute path> or http://127.0.0.1:<port>, or add --insecure-grpc to allow it"
    )]
    PlainText(String),
    /// `0.0.0.0` says nothing to others, so the host's name must.
    #[error("0.0.0.0 specified in storage addr but hostname is invalid: set HOSTNAME or --storage-adv-addr")]
    NoHostname,
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let invalid = || AddressError::Listen(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(invalid)?,
            None if host.contains(':') => return Err(invalid()),
            None => host,
        };
        if host.contains(['/', ' ', '[', ']']) {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| invalid())? })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl ListenAddress {
    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl GrpcAddress {
    /// Reads `--grpc-addr`. Plain TCP beyond loopback needs `insecure`, TLS needs its files.
    pub fn parse(text: &str, insecure: bool, files: Option<TlsFiles>) -> Result<Self, AddressError> {
        if let Some(address) = text.strip_prefix("https://") {
            let address = address.trim_end_matches('/').parse()?;
            return Ok(Self::Tls(address, files.ok_or_else(|| AddressError::NoFiles(text.to_owned()))?));
        }
        if let Some(path) = text.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            let named = path.is_absolute() && path.file_name().is_some();
            return if named { Ok(Self::Unix(path)) } else { Err(AddressError::Grpc(text.to_owned())) };
        }
        let address = text.strip_prefix("http://").ok_or_else(|| AddressError::Grpc(text.to_owned()))?;
        let address: ListenAddress = address.trim_end_matches('/').parse()?;
        if insecure || address.is_loopback() {
            Ok(Self::Tcp(address))
        } else {
            Err(AddressError::PlainText(text.to_owned()))
        }
    }
}

/// What artifact URLs start with: the given text untouched, else made from the address that the server listens on. Flux's rules.
pub(super) fn advertised(given: &str, listen: &ListenAddress, hostname: Option<&str>) -> Result<String, AddressError> {
    if !given.is_empty() {
        return Ok(given.to_owned());
    }
    let host = match listen.host.as_str() {
        "" => "localhost",
        "0.0.0.0" => hostname.filter(|name| !name.is_empty()).ok_or(AddressError::NoHostname)?,
        host => host,
    };
    Ok(ListenAddress { host: host.to_owned(), port: listen.port }.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listens_where_go_would() {
        let rows = [
            (":9090", Some(("", 9090))),
            ("0.0.0.0:9090", Some(("0.0.0.0", 9090))),
            ("localhost:0", Some(("localhost", 0))),
            ("[::1]:9090", Some(("::1", 9090))),
            ("::1:9090", None),
            ("9090", None),
            (":http", None),
            (":70000", None),
            ("[::1:9090", None),
            ("http://a:1", None),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|(host, port)| ListenAddress { host: host.to_owned(), port });
            assert_eq!(text.parse().ok(), expected, "row {text}");
        }
    }

    fn files() -> TlsFiles {
        TlsFiles { certificate: "/c".into(), key: "/k".into(), client_authorities: "/a".into() }
    }

    #[test]
    fn grpc_stays_on_this_machine() {
        let tcp = |host: &str| Ok(GrpcAddress::Tcp(ListenAddress { host: host.to_owned(), port: 1 }));
        let rows = [
            ("unix:///run/weir/s/a.sock", false, Ok(GrpcAddress::Unix("/run/weir/s/a.sock".into()))),
            ("unix://relative.sock", false, Err(AddressError::Grpc("unix://relative.sock".into()))),
            ("unix:///", false, Err(AddressError::Grpc("unix:///".into()))),
            ("http://127.0.0.1:1", false, tcp("127.0.0.1")),
            ("http://localhost:1/", false, tcp("localhost")),
            ("http://[::1]:1", false, tcp("::1")),
            ("http://10.0.0.1:1", false, Err(AddressError::PlainText("http://10.0.0.1:1".into()))),
            ("http://:1", false, Err(AddressError::PlainText("http://:1".into()))),
            ("http://10.0.0.1:1", true, tcp("10.0.0.1")),
            ("https://a:1", false, Ok(GrpcAddress::Tls("a:1".parse().unwrap(), files()))),
            ("https://a", false, Err(AddressError::Listen("a".into()))),
            ("127.0.0.1:1", false, Err(AddressError::Grpc("127.0.0.1:1".into()))),
            ("http://127.0.0.1", false, Err(AddressError::Listen("127.0.0.1".into()))),
        ];
        for (text, insecure, expected) in rows {
            assert_eq!(GrpcAddress::parse(text, insecure, Some(files())), expected, "row {text}");
        }
        let without = GrpcAddress::parse("https://a:1", true, None);
        assert_eq!(without, Err(AddressError::NoFiles("https://a:1".into())), "--insecure-grpc is about plain text");
    }

    #[test]
    fn advertises_as_flux_does() {
        let rows = [
            (
                "given, untouched",
                "source-watcher.flux-system.svc.",
                ":9090",
                None,
                Ok("source-watcher.flux-system.svc."),
            ),
            ("given with a scheme", "https://x/y", ":9090", None, Ok("https://x/y")),
            ("no host", "", ":9090", Some("pod"), Ok("localhost:9090")),
            ("every IPv4 interface", "", "0.0.0.0:9090", Some("pod"), Ok("pod:9090")),
            ("no name", "", "0.0.0.0:9090", None, Err(AddressError::NoHostname)),
            ("every IPv6 interface is kept", "", "[::]:9090", Some("pod"), Ok("[::]:9090")),
            ("another host", "", "10.0.0.1:80", Some("pod"), Ok("10.0.0.1:80")),
        ];
        for (row, given, listen, hostname, expected) in rows {
            let got = advertised(given, &listen.parse().unwrap(), hostname);
            assert_eq!(got, expected.map(str::to_owned), "row {row}");
        }
    }
}
