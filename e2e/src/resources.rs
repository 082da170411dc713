//! The kinds that tests meet, and small builders for their objects.
//!
//! A builder takes only what a test is about; everything else is what a user
//! would write. Builders return JSON: a test that needs more adds it.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

/// A custom kind of Flux or Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A git repository that source-controller follows.
    GitRepository,
    /// What Weir's controller reconciles.
    ArtifactGenerator,
    /// What it publishes.
    ExternalArtifact,
    /// What kustomize-controller applies.
    Kustomization,
    /// What helm-controller installs.
    HelmRelease,
    /// A core kind, applied by the consumers in tests.
    ConfigMap,
}

impl Kind {
    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GitRepository => "GitRepository",
            Self::ArtifactGenerator => "ArtifactGenerator",
            Self::ExternalArtifact => "ExternalArtifact",
            Self::Kustomization => "Kustomization",
            Self::HelmRelease => "HelmRelease",
            Self::ConfigMap => "ConfigMap",
        }
    }

    fn group_version(self) -> (&'static str, &'static str) {
        match self {
            Self::GitRepository | Self::ExternalArtifact => ("source.toolkit.fluxcd.io", "v1"),
            Self::ArtifactGenerator => ("source.extensions.fluxcd.io", "v1beta1"),
            Self::Kustomization => ("kustomize.toolkit.fluxcd.io", "v1"),
            Self::HelmRelease => ("helm.toolkit.fluxcd.io", "v2"),
            Self::ConfigMap => ("", "v1"),
        }
    }

    /// Where the API server has it.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, version) = self.group_version();
        let kind = GroupVersionKind::gvk(group, version, self.name());
        let plural = match self {
            Self::GitRepository => "gitrepositories".to_owned(),
            _ => format!("{}s", self.name().to_lowercase()),
        };
        ApiResource::from_gvk_with_plural(&kind, &plural)
    }

    /// An object of this kind with nothing but its name.
    #[must_use]
    pub fn object(self, name: &str) -> Value {
        let resource = self.resource();
        json!({"apiVersion": resource.api_version, "kind": self.name(), "metadata": {"name": name}})
    }
}

/// The condition of that type in an object's status.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// A `GitRepository` that follows the branch `main` of `url`.
#[must_use]
pub fn git_repository(name: &str, url: &str) -> Value {
    let mut object = Kind::GitRepository.object(name);
    object["spec"] = json!({"interval": "10m", "url": url, "ref": {"branch": "main"}});
    object
}

/// An `ArtifactGenerator` with one git source of alias `repo`. `artifacts` is
/// the spec's list of that name.
#[must_use]
pub fn artifact_generator(name: &str, repository: &str, artifacts: Value) -> Value {
    let mut object = Kind::ArtifactGenerator.object(name);
    object["spec"] = json!({
        "sources": [{"alias": "repo", "kind": "GitRepository", "name": repository}],
        "artifacts": artifacts,
    });
    object
}

/// One entry of `artifacts`: copies `from` to `to`, each pair in order.
#[must_use]
pub fn artifact(name: &str, copies: &[(&str, &str)]) -> Value {
    let copy: Vec<_> = copies.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
    json!({"name": name, "copy": copy})
}

/// A `Kustomization` that applies the folder `path` of a source, prunes, and
/// writes into its own namespace.
#[must_use]
pub fn kustomization(name: &str, namespace: &str, source: (Kind, &str), path: &str) -> Value {
    let mut object = Kind::Kustomization.object(name);
    object["spec"] = json!({
        "interval": "10m",
        "retryInterval": "2s",
        "prune": true,
        "path": path,
        "targetNamespace": namespace,
        "sourceRef": {"kind": source.0.name(), "name": source.1},
    });
    object
}

/// A `HelmRelease` of the chart in an `ExternalArtifact`.
#[must_use]
pub fn helm_release(name: &str, artifact: &str) -> Value {
    let mut object = Kind::HelmRelease.object(name);
    object["spec"] = json!({
        "interval": "10m",
        "releaseName": name,
        "chartRef": {"kind": "ExternalArtifact", "name": artifact},
    });
    object
}

/// A `ConfigMap` with one key, as YAML text for a repository.
#[must_use]
pub fn config_map_yaml(name: &str, key: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  {key}: {value:?}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_those_of_the_definitions() {
        let kinds = [
            (Kind::GitRepository, "gitrepositories"),
            (Kind::ArtifactGenerator, "artifactgenerators"),
            (Kind::ExternalArtifact, "externalartifacts"),
            (Kind::Kustomization, "kustomizations"),
            (Kind::HelmRelease, "helmreleases"),
            (Kind::ConfigMap, "configmaps"),
        ];
        for (kind, plural) in kinds {
            assert_eq!(kind.resource().plural, plural);
        }
        assert_eq!(Kind::ConfigMap.resource().api_version, "v1");
    }
}
