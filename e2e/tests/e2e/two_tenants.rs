//! One artifact server under two controllers of two tenants: each has a certificate, a namespace and files of its own.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::flux::NAMESPACE;
use weir_e2e::git_server::Repository;
use weir_e2e::port;
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::scene::Scene;
use weir_e2e::weir::{ArtifactServer, Controller, SERVICE_ACCOUNT, install_lease_role};
use weir_proto::client::{Client, Error};
use weir_proto::tls::Certificates;
use weir_proto::v1::{
    ArtifactRef, Caller, Collectable, GarbageCollectRequest, ListRequest, ReadRequest, RemoveAllRequest, RemoveRequest,
    WriteHeader,
};
use weir_proto::{Failure, Reason};

use crate::reconcile::two_apps;
use weir_e2e::certificates::{Authority, of_controller, of_server, words};

/// A namespace, and who works in it.
struct Tenant {
    scene: Scene,
    repository: Repository,
    controller: Controller,
    /// With the certificate of its controller, and in its name.
    client: Client,
}

impl Tenant {
    async fn start(scene: Scene, server: &ArtifactServer, folder: &Path, port: u16, name: &str) -> Result<Self> {
        install_lease_role(&scene.client(), &scene.namespace).await?;
        let kubeconfig = scene.stage.control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT).await?;
        let mut flags = of_controller(folder, port, name);
        flags.extend(
            [
                "--watch-all-namespaces=false",
                "--enable-leader-election",
                "--artifact-retention-ttl=1s",
                "--artifact-retention-records=1",
                "--reconciliation-timeout=5s",
                "--max-retry-delay=1s",
            ]
            .map(str::to_owned),
        );
        let run = &scene.stage.run;
        let controller = Controller::start(run, server, &kubeconfig, &scene.namespace, &words(&flags)).await?;
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        let certificates = Certificates::files(folder.join("ca.crt"), file("crt"), file("key"));
        let client = Client::connect_with(&format!("https://127.0.0.1:{port}"), &certificates)?;
        let caller = Caller { owner: "source-watcher/by-hand".into(), ..Caller::default() };
        let repository = two_apps(&scene).await?;
        Ok(Self { scene, repository, controller, client: client.with_caller(caller) })
    }

    /// A generator with one output, of one app each.
    async fn publish(&self, name: &str, app: &str) -> Result<Value> {
        let copy = artifact(name, &[(&format!("@repo/apps/{app}/**"), "@artifact/")]);
        self.scene.apply(artifact_generator(name, "repo", json!([copy]))).await?;
        self.scene.ready(Kind::ArtifactGenerator, name).await?;
        let output = self.scene.ready(Kind::ExternalArtifact, name).await?;
        self.scene.download(&output).await?;
        Ok(output)
    }

    /// Changes an app; waits until its output has moved and the file before is collected.
    async fn commit(&self, server: &ArtifactServer, app: &str, before: &Value, text: &str) -> Result<Value> {
        self.scene.push("repo", &self.repository, &[(&format!("apps/{app}/a.yaml"), text)]).await?;
        let name = before["metadata"]["name"].as_str().context("no name")?;
        let after = self
            .scene
            .wait(Kind::ExternalArtifact, name, "a new revision", |object| {
                ensure!(path(object)? != path(before)?, "{}", object["status"]["artifact"]);
                Ok(object.clone())
            })
            .await?;
        self.scene.download(&after).await?;
        let (folder, file) = path(before)?.rsplit_once('/').context("no folder")?;
        let old = [format!("{folder}/{file}"), format!("{folder}/.{file}.record")];
        // Whoever was given a file has some time for it; collection comes with a run that has something to build.
        eventually("the file before is collected", PATIENCE, || async {
            let another = uuid::Uuid::new_v4().to_string();
            self.scene.push("repo", &self.repository, &[("other.txt", &another)]).await?;
            let files = server.files()?;
            ensure!(!files.iter().any(|file| old.contains(file)), "{files:?}");
            Ok(())
        })
        .await?;
        Ok(after)
    }

    fn reference(&self, name: &str) -> Option<ArtifactRef> {
        let (kind, namespace) = ("ExternalArtifact".to_owned(), self.scene.namespace.clone());
        Some(ArtifactRef { kind, namespace, name: name.to_owned() })
    }

    /// The files below its namespace.
    fn files(&self, server: &ArtifactServer) -> Result<Vec<String>> {
        let mut files = server.files()?;
        files.retain(|file| file.starts_with(&format!("externalartifact/{}/", self.scene.namespace)));
        Ok(files)
    }
}

fn path(output: &Value) -> Result<&str> {
    output["status"]["artifact"]["path"].as_str().with_context(|| format!("no path: {}", output["status"]))
}

fn denied<T>(what: &str, answer: Result<T, Error>) -> Result<()> {
    let Err(error) = answer else { anyhow::bail!("{what} was allowed") };
    let failure = error.failure().with_context(|| format!("{what}: {error}"))?;
    ensure!(failure.reason == Reason::NotAllowed, "{what}: {failure:?}");
    Ok(())
}

fn denied_by_status<T>(what: &str, answer: Result<T, tonic::Status>) -> Result<()> {
    let Err(status) = answer else { anyhow::bail!("{what} was allowed") };
    ensure!(status.code() == tonic::Code::PermissionDenied, "{what}: {status:?}");
    let failure = Failure::from_status(&status).context("no reason")?;
    ensure!(failure.reason == Reason::NotAllowed && failure.message.contains(" may not "), "{what}: {failure:?}");
    Ok(())
}

/// Everything that one could do to an artifact of the other, by its own name and by force.
async fn nothing_is_allowed(one: &Tenant, other: &Tenant, output: &Value) -> Result<()> {
    let (path, client) = (path(output)?.to_owned(), &one.client);
    let name = output["metadata"]["name"].as_str().context("no name")?;
    let artifact = other.reference(name);
    let caller = Some(Caller { owner: "source-watcher/by-hand".into(), ..Caller::default() });
    denied("Stat", client.stat(&path).await)?;
    denied("Read", client.read(ReadRequest { path: path.clone(), ..ReadRequest::default() }).await)?;
    let header =
        WriteHeader { artifact: artifact.clone(), file: "a".into(), take_over: true, ..WriteHeader::default() };
    denied("Write", client.write(header, "x").await)?;
    denied("Lock", client.lock_taking_over(artifact.clone().context("an artifact")?).await)?;
    let mut storage = client.storage();
    let remove = RemoveRequest { caller: caller.clone(), path };
    denied_by_status("Remove", storage.remove(remove).await)?;
    let all = RemoveAllRequest { caller: caller.clone(), artifact: artifact.clone(), take_over: true };
    denied_by_status("RemoveAll", storage.remove_all(all).await)?;
    let collectable = Collectable { artifact, current_path: String::new() };
    let collect = GarbageCollectRequest { caller, artifacts: vec![collectable], ..GarbageCollectRequest::default() };
    denied_by_status("GarbageCollect", storage.garbage_collect(collect).await)?;
    let mut seen = storage.list(ListRequest::default()).await?.into_inner();
    let mine = format!("externalartifact/{}/", one.scene.namespace);
    let mut count = 0;
    while let Some(answer) = seen.message().await? {
        let path = answer.file.and_then(|file| file.artifact).context("no artifact")?.path;
        ensure!(path.starts_with(&mine), "sees {path}");
        count += 1;
    }
    ensure!(count > 0, "sees nothing of its own");
    Ok(())
}

/// Each publishes, neither touches nor can touch what the other has. One is away for an upgrade and loses a generator by force meanwhile;
/// the other goes on as if nothing were. The sweep and the collections of the one leave every file of the other.
pub(crate) async fn share_one_server_and_nothing_else(scene: Scene) -> Result<()> {
    let second = Scene::new(scene.stage.clone(), "second-tenant").await?;
    let folder = scene.stage.run.folder("tenants")?;
    let authority = Authority::in_folder("tenants", &folder)?;
    for (file, host) in [("server", "127.0.0.1"), ("a", "a.test"), ("b", "b.test")] {
        authority.issue(&folder, file, host)?;
    }
    let rule = |name: &str, namespace: &str| {
        format!(
            "  - {{identities: [{{dns: {name}}}], kinds: [ExternalArtifact], namespaces: [{namespace}], \
             controllers: [source-watcher]}}\n"
        )
    };
    let rules = format!("rules:\n{}{}", rule("a.test", &scene.namespace), rule("b.test", &second.namespace));
    std::fs::write(folder.join("policy.yaml"), rules)?;
    let port = port::free()?.port();
    let flags = of_server(&folder, port);
    let mut server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &words(&flags)).await?;
    let mut a = Tenant::start(scene, &server, &folder, port, "a").await?;
    let mut b = Tenant::start(second, &server, &folder, port, "b").await?;
    let (of_a, goes) = (a.publish("stays", "one").await?, a.publish("goes", "two").await?);
    let of_b = b.publish("stays", "one").await?;
    nothing_is_allowed(&a, &b, &of_b).await?;
    nothing_is_allowed(&b, &a, &of_a).await?;

    a.controller.stop().await?;
    let (before, left) = (a.files(&server)?, path(&goes)?.to_owned());
    ensure!(before.contains(&left), "{before:?}");
    a.scene.patch(Kind::ArtifactGenerator, "goes", json!({"metadata": {"finalizers": null}})).await?;
    a.scene.api(Kind::ArtifactGenerator).delete("goes", &DeleteParams::default()).await?;
    a.scene.gone(Kind::ArtifactGenerator, "goes").await?;
    let of_b = b.commit(&server, "one", &of_b, "one: 2\n").await?;
    ensure!(a.files(&server)? == before, "{:?} are left of {before:?}", a.files(&server)?);
    a.scene.download(&of_a).await?;

    let kept = b.files(&server)?;
    a.controller.restart().await?;
    eventually("what is nobody's any more is swept", PATIENCE, || async {
        let files = a.files(&server)?;
        ensure!(!files.contains(&left), "{files:?}");
        Ok(())
    })
    .await?;
    a.commit(&server, "one", &of_a, "one: 3\n").await?;
    ensure!(b.files(&server)? == kept, "{:?} are left of {kept:?}", b.files(&server)?);
    let still = b.scene.ready(Kind::ExternalArtifact, "stays").await?;
    ensure!(path(&still)? == path(&of_b)?, "{}", still["status"]);
    b.scene.download(&still).await?;
    // The Leases have the same name, and that of the one has changed hands once more: it does not fence the other.
    b.commit(&server, "one", &of_b, "one: 4\n").await?;
    a.controller.stop().await?;
    b.controller.stop().await?;
    server.stop().await?;
    Ok(())
}
