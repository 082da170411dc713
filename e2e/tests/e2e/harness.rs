//! The harness itself, on the real parts and without Weir.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use weir_e2e::resources::{Kind, config_map_yaml, kustomization};
use weir_e2e::scene::Scene;
use weir_e2e::tools::Part;

/// A service account's token is real, and has no rights that nobody granted.
pub(crate) async fn control_plane_enforces_rbac(scene: Scene) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client(), &scene.namespace);
    let account = serde_json::from_value(serde_json::json!({"metadata": {"name": "nobody"}}))?;
    accounts.create(&PostParams::default(), &account).await?;
    let nobody = scene.stage.control_plane.service_account(&scene.namespace, "nobody").await?;
    let maps: Api<ConfigMap> = Api::namespaced(nobody.client()?, &scene.namespace);
    let refused = maps.list(&ListParams::default()).await.err().context("it may list ConfigMaps")?;
    let expected = format!("\"system:serviceaccount:{}:nobody\" cannot list", scene.namespace);
    ensure!(refused.to_string().contains(&expected), "{refused}");
    Ok(())
}

/// git push -> smart HTTP -> source-controller -> a downloadable artifact.
pub(crate) async fn commit_becomes_a_source_artifact(scene: Scene) -> Result<()> {
    let repository = scene.repository("app", &[("README.md", "one")]).await?;
    let first = artifact_size(&scene).await?;
    scene.push("app", &repository, &[("more.txt", "some more text\n")]).await?;
    let second = artifact_size(&scene).await?;
    ensure!(second > first, "the second artifact ({second} bytes) is not larger than {first}");
    Ok(())
}

/// Downloads the GitRepository's artifact; returns its size in bytes.
async fn artifact_size(scene: &Scene) -> Result<usize> {
    let source = scene.ready(Kind::GitRepository, "app").await?;
    Ok(scene.download(&source).await?.len())
}

/// kustomize-controller applies what is in git.
pub(crate) async fn kustomization_applies_a_config_map(scene: Scene) -> Result<()> {
    let files = [("app/map.yaml", config_map_yaml("from-git", "greeting", "hello"))];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    scene.repository("app", &files).await?;
    scene.apply(kustomization("app", &scene.namespace, (Kind::GitRepository, "app"), "./app")).await?;
    scene.ready(Kind::Kustomization, "app").await?;
    scene.config_map("from-git", "greeting", "hello").await
}

/// grpcurl was built and runs.
pub(crate) async fn grpcurl_runs(scene: Scene) -> Result<()> {
    let program = scene.stage.tools.program(Part::Grpcurl)?;
    let output = tokio::process::Command::new(program).arg("-version").output().await?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && text.starts_with("grpcurl"), "{}: {text}", output.status);
    Ok(())
}

/// The Go SDK archives a folder: its default ignore list applies.
pub(crate) async fn peer_archives_a_folder(scene: Scene) -> Result<()> {
    let folder = scene.stage.run.folder("peer")?;
    let tree = folder.join("tree");
    std::fs::create_dir_all(tree.join(".git"))?;
    for (path, text) in [("b.yaml", "b: 1\n"), ("a.png", "ignored"), (".git/config", "ignored")] {
        std::fs::write(tree.join(path), text)?;
    }
    let archive = weir_e2e::peer::archive(&scene.stage.tools, &tree, &folder.join("out.tar.gz")).await?;
    let bytes = std::fs::read(folder.join("out.tar.gz"))?;
    ensure!(archive.size == bytes.len() as u64, "{archive:?} but {} bytes", bytes.len());
    ensure!(archive.revision == format!("latest@{}", archive.digest), "{archive:?}");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
    let mut names = Vec::new();
    for entry in tar.entries()? {
        names.push(entry?.path()?.display().to_string());
    }
    ensure!(names == [".", "b.yaml"], "{names:?}");
    Ok(())
}

/// A child ends although its owner was killed with SIGKILL.
pub(crate) async fn children_die_with_their_owner(scene: Scene) -> Result<()> {
    use weir_e2e::eventually::{PATIENCE, eventually};
    use weir_e2e::process::Program;
    // The owner is a guard whose child is another guard, whose child sleeps.
    let run = &scene.stage.run;
    let inner = run.log(&format!("inner@{}", scene.namespace));
    let mut owner = Program::new(format!("owner@{}", scene.namespace), "/bin/sh")
        .arg("-c")
        .arg(format!(
            "mkfifo \"$1/stdin\"; \"$0\" --weir-e2e-guard {} sleep 600 < \"$1/stdin\" & exec 9> \"$1/stdin\"; wait",
            inner.display()
        ))
        .arg(format!("/proc/{}/exe", std::process::id()))
        .arg(run.folder("fifo")?)
        .start(run)
        .await?;
    let log = owner.log().to_owned();
    let sleeper = eventually("the inner guard reports its child", PATIENCE, || async {
        let text = std::fs::read_to_string(&log)?;
        let pid = text.lines().find_map(|line| line.strip_prefix("pid ")).context(text.clone())?;
        Ok(pid.parse::<u32>()?)
    })
    .await?;
    let process = format!("/proc/{sleeper}/comm");
    ensure!(std::fs::read_to_string(&process)?.trim() == "sleep", "not the sleeper");
    owner.kill().await?;
    eventually("the sleeper is gone", PATIENCE, || async {
        let left = std::fs::read_to_string(&process).unwrap_or_default();
        ensure!(left.trim() != "sleep", "{sleeper} still runs");
        Ok(())
    })
    .await
}
