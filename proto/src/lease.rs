//! What names the Lease that a leader holds.

use std::{fmt, str::FromStr};

use crate::path::is_subdomain;

/// `<namespace>/<name>` of a Lease, or a name alone that no other leader of the controller has: DNS subdomains of 253 characters at most, as
/// Kubernetes takes them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseName(String);

impl LeaseName {
    /// As the caller says it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LeaseName {
    type Err = LeaseNameError;

    fn from_str(text: &str) -> Result<Self, LeaseNameError> {
        let (namespace, name) = text.split_once('/').map_or((None, text), |(namespace, name)| (Some(namespace), name));
        let good = namespace.is_none_or(is_subdomain) && is_subdomain(name);
        if good { Ok(Self(text.to_owned())) } else { Err(LeaseNameError(text.to_owned())) }
    }
}

/// A text that is not the name of a Lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "lease {0:?} is not valid: use \"<namespace>/<name>\" of the Lease, each of lower-case letters, digits, '-' and '.', 253 characters at most"
)]
pub struct LeaseNameError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        let longest = "l".repeat(253);
        let both = format!("{longest}/{longest}");
        for good in ["source-watcher-leader-election-73fdc1be", "a", "a.b-c.0", &longest, "flux-system/a.b", &both] {
            assert_eq!(good.parse::<LeaseName>().unwrap().as_str(), good);
        }
        let long = "l".repeat(254);
        for bad in
            ["", "A", "a/", "/a", "/", "a/b/c", "a/B", "a_b", "-a", "a-", ".a", "a.", "a..b", "a b", "a\n", &long]
        {
            assert!(bad.parse::<LeaseName>().is_err(), "{bad:?}");
        }
    }
}
