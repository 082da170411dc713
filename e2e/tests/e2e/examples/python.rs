//! `examples/http-directory-python`: a directory that Python's own file server serves becomes an artifact that Flux applies.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::port;
use weir_e2e::process::{Process, Program};
use weir_e2e::resources::{Kind, condition, config_map_yaml, helm_release, kustomization};
use weir_e2e::scene::Scene;
use weir_e2e::tools::Python;
use weir_e2e::weir::ArtifactServer;

/// What the example looks for on ConfigMaps.
const LABEL: &str = "http-directory.example.com/publish";

/// The example, the artifact server that it stores in, and the directory that it reads.
struct Example {
    scene: Scene,
    python: Python,
    server: ArtifactServer,
    controller: Process,
    directory: PathBuf,
    address: SocketAddr,
    http: Process,
}

impl Example {
    async fn start(scene: Scene, files: &[(&str, &str)]) -> Result<Self> {
        let python = Python::ensure(&folder().join("requirements.txt")).await?;
        let server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &[]).await?;
        let controller = controller(&scene, &python, &server).await?;
        let directory = scene.stage.run.folder("directory")?;
        let address = port::free()?;
        let http = http_server(&scene, &python, &directory, address).await?;
        let example = Self { scene, python, server, controller, directory, address, http };
        example.write(files)?;
        Ok(example)
    }

    fn write(&self, files: &[(&str, &str)]) -> Result<()> {
        for (name, content) in files {
            let path = self.directory.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, content)?;
        }
        Ok(())
    }

    /// Has the directory published under a name, and polled that often.
    async fn publish(&self, name: &str, path: &str, interval: &str) -> Result<()> {
        let url = format!("http://{}/{path}", self.address);
        let mut source = Kind::ConfigMap.object(name);
        source["metadata"]["labels"] = json!({LABEL: ""});
        source["data"] = json!({"url": url, "interval": interval});
        self.scene.apply(source).await
    }

    /// Waits until the artifact is not Ready, for a reason; returns it.
    async fn fails(&self, name: &str, reason: &str, message: &str) -> Result<Value> {
        let what = format!("Ready=False, {reason}: {message}");
        self.scene
            .wait(Kind::ExternalArtifact, name, &what, |object| {
                let ready = condition(object, "Ready").unwrap_or(&Value::Null);
                let said = ready["message"].as_str().is_some_and(|said| said.contains(message));
                ensure!(ready["status"] == "False" && ready["reason"] == reason && said, "{ready}");
                Ok(object.clone())
            })
            .await
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/http-directory-python")
}

/// Starts it under the account and the role of its manifest.
async fn controller(scene: &Scene, python: &Python, server: &ArtifactServer) -> Result<Process> {
    super::apply(scene, &folder().join("deploy/rbac.yaml")).await?;
    let kubeconfig = scene.stage.control_plane.service_account_kubeconfig(&scene.namespace, "http-directory").await?;
    Program::new(format!("http-directory@{}", scene.namespace), python.interpreter())
        .env("KUBECONFIG", kubeconfig)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(folder().join("controller.py"))
        .arg(format!("--artifact-server={}", server.endpoint()))
        .arg(format!("--namespace={}", scene.namespace))
        .start(&scene.stage.run)
        .await
}

async fn http_server(scene: &Scene, python: &Python, directory: &Path, address: SocketAddr) -> Result<Process> {
    let program = Program::new(format!("http-server@{}", scene.namespace), python.interpreter())
        .args(["-m", "http.server", "--bind=127.0.0.1", "--directory"])
        .arg(directory)
        .arg(address.port().to_string());
    let process = program.start(&scene.stage.run).await?;
    process
        .until("the directory is served", PATIENCE, || async {
            weir_e2e::fetch::get(format!("http://{address}/")).await?.error_for_status()?;
            Ok(())
        })
        .await?;
    Ok(process)
}

/// The names in an artifact, in order.
fn names(archive: &[u8]) -> Result<Vec<String>> {
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    tar.entries()?.map(|entry| Ok(entry?.path()?.display().to_string())).collect()
}

/// A directory is applied, and again when a file changes; a directory that is away leaves all as it is, and says so; a deletion leaves nothing.
pub(crate) async fn python_publishes_a_directory_as_long_as_it_is_wanted(scene: Scene) -> Result<()> {
    let map = config_map_yaml("settings", "greeting", "hello");
    let files =
        [("site/map.yaml", map.as_str()), ("site/docs/a b.md", "read me"), ("secret.yaml", "not below the URL")];
    let mut example = Example::start(scene.clone(), &files).await?;
    example.publish("site", "site", "1s").await?;
    let first = scene.ready(Kind::ExternalArtifact, "site").await?;
    let found = names(&scene.download(&first).await?)?;
    ensure!(found == [".", "docs", "docs/a b.md", "map.yaml"], "the artifact holds {found:?}");
    ensure!(first["spec"]["sourceRef"]["kind"] == "ConfigMap", "{}", first["spec"]);
    scene.apply(kustomization("site", &scene.namespace, (Kind::ExternalArtifact, "site"), "./")).await?;
    scene.config_map("settings", "greeting", "hello").await?;
    // What did not change is not sent again; what does is seen all the same.
    let log = scene.stage.run.log(&format!("http-server@{}", scene.namespace));
    eventually("the file is asked for with a condition", PATIENCE, || async {
        let asked = fs::read_to_string(&log)?;
        ensure!(asked.contains("\"GET /site/map.yaml HTTP/1.1\" 304"), "{asked}");
        Ok(())
    })
    .await?;

    example.write(&[("site/map.yaml", &config_map_yaml("settings", "greeting", "servus"))])?;
    scene.config_map("settings", "greeting", "servus").await?;
    let second = scene.ready(Kind::ExternalArtifact, "site").await?;
    ensure!(
        first["status"]["artifact"]["revision"] != second["status"]["artifact"]["revision"],
        "the revision is the same"
    );

    example.http.kill().await?;
    let failed = example.fails("site", "FetchFailed", "/site/ can not be read: ").await?;
    ensure!(failed["status"]["artifact"] == second["status"]["artifact"], "another artifact: {}", failed["status"]);
    scene.download(&failed).await?;
    example.http = http_server(&scene, &example.python, &example.directory, example.address).await?;
    let third = scene.ready(Kind::ExternalArtifact, "site").await?;
    ensure!(third["status"]["artifact"] == second["status"]["artifact"], "another artifact: {}", third["status"]);

    fs::remove_dir_all(example.directory.join("site"))?;
    example.fails("site", "FetchFailed", "/site/ answers 404 ").await?;

    scene.delete(Kind::ConfigMap, "site").await?;
    scene.gone(Kind::ExternalArtifact, "site").await?;
    scene.gone(Kind::ConfigMap, "site").await?;
    ensure!(example.server.files()?.is_empty(), "files are left: {:?}", example.server.files()?);
    example.controller.terminate().await.map(drop)
}

/// A directory with a chart is installed by helm-controller, and upgraded when a template changes although the chart's version does not. Helm
/// wants the chart in a folder.
pub(crate) async fn python_publishes_a_chart_that_is_released(scene: Scene) -> Result<()> {
    let template = |stage: &str| config_map_yaml("from-chart", "stage", &format!("{stage} {{{{ .Values.region }}}}"));
    let first = template("production");
    let files = [
        ("charts/app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n"),
        ("charts/app/values.yaml", "region: north\n"),
        ("charts/app/templates/map.yaml", first.as_str()),
    ];
    let example = Example::start(scene.clone(), &files).await?;
    example.publish("app", "charts", "1s").await?;
    scene.apply(helm_release("app", "app")).await?;
    scene.config_map("from-chart", "stage", "production north").await?;
    scene.ready(Kind::HelmRelease, "app").await?;
    example.write(&[("charts/app/templates/map.yaml", &template("canary"))])?;
    scene.config_map("from-chart", "stage", "canary north").await
}

/// What the artifact server lost is stored again, under the same revision; what is of no object any more is removed.
pub(crate) async fn python_stores_again_what_the_server_lost(scene: Scene) -> Result<()> {
    let mut example = Example::start(scene.clone(), &[("a.yaml", "a: 1")]).await?;
    // Nothing of this is found by the next poll.
    example.publish("site", "", "1h").await?;
    let first = scene.ready(Kind::ExternalArtifact, "site").await?;

    // The file goes behind the server's back, as `Watch` tells: more often than the controller has other reasons to look, which end with
    // the news of its own writes.
    let path = first["status"]["artifact"]["path"].as_str().unwrap_or_default();
    let file = example.server.storage().join(path);
    for _ in 0..6 {
        fs::remove_file(&file)?;
        eventually("the file is stored again", PATIENCE, || async { Ok(fs::metadata(&file).map(drop)?) }).await?;
        downloadable(&scene, &first).await?;
    }

    // The volume goes while the server is away.
    example.server.stop().await?;
    fs::remove_dir_all(example.server.storage())?;
    fs::create_dir(example.server.storage())?;
    example.server.restart().await?;
    downloadable(&scene, &first).await?;
    let now = scene.ready(Kind::ExternalArtifact, "site").await?;
    ensure!(now["status"]["artifact"]["revision"] == first["status"]["artifact"]["revision"], "{}", now["status"]);

    // The object goes while nobody looks, and without its finalizer.
    example.controller.kill().await?;
    scene.patch(Kind::ConfigMap, "site", json!({"metadata": {"finalizers": null}})).await?;
    scene.delete(Kind::ConfigMap, "site").await?;
    scene.gone(Kind::ConfigMap, "site").await?;
    example.controller = controller(&scene, &example.python, &example.server).await?;
    scene.gone(Kind::ExternalArtifact, "site").await?;
    eventually("no file is left", PATIENCE, || async {
        let left = example.server.files()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

async fn downloadable(scene: &Scene, published: &Value) -> Result<()> {
    eventually("the artifact is there again", PATIENCE, || scene.download(published)).await.map(drop)
}

/// Links that lead out of the directory are not followed, however they are written; what is too large or not ours is refused.
pub(crate) async fn python_stays_below_the_url(scene: Scene) -> Result<()> {
    let outside = r#"<a href="../secret.yaml">up</a><a href="/secret.yaml">root</a><a href="a.yaml?raw=1">a</a>"#;
    let encoded = r#"<a href="%2e%2e/secret.yaml">up</a>"#;
    let files =
        [("secret.yaml", "x"), ("plain/index.html", outside), ("plain/a.yaml", "a: 1"), ("odd/index.html", encoded)];
    let example = Example::start(scene.clone(), &files).await?;
    example.publish("plain", "plain/", "1s").await?;
    let plain = scene.ready(Kind::ExternalArtifact, "plain").await?;
    let found = names(&scene.download(&plain).await?)?;
    ensure!(found == [".", "a.yaml"], "the artifact holds {found:?}");

    example.publish("odd", "odd/", "1s").await?;
    example.fails("odd", "FetchFailed", "which is no clean path").await?;

    for number in 0..1001 {
        example.write(&[(&format!("many/{number}"), "")])?;
    }
    example.publish("many", "many/", "1s").await?;
    example.fails("many", "FetchFailed", "more than 1000 entries (--max-entries)").await?;
    Ok(())
}

/// Without an API server it does not start, and says so in one line.
pub(crate) async fn python_says_that_the_api_is_away(scene: Scene) -> Result<()> {
    let python = Python::ensure(&folder().join("requirements.txt")).await?;
    let cluster = json!({"server": format!("http://{}", port::free()?)});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": cluster}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let kubeconfig = scene.stage.run.folder("kubeconfig")?.join("config");
    fs::write(&kubeconfig, config.to_string())?;
    let mut command = tokio::process::Command::new(python.interpreter());
    command.arg(folder().join("controller.py")).env("KUBECONFIG", kubeconfig).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await??;
    let said = String::from_utf8(output.stderr)?;
    let clear = said.lines().count() == 1 && said.contains("the Kubernetes API can not be used: ");
    ensure!(output.status.code() == Some(1) && clear && said.contains("refused"), "{}: {said}", output.status);
    Ok(())
}
