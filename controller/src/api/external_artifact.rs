//! `ExternalArtifact`, as far as the controller writes it. The CRD comes with Flux's source-controller.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ManagedFieldsEntry, Time};
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{FIELD_MANAGER, GENERATOR_LABEL, MANAGED_BY_LABEL, lenient, root_object};

/// API group of `ExternalArtifact` and of the Flux sources.
pub const GROUP: &str = "source.toolkit.fluxcd.io";
/// `apiVersion` of `ExternalArtifact` and of the Flux sources.
pub const API_VERSION: &str = "source.toolkit.fluxcd.io/v1";
/// Kind of it.
pub const KIND: &str = "ExternalArtifact";

/// What Flux's consumers read: an artifact that some other controller made.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ExternalArtifact {
    /// Standard metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Who made it.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub spec: ExternalArtifactSpec,
    /// The artifact and whether it can be had.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub status: Option<ExternalArtifactStatus>,
    /// What [`ExternalArtifact::condense`] kept of the managed fields.
    #[serde(skip)]
    pub applied: AppliedKeys,
    /// The same: the field manager of the last write, unless it was this controller's.
    #[serde(skip)]
    pub editor: Option<String>,
}

/// Keys of labels and annotations that this controller applied, the two reserved labels left out: usually none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedKeys {
    /// Keys of labels.
    pub labels: Vec<String>,
    /// Keys of annotations.
    pub annotations: Vec<String>,
}

root_object!(ExternalArtifact, group: "source.toolkit.fluxcd.io", version: "v1", plural: "externalartifacts");

impl ExternalArtifact {
    /// UID of the generator that made it, by its label.
    pub fn generator_uid(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(GENERATOR_LABEL).map(String::as_str)
    }

    /// Forgets `managedFields`, which are larger than the rest of the object, but for what they alone know: which labels and
    /// annotations we applied and would have to take back, and who wrote last. For caches.
    pub fn condense(&mut self) {
        self.editor = editor(self.metadata.managed_fields.as_deref().unwrap_or_default());
        for entry in self.metadata.managed_fields.take().unwrap_or_default() {
            let ours = entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.subresource.is_none();
            let Some(fields) = entry.fields_v1.filter(|_| ours) else { continue };
            let keys = |of: &str| -> Vec<String> {
                let found = fields.0.get("f:metadata").and_then(|metadata| metadata.get(of)?.as_object());
                let names = found.into_iter().flat_map(|map| map.keys()).filter_map(|key| key.strip_prefix("f:"));
                names.filter(|key| ![GENERATOR_LABEL, MANAGED_BY_LABEL].contains(key)).map(str::to_owned).collect()
            };
            self.applied.labels.extend(keys("f:labels"));
            self.applied.annotations.extend(keys("f:annotations"));
        }
    }

    /// The published artifact.
    pub fn artifact(&self) -> Option<&Artifact> {
        self.status.as_ref()?.artifact.as_ref()
    }
}

/// The manager of the newest entry. Times are whole seconds: of several at once, one that is not this controller is taken. A write
/// that only takes fields away leaves no entry.
fn editor(entries: &[ManagedFieldsEntry]) -> Option<String> {
    let manager = |entry: &ManagedFieldsEntry| entry.manager.clone().filter(|name| name != FIELD_MANAGER);
    let newest =
        entries.iter().max_by_key(|entry| (entry.time.as_ref().map(|time| time.0), manager(entry).is_some()))?;
    manager(newest)
}

/// Spec of an `ExternalArtifact`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalArtifactSpec {
    /// The object that the artifact was made for. Consumers ignore it, people and `flux trace` do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<SourceRef>,
}

/// Names the generator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// `apiVersion` of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// Status of an `ExternalArtifact`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExternalArtifactStatus {
    /// The file that consumers download. Its presence is what they call ready.
    #[serde(default, deserialize_with = "lenient::or_default", skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Conditions; Weir writes one, Ready.
    #[serde(default, deserialize_with = "lenient::items", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// `status.artifact`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// `<algorithm>:<hex>` of the bytes as served.
    pub digest: String,
    /// When these bytes were stored, to the second.
    pub last_update_time: Time,
    /// `externalartifact/<namespace>/<name>/<file>`.
    pub path: String,
    /// What consumers compare to see a new version.
    pub revision: String,
    /// Where to download the bytes.
    pub url: String,
    /// Length of the bytes as served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Free pairs, e.g. the origin revision.
    #[serde(default, deserialize_with = "lenient::null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Default for Artifact {
    fn default() -> Self {
        Self {
            digest: String::new(),
            last_update_time: Time(Timestamp::UNIX_EPOCH),
            path: String::new(),
            revision: String::new(),
            url: String::new(),
            size: None,
            metadata: BTreeMap::new(),
        }
    }
}

impl Artifact {
    /// The last part of `path`: the name of the file in the storage.
    pub fn filename(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}
