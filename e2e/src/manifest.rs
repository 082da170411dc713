//! Manifests in YAML: read, and applied in order.

use std::path::Path;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt, discovery};

use crate::eventually::{PATIENCE, eventually};

/// The field manager of everything that tests and the playground apply.
pub const FIELD_MANAGER: &str = "weir-e2e";

/// The documents of a YAML text.
///
/// # Errors
/// When it is no YAML, or a document is no Kubernetes object.
pub fn parse(text: &str) -> Result<Vec<DynamicObject>> {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text)?;
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .map(|document| serde_json::from_value(document).context("a document is no Kubernetes object"))
        .collect()
}

/// The objects of all `*.yaml` files of a folder, by file name.
///
/// # Errors
/// When the folder or a file cannot be read or parsed; names it.
pub fn read_folder(folder: &Path) -> Result<Vec<DynamicObject>> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
        .collect();
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        objects.extend(read_file(&file)?);
    }
    Ok(objects)
}

/// The objects of one file.
///
/// # Errors
/// When it cannot be read or parsed; names it.
pub fn read_file(file: &Path) -> Result<Vec<DynamicObject>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("in {}", file.display()))
}

/// Applies one object by server-side apply, in `namespace` if it is namespaced
/// and names none itself. Waits for its kind to be known.
///
/// # Errors
/// When the API server refuses it, or the kind stays unknown.
pub async fn apply(client: &Client, namespace: &str, object: &DynamicObject) -> Result<DynamicObject> {
    let types = object.types.as_ref().context("an object without apiVersion and kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    let name = object.name_any();
    let what = format!("the kind {} is known", types.kind);
    let (resource, capabilities) =
        eventually(&what, PATIENCE, || async { Ok(discovery::pinned_kind(client, &kind).await?) }).await?;
    let api: Api<DynamicObject> = match capabilities.scope {
        discovery::Scope::Cluster => Api::all_with(client.clone(), &resource),
        discovery::Scope::Namespaced => {
            let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(object))
        .await
        .with_context(|| format!("cannot apply {} {name}", types.kind))
}

/// Applies objects one after the other.
///
/// # Errors
/// As [`apply`], at the first failure.
pub async fn apply_all(client: &Client, namespace: &str, objects: &[DynamicObject]) -> Result<()> {
    for object in objects {
        apply(client, namespace, object).await?;
    }
    Ok(())
}

/// Applies resource definitions (CRDs) and waits until each is served.
///
/// # Errors
/// When one is refused or not established in time.
pub async fn apply_definitions(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    futures::stream::iter(objects)
        .map(|object| async move {
            let name = object.name_any();
            let applied = apply(client, "default", object).await?;
            let resource = kube::api::ApiResource::erase::<Definition>(&());
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            eventually(&format!("{name} is established"), PATIENCE, || async {
                let state = api.get(&applied.name_any()).await?.data;
                let established = crate::resources::condition(&state, "Established");
                anyhow::ensure!(established.is_some_and(|c| c["status"] == "True"), "{}", state["status"]);
                Ok(())
            })
            .await
        })
        .buffer_unordered(4)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

type Definition = k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_in_order_and_empty_ones_skipped() {
        let text = "---\napiVersion: v1\nkind: A\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: B\nmetadata: {name: b}\n";
        let names: Vec<_> = parse(text).unwrap().iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_scalar_is_no_object() {
        assert!(parse("--- hello\n").is_err());
    }
}
