//! The five kinds of source in one light type: only metadata and `status.artifact` are read, whatever the kind. One generic
//! watch over [`SourceKind::ALL`] takes the place of five copies.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use kube::{
    Resource,
    core::{DynamicResourceScope, ObjectMeta},
};
use serde::{Deserialize, Serialize};

use super::{ORIGIN_REVISION_KEY, external_artifact::GROUP, lenient};

/// A kind that `spec.sources` may name. All are `source.toolkit.fluxcd.io/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    /// S3-like storage.
    Bucket,
    /// A git repository at a commit.
    GitRepository,
    /// An OCI artifact.
    OciRepository,
    /// A packaged Helm chart.
    HelmChart,
    /// The output of another controller, or of another generator.
    ExternalArtifact,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Bucket, Self::GitRepository, Self::OciRepository, Self::HelmChart, Self::ExternalArtifact];

    /// The kind as manifests write it.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// The plural, as in URLs.
    pub fn plural(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Bucket => ("Bucket", "buckets"),
            Self::GitRepository => ("GitRepository", "gitrepositories"),
            Self::OciRepository => ("OCIRepository", "ocirepositories"),
            Self::HelmChart => ("HelmChart", "helmcharts"),
            Self::ExternalArtifact => ("ExternalArtifact", "externalartifacts"),
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SourceKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

/// A text that names no kind of source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("source kind '{0}' not supported")]
pub struct UnknownKind(pub String);

/// A source of any kind; the kind is the object's dynamic type: `Api::<Source>::all_with(client, &SourceKind::Bucket)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Standard metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the source has to offer.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub status: SourceStatus,
}

impl Source {
    /// The artifact on offer. Only its presence counts: conditions, generation and suspension of a source are ignored.
    pub fn artifact(&self) -> Option<&SourceArtifact> {
        self.status.artifact.as_ref()
    }
}

impl Resource for Source {
    type DynamicType = SourceKind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &SourceKind) -> Cow<'_, str> {
        kind.name().into()
    }
    fn group(_: &SourceKind) -> Cow<'_, str> {
        GROUP.into()
    }
    fn version(_: &SourceKind) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural(kind: &SourceKind) -> Cow<'_, str> {
        SourceKind::plural(*kind).into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The part of a source's status that matters here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// The tarball on offer, if any.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub artifact: Option<SourceArtifact>,
}

/// `status.artifact` of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceArtifact {
    /// `<algorithm>:<hex>` of the tarball. Empty ones are refused when the source is fetched.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub digest: String,
    /// Revision of the source.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub revision: String,
    /// Where the tarball is served.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub url: String,
    /// Free pairs.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl SourceArtifact {
    /// The revision that the source itself was made from, when it says so.
    pub fn origin_revision(&self) -> Option<&str> {
        self.metadata.get(ORIGIN_REVISION_KEY).map(String::as_str)
    }
}

/// Names one source in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// Kind.
    pub kind: SourceKind,
    /// Namespace; never empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}
