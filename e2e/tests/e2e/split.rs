//! The two programs apart, over mutual TLS, as in a cluster where each has its own Deployment.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use weir_e2e::port;
use weir_e2e::resources::Kind;
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{generator, two_apps};
use crate::repair::served;

/// What the controller is to the policy.
const CONTROLLER: &str = "weir-controller.test";

/// The files of both sides, as two Secrets would hold them.
struct Files {
    folder: PathBuf,
}

impl Files {
    /// A new authority, and of it a certificate for each side.
    fn issue(&self, name: &str) -> Result<()> {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, name);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
        for (side, host) in [("server", "127.0.0.1"), ("controller", CONTROLLER)] {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new([host.to_owned()])?.signed_by(&key, &root)?;
            std::fs::write(self.file(&format!("{side}.crt")), certificate.pem())?;
            std::fs::write(self.file(&format!("{side}.key")), key.serialize_pem())?;
        }
        std::fs::write(self.file("ca.crt"), root.pem())?;
        Ok(())
    }

    fn allow(&self, name: &str) -> Result<()> {
        let rule = format!(
            "rules:\n  - identities: [{{dns: {name}}}]\n    kinds: [ExternalArtifact]\n    namespaces: ['*']\n    \
             controllers: [source-watcher]\n"
        );
        Ok(std::fs::write(self.file("policy.yaml"), rule)?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn flag(&self, flag: &str, name: &str) -> String {
        format!("--{flag}={}", self.file(name).display())
    }
}

/// Artifacts are made, certificates of both sides are replaced by those of another authority while both run, the server starts anew
/// without its files, and the policy shuts the controller out and lets it in again.
pub(crate) async fn works_over_mutual_tls(scene: Scene) -> Result<()> {
    let files = Files { folder: scene.stage.run.folder("split")? };
    files.issue("one")?;
    files.allow(CONTROLLER)?;
    let port = port::free()?.port();
    let server = [
        format!("--grpc-addr=https://127.0.0.1:{port}"),
        files.flag("grpc-tls-cert", "server.crt"),
        files.flag("grpc-tls-key", "server.key"),
        files.flag("grpc-client-ca", "ca.crt"),
        files.flag("grpc-policy", "policy.yaml"),
    ];
    let controller = [
        format!("--artifact-server=https://127.0.0.1:{port}"),
        files.flag("artifact-server-ca", "ca.crt"),
        files.flag("artifact-server-cert", "controller.crt"),
        files.flag("artifact-server-key", "controller.key"),
        "--max-retry-delay=1s".to_owned(),
    ];
    let (server, controller) = (server.each_ref().map(String::as_str), controller.each_ref().map(String::as_str));
    let mut weir = Weir::start_with(&scene, &server, &controller).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    served(&scene, &one).await?;

    files.issue("two")?;
    lose_files(&mut weir).await?;
    served(&scene, &one).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;

    files.allow("somebody.else")?;
    lose_files(&mut weir).await?;
    // Its watch is refused, too, so nobody tells the generator.
    let asked = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}});
    scene.patch(Kind::ArtifactGenerator, "gen", asked).await?;
    let message = format!("a certificate of dns {CONTROLLER} may not");
    scene
        .wait(Kind::ArtifactGenerator, "gen", "says that the controller is refused", |found| {
            ensure!(found["status"]["conditions"].to_string().contains(&message), "{}", found["status"]);
            Ok(())
        })
        .await?;
    files.allow(CONTROLLER)?;
    served(&scene, &one).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}

/// The server starts anew on an empty volume.
async fn lose_files(weir: &mut Weir) -> Result<()> {
    weir.server.kill().await?;
    std::fs::remove_dir_all(weir.server.storage().join("externalartifact"))?;
    weir.server.restart().await
}
