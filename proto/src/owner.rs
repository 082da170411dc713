//! Who answers for a stored file: `<controller>/<object UID>`.

use std::{fmt, str::FromStr};

/// A controller and the UID of the object it acts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    text: String,
    slash: usize,
}

impl Owner {
    /// Joins the two halves; each is 1 to 253 characters of `[A-Za-z0-9._-]`.
    pub fn new(controller: &str, uid: &str) -> Result<Self, OwnerError> {
        format!("{controller}/{uid}").parse()
    }

    /// The first half, e.g. `source-watcher`. Listings go by it, and epochs, together with the Lease.
    pub fn controller(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The second half.
    pub fn uid(&self) -> &str {
        &self.text[self.slash + 1..]
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Owner {
    type Err = OwnerError;

    fn from_str(text: &str) -> Result<Self, OwnerError> {
        let valid = |half: &str| {
            (1..=253).contains(&half.len())
                && half.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        match text.split_once('/') {
            Some((controller, uid)) if valid(controller) && valid(uid) => {
                Ok(Self { text: text.to_owned(), slash: controller.len() })
            }
            _ => Err(OwnerError(text.to_owned())),
        }
    }
}

/// A text that is not an owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("owner {0:?} is not valid: use <controller>/<object UID>, each of letters, digits, '.', '_' and '-'")]
pub struct OwnerError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_exactly_two_halves() {
        let owner: Owner = "source-watcher/7d3c".parse().unwrap();
        assert_eq!((owner.controller(), owner.uid()), ("source-watcher", "7d3c"));
        for bad in ["", "a", "a/", "/b", "a/b/c", "a b/c", "a/../c"] {
            assert!(bad.parse::<Owner>().is_err(), "{bad:?}");
        }
    }
}
