//! `deploy/base` on a real API server: it is accepted, and its Pod passes the restricted security standard.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weir_e2e::manifest;
use weir_e2e::scene::Scene;

/// Every object of the base is accepted; server-side apply refuses unknown fields.
pub(crate) async fn base_applies(scene: Scene) -> Result<()> {
    let objects = base()?;
    ensure!(objects.len() >= 9, "only {} objects", objects.len());
    manifest::apply_all(&scene.client(), &scene.namespace, &objects).await?;
    // Applying again changes nothing.
    manifest::apply_all(&scene.client(), &scene.namespace, &objects).await?;
    let mut typo = objects.into_iter().find(|object| kind(object) == "Service").context("no Service")?;
    typo.data["spec"]["publishNotReadyAdresses"] = json!(true);
    let refused = manifest::apply(&scene.client(), &scene.namespace, &typo).await;
    let error = format!("{:#}", refused.err().context("an unknown field is accepted")?);
    ensure!(error.contains("publishNotReadyAdresses"), "{error}");
    Ok(())
}

/// The template's Pod is created where only restricted Pods are; each weakened one is refused, so the check is alive.
pub(crate) async fn restricted_namespace_admits_the_pod(scene: Scene) -> Result<()> {
    let namespace = restricted_namespace(&scene).await?;
    let pods: Api<Pod> = Api::namespaced(scene.client(), &namespace);
    let weakened = [
        ("a privileged container", "/spec/initContainers/0/securityContext", json!({"privileged": true})),
        ("privilege escalation", "/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(true)),
        ("root", "/spec/containers/0/securityContext/runAsUser", json!(0)),
        ("root allowed", "/spec/initContainers/0/securityContext/runAsNonRoot", json!(false)),
        ("capabilities kept", "/spec/initContainers/0/securityContext/capabilities", json!({})),
        ("a capability more", "/spec/containers/0/securityContext/capabilities/add", json!(["NET_ADMIN"])),
        ("no seccomp", "/spec/containers/0/securityContext/seccompProfile/type", json!("Unconfined")),
        ("the node's network", "/spec/hostNetwork", json!(true)),
        ("the node's files", "/spec/volumes/0", json!({"name": "data", "hostPath": {"path": "/data"}})),
    ];
    for (what, pointer, value) in weakened {
        let mut pod = pod()?;
        set(&mut pod, pointer, value).with_context(|| format!("no place for {what}"))?;
        let refused = pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await;
        let error = refused.err().with_context(|| format!("a Pod with {what} is admitted"))?.to_string();
        ensure!(error.contains("violates PodSecurity \"restricted:latest\""), "{what}: {error}");
    }
    let created = pods.create(&PostParams::default(), &serde_json::from_value(pod()?)?).await?;
    let spec = created.spec.context("no spec")?;
    let token = spec.volumes.iter().flatten().filter(|volume| volume.projected.is_some()).count();
    ensure!(token == 1, "the API server added a token of its own: {:?}", spec.volumes);
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The objects that `deploy/base/kustomization.yaml` lists.
pub(crate) fn base() -> Result<Vec<DynamicObject>> {
    let folder = root().join("deploy/base");
    let text = std::fs::read_to_string(folder.join("kustomization.yaml"))?;
    let kustomization: Value = serde_saphyr::from_str(&text)?;
    let files = kustomization["resources"].as_array().context("no resources")?;
    let mut objects = Vec::new();
    for file in files {
        objects.extend(manifest::read_file(&folder.join(file.as_str().context("not a file name")?))?);
    }
    Ok(objects)
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.kind)
}

/// A Pod as the Deployment would make it.
fn pod() -> Result<Value> {
    let deployment = base()?.into_iter().find(|object| kind(object) == "Deployment").context("no Deployment")?;
    let mut pod = deployment.data["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("source-watcher");
    Ok(pod)
}

/// Sets a field; its parent must exist.
fn set(object: &mut Value, pointer: &str, value: Value) -> Option<()> {
    let (parent, field) = pointer.rsplit_once('/')?;
    let parent = object.pointer_mut(parent)?;
    match parent {
        Value::Array(list) => *list.get_mut(field.parse::<usize>().ok()?)? = value,
        Value::Object(map) => drop(map.insert(field.to_owned(), value)),
        _ => return None,
    }
    Some(())
}

async fn restricted_namespace(scene: &Scene) -> Result<String> {
    let name = &scene.namespace;
    let namespaces: Api<Namespace> = Api::all(scene.client());
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespaces.patch(name, &PatchParams::default(), &Patch::Merge(labels)).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client(), name);
    let account = serde_json::from_value(json!({"metadata": {"name": "source-watcher"}}))?;
    accounts.create(&PostParams::default(), &account).await?;
    Ok(name.clone())
}
