//! The objects of the benchmark: one GitRepository, and generators that split it.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Object, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::monorepo::Monorepo;

/// Namespace of everything the benchmark creates.
pub(super) const NAMESPACE: &str = "monorepo";
/// Name of the source.
const SOURCE: &str = "monorepo";
/// How many objects are created at once.
const WRITERS: usize = 8;

/// What of a generator the clock needs to see.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Seen {
    observed_sources_digest: String,
    conditions: Vec<SeenCondition>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct SeenCondition {
    r#type: String,
    status: String,
    reason: String,
}

/// Nothing of the spec is looked at: with 1000 artifacts it is large.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Unseen {}

type Generator = Object<Unseen, Seen>;

fn kind(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

fn generator_kind() -> ApiResource {
    kind("source.extensions.fluxcd.io", "v1beta1", "ArtifactGenerator")
}

/// Creates the source, without an artifact yet.
pub(super) async fn create_source(client: &Client) -> Result<()> {
    let kind = kind("source.toolkit.fluxcd.io", "v1", "GitRepository");
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": { "name": SOURCE },
        "spec": { "interval": "1h", "url": "https://example.invalid/monorepo" },
    });
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), NAMESPACE, &kind);
    api.create(&PostParams::default(), &serde_json::from_value(source)?)
        .await
        .context("cannot create the GitRepository")?;
    Ok(())
}

/// What source-controller does after a commit: names the new artifact in the source's status.
pub(super) async fn publish_source(client: &Client, revision: &str, digest: &str, url: &str) -> Result<()> {
    let kind = kind("source.toolkit.fluxcd.io", "v1", "GitRepository");
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), NAMESPACE, &kind);
    let path = url.rsplit('/').next().unwrap_or_default();
    let status: Value = json!({ "status": { "artifact": {
        "digest": digest, "revision": revision, "url": url, "path": path, "lastUpdateTime": "2026-01-01T00:00:00Z",
    } } });
    api.patch_status(SOURCE, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .context("cannot patch the GitRepository")?;
    Ok(())
}

/// The digest of observed sources that a generator reports once it is done with this artifact.
pub(super) fn observed_digest(revision: &str, digest: &str, url: &str) -> String {
    let text = format!("repo=[digest={digest},revision={revision},url={url}]");
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

/// Creates so many generators, each with an equal share of the applications.
pub(super) async fn create(client: &Client, generators: usize, apps: usize) -> Result<()> {
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), NAMESPACE, &generator_kind());
    let objects = (0..generators).map(|number| {
        let share = number * apps / generators..(number + 1) * apps / generators;
        let artifacts: Vec<Value> = share
            .map(Monorepo::app)
            .map(|app| json!({ "name": app, "copy": [{ "from": format!("@repo/apps/{app}/**"), "to": "@artifact/" }] }))
            .collect();
        json!({
            "apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator",
            "metadata": { "name": format!("generator-{number:03}") },
            "spec": { "sources": [{ "alias": "repo", "kind": "GitRepository", "name": SOURCE }], "artifacts": artifacts },
        })
    });
    stream::iter(objects.map(|object| {
        let api = api.clone();
        async move {
            api.create(&PostParams::default(), &serde_json::from_value(object)?)
                .await
                .context("cannot create a generator")?;
            anyhow::Ok(())
        }
    }))
    .buffer_unordered(WRITERS)
    .try_collect()
    .await
}

/// How many Kubernetes events there are.
pub(super) async fn events(client: &Client) -> Result<usize> {
    let api = Api::<Event>::namespaced(client.clone(), NAMESPACE);
    Ok(api.list(&ListParams::default()).await?.items.len())
}

/// Counts the generators that satisfy a test, as the API server reports them.
pub(super) struct Follower {
    events: std::pin::Pin<Box<dyn futures::Stream<Item = watcher::Result<watcher::Event<Generator>>> + Send>>,
    seen: std::collections::HashMap<String, Seen>,
}

impl Follower {
    /// Starts to follow all generators.
    pub(super) fn new(client: &Client) -> Self {
        let api = Api::<Generator>::namespaced_with(client.clone(), NAMESPACE, &generator_kind());
        Self { events: watcher(api, watcher::Config::default()).boxed(), seen: std::collections::HashMap::new() }
    }

    /// Waits until so many generators report the reason of the Ready condition (and the digest, when given).
    pub(super) async fn until(&mut self, count: usize, reason: &str, digest: Option<&str>) -> Result<()> {
        loop {
            let ready = |seen: &Seen| {
                seen.conditions.iter().any(|found| found.r#type == "Ready" && found.reason == reason)
                    && digest.is_none_or(|digest| digest == seen.observed_sources_digest)
            };
            if self.seen.values().filter(|seen| ready(seen)).count() >= count {
                return Ok(());
            }
            match self.events.try_next().await?.context("the watch ended")? {
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                    self.seen.insert(object.metadata.name.unwrap_or_default(), object.status.unwrap_or_default());
                }
                watcher::Event::Delete(object) => {
                    self.seen.remove(&object.metadata.name.unwrap_or_default());
                }
                watcher::Event::Init | watcher::Event::InitDone => {}
            }
        }
    }
}
