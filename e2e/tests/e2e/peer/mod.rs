//! Weir next to Flux's Go SDK: the same folders, names, volumes and files, asked of both.

mod archives;
mod collections;
mod names;
mod tars;
mod trees;
mod verdicts;

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use weir_e2e::progress::say;
use weir_e2e::scene::Scene;
use weir_e2e::weir::ArtifactServer;
use weir_proto::Owner;
use weir_proto::client::Client;

pub(crate) use archives::{random_folders_give_the_same_tar, where_archives_differ};
pub(crate) use collections::{random_volumes_lose_the_same_files, where_collection_differs};
pub(crate) use names::{random_names_are_the_same, where_names_differ};
pub(crate) use verdicts::{random_files_get_the_same_verdict, where_verdicts_differ};

/// Set to a number to try that seed alone, or to `<first>..<end>` to try others than the usual ones.
const SEED: &str = "WEIR_PEER_SEED";

/// The seeds to try: always the same, so that a failure can be repeated, unless others are asked for.
fn seeds(usual: u64) -> Result<Range<u64>> {
    let seeds = match std::env::var(SEED) {
        Err(_) => 0..usual,
        Ok(text) => {
            let (first, end) = text.split_once("..").unwrap_or((&text, ""));
            let first: u64 = first.parse().with_context(|| format!("{SEED}={text}: not a number"))?;
            let end = if end.is_empty() { first + 1 } else { end.parse().with_context(|| format!("{SEED}={text}"))? };
            first..end
        }
    };
    say(format!("against the Go SDK: {SEED}={}..{}", seeds.start, seeds.end));
    Ok(seeds)
}

/// How to repeat what failed.
fn repeat(seed: u64) -> String {
    format!("{SEED}={seed} repeats it")
}

/// Where the two are not compared, or not as they are, docs/differences.md has a row that begins like this.
fn documented(row: &str) -> Result<()> {
    let found =
        include_str!("../../../../docs/differences.md").lines().any(|line| line.starts_with(&format!("| {row}")));
    ensure!(found, "docs/differences.md has no row that begins with {row:?}");
    Ok(())
}

fn random(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// One of them.
fn one_of<T: Clone>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())].clone()
}

/// A server of its own, and a client.
async fn start(scene: &Scene) -> Result<(ArtifactServer, Client)> {
    let server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &[]).await?;
    let client = Client::connect(&server.endpoint())?.acting_as(&Owner::new("peer", "1")?);
    Ok((server, client))
}
