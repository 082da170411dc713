//! Waits for what a generator depends on. Generators are known; other kinds are asked for, each time.

use kube::{
    Api,
    api::DynamicObject,
    core::GroupVersionKind,
    discovery::{self, Scope},
};
use serde::Deserialize;

use super::Run;
use crate::{
    api::artifact_generator::Dependency,
    error::ReconcileError,
    plan::{depends, validate::Invalid},
    watch::feed::innermost,
};

/// What of a status says whether an object is Ready.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: Option<i64>,
    conditions: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>,
}

impl Run<'_> {
    /// All that the generator depends on is Ready. The first in spec order that is not is the error; a way back to the generator itself
    /// stalls it.
    pub(super) async fn await_dependencies(&self) -> Result<(), ReconcileError> {
        let known = &self.context.cluster.generators;
        let waits_for = |key: &_| known.get(key).map(|generator| depends::generators(&generator)).unwrap_or_default();
        if let Some(path) = depends::cycle(&self.key, waits_for) {
            return Err(Invalid::Cycle(path).into());
        }
        for dependency in &self.generator.spec.depends_on {
            let why = if depends::is_generator(dependency) {
                let generator = known.get(&self.output_key(&dependency.name));
                match generator {
                    // It may be another shard's.
                    None if self.context.settings.is_shard => self.ask(dependency).await.err(),
                    None => Some("does not exist".to_owned()),
                    Some(generator) if depends::generator_is_ready(&generator) => None,
                    Some(_) => Some("is not ready".to_owned()),
                }
            } else {
                self.ask(dependency).await.err()
            };
            if let Some(why) = why {
                let (kind, namespace, name) = (depends::kind(dependency), &self.key.namespace, &dependency.name);
                return Err(ReconcileError::Dependency(format!("dependency '{kind}/{namespace}/{name}' {why}")));
            }
        }
        Ok(())
    }

    /// Asks the API server. The error says what is in the way.
    async fn ask(&self, dependency: &Dependency) -> Result<(), String> {
        let (version, kind) = (depends::api_version(dependency), depends::kind(dependency));
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let unreadable = |error: &kube::Error| format!("can not be read: {}", innermost(error));
        let known = discovery::pinned_kind(&self.context.client, &wanted).await;
        let (resource, capabilities) = known.map_err(|error| match error {
            kube::Error::Api(status) if status.code != 404 => unreadable(&kube::Error::Api(status)),
            kube::Error::Api(_) | kube::Error::Discovery(_) => {
                format!("is of a kind that the API server does not have in {:?}", depends::api_version(dependency))
            }
            error => unreadable(&error),
        })?;
        if capabilities.scope == Scope::Cluster {
            return Err("is of a kind that has no namespace: name one that has".to_owned());
        }
        let api = Api::<DynamicObject>::namespaced_with(self.context.client.clone(), &self.key.namespace, &resource);
        let object = match api.get_opt(&dependency.name).await {
            Ok(object) => object.ok_or("does not exist")?,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let name = format!("{}.{}", resource.plural, resource.group);
                let name = name.trim_end_matches('.');
                return Err(format!(
                    "can not be read: allow the service account of weir-controller to `get` {name} (docs/security.md)"
                ));
            }
            Err(error) => return Err(unreadable(&error)),
        };
        let status = Status::deserialize(&object.data["status"]).unwrap_or_default();
        let is_ready = depends::is_ready(object.metadata.generation, status.observed_generation, &status.conditions);
        if is_ready { Ok(()) } else { Err("is not ready".to_owned()) }
    }
}
