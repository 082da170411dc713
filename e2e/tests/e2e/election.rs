//! One leader at a time: two of Weir's controllers, or one of them and client-go's leader election, which is source-watcher's.

mod reigns;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::time::Instant;
use weir_controller::server::{Certificates, Policy, Server};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::flux::NAMESPACE;
use weir_e2e::process::{Process, Program};
use weir_e2e::progress::say;
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::scene::Scene;
use weir_e2e::tools::Part;
use weir_e2e::weir::{ArtifactServer, Controller, LEASE, SERVICE_ACCOUNT, install_lease_role};
use weir_proto::Reason;

use self::reigns::{of_client_go, of_weir, one_at_a_time};
use crate::controller_crash::{Clients, RETENTION, change, ensure_current, finished, source_artifact, working};
use crate::reconcile::{generator, two_apps};
use crate::reconnect::Link;

/// Whole seconds, so that a test takes seconds; long enough for a busy machine.
const LEASE_SECONDS: u64 = 8;
const RENEW: &str = "6s";
const ELECTION: [&str; 4] = [
    "--watch-all-namespaces=false",
    "--enable-leader-election",
    "--leader-election-lease-duration=8s",
    "--leader-election-renew-deadline=6s",
];
/// With the same deadline, one that others wait for much longer.
const PATIENT_RIVALS: &str = "--leader-election-lease-duration=2m";
/// After the deadline, and long before others may begin.
const BETWEEN: Duration = Duration::from_secs(60);

/// A controller with the rights of an installation, in the scene's namespace.
async fn controller(scene: &Scene, name: &str, server: &ArtifactServer, more: &[&str]) -> Result<Controller> {
    install_lease_role(&scene.client(), &scene.namespace).await?;
    let kubeconfig = scene.stage.control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT).await?;
    let arguments: Vec<_> = ELECTION.iter().chain(more).copied().collect();
    Controller::start_as(name, &scene.stage.run, server, &kubeconfig, &scene.namespace, &arguments).await
}

/// Whether a controller says that it leads.
async fn leads(controller: &Controller) -> Result<bool> {
    let metrics = weir_e2e::fetch::get(controller.metrics_url()).await?.text().await?;
    let name = format!("leader_election_master_status{{name=\"{LEASE}\"}} ");
    let status =
        metrics.lines().find_map(|line| line.strip_prefix(&name)).context("no leader_election_master_status")?;
    Ok(status == "1")
}

async fn until_it_leads(controller: &Controller) -> Result<()> {
    eventually("the controller leads", PATIENCE, || async {
        ensure!(leads(controller).await?, "it does not");
        Ok(())
    })
    .await
}

/// Holder and transitions.
async fn lease(scene: &Scene) -> Result<(String, u64)> {
    let api: Api<Lease> = Api::namespaced(scene.client(), &scene.namespace);
    let spec = api.get(LEASE).await?.spec.context("no spec")?;
    let transitions = spec.lease_transitions.context("no transitions")?;
    Ok((spec.holder_identity.unwrap_or_default(), u64::try_from(transitions)?))
}

/// When the holder renewed it last.
async fn renewed(scene: &Scene) -> Result<Timestamp> {
    let api: Api<Lease> = Api::namespaced(scene.client(), &scene.namespace);
    Ok(api.get(LEASE).await?.spec.and_then(|spec| spec.renew_time).context("it was never renewed")?.0)
}

/// Waits until `GET /` on the artifact port is answered, or refused.
async fn serves(server: &ArtifactServer, expected: bool) -> Result<()> {
    let what = format!("the artifact port is {}", if expected { "open" } else { "closed" });
    eventually(&what, PATIENCE, || async {
        let open = match reqwest::get(format!("http://{}/", server.address())).await {
            Ok(answer) => answer.status() == 200,
            Err(error) if error.is_connect() => false,
            Err(error) => return Err(error.into()),
        };
        ensure!(open == expected, "it is not");
        Ok(())
    })
    .await
}

/// Waits until its log has the text so many times.
async fn says(controller: &Controller, text: &str, times: usize) -> Result<()> {
    let log = controller.process()?.log().to_owned();
    eventually(&format!("the log says {text:?} {times} times"), PATIENCE, || async {
        let found = std::fs::read_to_string(&log)?.matches(text).count();
        ensure!(found >= times, "{found} times");
        Ok(())
    })
    .await
}

/// A competitor that client-go elects.
struct Rival {
    process: Process,
    log: PathBuf,
}

impl Rival {
    async fn start(scene: &Scene, name: &str) -> Result<Self> {
        let stage = &scene.stage;
        let program = Program::new(format!("{name}@{}", scene.namespace), stage.tools.program(Part::Elector)?)
            .arg(stage.control_plane.kubeconfig())
            .args([scene.namespace.as_str(), LEASE, name, &format!("{LEASE_SECONDS}s"), RENEW]);
        let process = program.start(&stage.run).await?;
        let log = process.log().to_owned();
        Ok(Self { process, log })
    }

    async fn until_it_leads(&self) -> Result<()> {
        self.process
            .until("the rival leads", PATIENCE, || async {
                ensure!(std::fs::read_to_string(&self.log)?.contains(" leading"), "it does not");
                Ok(())
            })
            .await
    }
}

/// client-go leads and Weir waits, and the other way round; one ends well, and one is killed: never do both lead, and always one does
/// in the end.
pub(crate) async fn weir_and_client_go_never_lead_together(scene: Scene) -> Result<()> {
    let mut first = Rival::start(&scene, "rival-1").await?;
    first.until_it_leads().await?;
    let mut server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &[]).await?;
    let mut weir = controller(&scene, "weir-controller", &server, &[]).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    says(&weir, "another instance leads", 1).await?;
    ensure!(lease(&scene).await? == ("rival-1".to_owned(), 0), "{:?}", lease(&scene).await?);
    ensure!(!leads(&weir).await?, "both lead");
    serves(&server, false).await?;
    let waiting = scene.get(Kind::ArtifactGenerator, "gen").await?.context("no generator")?;
    ensure!(waiting["status"].is_null() && waiting["metadata"]["finalizers"].is_null(), "{waiting}");

    // Given back, it is nobody's.
    first.process.terminate().await?;
    ensure!(lease(&scene).await?.0 != "rival-1", "client-go did not give it back");
    until_it_leads(&weir).await?;
    ensure!(lease(&scene).await?.1 == 1, "{:?}", lease(&scene).await?);
    serves(&server, true).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;

    // Killed, it leaves the port open, and the Lease until that runs out.
    let mut second = Rival::start(&scene, "rival-2").await?;
    let killed_at = Timestamp::now();
    weir.kill().await?;
    let renewed = renewed(&scene).await?;
    second.until_it_leads().await?;
    let waited = Timestamp::now().duration_since(renewed);
    ensure!(waited.as_secs() >= LEASE_SECONDS as i64, "client-go took it {waited:?} after it was renewed");
    serves(&server, true).await?;
    let log = scene.stage.run.log(&format!("weir-controller@{}", scene.namespace));
    let mut reigns: Vec<_> = of_weir(&log)?.into_iter().map(|reign| reign.killed(killed_at)).collect();
    ensure!(reigns.len() == 1, "{reigns:?}");

    // Back again it waits, and sees to it that its server does not serve. The rival is killed now.
    weir.restart().await?;
    serves(&server, false).await?;
    let rival_killed = Timestamp::now();
    second.process.kill().await?;
    until_it_leads(&weir).await?;
    serves(&server, true).await?;
    ensure!(lease(&scene).await?.1 == 3, "{:?}", lease(&scene).await?);

    // Weir gives it back.
    let mut third = Rival::start(&scene, "rival-3").await?;
    let held = lease(&scene).await?.0;
    let status = weir.stop().await?;
    ensure!(status == "exit status: 0", "{status}");
    ensure!(lease(&scene).await?.0 != held, "it was not given back");
    third.until_it_leads().await?;
    reigns.extend(of_weir(&log)?.into_iter().skip(1));
    for rival in [&first, &third] {
        reigns.extend(of_client_go(&rival.log, Timestamp::now())?);
    }
    reigns.extend(of_client_go(&second.log, rival_killed)?);
    ensure!(one_at_a_time(reigns)? == 5);
    third.process.terminate().await?;
    server.stop().await.map(drop)
}

/// Rounds, of which every other one kills the leader and the rest stop it.
const ROUNDS: usize = 4;
/// At least this many must hit a generator that had not finished.
const UNFINISHED: usize = 2;
/// After so many it stops, whatever has been reached.
const LAST_ROUND: usize = 16;

/// Two controllers on one server. The leader ends in the middle of its work, again and again: one at a time works, a former leader
/// is refused, and clients can download all the time.
pub(crate) async fn a_leader_that_ends_in_a_build_is_followed_by_one_writer(scene: Scene) -> Result<()> {
    let mut server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &[]).await?;
    let mut pair = [
        controller(&scene, "weir-a", &server, &RETENTION).await?,
        controller(&scene, "weir-b", &server, &RETENTION).await?,
    ];
    let mut random = rand::rngs::StdRng::seed_from_u64(5);
    let repository = scene.repository("app", &[("README.md", "start")]).await?;
    change(&scene, &repository, &mut random).await?;
    let artifacts: Vec<_> = (0..16)
        .map(|number| artifact(&format!("app-{number}"), &[(&format!("@repo/{number}/**"), "@artifact/")]))
        .collect();
    scene.apply(artifact_generator("app", "app", json!(artifacts))).await?;
    scene.ready(Kind::ArtifactGenerator, "app").await?;

    let clients = Clients::start(&scene);
    let (mut rounds, mut unfinished) = (0, 0);
    while rounds < LAST_ROUND && (rounds < ROUNDS || unfinished < UNFINISHED) {
        let (leader, epoch) = (leader(&pair).await?, lease(&scene).await?.1);
        let before = source_artifact(&scene).await?;
        change(&scene, &repository, &mut random).await?;
        working(&scene, &before).await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
        if rounds % 2 == 0 {
            pair[leader].kill().await?
        } else {
            drop(pair[leader].stop().await?)
        }
        rounds += 1;
        let object = scene.get(Kind::ArtifactGenerator, "app").await?.context("no generator")?;
        unfinished += usize::from(ensure_current(&scene, &object).await.is_err());
        until_it_leads(&pair[1 - leader]).await?;
        finished(&scene).await?;
        former_leader_is_refused(&scene, &server, epoch).await?;
        pair[leader].restart().await?;
    }
    let downloads = clients.stop().await?;
    say(format!(
        "{rounds} leaders ended, {unfinished} before the generator had finished; {downloads} downloads, none failed"
    ));
    ensure!(unfinished >= UNFINISHED, "only {unfinished} of {rounds} ended before the generator had finished");
    ensure!(downloads > 16 * rounds, "only {downloads} downloads");
    let mut all = Vec::new();
    for one in &mut pair {
        let log = one.process()?.log().to_owned();
        one.stop().await?;
        all.extend(of_weir(&log)?);
    }
    ensure!(one_at_a_time(all)? > rounds);
    server.stop().await.map(drop)
}

/// Which of the two leads.
async fn leader(pair: &[Controller; 2]) -> Result<usize> {
    eventually("one of the two leads", PATIENCE, || async {
        for (number, one) in pair.iter().enumerate() {
            if leads(one).await? {
                return Ok(number);
            }
        }
        bail!("none does")
    })
    .await
}

/// A call with a former leader's epoch is refused, and closes nothing.
async fn former_leader_is_refused(scene: &Scene, server: &ArtifactServer, epoch: u64) -> Result<()> {
    let client = Server::new(&server.endpoint(), &Certificates::default(), Policy::default())?;
    let former = client.under(&format!("{}/{LEASE}", scene.namespace), epoch);
    // The new leader's first call tells the server of it. Until then the former one may open what is open.
    eventually("the server knows the new leader", PATIENCE, || async {
        ensure!(former.set_serving(true).await.is_err(), "it does not");
        Ok(())
    })
    .await?;
    let refused = former.set_serving(false).await.err().context("a former leader closed the port")?;
    ensure!(refused.failure().is_some_and(|failure| failure.reason == Reason::StaleEpoch), "{refused}");
    ensure!(client.info().await?.serving, "the port is closed");
    Ok(())
}

/// Two pods have two servers. Only that of the leader serves; but nothing closes the port of a leader that has died until another
/// one leads and it is back.
pub(crate) async fn only_the_server_of_the_leader_serves(scene: Scene) -> Result<()> {
    let run = &scene.stage.run;
    let mut one = ArtifactServer::start(run, &scene.namespace, &[]).await?;
    let mut first = controller(&scene, "weir-1", &one, &[]).await?;
    until_it_leads(&first).await?;
    serves(&one, true).await?;
    let mut two = ArtifactServer::start(run, &scene.namespace, &[]).await?;
    let mut second = controller(&scene, "weir-2", &two, &[]).await?;
    says(&second, "another instance leads", 1).await?;
    serves(&two, false).await?;
    serves(&one, true).await?;

    first.kill().await?;
    until_it_leads(&second).await?;
    serves(&two, true).await?;
    serves(&one, true).await?;
    first.restart().await?;
    serves(&one, false).await?;
    // It remembers that nobody wants it open.
    one.kill().await?;
    one.restart().await?;
    serves(&one, false).await?;
    serves(&two, true).await?;

    second.stop().await?;
    until_it_leads(&first).await?;
    serves(&one, true).await?;
    serves(&two, true).await?;
    second.restart().await?;
    serves(&two, false).await?;
    serves(&one, true).await?;
    for controller in [&mut first, &mut second] {
        controller.stop().await?;
    }
    one.stop().await?;
    two.stop().await.map(drop)
}

/// A leader that sees another holder ends, and so does one that can not renew the Lease in time.
pub(crate) async fn a_lost_lease_ends_the_process(scene: Scene) -> Result<()> {
    let mut server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &[]).await?;
    let weir = controller(&scene, "weir-1", &server, &[]).await?;
    until_it_leads(&weir).await?;
    let api: Api<Lease> = Api::namespaced(scene.client(), &scene.namespace);
    let intruder = json!({"spec": {"holderIdentity": "intruder", "leaseTransitions": 7}});
    api.patch(LEASE, &PatchParams::default(), &Patch::Merge(intruder)).await?;
    ends_as_deposed(&weir).await?;
    ensure!(lease(&scene).await? == ("intruder".to_owned(), 7), "it wrote after it had lost");
    let free = json!({"spec": {"holderIdentity": ""}});
    api.patch(LEASE, &PatchParams::default(), &Patch::Merge(free)).await?;

    let (link, kubeconfig) = Link::of_controller(&scene).await?;
    let arguments: Vec<_> = ELECTION.iter().copied().chain([PATIENT_RIVALS]).collect();
    let weir =
        Controller::start_as("weir-2", &scene.stage.run, &server, &kubeconfig, &scene.namespace, &arguments).await?;
    until_it_leads(&weir).await?;
    let (cut, before) = (Instant::now(), lease(&scene).await?);
    link.sever();
    ends_as_deposed(&weir).await?;
    // At its own deadline, and not when others may begin. That it is at once is held where time can be stopped:
    // `a_leader_whose_tries_fail_at_once_stops_at_its_deadline`.
    ensure!(cut.elapsed() < BETWEEN, "it went on for {:?}", cut.elapsed());
    ensure!(lease(&scene).await? == before && before.1 == 8, "{before:?}, {:?}", lease(&scene).await?);
    serves(&server, true).await?;
    server.stop().await.map(drop)
}

/// Waits until it has ended by itself, as source-watcher does.
async fn ends_as_deposed(weir: &Controller) -> Result<()> {
    let process = weir.process()?;
    let status = eventually("the process ends", PATIENCE, || async { process.exit().context("it runs") }).await?;
    ensure!(status == "exit status: 1", "{status}");
    let log = std::fs::read_to_string(process.log())?;
    let why = |line: &str| line.contains("problem running manager") && line.contains("leader election lost");
    // What runs beside it may have a last word.
    ensure!(log.lines().rev().take(5).any(why), "it does not say why: {log}");
    Ok(())
}

/// Outside of a pod nobody knows where the Lease is.
pub(crate) async fn without_a_namespace_there_is_none(scene: Scene) -> Result<()> {
    let mut server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &[]).await?;
    let kubeconfig = scene.stage.control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT).await?;
    let started =
        Controller::start(&scene.stage.run, &server, &kubeconfig, "", &["--enable-leader-election"]).await.map(drop);
    let error = format!("{:#}", started.err().context("it runs")?);
    ensure!(error.contains("exit status: 1"), "{error}");
    ensure!(
        error.contains("unable to find leader election namespace") && error.contains("RUNTIME_NAMESPACE"),
        "{error}"
    );
    server.stop().await.map(drop)
}
