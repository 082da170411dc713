//! What the sources of a generator offer right now.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::api::{
    artifact_generator::SourceReference,
    source::{Source, SourceKey},
};

/// The tarball of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSource {
    /// `<algorithm>:<hex>` of the tarball, as the source says; may be empty or nonsense.
    pub digest: String,
    /// Revision of the source.
    pub revision: String,
    /// Where to download it.
    pub url: String,
    /// What the source itself was made from, when it says so.
    pub origin_revision: Option<String>,
}

/// All sources of a generator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// By alias.
    pub sources: BTreeMap<String, ObservedSource>,
    /// See [`sources_digest`]; compared with `status.observedSourcesDigest`.
    pub digest: String,
}

/// Why a source can not be used now. All pass by themselves: retried after the dependency interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// No such object; the text is that of a Kubernetes client.
    #[error("{}.source.toolkit.fluxcd.io {:?} not found", .0.kind, .0.name)]
    NotFound(SourceKey),
    /// The object could not be read.
    #[error("unable to get source '{}/{}': {}", .0.namespace, .0.name, .1)]
    Unreadable(SourceKey, String),
    /// The object offers no artifact.
    #[error("source '{0}' is not ready")]
    NotReady(SourceKey),
    /// The schema of the CRD would not let this kind through.
    #[error("source `{name}` kind '{kind}' not supported")]
    Kind {
        /// Name of the source.
        name: String,
        /// The kind as given.
        kind: String,
    },
}

/// Which object a reference means; an empty namespace is the generator's own.
pub fn source_key(reference: &SourceReference, namespace: &str) -> Result<SourceKey, ObserveError> {
    let SourceReference { name, kind, .. } = reference;
    let kind = kind.parse().map_err(|_| ObserveError::Kind { name: name.clone(), kind: kind.clone() })?;
    let namespace = if reference.namespace.is_empty() { namespace } else { &reference.namespace };
    Ok(SourceKey { kind, namespace: namespace.to_owned(), name: name.clone() })
}

/// Looks up every source; the first that fails in spec order is the error. `find` answers `None` for an absent object and a text
/// for one that could not be read.
pub fn observe(
    references: &[SourceReference],
    namespace: &str,
    find: impl Fn(&SourceKey) -> Result<Option<Arc<Source>>, String>,
) -> Result<Observed, ObserveError> {
    let mut sources = BTreeMap::new();
    for reference in references {
        let key = source_key(reference, namespace)?;
        let source = match find(&key) {
            Ok(Some(source)) => source,
            Ok(None) => return Err(ObserveError::NotFound(key)),
            Err(text) => return Err(ObserveError::Unreadable(key, text)),
        };
        let artifact = source.artifact().ok_or(ObserveError::NotReady(key))?;
        let observed = ObservedSource {
            digest: artifact.digest.clone(),
            revision: artifact.revision.clone(),
            url: artifact.url.clone(),
            origin_revision: artifact.origin_revision().map(str::to_owned),
        };
        sources.insert(reference.alias.clone(), observed);
    }
    let digest = sources_digest(&sources);
    Ok(Observed { sources, digest })
}

/// `sha256:<hex>` over `<alias>=[digest=…,revision=…,url=…]` of every source, sorted and joined with `|`. The origin revision is
/// left out. The value is the one of source-watcher, so that a swap is no drift.
pub fn sources_digest(sources: &BTreeMap<String, ObservedSource>) -> String {
    let mut texts: Vec<String> = sources
        .iter()
        .map(|(alias, source)| {
            format!("{alias}=[digest={},revision={},url={}]", source.digest, source.revision, source.url)
        })
        .collect();
    texts.sort();
    format!("sha256:{}", hex::encode(Sha256::digest(texts.join("|"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        ORIGIN_REVISION_KEY,
        source::{SourceArtifact, SourceStatus},
    };

    fn observed(digest: &str, revision: &str, url: &str) -> ObservedSource {
        ObservedSource { digest: digest.into(), revision: revision.into(), url: url.into(), origin_revision: None }
    }

    #[test]
    fn digest_is_the_one_of_source_watcher() {
        let one = observed(
            "sha256:1b1452058f747245f79b4d45d589ad5693c516987e678d13231ddfdf26979208",
            "main@sha1:28deef923f4da39062d2902cb640011a36d52e19",
            "https://example.com/repo1.git",
        );
        let two = observed(
            "sha256:966a0b26898be9448d927312d81f9221edac224e383f131a6451f22b918bd66d",
            "main@sha1:4b94f17f5ceb13341bdfe15d4d9249bb0a3a011e",
            "https://example.com/repo2.git",
        );
        let mut sources: BTreeMap<_, _> = [("source1".to_owned(), one), ("source2".to_owned(), two)].into();
        let known = "sha256:0dd16ff06ef2efe7bbc5b6a356eb9f3b59467d76617969eb7bb34e094abbd58e";
        assert_eq!(sources_digest(&sources), known, "§7 vector");
        if let Some(source) = sources.get_mut("source1") {
            source.origin_revision = Some("v1".into());
        }
        assert_eq!(sources_digest(&sources), known, "§7 the origin revision does not count");
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sources_digest(&BTreeMap::new()), empty, "§7 no sources");
    }

    #[test]
    fn texts_are_sorted_not_aliases() {
        // '-' sorts before '=', so the text of "a-b" comes before the one of "a": a sort by alias would differ.
        let sources: BTreeMap<_, _> =
            [("a".to_owned(), observed("1", "r", "u")), ("a-b".to_owned(), observed("2", "r", "u"))].into();
        let text = "a-b=[digest=2,revision=r,url=u]|a=[digest=1,revision=r,url=u]";
        assert_eq!(sources_digest(&sources), format!("sha256:{}", hex::encode(Sha256::digest(text))));
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn says_what_is_missing() {
        let reference = |kind: &str, namespace: &str| SourceReference {
            alias: "a".into(),
            name: "repo".into(),
            namespace: namespace.into(),
            kind: kind.into(),
        };
        let ready = || {
            let metadata = [(ORIGIN_REVISION_KEY.to_owned(), "v1".to_owned())].into();
            let artifact = SourceArtifact { digest: "d".into(), revision: "r".into(), url: "u".into(), metadata };
            Source { status: SourceStatus { artifact: Some(artifact) }, ..Default::default() }
        };
        type Find = Result<Option<Source>, String>;
        // (row, kind, namespace, what is found, error)
        let rows: [(&str, &str, &str, Find, Option<&str>); 6] = [
            ("§7 ready", "Bucket", "", Ok(Some(ready())), None),
            (
                "§7 absent",
                "GitRepository",
                "",
                Ok(None),
                Some("GitRepository.source.toolkit.fluxcd.io \"repo\" not found"),
            ),
            (
                "§7 unreadable",
                "HelmChart",
                "other",
                Err("forbidden".into()),
                Some("unable to get source 'other/repo': forbidden"),
            ),
            (
                "§7 without artifact",
                "OCIRepository",
                "",
                Ok(Some(Source::default())),
                Some("source 'OCIRepository/own/repo' is not ready"),
            ),
            (
                "§7 without artifact, other namespace",
                "ExternalArtifact",
                "other",
                Ok(Some(Source::default())),
                Some("source 'ExternalArtifact/other/repo' is not ready"),
            ),
            (
                "§7 unknown kind",
                "HelmRepository",
                "",
                Ok(Some(ready())),
                Some("source `repo` kind 'HelmRepository' not supported"),
            ),
        ];
        for (row, kind, namespace, found, wanted) in rows {
            let answer = observe(&[reference(kind, namespace)], "own", |key| {
                assert_eq!(key.namespace, if namespace.is_empty() { "own" } else { namespace }, "row {row}");
                found.clone().map(|source| source.map(Arc::new))
            });
            assert_eq!(answer.as_ref().err().map(ToString::to_string).as_deref(), wanted, "row {row}");
            if let Ok(observed) = answer {
                assert_eq!(observed.sources["a"].origin_revision.as_deref(), Some("v1"), "row {row}");
                assert_eq!(observed.digest, sources_digest(&observed.sources), "row {row}");
            }
        }
    }
}
