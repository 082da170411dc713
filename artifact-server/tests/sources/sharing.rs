//! Who shares a download with whom.

use std::time::Duration;

use weir_artifact_server::source::{CacheSettings, SourceError, SourceRequest, Waits};

use crate::{
    server::{Gate, Reply, Server},
    setup::{Scene, cache, noise, request, small, tarball, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_callers_share_one_download() {
    let gate = Gate::default();
    let reply = Reply::ok(&small()).behind(&gate);
    let scene = Scene::of_two(&small(), reply.clone(), reply).await;
    let calls: Vec<_> = (0..100).map(|_| scene.call(&scene.target)).collect();
    until(&scene.cache, "99 wait for one", |stats| (stats.misses, stats.shared, stats.in_flight) == (1, 99, 1)).await;
    gate.open();
    let mut downloaded = 0;
    for call in calls {
        downloaded += u32::from(call.await.unwrap().unwrap());
    }
    assert_eq!((downloaded, scene.server.requests().len()), (1, 1));
    assert_eq!((scene.cache.stats().downloads, scene.cache.stats().in_flight), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_reaches_all_who_wait_and_is_forgotten() {
    let gate = Gate::default();
    let missing = Reply::status("404 Not Found").behind(&gate);
    let scene = Scene::of_two(&small(), missing, Reply::ok(&small())).await;
    let first = scene.call(&scene.target);
    until(&scene.cache, "the first has started", |stats| stats.misses == 1).await;
    let waiting = scene.call(&scene.target);
    let elsewhere = scene.call(&scene.at("/elsewhere"));
    until(&scene.cache, "two wait", |stats| stats.shared == 2).await;
    gate.open();
    assert_eq!(first.await.unwrap(), Err(SourceError::NotFound));
    assert_eq!(waiting.await.unwrap(), Err(SourceError::NotFound));
    assert_eq!(elsewhere.await.unwrap(), Ok(true), "another URL has its own turn");
    assert_eq!(scene.server.requests(), ["/x", "/elsewhere"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_leaves_spares_the_others() {
    let gate = Gate::default();
    let reply = Reply::ok(&small()).behind(&gate);
    let scene = Scene::of_two(&small(), reply.clone(), reply).await;
    let starter = scene.call(&scene.target);
    until(&scene.cache, "started", |stats| stats.misses == 1).await;
    let other = scene.call(&scene.target);
    until(&scene.cache, "joined", |stats| stats.shared == 1).await;
    starter.abort();
    assert!(starter.await.unwrap_err().is_cancelled());
    assert_eq!(scene.cache.stats().in_flight, 1);
    gate.open();
    assert_eq!(other.await.unwrap(), Ok(false));
    assert_eq!(scene.server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_ends_with_its_last_waiter() {
    let noise = noise(1 << 20, 3);
    let bytes = tarball(&[("a", b"1"), ("noise", &noise)]);
    let scene = Scene::of_two(&bytes, Reply::stall(&bytes, 500_000), Reply::ok(&bytes)).await;
    let call = scene.call(&scene.target);
    until(&scene.cache, "unpacking has begun", |stats| stats.bytes > 1 << 20).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    until(&scene.cache, "nothing is left", |stats| (stats.in_flight, stats.bytes, stats.entries) == (0, 0, 0)).await;
    assert!(scene.cache.get(&scene.target).await.unwrap().downloaded);
    assert_eq!(scene.server.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_downloads_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |_| {});
    let tarballs: Vec<Vec<u8>> = (0..20).map(|n: u32| tarball(&[("a", &n.to_le_bytes())])).collect();
    let gate = Gate::default();
    let replies: Vec<Reply> = tarballs.iter().map(|tarball| Reply::ok(tarball).behind(&gate)).collect();
    let server = Server::start(move |_, path| replies[path[1..].parse::<usize>().unwrap()].clone()).await;
    let calls: Vec<_> = tarballs
        .iter()
        .enumerate()
        .map(|(n, tarball)| {
            let (cache, target) = (cache.clone(), request(&server, &format!("/{n}"), tarball));
            tokio::spawn(async move { cache.get(&target).await.map(drop) })
        })
        .collect();
    until(&cache, "all have started", |stats| stats.in_flight == 20).await;
    until(&cache, "sixteen have asked", |_| server.requests().len() >= 16).await;
    assert_eq!(server.requests().len(), 16);
    gate.open();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(()));
    }
    assert_eq!((server.requests().len(), cache.stats().downloads), (20, 20));
}

// One URL fails again and again, with long waits between its tries. Nobody else has to sit them out.
#[tokio::test(flavor = "multi_thread")]
async fn another_url_does_not_wait_for_the_retries_of_the_first() {
    let (gate, hour) = (Gate::default(), Duration::from_secs(3600));
    let (away, good) = (Reply::status("500 Oops").behind(&gate), Reply::ok(&small()));
    let patient = |settings: &mut CacheSettings| settings.waits = Waits { first: hour, longest: hour };
    let reply = move |_, path: &str| if path == "/x" { away.clone() } else { good.clone() };
    let scene = Scene::new(&small(), patient, reply).await;
    let first = scene.call(&scene.target);
    until(&scene.cache, "the first has started", |stats| stats.misses == 1).await;
    let others = [scene.call(&scene.at("/other")), scene.call(&scene.at("/other"))];
    until(&scene.cache, "two wait", |stats| stats.shared == 2).await;
    assert_eq!(scene.cache.stats().in_flight, 1, "nothing is downloaded twice at a time");
    gate.open();
    let mut downloaded = 0;
    for call in others {
        downloaded += u32::from(call.await.unwrap().unwrap());
    }
    assert_eq!(downloaded, 1);
    assert_eq!(first.await.unwrap(), Ok(false), "and the first takes what they brought");
    assert_eq!(scene.server.requests(), ["/x", "/other"]);
    let stats = scene.cache.stats();
    assert_eq!((stats.misses, stats.downloads, stats.failures, stats.in_flight), (2, 1, 0, 0));
}

/// With a policy, what one caller fetched tells others nothing: each asks the source's own server, by the URL that was fetched.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_share_only_what_each_could_fetch() {
    let reply = |count: usize, path: &str| match (count, path) {
        // The fourth request is the HEAD of one who may not have it any more.
        (3, _) | (_, "/missing") => Reply::status("404 Not Found"),
        _ => Reply::ok(&small()),
    };
    let scene = Scene::new(&small(), |_| {}, reply).await;
    let of = |tenant: &str, path: &str| SourceRequest { tenant: Some(tenant.to_owned()), ..scene.at(path) };
    let call = async |request: SourceRequest| scene.call(&request).await.unwrap();
    assert_eq!(call(of("a", "/x")).await, Ok(true));
    assert_eq!(call(of("a", "/x")).await, Ok(false), "its own");
    assert_eq!(scene.server.requests(), ["/x"]);
    assert_eq!(call(of("b", "/x")).await, Ok(true), "as if a had not been there");
    assert_eq!(call(of("b", "/x")).await, Ok(false), "each time anew, and says what it would say without a");
    assert_eq!(scene.server.requests().len(), 3);
    assert_eq!(call(of("b", "/x")).await, Err(SourceError::NotFound));
    assert_eq!(call(of("a", "/x")).await, Ok(false), "not a's loss");
    assert_eq!(call(of("b", "/missing")).await, Err(SourceError::NotFound), "a digest alone gets nothing");
    assert_eq!(call(of("b", "/b")).await, Ok(true), "nor does a URL of its own that answers: it must bring the bytes");
    assert_eq!(scene.cache.stats().downloads, 2);
    assert_eq!(scene.server.requests(), ["/x", "/x", "/x", "/x", "/missing", "/b"]);
}

/// Whoever knows a digest can name a server of its own for it, and let that take forever.
#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_slow_server_holds_up_no_other_tenant() {
    let bytes = tarball(&[("noise", &noise(100_000, 3))]);
    let (slow, good) = (Reply::stall(&bytes, 50_000), Reply::ok(&bytes));
    let reply = move |_, path: &str| if path == "/slow" { slow.clone() } else { good.clone() };
    let scene = Scene::new(&bytes, |_| {}, reply).await;
    let of = |tenant: &str, path: &str| SourceRequest { tenant: Some(tenant.to_owned()), ..scene.at(path) };
    let stalled = scene.call(&of("b", "/slow"));
    until(&scene.cache, "it is on its way", |stats| stats.misses == 1 && stats.bytes > 0).await;
    assert_eq!(scene.call(&of("a", "/x")).await.unwrap(), Ok(true));
    assert!(!stalled.is_finished());
    stalled.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_come_from_named_hosts_alone() {
    let reply = Reply::ok(&small());
    let hosts = |settings: &mut CacheSettings| settings.hosts = vec!["source-controller.test".parse().unwrap()];
    let scene = Scene::new(&small(), hosts, move |_, _| reply.clone()).await;
    let refused = scene.call(&scene.target).await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("127.0.0.1:") && refused.to_string().contains("--source-hosts"), "{refused}");
    let elsewhere = SourceRequest { source_host: Some("other.test".into()), ..scene.target.clone() };
    assert!(
        matches!(scene.call(&elsewhere).await.unwrap(), Err(SourceError::Host(_))),
        "the host that is asked counts"
    );
    assert_eq!(scene.server.requests(), [""; 0]);
}
