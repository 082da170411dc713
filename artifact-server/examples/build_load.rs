//! Builds many artifacts on a running server and says how long it took:
//! `build_load <socket path> <source URL> <source digest> <artifacts> <calls> [<rounds>]`.
//!
//! Artifact `n` is the directory `apps/app-<n>` of the source. Each call has an owner and a namespace of its own; the first round creates, the following
//! ones find everything unchanged.

use std::time::Instant;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tonic::transport::{Channel, Endpoint};
use weir_proto::v1::{
    BuildArtifact, BuildHeader, BuildRequest, Caller, CopyOperation, Source,
    artifact_builder_client::ArtifactBuilderClient, build_request::Message, build_response, build_result::Outcome,
};

#[tokio::main]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures and prints")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, url, digest, artifacts, calls, rounds @ ..] = &arguments[..] else {
        anyhow::bail!("usage: build_load <socket path> <source URL> <source digest> <artifacts> <calls> [<rounds>]");
    };
    let (artifacts, calls): (u32, u32) = (artifacts.parse()?, calls.parse()?);
    let rounds: u32 = rounds.first().map_or(Ok(2), |rounds| rounds.parse())?;
    let channel = Endpoint::try_from(format!("unix://{socket}"))?.connect().await?;
    let source = Source { alias: "repo".into(), url: url.clone(), digest: digest.clone() };
    let mut current = vec![vec![(String::new(), String::new()); artifacts as usize]; calls as usize];
    for round in 1..=rounds {
        let start = Instant::now();
        let builds =
            current.iter().enumerate().map(|(call, published)| build(channel.clone(), &source, call, published));
        let results = try_join_all(builds).await?;
        let elapsed = start.elapsed();
        let unchanged: usize = results.iter().map(|(_, unchanged)| unchanged).sum();
        println!("round {round}: {} artifacts, {unchanged} unchanged, {elapsed:?}", artifacts * calls);
        current = results.into_iter().map(|(published, _)| published).collect();
    }
    Ok(())
}

/// Path and digest.
type Published = (String, String);

async fn build(
    channel: Channel,
    source: &Source,
    call: usize,
    published: &[Published],
) -> Result<(Vec<Published>, usize)> {
    let header = BuildHeader {
        caller: Some(Caller { owner: format!("load/{call}"), epoch: 0, ..Caller::default() }),
        kind: "ExternalArtifact".into(),
        namespace: format!("load-{call}"),
        sources: vec![source.clone()],
        settings: None,
    };
    let artifact = |(index, (path, digest)): (usize, &Published)| BuildArtifact {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        name: format!("app-{index}"),
        copy: vec![CopyOperation {
            from: format!("@repo/apps/app-{index}/**"),
            to: "@artifact/".into(),
            ..CopyOperation::default()
        }],
        current_path: path.clone(),
        current_digest: digest.clone(),
        take_over: false,
    };
    let messages: Vec<Message> = std::iter::once(Message::Header(header))
        .chain(published.iter().enumerate().map(artifact).map(Message::Artifact))
        .collect();
    let requests = futures::stream::iter(messages.into_iter().map(|message| BuildRequest { message: Some(message) }));
    let mut answers = ArtifactBuilderClient::new(channel).build(requests).await?.into_inner();
    let (mut now, mut unchanged) = (published.to_vec(), 0);
    while let Some(answer) = answers.message().await? {
        let Some(build_response::Message::Result(result)) = answer.message else { continue };
        let artifact = match result.outcome.context("no outcome")? {
            Outcome::Error(error) => anyhow::bail!("{}: {}", error.reason, error.message),
            Outcome::Built(artifact) => artifact,
            Outcome::Unchanged(artifact) => {
                unchanged += 1;
                artifact
            }
        };
        now[result.index as usize] = (artifact.path, artifact.digest);
    }
    Ok((now, unchanged))
}
