//! Which commit a run is about: whoever shows the outcome next to commits asks for one.

use std::collections::BTreeSet;

use super::observe::Observed;
use crate::api::artifact_generator::ArtifactGeneratorSpec;

/// What a commit status is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Commit {
    /// Revision of the source, e.g. `main@sha1:<commit>`.
    pub revision: String,
    /// What the source was made from, where it says so: the commit behind an image.
    pub origin_revision: Option<String>,
}

/// The revision of the one source that all artifacts name as their origin; if none does, of the only source. Of several it can not
/// be told whose commit is meant, so there is none.
pub fn commit(spec: &ArtifactGeneratorSpec, observed: &Observed) -> Option<Commit> {
    let named = spec.artifacts.iter().filter_map(|artifact| artifact.origin_revision.strip_prefix('@'));
    let mut named: BTreeSet<&str> = named.filter(|alias| observed.sources.contains_key(*alias)).collect();
    if named.is_empty() {
        named.extend(observed.sources.keys().map(String::as_str));
    }
    let only = named.pop_first().filter(|_| named.is_empty())?;
    let source = observed.sources.get(only)?;
    Some(Commit { revision: source.revision.clone(), origin_revision: source.origin_revision.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::artifact_generator::OutputArtifact, plan::observe::ObservedSource};

    /// What it shows, the sources, the origins that the artifacts name, and whose revision it is.
    type Row = (&'static str, &'static [&'static str], &'static [&'static str], Option<&'static str>);

    #[test]
    fn one_source_is_meant_or_none() {
        let rows: &[Row] = &[
            ("the only source", &["a"], &["", ""], Some("a")),
            ("the only source, named", &["a"], &["@a"], Some("a")),
            ("one of two, named", &["a", "b"], &["@b", ""], Some("b")),
            ("one of two, named twice", &["a", "b"], &["@b", "@b"], Some("b")),
            ("both of two", &["a", "b"], &["@a", "@b"], None),
            ("none of two", &["a", "b"], &["", ""], None),
            ("an alias that is not there", &["a", "b"], &["@c", "@a"], Some("a")),
            ("only an alias that is not there", &["a"], &["@c"], Some("a")),
            ("no source", &[], &[], None),
        ];
        for (row, aliases, origins, wanted) in rows {
            let source = |alias: &str| ObservedSource {
                digest: String::new(),
                revision: format!("{alias}@sha1:1"),
                url: String::new(),
                origin_revision: (alias == "b").then(|| "origin".to_owned()),
            };
            let sources = aliases.iter().map(|alias| ((*alias).to_owned(), source(alias))).collect();
            let artifact =
                |origin: &&str| OutputArtifact { origin_revision: (*origin).to_owned(), ..Default::default() };
            let artifacts = origins.iter().map(artifact).collect();
            let spec = ArtifactGeneratorSpec { artifacts, ..Default::default() };
            let wanted = wanted.map(|alias| Commit {
                revision: format!("{alias}@sha1:1"),
                origin_revision: (alias == "b").then(|| "origin".to_owned()),
            });
            assert_eq!(commit(&spec, &Observed { sources, digest: String::new() }), wanted, "row {row}");
        }
    }
}
