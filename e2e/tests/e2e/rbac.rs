//! What the shipped roles allow and refuse, asked with the service account's real token.

use anyhow::{Result, ensure};
use http::{Method, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use weir_e2e::scene::Scene;

const SOURCES: &str = "/apis/source.toolkit.fluxcd.io/v1";
const GENERATORS: &str = "/apis/source.extensions.fluxcd.io/v1beta1";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/flux-system/leases";
const LEASE: &str = "source-watcher-leader-election";
const APPLY: &str = "?fieldManager=source-watcher&force=true";

/// The controller with its own rights.
struct Controller {
    client: Client,
    namespace: String,
}

impl Controller {
    /// The stage has applied the shipped account and roles.
    async fn new(scene: &Scene) -> Result<Self> {
        let access = scene.stage.control_plane.service_account("flux-system", "source-watcher").await?;
        Ok(Self { client: access.client()?, namespace: scene.namespace.clone() })
    }

    /// The answer's status. `{ns}` in the path stands for the test's namespace.
    async fn ask(&self, method: Method, path: &str, body: Value) -> Result<StatusCode> {
        let kind = match method {
            Method::PATCH if path.contains(APPLY) => "application/apply-patch+yaml",
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path.replace("{ns}", &self.namespace))
            .header("content-type", kind)
            .body(Body::from(serde_json::to_vec(&body)?))?;
        Ok(self.client.send(request).await?.status())
    }
}

/// Reads of everything it watches, and each write it makes, in the order of a generator's life.
pub(crate) async fn shipped_roles_allow_what_the_controller_does(scene: Scene) -> Result<()> {
    let controller = Controller::new(&scene).await?;
    for kind in ["gitrepositories", "ocirepositories", "buckets", "helmcharts", "externalartifacts"] {
        reads(&controller, SOURCES, kind).await?;
    }
    reads(&controller, GENERATORS, "artifactgenerators").await?;
    generator(&scene).await?;
    for (what, method, path, body) in writes(&scene.namespace) {
        let status = controller.ask(method.clone(), &path, body).await?;
        ensure!(status.is_success(), "{what}: {method} {path} gives {status}");
    }
    holds_the_lease(&controller).await
}

/// Creates the Lease, reads it and replaces it. Nobody overwrites what he has not read.
async fn holds_the_lease(controller: &Controller) -> Result<()> {
    let path = format!("{LEASES}/{LEASE}");
    let lease = |version: Value| {
        let metadata = json!({"name": LEASE, "resourceVersion": version});
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {"holderIdentity": "me"}})
    };
    let rows = [
        ("there is none", Method::GET, Value::Null, StatusCode::NOT_FOUND),
        ("take it", Method::PUT, lease(Value::Null), StatusCode::CREATED),
        ("create it once more", Method::PUT, lease(Value::Null), StatusCode::UNPROCESSABLE_ENTITY),
        ("overwrite what was never there", Method::PUT, lease(json!("1")), StatusCode::CONFLICT),
        ("read it", Method::GET, Value::Null, StatusCode::OK),
    ];
    for (what, method, body, expected) in rows {
        let status = controller.ask(method, &path, body).await?;
        ensure!(status == expected, "{what}: {status}");
    }
    let found: Value = controller.client.request(Request::get(&path).body(Vec::new())?).await?;
    let status = controller.ask(Method::PUT, &path, lease(found["metadata"]["resourceVersion"].clone())).await?;
    ensure!(status == StatusCode::OK, "keep it: {status}");
    Ok(())
}

/// Lists, follows and gets (a name that does not exist: 404 is an answer, 403 is a refusal).
async fn reads(controller: &Controller, group: &str, kind: &str) -> Result<()> {
    let rows = [
        (format!("{group}/{kind}"), StatusCode::OK),
        (format!("{group}/{kind}?watch=1&timeoutSeconds=1"), StatusCode::OK),
        (format!("{group}/namespaces/{{ns}}/{kind}/none"), StatusCode::NOT_FOUND),
    ];
    for (path, expected) in rows {
        let status = controller.ask(Method::GET, &path, Value::Null).await?;
        ensure!(status == expected, "GET {path} gives {status}");
    }
    Ok(())
}

async fn generator(scene: &Scene) -> Result<()> {
    let artifacts = json!([weir_e2e::resources::artifact("made", &[("@repo/**", "@artifact/")])]);
    // Paused: a controller that runs for another test must not meet it.
    let mut object = weir_e2e::resources::artifact_generator("made", "none", artifacts);
    object["metadata"]["annotations"] = json!({"source.extensions.fluxcd.io/reconcile": "disabled"});
    scene.apply(object).await
}

type Write = (&'static str, Method, String, Value);

fn writes(namespace: &str) -> Vec<Write> {
    let generator = format!("{GENERATORS}/namespaces/{namespace}/artifactgenerators/made");
    let artifact = format!("{SOURCES}/namespaces/{namespace}/externalartifacts/made");
    let events = format!("/api/v1/namespaces/{namespace}/events");
    let object = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "made"}});
    let published = object("source.toolkit.fluxcd.io/v1", "ExternalArtifact");
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "made.1", "namespace": namespace},
        "involvedObject": {"kind": "ArtifactGenerator", "namespace": namespace, "name": "made"},
        "reason": "Test", "message": "of the shipped roles", "type": "Normal",
    });
    let finalizer = json!({"metadata": {"finalizers": ["source.extensions.fluxcd.io/finalizer"]}});
    vec![
        ("finalizer", Method::PATCH, generator.clone(), finalizer),
        (
            "status",
            Method::PATCH,
            format!("{generator}/status{APPLY}"),
            object("source.extensions.fluxcd.io/v1beta1", "ArtifactGenerator"),
        ),
        ("publish", Method::PATCH, format!("{artifact}{APPLY}"), published.clone()),
        ("publish the URL", Method::PATCH, format!("{artifact}/status{APPLY}"), published),
        ("withdraw", Method::DELETE, artifact, Value::Null),
        ("let go", Method::PATCH, generator, json!({"metadata": {"finalizers": null}})),
        ("event", Method::POST, events.clone(), event),
        ("repeated event", Method::PATCH, format!("{events}/made.1"), json!({"count": 2})),
    ]
}

/// Everything else is refused, also next door to what is allowed.
pub(crate) async fn shipped_roles_refuse_everything_else(scene: Scene) -> Result<()> {
    let controller = Controller::new(&scene).await?;
    generator(&scene).await?;
    // A body that would be accepted. Most requests are refused before it is read; creating by apply is not.
    let body = weir_e2e::resources::Kind::ArtifactGenerator.object("absent");
    for (method, path) in forbidden() {
        let status = controller.ask(method.clone(), &path, body.clone()).await?;
        ensure!(status == StatusCode::FORBIDDEN, "{method} {path} gives {status} instead of 403");
    }
    Ok(())
}

fn forbidden() -> Vec<(Method, String)> {
    let generators = format!("{GENERATORS}/namespaces/{{ns}}/artifactgenerators");
    let sources = format!("{SOURCES}/namespaces/{{ns}}");
    let rows = [
        // Other people's secrets, workloads and settings.
        (Method::GET, "/api/v1/secrets"),
        (Method::GET, "/api/v1/namespaces/{ns}/secrets/any"),
        (Method::GET, "/api/v1/namespaces/flux-system/secrets"),
        (Method::GET, "/api/v1/configmaps"),
        (Method::GET, "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"),
        (Method::GET, "/api/v1/pods"),
        (Method::POST, "/api/v1/namespaces/{ns}/pods"),
        (Method::POST, "/api/v1/namespaces/{ns}/pods/any/exec"),
        (Method::GET, "/api/v1/namespaces"),
        (Method::GET, "/api/v1/nodes"),
        (Method::GET, "/api/v1/events"),
        (Method::DELETE, "/api/v1/namespaces/{ns}/events/any"),
        (Method::POST, "/api/v1/namespaces/flux-system/serviceaccounts/source-watcher/token"),
        (Method::POST, "/api/v1/namespaces/{ns}/serviceaccounts"),
        (Method::GET, "/apis/apps/v1/deployments"),
        (Method::PATCH, "/apis/apps/v1/namespaces/flux-system/deployments/source-watcher"),
        (Method::GET, "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
        (Method::PATCH, "/apis/rbac.authorization.k8s.io/v1/clusterroles/source-watcher"),
        (Method::GET, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
        (Method::GET, "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations"),
        (Method::PATCH, "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/any"),
        (Method::GET, "/apis/helm.toolkit.fluxcd.io/v2/helmreleases"),
    ];
    let leases = [
        (Method::GET, LEASES.to_owned()),
        (Method::POST, LEASES.to_owned()),
        (Method::GET, format!("{LEASES}/another")),
        (Method::PUT, format!("{LEASES}/another")),
        (Method::PATCH, format!("{LEASES}/{LEASE}")),
        (Method::PATCH, format!("{LEASES}/{LEASE}{APPLY}")),
        (Method::DELETE, format!("{LEASES}/{LEASE}")),
        (Method::GET, LEASES.replace("flux-system", "{ns}") + "/" + LEASE),
    ];
    let own_kinds = [
        // Generators belong to users.
        (Method::POST, generators.clone()),
        (Method::PUT, format!("{generators}/made")),
        (Method::PATCH, format!("{generators}/absent{APPLY}")),
        (Method::DELETE, format!("{generators}/made")),
        (Method::DELETE, generators.clone()),
        (Method::PUT, format!("{generators}/made/status")),
        // Sources belong to source-controller.
        (Method::POST, format!("{sources}/gitrepositories")),
        (Method::PATCH, format!("{sources}/gitrepositories/any")),
        (Method::PATCH, format!("{sources}/gitrepositories/any/status")),
        (Method::DELETE, format!("{sources}/ocirepositories/any")),
        (Method::GET, format!("{SOURCES}/helmrepositories")),
        // Outputs are applied one by one.
        (Method::PUT, format!("{sources}/externalartifacts/any")),
        (Method::PUT, format!("{sources}/externalartifacts/any/status")),
        (Method::DELETE, format!("{sources}/externalartifacts")),
    ];
    let rows = rows.into_iter().map(|(method, path)| (method, path.to_owned()));
    rows.chain(leases).chain(own_kinds).collect()
}
