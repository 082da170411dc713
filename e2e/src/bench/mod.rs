//! `cargo bench-monorepo`: how long Weir takes to follow a monorepo, and what it costs.
//!
//! Release binaries, a real kube-apiserver, default flags (fsync included). The clock of a phase runs from the patch of the
//! source's status until every generator is Ready for it.

mod cost;
mod floor;
mod generators;
mod monorepo;
mod profile;
mod report;
mod source;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use kube::Client;
use tokio::time::{Instant, timeout};

use crate::{
    control_plane::ControlPlane,
    flux::{self, Flux},
    run_dir::RunDir,
    stage::create_namespace,
    tools::{Part, Tools},
    weir::{self, Weir},
};
pub use cost::Writes;
use generators::{Follower, NAMESPACE};
use monorepo::Monorepo;
use report::Row;
use source::SourceServer;

/// A phase that takes longer than this is broken, not slow.
const DEADLINE: Duration = Duration::from_secs(600);

/// Kubernetes events are written some time later, one after the other. When none came for this long, all are there.
const QUIET: Duration = Duration::from_millis(500);

/// The phase that a commit causes every day.
const SOME_CHANGED: &str = "some changed";

/// What to measure.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    about = "Follows a monorepo of 20 MiB noise and 5 files per application through Weir, on a real kube-apiserver"
)]
pub struct Options {
    /// Applications in the monorepo; each becomes one artifact.
    #[arg(long, default_value_t = 1000)]
    apps: usize,
    /// Generators that share the applications evenly.
    #[arg(long, default_value_t = 1)]
    generators: usize,
    /// Applications that the second phase changes [default: 1 %].
    #[arg(long)]
    changed: Option<usize>,
    /// Times to measure all phases, each on a new control plane; more than one ends with the medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Also time bare server-side applies of as many objects, which is the least that any controller must do.
    #[arg(long)]
    floor: bool,
    /// Save a CPU profile of kube-apiserver's first three seconds in the second phase here, for `go tool pprof -top`.
    #[arg(long, value_name = "FILE")]
    apiserver_profile: Option<PathBuf>,
    /// More flags for weir-controller, e.g. --controller-arg=--log-level=debug.
    #[arg(long, value_name = "FLAG")]
    controller_arg: Vec<String>,
}

/// Everything that runs.
struct Bench {
    client: Client,
    weir: Weir,
    source: SourceServer,
    monorepo: Monorepo,
    follower: Follower,
    generators: usize,
    commits: u32,
    /// kube-apiserver and etcd.
    cluster: [u32; 2],
}

/// Runs all phases and writes a table to standard output.
pub async fn run(options: Options) -> Result<()> {
    print(&format!("{} applications, {} generators", options.apps, options.generators))?;
    print(&report::head())?;
    let mut rows = Vec::new();
    for _ in 0..options.runs {
        phases(&options, |row| {
            print(&row.line())?;
            rows.push(row);
            Ok(())
        })
        .await?;
    }
    if options.runs > 1 {
        print(&format!("medians of {} runs", options.runs))?;
        report::medians(&rows).iter().try_for_each(|row| print(&row.line()))?;
    }
    Ok(())
}

/// What each phase (create, one application changed, all changed) writes to the API server, by resource.
///
/// # Errors
/// When a part does not start, or a phase does not end.
pub async fn writes(apps: usize, generators: usize) -> Result<Vec<Writes>> {
    let options = Options { apps, generators, changed: Some(1), ..<Options as clap::Parser>::parse_from(["bench"]) };
    let mut writes = Vec::new();
    phases(&options, |row| {
        writes.push(row.writes);
        Ok(())
    })
    .await?;
    Ok(writes)
}

/// What new generators cost from the moment of their creation.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Writes by resource; the creation of the generators is one each.
    pub writes: Writes,
    /// Kubernetes events that exist afterwards.
    pub events: usize,
}

/// Creates generators whose source is there, waits until they are Ready, and ends Weir, so that no event is on its way any more.
///
/// # Errors
/// When a part does not start, or a generator does not become Ready.
pub async fn from_creation(apps: usize, generators: usize) -> Result<Fresh> {
    let options = Options { apps, generators, ..<Options as clap::Parser>::parse_from(["bench"]) };
    let tools = Tools::ensure(&[Part::Etcd, Part::KubeApiserver, Part::SourceController]).await?;
    let run_dir = Arc::new(RunDir::new()?);
    let plane = ControlPlane::start(&tools, &run_dir).await?;
    let mut bench = Bench::start(&tools, &run_dir, &plane, &options).await?;
    let expected = bench.publish().await?;
    // It lists the source before it works: no first run comes before the news of the artifact.
    bench.weir.controller.stop().await?;
    bench.weir.controller.restart().await?;
    let before = bench.writes().await?;
    generators::create(&bench.client, generators, apps).await?;
    bench.succeeded(&expected).await?;
    // An ending controller gives its last events a second or two: on a machine with much to do that is not enough.
    timeout(DEADLINE, bench.settled()).await.context("events are written without an end")??;
    bench.weir.stop().await?;
    let writes = cost::since(&before, &bench.writes().await?);
    let events = generators::events(&bench.client).await?;
    plane.stop().await?;
    Ok(Fresh { writes, events })
}

async fn phases(options: &Options, mut each: impl FnMut(Row) -> Result<()>) -> Result<()> {
    let tools = Tools::ensure(&[Part::Etcd, Part::KubeApiserver, Part::SourceController]).await?;
    let run_dir = Arc::new(RunDir::new()?);
    let plane = ControlPlane::start(&tools, &run_dir).await?;
    let mut bench = Bench::prepare(&tools, &run_dir, &plane, options).await?;
    let client = bench.client.clone();
    let changed = options.changed.unwrap_or(options.apps.div_ceil(100));
    for (phase, change) in [("create", 0), (SOME_CHANGED, changed), ("all changed", options.apps)] {
        bench.monorepo.change(change);
        let profile = options.apiserver_profile.as_deref().filter(|_| phase == SOME_CHANGED);
        let (row, ()) = tokio::try_join!(bench.phase(phase), profile::save(&client, profile))?;
        each(row)?;
    }
    if options.floor {
        print(&floor::measure(&bench.client, options.apps).await?)?;
    }
    bench.weir.stop().await?;
    plane.stop().await
}

impl Bench {
    /// Weir, and a source without an artifact.
    async fn start(tools: &Tools, run: &Arc<RunDir>, plane: &ControlPlane, options: &Options) -> Result<Self> {
        let client = plane.client();
        Flux::install_definitions(tools, &client).await?;
        for namespace in [flux::NAMESPACE, NAMESPACE] {
            create_namespace(&client, namespace).await?;
        }
        weir::install(&client).await?;
        let mut arguments = vec!["--log-level=info", "--requeue-dependency=5s"];
        arguments.extend(options.controller_arg.iter().map(String::as_str));
        let weir = Weir::start_for_all(run, plane, &arguments).await?;
        generators::create_source(&client).await?;
        let follower = Follower::new(&client);
        let (source, monorepo) = (SourceServer::start().await?, Monorepo::new(options.apps));
        Ok(Self {
            client,
            weir,
            source,
            monorepo,
            follower,
            generators: options.generators,
            commits: 0,
            cluster: plane.pids(),
        })
    }

    /// The same with generators, each of which has its finalizer and waits for the source: what follows is the work alone.
    async fn prepare(tools: &Tools, run: &Arc<RunDir>, plane: &ControlPlane, options: &Options) -> Result<Self> {
        let mut bench = Self::start(tools, run, plane, options).await?;
        generators::create(&bench.client, options.generators, options.apps).await?;
        bench.follower.until(options.generators, "SourceFetchFailed", None).await?;
        Ok(bench)
    }

    /// Gives the source an artifact; returns the digest of observed sources that generators will report.
    async fn publish(&mut self) -> Result<String> {
        self.commits += 1;
        let snapshot = self.monorepo.pack()?;
        let url = self.source.offer(&snapshot);
        let revision = format!("main@sha1:{:040x}", self.commits);
        generators::publish_source(&self.client, &revision, &snapshot.digest, &url).await?;
        Ok(generators::observed_digest(&revision, &snapshot.digest, &url))
    }

    async fn succeeded(&mut self, expected: &str) -> Result<()> {
        timeout(DEADLINE, self.follower.until(self.generators, "Succeeded", Some(expected)))
            .await
            .with_context(|| format!("the generators are not Ready within {DEADLINE:?}"))?
    }

    async fn phase(&mut self, phase: &'static str) -> Result<Row> {
        timeout(DEADLINE, self.settled()).await.context("events are written without an end")??;
        self.commits += 1;
        let snapshot = self.monorepo.pack()?;
        let url = self.source.offer(&snapshot);
        let revision = format!("main@sha1:{:040x}", self.commits);
        let expected = generators::observed_digest(&revision, &snapshot.digest, &url);
        let (cpu, cluster) = (self.cpu()?, self.cluster_cpu()?);
        let (writes, downloads) = (self.writes().await?, self.source.downloads());

        let start = Instant::now();
        generators::publish_source(&self.client, &revision, &snapshot.digest, &url).await?;
        timeout(DEADLINE, self.follower.until(self.generators, "Succeeded", Some(&expected)))
            .await
            .with_context(|| format!("phase {phase} did not end within {DEADLINE:?}"))??;
        let wall_seconds = start.elapsed().as_secs_f64();

        let after = self.cpu()?;
        Ok(Row {
            phase,
            wall_seconds,
            cpu_seconds: [after[0] - cpu[0], after[1] - cpu[1]],
            cluster_seconds: self.cluster_cpu()? - cluster,
            peak_mib: self.peak()?,
            downloads: self.source.downloads() - downloads,
            writes: cost::since(&writes, &self.writes().await?),
        })
    }

    /// Waits until the events of what was before are written, so that a phase is charged with its own only.
    async fn settled(&self) -> Result<()> {
        let mut before = self.writes().await?;
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.writes().await?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    fn pids(&self) -> Result<[u32; 2]> {
        Ok([self.weir.controller.process()?.pid(), self.weir.server.process()?.pid()])
    }

    fn cpu(&self) -> Result<[f64; 2]> {
        let [controller, server] = self.pids()?;
        Ok([cost::cpu_seconds(controller)?, cost::cpu_seconds(server)?])
    }

    fn cluster_cpu(&self) -> Result<f64> {
        self.cluster.into_iter().map(cost::cpu_seconds).sum()
    }

    fn peak(&self) -> Result<[f64; 2]> {
        let [controller, server] = self.pids()?;
        Ok([cost::peak_mib(controller)?, cost::peak_mib(server)?])
    }

    async fn writes(&self) -> Result<cost::Writes> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        Ok(cost::writes(&self.client.request_text(request).await?))
    }
}

fn print(line: &str) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
