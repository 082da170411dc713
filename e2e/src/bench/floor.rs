//! The least that any controller must do: as many bare server-side applies, in the same run, for comparison.

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::Instant;

use super::generators::NAMESPACE;

/// Times `count` applies of an ExternalArtifact and as many of its status, by eight clients at a time.
pub(super) async fn measure(client: &Client, count: usize) -> Result<String> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "ExternalArtifact"));
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), NAMESPACE, &kind);
    let mut seconds = [0.0; 2];
    for (round, seconds) in seconds.iter_mut().enumerate() {
        let start = Instant::now();
        stream::iter(0..count)
            .map(|index| apply(&api, format!("floor-{index:05}"), round == 1))
            .buffer_unordered(8)
            .try_collect::<()>()
            .await?;
        *seconds = start.elapsed().as_secs_f64();
    }
    let [main, status] = seconds;
    Ok(format!("floor: {count} bare applies {main:.2} s, of their status {status:.2} s, 8 at a time"))
}

async fn apply(api: &Api<DynamicObject>, name: String, status: bool) -> Result<()> {
    let mut object = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact", "metadata": { "name": name },
    });
    let params = PatchParams::apply("floor").force();
    if status {
        object["status"] = json!({ "artifact": {
            "digest": format!("sha256:{}", "0".repeat(64)), "revision": "floor", "path": "floor", "url": "http://floor/floor",
            "lastUpdateTime": "2026-01-01T00:00:00Z",
        } });
        api.patch_status(&name, &params, &Patch::Apply(&object)).await?;
    } else {
        object["spec"] = json!({ "sourceRef": { "kind": "Floor", "name": "floor" } });
        api.patch(&name, &params, &Patch::Apply(&object)).await?;
    }
    Ok(())
}
