//! Which hosts sources may come from.

use std::{fmt, str::FromStr};

use reqwest::Url;

use super::SourceError;

/// `host`, `host:port`, or either with `*.` in front for the names below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// Lower case, without a dot at its end; with the dot in front when names below are meant.
    host: String,
    /// Any when `None`.
    port: Option<u16>,
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a host: use host, host:port or *.domain");
        let name = text.strip_prefix('*').filter(|rest| rest.starts_with('.')).map(|rest| format!("x{rest}"));
        let url = Url::parse(&format!("any://{}/", name.as_deref().unwrap_or(text))).map_err(|_| wrong())?;
        let plain = url.path() == "/" && url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
        let host =
            url.host_str().filter(|host| plain && !host.is_empty() && !host.contains(['*', '%'])).ok_or_else(wrong)?;
        let host = normal(host);
        let host = if name.is_some() { host[1..].to_owned() } else { host };
        Ok(Self { host, port: url.port() })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.host.starts_with('.') { "*" } else { "" };
        write!(f, "{star}{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Flux writes names of services with a dot at the end.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_lowercase()
}

impl HostPattern {
    fn matches(&self, host: &str, port: Option<u16>) -> bool {
        let named = if self.host.starts_with('.') { host.ends_with(&self.host) } else { host == self.host };
        named && (self.port.is_none() || self.port == port)
    }
}

/// Refuses a URL whose host is none of these. No pattern: any will do.
pub(super) fn check(patterns: &[HostPattern], url: &Url) -> Result<(), SourceError> {
    let host = normal(url.host_str().unwrap_or_default());
    let port = url.port_or_known_default();
    if patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(&host, port)) {
        return Ok(());
    }
    Err(SourceError::Host(format!("{host}:{}", port.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_hosts_are_asked() {
        let rows = [
            (
                "source-controller.flux-system.svc.cluster.local",
                "http://source-controller.flux-system.svc.cluster.local./x",
                true,
            ),
            ("a.example", "https://A.EXAMPLE:8443/x", true),
            ("a.example.", "http://a.example/x", true),
            ("a.example:443", "https://a.example/x", true),
            ("a.example:443", "http://a.example/x", false),
            ("*.example", "http://a.b.example/x", true),
            ("*.example", "http://example/x", false),
            ("*.example", "http://notexample/x", false),
            ("*.example:80", "http://a.example/x", true),
            ("a.example", "http://b.a.example/x", false),
            ("a.example", "http://a.example@b.example/x", false),
            ("10.0.0.1", "http://10.0.0.1:9/x", true),
            ("10.0.0.1", "http://167772161/x", true),
            ("[::1]:9", "http://[0:0::1]:9/x", true),
        ];
        for (pattern, url, expected) in rows {
            let patterns = [pattern.parse::<HostPattern>().unwrap()];
            let url = Url::parse(url).unwrap();
            assert_eq!(check(&patterns, &url).is_ok(), expected, "row {pattern} {url}");
            assert!(check(&[], &url).is_ok());
        }
        for wrong in ["", "*", "http://a", "a/b", "a b", "*a", "a.*", "u@a", "a:x", ":80"] {
            assert!(wrong.parse::<HostPattern>().is_err(), "{wrong:?} is {:?}", wrong.parse::<HostPattern>());
        }
    }
}
