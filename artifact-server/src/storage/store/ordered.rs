//! Finding artifacts by the parts of their names without walking over all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use weir_proto::ArtifactDir;

/// Artifacts in the order of their texts.
pub(super) trait Ordered {
    /// Those that do not come before a text.
    fn starting_at<'a>(&'a self, text: &str) -> Box<dyn Iterator<Item = &'a ArtifactDir> + 'a>;
}

impl<V> Ordered for BTreeMap<ArtifactDir, V> {
    fn starting_at<'a>(&'a self, text: &str) -> Box<dyn Iterator<Item = &'a ArtifactDir> + 'a> {
        Box::new(self.range::<str, _>((Bound::Included(text), Bound::Unbounded)).map(|(dir, _)| dir))
    }
}

impl Ordered for BTreeSet<ArtifactDir> {
    fn starting_at<'a>(&'a self, text: &str) -> Box<dyn Iterator<Item = &'a ArtifactDir> + 'a> {
        Box::new(self.range::<str, _>((Bound::Included(text), Bound::Unbounded)))
    }
}

/// The artifacts whose kind, namespace and name are these, in order; an empty part is any.
pub(super) fn named<'a>(artifacts: &'a impl Ordered, parts: [&str; 3]) -> Vec<&'a ArtifactDir> {
    let mut found = Vec::new();
    gather(artifacts, "", &parts, &mut found);
    found
}

/// Adds the artifacts that begin with `start` and go on as `parts` say.
fn gather<'a>(artifacts: &'a impl Ordered, start: &str, parts: &[&str], found: &mut Vec<&'a ArtifactDir>) {
    match parts {
        [name] if !name.is_empty() => {
            let whole = format!("{start}{name}");
            found.extend(artifacts.starting_at(&whole).next().filter(|dir| dir.as_str() == whole));
        }
        [part, rest @ ..] if !part.is_empty() => gather(artifacts, &format!("{start}{part}/"), rest, found),
        [_, rest @ ..] if rest.iter().any(|part| !part.is_empty()) => {
            // From one value of this part to the next: a zero comes right behind a slash.
            let mut next = start.to_owned();
            let value = |dir: &'a ArtifactDir| dir.as_str().strip_prefix(start)?.split('/').next();
            while let Some(part) = artifacts.starting_at(&next).next().and_then(value) {
                gather(artifacts, &format!("{start}{part}/"), rest, found);
                next = format!("{start}{part}0");
            }
        }
        _ => found.extend(artifacts.starting_at(start).take_while(|dir| dir.as_str().starts_with(start))),
    }
}
