//! Names of stored files: `<kind, lower case>/<namespace>/<name>/<file>`.

use std::{borrow::Borrow, fmt, str::FromStr};

use crate::{Algorithm, Digest};

/// The folder of one artifact, e.g. `externalartifact/apps/frontend`. Every part is a valid Kubernetes name, so that no
/// part can be empty, start with a dot, or contain a slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactDir {
    text: String,
}

impl ArtifactDir {
    /// Checks the three parts and lower-cases the kind.
    ///
    /// `kind` and `namespace` are DNS labels (63 characters), `name` is a DNS subdomain (253 characters).
    pub fn new(kind: &str, namespace: &str, name: &str) -> Result<Self, PathError> {
        let kind = kind.to_lowercase();
        check("kind", &kind, is_label(&kind))?;
        check("namespace", namespace, is_label(namespace))?;
        check("name", name, is_subdomain(name))?;
        Ok(Self { text: format!("{kind}/{namespace}/{name}") })
    }

    /// `<kind>/<namespace>/<name>`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Kind in lower case, namespace and name.
    pub fn parts(&self) -> (&str, &str, &str) {
        let mut parts = self.text.splitn(3, '/');
        let mut next = || parts.next().unwrap_or_default();
        (next(), next(), next())
    }

    /// The path of a file in this folder.
    pub fn file(&self, file: &str) -> Result<ArtifactPath, PathError> {
        check("file", file, is_file_name(file))?;
        Ok(ArtifactPath { dir: self.clone(), file: file.to_owned() })
    }
}

/// Compares as its text does, so that ordered collections can be searched by text.
impl Borrow<str> for ArtifactDir {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ArtifactDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One stored file. It can not leave the storage root, name a hidden file, a lock or a temporary file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactPath {
    dir: ArtifactDir,
    file: String,
}

impl ArtifactPath {
    /// The folder that holds the file.
    pub fn dir(&self) -> &ArtifactDir {
        &self.dir
    }

    /// The bare file name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The SHA-256 that the name promises for the bytes: `<64 hex digits>.tar.gz`, as built artifacts are called.
    pub fn named_digest(&self) -> Option<Digest> {
        let hex = self.file.strip_suffix(".tar.gz")?;
        format!("{}:{hex}", Algorithm::Sha256).parse().ok()
    }

    /// Where the file is served: the advertised address as given, `http://` in front unless it names a scheme.
    pub fn url(&self, advertised: &str) -> String {
        let has_scheme = advertised.starts_with("http://") || advertised.starts_with("https://");
        let scheme = if has_scheme { "" } else { "http://" };
        format!("{scheme}{advertised}/{self}")
    }
}

impl fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dir, self.file)
    }
}

impl FromStr for ArtifactPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let parts: Vec<&str> = text.split('/').collect();
        let [kind, namespace, name, file] = parts[..] else {
            return Err(PathError { part: "path", value: text.to_owned() });
        };
        if kind.chars().any(char::is_uppercase) {
            return Err(PathError { part: "kind", value: kind.to_owned() });
        }
        ArtifactDir::new(kind, namespace, name)?.file(file)
    }
}

/// A part of a path that is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} {value:?} is not valid: {}", rule(.part))]
pub struct PathError {
    /// `kind`, `namespace`, `name`, `file` or `path`.
    pub part: &'static str,
    /// What was given.
    pub value: String,
}

fn rule(part: &str) -> &'static str {
    match part {
        "kind" | "namespace" => "use a DNS label: lower-case letters, digits and '-', 63 characters at most",
        "name" => "use a DNS subdomain: lower-case letters, digits, '-' and '.', 253 characters at most",
        "file" => {
            "use letters, digits, '.', '_' and '-', not starting with '.', not ending in .lock, 255 characters at most"
        }
        _ => "use <kind>/<namespace>/<name>/<file>",
    }
}

fn check(part: &'static str, value: &str, valid: bool) -> Result<(), PathError> {
    if valid { Ok(()) } else { Err(PathError { part, value: value.to_owned() }) }
}

fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
        && alphanumeric(bytes[0])
        && alphanumeric(bytes[bytes.len() - 1])
}

/// Unlike a label, each part of a subdomain may be as long as the whole.
pub(crate) fn is_subdomain(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        !bytes.is_empty()
            && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
            && alphanumeric(bytes[0])
            && alphanumeric(bytes[bytes.len() - 1])
    };
    text.len() <= 253 && text.split('.').all(part)
}

fn is_file_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=255).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.') && !text.ends_with(".lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_flux() {
        let path: ArtifactPath = "externalartifact/apps/web/0.tar.gz".parse().unwrap();
        let rows = [
            ("host:9090", "http://host:9090/externalartifact/apps/web/0.tar.gz"),
            (
                "source-watcher.flux-system.svc.",
                "http://source-watcher.flux-system.svc./externalartifact/apps/web/0.tar.gz",
            ),
            ("https://cdn.example/x", "https://cdn.example/x/externalartifact/apps/web/0.tar.gz"),
            ("http://plain", "http://plain/externalartifact/apps/web/0.tar.gz"),
        ];
        for (advertised, expected) in rows {
            assert_eq!(path.url(advertised), expected);
        }
    }

    #[test]
    fn refuses_what_could_leave_the_root() {
        let good = ["externalartifact/apps/front.end/0123.tar.gz", "gitrepository/a/b/c"];
        for text in good {
            assert_eq!(text.parse::<ArtifactPath>().unwrap().to_string(), text);
        }
        let long = "n".repeat(254);
        let bad = [
            ("traversal in kind", "../a/b/c"),
            ("traversal in namespace", "k/../b/c"),
            ("traversal in name", "k/a/../c"),
            ("traversal in file", "k/a/b/.."),
            ("absolute", "/k/a/b/c"),
            ("too deep", "k/a/b/c/d"),
            ("too shallow", "k/a/b"),
            ("empty part", "k//b/c"),
            ("hidden file", "k/a/b/.tmp"),
            ("lock", "k/a/b/c.tar.gz.lock"),
            ("upper-case kind", "K/a/b/c"),
            ("upper-case name", "k/a/B/c"),
            ("backslash", "k/a/b\\x/c"),
            ("nul", "k/a/b/c\0"),
            ("empty", ""),
        ];
        for (row, text) in bad {
            assert!(text.parse::<ArtifactPath>().is_err(), "row {row}");
        }
        assert!(ArtifactDir::new("k", "a", &long).is_err());
        assert_eq!(ArtifactDir::new("ExternalArtifact", "a", "b").unwrap().as_str(), "externalartifact/a/b");
    }
}
