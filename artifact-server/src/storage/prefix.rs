//! Prefixes of keys: everything, a kind, a namespace or an artifact.

use std::fmt;

use weir_proto::{ArtifactDir, ArtifactPath};

/// The first parts of a key, up to the artifact's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(Vec<String>);

impl Prefix {
    /// Every key.
    pub fn all() -> Self {
        Self(Vec::new())
    }

    /// The files of one artifact.
    pub fn artifact(dir: &ArtifactDir) -> Self {
        let (kind, namespace, name) = dir.parts();
        Self(vec![kind.to_owned(), namespace.to_owned(), name.to_owned()])
    }

    /// `[]`, `[kind]`, `[kind, namespace]` or `[kind, namespace, name]`; `None` when a part could not be one of a key.
    pub fn from_parts(parts: &[&str]) -> Option<Self> {
        let part = |at: usize| parts.get(at).copied().unwrap_or("x");
        let dir = ArtifactDir::new(part(0), part(1), part(2)).ok()?;
        let valid = parts.len() <= 3 && dir.parts() == (part(0), part(1), part(2));
        valid.then(|| Self(parts.iter().map(|&part| part.to_owned()).collect()))
    }

    /// The parts given, 3 at most.
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// Whether an artifact lies below.
    pub fn covers(&self, dir: &ArtifactDir) -> bool {
        let (kind, namespace, name) = dir.parts();
        self.0.iter().zip([kind, namespace, name]).all(|(ours, theirs)| ours == theirs)
    }

    /// Whether a file lies below.
    pub fn contains(&self, path: &ArtifactPath) -> bool {
        self.covers(path.dir())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cover_whole_parts_only() {
        let dir = ArtifactDir::new("externalartifact", "apps", "front").unwrap();
        let rows: [(&str, &[&str], Option<bool>); 9] = [
            ("everything", &[], Some(true)),
            ("kind", &["externalartifact"], Some(true)),
            ("namespace", &["externalartifact", "apps"], Some(true)),
            ("artifact", &["externalartifact", "apps", "front"], Some(true)),
            ("part of a name", &["externalartifact", "apps", "fron"], Some(false)),
            ("other namespace", &["externalartifact", "app"], Some(false)),
            ("traversal", &["externalartifact", ".."], None),
            ("upper case", &["ExternalArtifact"], None),
            ("too many", &["externalartifact", "apps", "front", "x"], None),
        ];
        for (row, parts, covers) in rows {
            assert_eq!(Prefix::from_parts(parts).map(|prefix| prefix.covers(&dir)), covers, "row {row}");
        }
    }
}
