//! Fetches one source into an empty cache and says what that took:
//! `cargo run --release -p weir-artifact-server --example fetch_source -- http://host/x.tar.gz sha256:…`

use std::io::Write as _;

use anyhow::Context as _;
use weir_artifact_server::source::{CacheSettings, SourceCache, SourceRequest};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (url, digest) = arguments.next().zip(arguments.next()).context("give a URL and a digest")?;
    let folder = tempfile::tempdir()?;
    let cache = SourceCache::new(CacheSettings::new(folder.path(), 1 << 30))?;
    let before = memory("VmRSS")?;
    let start = tokio::time::Instant::now();
    let fetched = cache.get(&SourceRequest { url, digest, ..SourceRequest::default() }).await?;
    let wall = start.elapsed();
    let mut out = std::io::stdout();
    writeln!(out, "wall {wall:?}, CPU of the process {:.2} s", cpu_seconds()?)?;
    writeln!(out, "memory {before} KiB before, {} KiB after, {} KiB at most", memory("VmRSS")?, memory("VmHWM")?)?;
    writeln!(out, "{:?}\n{:?}", fetched.source.summary, cache.stats())?;
    Ok(())
}

/// A line of `/proc/self/status`, in KiB.
fn memory(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
    Ok(line.trim_matches(|other: char| !other.is_ascii_digit()).parse()?)
}

/// User and system time so far, at 100 ticks a second.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().context("no fields")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
