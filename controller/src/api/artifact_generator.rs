//! `ArtifactGenerator`: which sources to take, and which artifacts to compose of them. The doc comments of spec and status
//! become the descriptions of the CRD, `kubectl explain` shows them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CONFIRM_ANNOTATION, ObjectKey, PAUSE_ANNOTATION, REQUEST_ANNOTATION, lenient, root_object};

/// API group of `ArtifactGenerator`.
pub const GROUP: &str = "source.extensions.fluxcd.io";
/// The one version of it.
pub const VERSION: &str = "v1beta1";
/// `apiVersion` of it.
pub const API_VERSION: &str = "source.extensions.fluxcd.io/v1beta1";
/// Kind of it.
pub const KIND: &str = "ArtifactGenerator";

/// ArtifactGenerator composes artifacts from one or more Flux sources and publishes each as an ExternalArtifact.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ArtifactGenerator {
    /// Standard metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What to compose; an absent spec is an empty one: no artifacts.
    #[serde(default, deserialize_with = "lenient::null_as_default")]
    pub spec: ArtifactGeneratorSpec,
    /// What was composed last.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub status: Option<ArtifactGeneratorStatus>,
}

root_object!(ArtifactGenerator, group: "source.extensions.fluxcd.io", version: "v1beta1", plural: "artifactgenerators");

impl ArtifactGenerator {
    /// Whether it is suspended, or the pause annotation says `disabled`, in any case.
    pub fn is_paused(&self) -> bool {
        let annotated = self.annotation(PAUSE_ANNOTATION).is_some_and(|value| value.to_lowercase() == "disabled");
        annotated || self.spec.suspend
    }

    /// The token of the last request for a reconcile.
    pub fn requested_at(&self) -> Option<&str> {
        self.annotation(REQUEST_ANNOTATION)
    }

    /// The token with which a deletion of all outputs was confirmed.
    pub fn confirmed(&self) -> Option<&str> {
        self.annotation(CONFIRM_ANNOTATION)
    }

    /// The inventory of the last status, empty when there is none.
    pub fn inventory(&self) -> &[InventoryEntry] {
        self.status.as_ref().map_or(&[], |status| &status.inventory)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// ArtifactGeneratorSpec defines the sources, and the artifacts to compose of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": r"(has(self.pathPattern) && size(self.pathPattern) > 0) || self.artifacts.all(a, a.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",
    "message": "artifact names must be valid Kubernetes object names when pathPattern is not set",
}]))]
pub struct ArtifactGeneratorSpec {
    /// Labels and annotations that every generated ExternalArtifact gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CommonMetadata")]
    pub common_metadata: Option<CommonMetadata>,
    /// Suspends the reconciliation, as the annotation source.extensions.fluxcd.io/reconcile: disabled does. What is published
    /// stays.
    #[serde(default, deserialize_with = "lenient::null_as_default", skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Objects in the namespace of the generator that must be Ready before it is reconciled.
    #[serde(default, deserialize_with = "lenient::null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub depends_on: Vec<Dependency>,
    /// The sources that copy operations name by their alias.
    #[schemars(length(min = 1, max = 1000))]
    pub sources: Vec<SourceReference>,
    /// Directories of one source, as "@alias/path/{name}". Each match is a set of artifacts, with the captures filled in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024), regex(pattern = r"^@([a-z0-9]([a-z0-9_-]*[a-z0-9])?)/(.*)$"))]
    pub path_pattern: String,
    /// The artifacts to compose. Each becomes one ExternalArtifact in the namespace of the generator.
    #[schemars(length(min = 1, max = 1000))]
    pub artifacts: Vec<OutputArtifact>,
}

/// An object that must be Ready first: another ArtifactGenerator, or any object with a condition Ready.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// API version of the object, by default the one of ArtifactGenerator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 317))]
    pub api_version: String,
    /// Kind of the object, by default ArtifactGenerator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Metadata for every output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommonMetadata {
    /// Labels to set.
    #[serde(default, deserialize_with = "lenient::null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations to set.
    #[serde(default, deserialize_with = "lenient::null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A Flux source under an alias.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceReference {
    /// Short name of the source within this generator; unique.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$"))]
    pub alias: String,
    /// Name of the source.
    #[schemars(length(max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Namespace of the source, by default the one of the generator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// Kind of the source.
    #[schemars(extend("enum" = ["Bucket", "GitRepository", "OCIRepository", "HelmChart", "ExternalArtifact"]))]
    pub kind: String,
}

/// One artifact to compose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputArtifact {
    /// Name of the ExternalArtifact. With pathPattern it may contain captures, as in "{app}-config".
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Take the revision of this source ("@alias") instead of the one computed from the content.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64), regex(pattern = r"^@([a-z0-9]([a-z0-9_-]*[a-z0-9])?)$"))]
    pub revision: String,
    /// Record the origin revision of this source ("@alias") in the metadata of the artifact. A source that knows no origin
    /// revision lends its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64), regex(pattern = r"^@([a-z0-9]([a-z0-9_-]*[a-z0-9])?)$"))]
    pub origin_revision: String,
    /// Copy operations, carried out in this order.
    #[schemars(length(min = 1))]
    pub copy: Vec<CopyOperation>,
}

/// One step of a composition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CopyOperation {
    /// What to copy, as "@alias/path" or "@alias/glob".
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^@([a-z0-9]([a-z0-9_-]*[a-z0-9])?)/(.*)$"))]
    pub from: String,
    /// Where to copy it, as "@artifact/path".
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^@(artifact)/(.*)$"))]
    pub to: String,
    /// Globs (with "**") of paths to leave out.
    #[serde(default, deserialize_with = "lenient::null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub exclude: Vec<String>,
    /// How to treat a file that is already there: "Overwrite" (the default) replaces it, "Merge" merges YAML, "Extract" unpacks
    /// a tarball.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(extend("enum" = ["Overwrite", "Merge", "Extract"]))]
    pub strategy: String,
    /// Skip the operation when "from" matches nothing, or nothing but what is excluded, instead of failing.
    #[serde(default, deserialize_with = "lenient::null_as_default", skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// ArtifactGeneratorStatus is the observed state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactGeneratorStatus {
    /// The last value of the annotation reconcile.fluxcd.io/requestedAt that was acted upon.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "String::is_empty")]
    pub last_handled_reconcile_at: String,
    /// Conditions of the generator: Stalled, Reconciling and Ready.
    #[serde(default, deserialize_with = "lenient::items", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::crd::conditions")]
    pub conditions: Vec<Condition>,
    /// The ExternalArtifacts that the generator answers for.
    #[serde(default, deserialize_with = "lenient::items", skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<InventoryEntry>,
    /// Digest over alias, digest, revision and URL of all sources at the last success.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "String::is_empty")]
    pub observed_sources_digest: String,
}

/// One generated ExternalArtifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InventoryEntry {
    /// Name of the ExternalArtifact.
    pub name: String,
    /// Namespace of the ExternalArtifact.
    pub namespace: String,
    /// Digest of the published file, "<algorithm>:<hex>".
    pub digest: String,
    /// Name of the published file in the storage.
    pub filename: String,
}

impl InventoryEntry {
    /// The key of the ExternalArtifact.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}
