//! The name of the Lease that a leader holds.

use std::{fmt, str::FromStr};

use crate::path::is_subdomain;

/// A name as Kubernetes takes it: a DNS subdomain, 253 characters at most. So it holds no slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseName(String);

impl LeaseName {
    /// The name.
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
        if is_subdomain(text) { Ok(Self(text.to_owned())) } else { Err(LeaseNameError(text.to_owned())) }
    }
}

/// A text that is not the name of a Lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "lease {0:?} is not valid: use the name of the Lease, lower-case letters, digits, '-' and '.', 253 characters at most"
)]
pub struct LeaseNameError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        let longest = "l".repeat(253);
        for good in ["source-watcher-leader-election-73fdc1be", "a", "a.b-c.0", &longest] {
            assert_eq!(good.parse::<LeaseName>().unwrap().as_str(), good);
        }
        let long = "l".repeat(254);
        for bad in ["", "A", "a/b", "a_b", "-a", "a-", ".a", "a.", "a..b", "a b", "a\n", &long] {
            assert!(bad.parse::<LeaseName>().is_err(), "{bad:?}");
        }
    }
}
