//! `deploy/base` on a real API server: it is accepted, and its Pod passes the restricted security standard.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weir_artifact_server::policy::{Deed, Identity, Place, Policy};
use weir_e2e::manifest;
use weir_e2e::resources::{Kind, kustomization};
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

/// The objects that README.md and docs/ show are accepted as they stand there.
pub(crate) async fn documented_objects_are_accepted(scene: Scene) -> Result<()> {
    let mut found = 0;
    for document in ["README.md", "docs/operating.md", "docs/path-pattern.md", "docs/security.md"] {
        let text = std::fs::read_to_string(root().join(document)).with_context(|| document.to_owned())?;
        for block in blocks(&text) {
            // Patches have no kind, and kustomizations are no objects of the API.
            if !block.contains("apiVersion:") || block.contains(OVERLAY) {
                continue;
            }
            for mut object in manifest::parse(block).with_context(|| format!("{document}: {block}"))? {
                object.metadata.namespace = Some(scene.namespace.clone());
                manifest::apply(&scene.client(), &scene.namespace, &object)
                    .await
                    .with_context(|| format!("{document}: {block}"))?;
                found += 1;
            }
        }
    }
    ensure!(found >= 2, "only {found} objects found");
    Ok(())
}

/// What marks the README's own kustomization.
const OVERLAY: &str = "kustomize.config.k8s.io";

/// The README's overlay around the base, built and applied by the real kustomize-controller. A suffix and a namespace of its
/// own keep it apart from what other tests use.
pub(crate) async fn flux_installs_the_documented_overlay(scene: Scene) -> Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let overlay = blocks(&readme).find(|block| block.contains(OVERLAY)).context("no overlay in README.md")?;
    let mut files = vec![("kustomization.yaml".to_owned(), overlay.to_owned())];
    for file in base_files()?.into_iter().chain(["kustomization.yaml".to_owned()]) {
        let text = std::fs::read_to_string(root().join("deploy/base").join(&file))?;
        files.push((format!("weir/deploy/base/{file}"), text));
    }
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    scene.repository("install", &files).await?;
    let mut install = kustomization("install", &scene.namespace, (Kind::GitRepository, "install"), "./");
    install["spec"]["nameSuffix"] = json!(format!("-{}", scene.namespace));
    install["spec"]["prune"] = json!(false);
    scene.apply(install).await?;
    let installed = scene.ready(Kind::Kustomization, "install").await?;
    let entries = installed["status"]["inventory"]["entries"].as_array().map_or(0, Vec::len);
    ensure!(entries == base()?.len(), "{}", installed["status"]["inventory"]);
    let deployments: Api<Deployment> = Api::namespaced(scene.client(), &scene.namespace);
    let deployment = deployments.get(&format!("source-watcher-{}", scene.namespace)).await?;
    let spec = deployment.spec.and_then(|spec| spec.template.spec).context("no spec")?;
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let images: Vec<_> = containers.filter_map(|container| container.image.as_deref()).collect();
    let expected = ["weir-controller", "weir-artifact-server"].map(|name| format!("registry.example.com/{name}:0.1.0"));
    ensure!(images == expected, "{images:?}");
    Ok(())
}

/// `deploy/split`, built and applied by the real kustomize-controller: both Deployments have arguments that the programs take and agree
/// on, and Pods that a restricted namespace admits.
pub(crate) async fn flux_installs_the_split(scene: Scene) -> Result<()> {
    let mut files = Vec::new();
    for folder in ["deploy/base", "deploy/base/crd", "deploy/split"] {
        for entry in std::fs::read_dir(root().join(folder))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                files.push((name, std::fs::read_to_string(entry.path())?));
            }
        }
    }
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    scene.repository("split", &files).await?;
    let mut install = kustomization("split", &scene.namespace, (Kind::GitRepository, "split"), "./deploy/split");
    install["spec"]["nameSuffix"] = json!(format!("-{}", scene.namespace));
    install["spec"]["prune"] = json!(false);
    scene.apply(install).await?;
    scene.ready(Kind::Kustomization, "split").await?;
    let namespace = restricted_namespace(&scene).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client(), &namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}}))?;
    accounts.create(&PostParams::default(), &account).await?;
    let server = template(&scene, "artifact-server").await?;
    let controller = template(&scene, "source-watcher").await?;
    let pods: Api<Pod> = Api::namespaced(scene.client(), &namespace);
    for (name, template) in [("server", &server), ("controller", &controller)] {
        let pod = json!({"metadata": {"name": name}, "spec": template["spec"]});
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await.with_context(|| name.to_owned())?;
    }
    both_ends_agree(&scene, &server, &controller).await
}

/// The Pod template of a Deployment.
async fn template(scene: &Scene, name: &str) -> Result<Value> {
    let deployments: Api<Deployment> = Api::namespaced(scene.client(), &scene.namespace);
    let found = deployments.get(&format!("{name}-{}", scene.namespace)).await?;
    Ok(serde_json::to_value(found)?["spec"]["template"].clone())
}

/// The arguments of a template's only container.
fn arguments(template: &Value) -> Result<Vec<String>> {
    let containers = template["spec"]["containers"].as_array().context("no containers")?;
    ensure!(containers.len() == 1 && template["spec"]["initContainers"].is_null(), "{template}");
    let words: Vec<String> = serde_json::from_value(containers[0]["args"].clone())?;
    let words = words.into_iter().map(|word| word.replace("$(RUNTIME_NAMESPACE)", "flux-system"));
    Ok(std::iter::once("program".to_owned()).chain(words).collect())
}

async fn both_ends_agree(scene: &Scene, server: &Value, controller: &Value) -> Result<()> {
    use weir_artifact_server::args as theirs;
    use weir_controller::args as ours;
    let surroundings = theirs::Surroundings { hostname: None, temporary: "/tmp".into() };
    let theirs::CommandLine::Run(listens) = theirs::read(arguments(server)?, &surroundings) else {
        anyhow::bail!("the server refuses its arguments: {server}");
    };
    let surroundings = ours::Surroundings { namespace: "flux-system".into(), ..ours::Surroundings::default() };
    let ours::CommandLine::Run(calls) = ours::read(arguments(controller)?, &surroundings) else {
        anyhow::bail!("the controller refuses its arguments: {controller}");
    };
    let theirs::GrpcAddress::Tls(address, files) = &listens.grpc else { anyhow::bail!("{:?}", listens.grpc) };
    let host = format!("https://artifact-server.flux-system.svc.cluster.local:{}", address.port);
    ensure!(calls.artifact_server == host, "{} is not {host}", calls.artifact_server);
    ensure!(calls.storage.advertised_address == listens.advertised_address, "{}", listens.advertised_address);
    let mounted = [&files.certificate, &files.key, &files.client_authorities, &calls.certificates.key];
    ensure!(mounted.iter().all(|file| file.starts_with("/run/weir/tls")), "{mounted:?}");
    ensure!(listens.grpc_policy.is_some_and(|file| file.ends_with("policy/policy.yaml")), "no policy");
    let maps: Api<ConfigMap> = Api::namespaced(scene.client(), &scene.namespace);
    let map = maps.get(&format!("artifact-server-policy-{}", scene.namespace)).await?;
    let text = map.data.and_then(|mut data| data.remove("policy.yaml")).context("no policy.yaml")?;
    let policy = Policy::parse(text.as_bytes()).map_err(anyhow::Error::msg)?;
    let who = Identity::Certificate { dns: vec!["source-watcher.flux-system".into()], uris: Vec::new() };
    let place = Place { kind: "externalartifact", namespace: "apps" };
    ensure!(policy.allows(&who, Deed::Change(place, "source-watcher")), "{text}");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The YAML blocks of a document.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n```yaml\n").skip(1).filter_map(|rest| rest.split("\n```").next())
}

/// The files that `deploy/base/kustomization.yaml` lists.
fn base_files() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root().join("deploy/base/kustomization.yaml"))?;
    let kustomization: Value = serde_saphyr::from_str(&text)?;
    Ok(serde_json::from_value(kustomization["resources"].clone())?)
}

/// The objects in those files.
fn base() -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for file in base_files()? {
        objects.extend(manifest::read_file(&root().join("deploy/base").join(file))?);
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
