//! The CRD on a real API server: what it accepts and refuses, and that what the controller writes is accepted.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use weir_controller::api::artifact_generator::ArtifactGenerator;
use weir_controller::plan::conditions::{Situation, next};
use weir_e2e::resources::Kind;
use weir_e2e::scene::Scene;

/// What a row changes, and the part of the refusal that names the field; `None`: accepted.
type Row = (&'static str, Vec<(&'static str, Value)>, Option<&'static str>);

/// Stands for taking a field away.
const ABSENT: Value = Value::Null;

fn base() -> Value {
    json!({
        "apiVersion": "source.extensions.fluxcd.io/v1beta1",
        "kind": "ArtifactGenerator",
        "metadata": {"name": "row"},
        "spec": {
            "sources": [{"alias": "app", "kind": "GitRepository", "name": "app"}],
            "artifacts": [{"name": "out", "copy": [{"from": "@app/**", "to": "@artifact/"}]}],
        },
    })
}

/// Everything that §2 says of the spec.
pub(crate) async fn accepts_and_refuses(scene: Scene) -> Result<()> {
    let api: Api<DynamicObject> = scene.api(Kind::ArtifactGenerator);
    let try_only = PostParams { dry_run: true, field_manager: None };
    let rows: Vec<Row> =
        accepted().into_iter().chain(refused_sources()).chain(refused_artifacts()).chain(refused_additions()).collect();
    let mut wrong = Vec::new();
    for (row, changes, refusal) in &rows {
        let mut object = base();
        for (pointer, value) in changes {
            set(&mut object, pointer, value.clone()).with_context(|| format!("row {row}: no {pointer}"))?;
        }
        let answer = api.create(&try_only, &serde_json::from_value(object)?).await.map_err(|error| error.to_string());
        match (&answer, refusal) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) if error.contains(part) => {}
            _ => wrong.push(format!("{row}: {}", answer.map_or_else(|error| error, |_| "accepted".into()))),
        }
    }
    ensure!(rows.len() >= 40, "only {} rows", rows.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What a controller may write into the status, what it may not, and that objects without spec or status can be read.
pub(crate) async fn status_is_checked(scene: Scene) -> Result<()> {
    let typed: Api<ArtifactGenerator> = Api::namespaced(scene.client(), &scene.namespace);
    for name in ["bare", "full"] {
        let mut object = base();
        object["metadata"]["name"] = json!(name);
        if name == "bare" {
            object.as_object_mut().context("an object")?.remove("spec");
        }
        let created = typed.create(&PostParams::default(), &serde_json::from_value(object)?).await;
        ensure!(created?.spec.artifacts.len() == usize::from(name == "full"), "{name}");
    }
    let now = "2026-01-02T03:04:05Z".parse()?;
    let situations = [
        Situation::Working,
        Situation::FirstPassPaused,
        Situation::Succeeded { artifacts: 1 },
        Situation::Failed { reason: "SourceFetchFailed", message: &"ä".repeat(40_000) },
        Situation::Stalled { reason: "ValidationFailed", message: "duplicate source alias 'a' found" },
    ];
    let entry = json!({"name": "out", "namespace": "n", "digest": "sha256:1", "filename": "1.tar.gz"});
    for situation in situations {
        let status = json!({"conditions": next(&[], situation, 1, now), "inventory": [entry],
            "observedSourcesDigest": "sha256:1", "lastHandledReconcileAt": "now"});
        let change = Patch::Merge(json!({"status": status}));
        let written = typed.patch_status("full", &PatchParams::default(), &change).await;
        let written = written.with_context(|| format!("{situation:?}"))?.status.context("no status")?;
        ensure!(serde_json::to_value(&written)? == status, "{written:?}");
    }
    for field in ["name", "namespace", "digest", "filename"] {
        let mut partial = entry.clone();
        partial.as_object_mut().context("an object")?.remove(field);
        let change = Patch::Merge(json!({"status": {"inventory": [partial]}}));
        let refused = typed.patch_status("full", &PatchParams::default(), &change).await.err();
        let error = refused.with_context(|| format!("an entry without {field} is accepted"))?.to_string();
        ensure!(error.contains(&format!("status.inventory[0].{field}: Required value")), "{error}");
    }
    ensure!(typed.list(&ListParams::default()).await?.items.len() == 2, "both can be listed");
    Ok(())
}

/// §1: what `kubectl get` shows, under which names, and that the object is no template of Flux.
pub(crate) async fn is_shown_as_documented(scene: Scene) -> Result<()> {
    let api: Api<DynamicObject> = scene.api(Kind::ArtifactGenerator);
    api.create(&PostParams::default(), &serde_json::from_value(base())?).await?;
    let now = "2026-01-02T03:04:05Z".parse()?;
    let status = json!({"status": {"conditions": next(&[], Situation::Succeeded { artifacts: 1 }, 1, now)}});
    scene.patch_status(Kind::ArtifactGenerator, "row", status).await?;

    // As kubectl asks.
    let url = format!("/apis/source.extensions.fluxcd.io/v1beta1/namespaces/{}/artifactgenerators", scene.namespace);
    let request = http::Request::get(&url).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table: Value = scene.client().request(request.body(Vec::new())?).await?;
    let names = ["Name", "Age", "Ready", "Status"].map(|name| json!(name));
    let columns = table["columnDefinitions"].as_array().context("no columns")?;
    ensure!(columns.iter().map(|column| &column["name"]).eq(&names), "{columns:?}");
    let cells = table["rows"][0]["cells"].as_array().context("no cells")?;
    let shown = [&cells[0], &cells[2], &cells[3]];
    let wanted = ["row", "True", "reconciliation succeeded, generated 1 artifact(s)"].map(|cell| json!(cell));
    ensure!(shown.into_iter().eq(&wanted) && cells[1].is_string(), "{cells:?}");

    let resources = scene.client().list_api_group_resources("source.extensions.fluxcd.io/v1beta1").await?.resources;
    let found = resources.iter().find(|one| one.name == "artifactgenerators").context("it is not served")?;
    ensure!(found.kind == "ArtifactGenerator" && found.singular_name == "artifactgenerator", "{found:?}");
    ensure!(found.short_names.as_deref() == Some(&["ag".to_owned()]) && found.namespaced, "{found:?}");
    let mut categories = found.categories.clone().unwrap_or_default();
    categories.sort();
    ensure!(categories == ["all", "fluxcd", "fluxcd-sources"], "{found:?}");
    let mut names: Vec<&str> = resources.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    ensure!(names == ["artifactgenerators", "artifactgenerators/status"], "no scale: {names:?}");

    let definitions: Api<CustomResourceDefinition> = Api::all(scene.client());
    let definition = definitions.get("artifactgenerators.source.extensions.fluxcd.io").await?;
    let annotations = definition.metadata.annotations.unwrap_or_default();
    let substitute = annotations.get("kustomize.toolkit.fluxcd.io/substitute");
    ensure!(substitute.map(String::as_str) == Some("disabled"), "{annotations:?}");
    let versions = &definition.spec.versions;
    ensure!(versions.len() == 1 && versions[0].served && versions[0].storage, "{versions:?}");
    Ok(())
}

fn accepted() -> Vec<Row> {
    let long = |length| json!("a".repeat(length));
    let copy = || json!({"from": "@app/x", "to": "@artifact/"});
    let many = |count: usize| {
        Value::from_iter((0..count).map(|number| json!({"name": format!("out-{number}"), "copy": [copy()]})))
    };
    vec![
        ("§2 plain", vec![], None),
        ("§2 without spec", vec![("/spec", ABSENT)], None),
        (
            "§2 all kinds of fields",
            vec![
                ("/spec/commonMetadata", json!({"labels": {"a": "b"}, "annotations": {"c": "d"}})),
                ("/spec/sources/0/namespace", json!("other")),
                ("/spec/artifacts/0/revision", json!("@app")),
                ("/spec/artifacts/0/originRevision", json!("@app")),
                ("/spec/artifacts/0/copy/0/exclude", json!(["*.md", "docs/**"])),
                ("/spec/artifacts/0/copy/0/strategy", json!("Merge")),
            ],
            None,
        ),
        ("not suspended", vec![("/spec/suspend", json!(false))], None),
        ("§2 kind Bucket", vec![("/spec/sources/0/kind", json!("Bucket"))], None),
        ("§2 kind OCIRepository", vec![("/spec/sources/0/kind", json!("OCIRepository"))], None),
        ("§2 kind HelmChart", vec![("/spec/sources/0/kind", json!("HelmChart"))], None),
        ("§2 kind ExternalArtifact", vec![("/spec/sources/0/kind", json!("ExternalArtifact"))], None),
        ("§2 strategy Overwrite", vec![("/spec/artifacts/0/copy/0/strategy", json!("Overwrite"))], None),
        ("§2 strategy Extract", vec![("/spec/artifacts/0/copy/0/strategy", json!("Extract"))], None),
        ("§2 alias with _ and -", vec![("/spec/sources/0/alias", json!("a_b-c"))], None),
        ("§2 alias of 63", vec![("/spec/sources/0/alias", long(63))], None),
        ("§2 name of 253", vec![("/spec/sources/0/name", long(253))], None),
        ("§2 artifact name with dots", vec![("/spec/artifacts/0/name", json!("a.b-c.1"))], None),
        ("§2 from the root", vec![("/spec/artifacts/0/copy/0/from", json!("@app/"))], None),
        (
            "§2 an alias twice is for the controller",
            vec![(
                "/spec/sources",
                json!([
            {"alias": "app", "kind": "Bucket", "name": "a"}, {"alias": "app", "kind": "Bucket", "name": "b"}]),
            )],
            None,
        ),
        (
            "§2 pathPattern lets names be templates",
            vec![("/spec/pathPattern", json!("@app/apps/{app}")), ("/spec/artifacts/0/name", json!("{app}-config"))],
            None,
        ),
        ("§2 exclude of 100", vec![("/spec/artifacts/0/copy/0/exclude", Value::from_iter(vec!["x"; 100]))], None),
        ("§2 exclude of any length", vec![("/spec/artifacts/0/copy/0/exclude", json!([long(10_000)]))], None),
        ("§2 copy without a most", vec![("/spec/artifacts/0/copy", Value::from_iter(vec![copy(); 1001]))], None),
        ("§2 from of 1024", vec![("/spec/artifacts/0/copy/0/from", json!(format!("@app/{}", "a".repeat(1019))))], None),
        (
            "§2 to of 1024",
            vec![("/spec/artifacts/0/copy/0/to", json!(format!("@artifact/{}", "a".repeat(1014))))],
            None,
        ),
        ("§2 from an alias that no source has", vec![("/spec/artifacts/0/copy/0/from", json!("@other/x"))], None),
        ("§2 pathPattern of 1024", vec![("/spec/pathPattern", json!(format!("@app/{}", "a".repeat(1019))))], None),
        ("§2 namespace of 63", vec![("/spec/sources/0/namespace", long(63))], None),
        ("§2 the own namespace, of one letter", vec![("/spec/sources/0/namespace", json!("n"))], None),
        ("§2 revision of 64", vec![("/spec/artifacts/0/revision", json!(format!("@{}", "a".repeat(63))))], None),
        (
            "§2 originRevision of 64",
            vec![("/spec/artifacts/0/originRevision", json!(format!("@{}", "a".repeat(63))))],
            None,
        ),
        ("§2 artifact name of 253", vec![("/spec/artifacts/0/name", long(253))], None),
        (
            "§2 an artifact twice is for the controller",
            vec![("/spec/artifacts", json!([{"name": "a", "copy": [copy()]}, {"name": "a", "copy": [copy()]}]))],
            None,
        ),
        ("§2 empty commonMetadata", vec![("/spec/commonMetadata", json!({}))], None),
        ("§2 1000 sources", vec![("/spec/sources", buckets(1000))], None),
        ("§2 1000 artifacts", vec![("/spec/artifacts", many(1000))], None),
        ("§2 1001 artifacts", vec![("/spec/artifacts", many(1001))], Some("spec.artifacts: Too many")),
    ]
}

fn buckets(count: usize) -> Value {
    Value::from_iter((0..count).map(|number| json!({"alias": format!("a{number}"), "kind": "Bucket", "name": "a"})))
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn refused_sources() -> Vec<Row> {
    let long = |length| json!("a".repeat(length));
    vec![
        ("§2 no sources", vec![("/spec/sources", ABSENT)], Some("spec.sources: Required value")),
        ("§2 empty sources", vec![("/spec/sources", json!([]))], Some("spec.sources: Invalid value")),
        ("§2 1001 sources", vec![("/spec/sources", buckets(1001))], Some("spec.sources: Too many")),
        ("§2 no alias", vec![("/spec/sources/0/alias", ABSENT)], Some("spec.sources[0].alias: Required value")),
        (
            "§2 alias in upper case",
            vec![("/spec/sources/0/alias", json!("App"))],
            Some("spec.sources[0].alias: Invalid"),
        ),
        (
            "§2 alias that ends in -",
            vec![("/spec/sources/0/alias", json!("a-"))],
            Some("spec.sources[0].alias: Invalid"),
        ),
        ("§2 alias with a dot", vec![("/spec/sources/0/alias", json!("a.b"))], Some("spec.sources[0].alias: Invalid")),
        ("§2 alias of 64", vec![("/spec/sources/0/alias", long(64))], Some("spec.sources[0].alias: Too long")),
        ("§2 no name", vec![("/spec/sources/0/name", ABSENT)], Some("spec.sources[0].name: Required value")),
        ("§2 name with a dot", vec![("/spec/sources/0/name", json!("a.b"))], Some("spec.sources[0].name: Invalid")),
        ("§2 name of 254", vec![("/spec/sources/0/name", long(254))], Some("spec.sources[0].name: Too long")),
        (
            "§2 empty namespace",
            vec![("/spec/sources/0/namespace", json!(""))],
            Some("spec.sources[0].namespace: Invalid"),
        ),
        (
            "§2 namespace of 64",
            vec![("/spec/sources/0/namespace", long(64))],
            Some("spec.sources[0].namespace: Too long"),
        ),
        ("§2 no kind", vec![("/spec/sources/0/kind", ABSENT)], Some("spec.sources[0].kind: Required value")),
        (
            "§2 kind HelmRepository",
            vec![("/spec/sources/0/kind", json!("HelmRepository"))],
            Some("Unsupported value: \"HelmRepository\""),
        ),
        (
            "§2 pathPattern without alias",
            vec![("/spec/pathPattern", json!("apps/{app}"))],
            Some("spec.pathPattern: Invalid"),
        ),
        (
            "§2 pathPattern of 1025",
            vec![("/spec/pathPattern", json!(format!("@app/{}", "a".repeat(1020))))],
            Some("spec.pathPattern: Too long"),
        ),
        ("§2 pathPattern without path", vec![("/spec/pathPattern", json!("@app"))], Some("spec.pathPattern: Invalid")),
        (
            "§2 pathPattern with an alias in upper case",
            vec![("/spec/pathPattern", json!("@App/{app}"))],
            Some("spec.pathPattern: Invalid"),
        ),
        ("§2 empty alias", vec![("/spec/sources/0/alias", json!(""))], Some("spec.sources[0].alias: Invalid")),
        ("§2 empty source name", vec![("/spec/sources/0/name", json!(""))], Some("spec.sources[0].name: Invalid")),
        ("§2 source name with _", vec![("/spec/sources/0/name", json!("a_b"))], Some("spec.sources[0].name: Invalid")),
        (
            "§2 namespace with a dot",
            vec![("/spec/sources/0/namespace", json!("a.b"))],
            Some("spec.sources[0].namespace: Invalid"),
        ),
        (
            "§2 annotation that is a list",
            vec![("/spec/commonMetadata", json!({"annotations": {"a": []}}))],
            Some("spec.commonMetadata.annotations.a: Invalid"),
        ),
        (
            "§2 label that is a number",
            vec![("/spec/commonMetadata", json!({"labels": {"a": 1}}))],
            Some("spec.commonMetadata.labels.a: Invalid"),
        ),
    ]
}

/// Fields of Weir's own.
fn refused_additions() -> Vec<Row> {
    vec![
        (
            "a dependency without name",
            vec![("/spec/dependsOn", json!([{}]))],
            Some("spec.dependsOn[0].name: Required value"),
        ),
        (
            "a dependency of no name",
            vec![("/spec/dependsOn", json!([{"name": ""}]))],
            Some("spec.dependsOn[0].name: Invalid"),
        ),
        ("suspended in words", vec![("/spec/suspend", json!("yes"))], Some("spec.suspend")),
        ("optional in words", vec![("/spec/artifacts/0/copy/0/optional", json!("yes"))], Some("copy[0].optional")),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn refused_artifacts() -> Vec<Row> {
    let names = "artifact names must be valid Kubernetes object names when pathPattern is not set";
    let long = |length| json!("a".repeat(length));
    let copy = "/spec/artifacts/0/copy";
    let [from, to] = ["/spec/artifacts/0/copy/0/from", "/spec/artifacts/0/copy/0/to"];
    vec![
        ("§2 no artifacts", vec![("/spec/artifacts", ABSENT)], Some("spec.artifacts: Required value")),
        ("§2 empty artifacts", vec![("/spec/artifacts", json!([]))], Some("spec.artifacts: Invalid value")),
        ("§2 no name", vec![("/spec/artifacts/0/name", ABSENT)], Some("spec.artifacts[0].name: Required value")),
        ("§2 empty name", vec![("/spec/artifacts/0/name", json!(""))], Some("spec.artifacts[0].name: Invalid")),
        ("§2 name of 254", vec![("/spec/artifacts/0/name", long(254))], Some("spec.artifacts[0].name: Too long")),
        ("§2 name in upper case", vec![("/spec/artifacts/0/name", json!("Out"))], Some(names)),
        ("§2 name with _", vec![("/spec/artifacts/0/name", json!("a_b"))], Some(names)),
        ("§2 name with two dots", vec![("/spec/artifacts/0/name", json!("a..b"))], Some(names)),
        ("§2 template without pathPattern", vec![("/spec/artifacts/0/name", json!("{app}"))], Some(names)),
        (
            "§2 template with an empty pathPattern",
            vec![("/spec/pathPattern", json!("")), ("/spec/artifacts/0/name", json!("{app}"))],
            Some("spec.pathPattern: Invalid"),
        ),
        (
            "§2 revision without @",
            vec![("/spec/artifacts/0/revision", json!("app"))],
            Some("spec.artifacts[0].revision: Invalid"),
        ),
        (
            "§2 revision of 65",
            vec![("/spec/artifacts/0/revision", json!(format!("@{}", "a".repeat(64))))],
            Some("spec.artifacts[0].revision: Too long"),
        ),
        (
            "§2 originRevision with a path",
            vec![("/spec/artifacts/0/originRevision", json!("@app/x"))],
            Some("spec.artifacts[0].originRevision: Invalid"),
        ),
        ("§2 no copy", vec![(copy, ABSENT)], Some("spec.artifacts[0].copy: Required value")),
        ("§2 empty copy", vec![(copy, json!([]))], Some("spec.artifacts[0].copy: Invalid value")),
        ("§2 no from", vec![(from, ABSENT)], Some("spec.artifacts[0].copy[0].from: Required value")),
        ("§2 from without path", vec![(from, json!("@app"))], Some("spec.artifacts[0].copy[0].from: Invalid")),
        (
            "§2 from of 1025",
            vec![(from, json!(format!("@app/{}", "a".repeat(1020))))],
            Some("spec.artifacts[0].copy[0].from: Too long"),
        ),
        ("§2 empty from", vec![(from, json!(""))], Some("spec.artifacts[0].copy[0].from: Invalid")),
        ("§2 from without alias", vec![(from, json!("app/x"))], Some("spec.artifacts[0].copy[0].from: Invalid")),
        (
            "§2 from an alias in upper case",
            vec![(from, json!("@App/x"))],
            Some("spec.artifacts[0].copy[0].from: Invalid"),
        ),
        ("§2 empty to", vec![(to, json!(""))], Some("spec.artifacts[0].copy[0].to: Invalid")),
        (
            "§2 to of 1025",
            vec![(to, json!(format!("@artifact/{}", "a".repeat(1015))))],
            Some("spec.artifacts[0].copy[0].to: Too long"),
        ),
        (
            "§2 originRevision of 65",
            vec![("/spec/artifacts/0/originRevision", json!(format!("@{}", "a".repeat(64))))],
            Some("spec.artifacts[0].originRevision: Too long"),
        ),
        (
            "§2 exclude that is a number",
            vec![("/spec/artifacts/0/copy/0/exclude", json!([1]))],
            Some("spec.artifacts[0].copy[0].exclude[0]: Invalid"),
        ),
        ("§2 no to", vec![(to, ABSENT)], Some("spec.artifacts[0].copy[0].to: Required value")),
        ("§2 to another alias", vec![(to, json!("@app/"))], Some("spec.artifacts[0].copy[0].to: Invalid")),
        ("§2 to without slash", vec![(to, json!("@artifact"))], Some("spec.artifacts[0].copy[0].to: Invalid")),
        (
            "§2 exclude of 101",
            vec![("/spec/artifacts/0/copy/0/exclude", Value::from_iter(vec!["x"; 101]))],
            Some("spec.artifacts[0].copy[0].exclude: Too many"),
        ),
        (
            "§2 unknown strategy",
            vec![("/spec/artifacts/0/copy/0/strategy", json!("Append"))],
            Some("Unsupported value: \"Append\""),
        ),
        ("§2 empty strategy", vec![("/spec/artifacts/0/copy/0/strategy", json!(""))], Some("Unsupported value: \"\"")),
    ]
}

/// Sets or, with [`ABSENT`], removes a field; its parent must exist.
fn set(object: &mut Value, pointer: &str, value: Value) -> Option<()> {
    let (parent, field) = pointer.rsplit_once('/')?;
    let map = object.pointer_mut(parent)?.as_object_mut()?;
    if value == ABSENT {
        drop(map.remove(field))
    } else {
        drop(map.insert(field.to_owned(), value))
    }
    Some(())
}
