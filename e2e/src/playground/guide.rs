//! What a person can do with a running playground.

use anyhow::Result;

use crate::git_server::Repository;
use crate::progress::tell;
use crate::scene::Scene;
use crate::tools::Part;
use crate::weir::Weir;

/// Prints it.
pub(super) fn print(scene: &Scene, weir: &Weir, repository: &Repository) -> Result<()> {
    let kubeconfig = scene.stage.control_plane.kubeconfig().display();
    let grpcurl = scene.stage.tools.program(Part::Grpcurl)?.display();
    let (socket, namespace, url) = (weir.server.endpoint(), &scene.namespace, repository.url());
    tell(format!(
        "
It keeps running. In another terminal:

  Look at it
    export KUBECONFIG={kubeconfig}
    kubectl --namespace {namespace} get gitrepositories,artifactgenerators,externalartifacts,kustomizations,helmreleases
    kubectl --namespace {namespace} get configmaps storefront-settings backend-settings --output yaml

  Change something: it reaches the cluster in a few seconds
    git clone {url} shop && cd shop
    sed -i 's/workers: 8/workers: 9/' environments/production/backend-values.yaml
    git commit --all --message 'More workers' && git push

  Talk to the artifact server
    {grpcurl} -plaintext {socket} list
    {grpcurl} -plaintext {socket} describe weir.artifact.v1.ArtifactBuilder
    {grpcurl} -plaintext {socket} grpc.health.v1.Health/Check

  Files and logs
    {storage}
    {logs}

Ctrl-C ends it and removes everything.",
        storage = weir.server.storage().display(),
        logs = scene.stage.run.path().join("logs").display(),
    ));
    Ok(())
}
