//! `Build` and `FindDirectories`.

use std::{collections::BTreeMap, time::Duration};

use futures::future::try_join_all;
use sha2::{Digest, Sha256};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};
use weir_proto::{
    Failure, Reason,
    v1::{
        Artifact, BuildArtifact, BuildHeader, BuildRequest, BuildResult, Caller, Collectable, CopyOperation,
        FindDirectoriesRequest, GarbageCollectRequest, SetServingRequest, Settings, Source, SourcesReady,
        build_request::Message, build_response, build_result::Outcome,
    },
};

use crate::{
    process::{DEADLINE, Place, Server, caller, get},
    sources::{Sources, names, noise},
};

pub(crate) fn header(sources: &[Source]) -> BuildHeader {
    BuildHeader {
        caller: caller(),
        kind: "ExternalArtifact".into(),
        namespace: "apps".into(),
        sources: sources.to_vec(),
        settings: None,
    }
}

/// An artifact that is one directory of the source `repo`.
pub(crate) fn artifact(index: u32, name: &str, from: &str) -> BuildArtifact {
    let copy = CopyOperation { from: format!("@repo/{from}"), to: "@artifact/".into(), ..CopyOperation::default() };
    BuildArtifact { index, name: name.into(), copy: vec![copy], ..BuildArtifact::default() }
}

pub(crate) fn published(mut artifact: BuildArtifact, current: &Artifact) -> BuildArtifact {
    artifact.current_path.clone_from(&current.path);
    artifact.current_digest.clone_from(&current.digest);
    artifact
}

/// One whole call: what it says of the sources, and the results by index.
pub(crate) async fn build(
    server: &Server,
    header: BuildHeader,
    artifacts: Vec<BuildArtifact>,
) -> Result<(SourcesReady, BTreeMap<u32, BuildResult>), Status> {
    build_within(server, header, artifacts, None).await
}

/// A call that tells the server its deadline.
async fn build_within(
    server: &Server,
    header: BuildHeader,
    artifacts: Vec<BuildArtifact>,
    timeout: Option<Duration>,
) -> Result<(SourcesReady, BTreeMap<u32, BuildResult>), Status> {
    let messages = std::iter::once(Message::Header(header)).chain(artifacts.into_iter().map(Message::Artifact));
    let requests: Vec<_> = messages.map(|message| BuildRequest { message: Some(message) }).collect();
    let mut request = Request::new(futures::stream::iter(requests));
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let mut answers = server.builder().build(request).await?.into_inner();
    let (mut ready, mut results) = (None, BTreeMap::new());
    while let Some(answer) = answers.message().await? {
        match answer.message.unwrap() {
            build_response::Message::Sources(sources) => assert!(ready.replace(sources).is_none(), "sources come once"),
            build_response::Message::Result(result) => {
                assert!(ready.is_some(), "sources come first");
                assert!(results.insert(result.index, result).is_none(), "one result for each artifact");
            }
        }
    }
    Ok((ready.expect("sources come"), results))
}

/// Builds one artifact that has to be made anew.
pub(crate) async fn build_new(server: &Server, source: &Source, artifact: BuildArtifact) -> Artifact {
    let index = artifact.index;
    let (_, mut results) = build(server, header(std::slice::from_ref(source)), vec![artifact]).await.unwrap();
    match results.remove(&index).unwrap().outcome.unwrap() {
        Outcome::Built(artifact) => artifact,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_artifact_is_built_once_and_again_when_its_content_changes() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let address = server.serving().await;
    let first = sources.tarball("/1.tgz", &[("apps/web/a.yaml", "a: 1"), ("apps/web/logo.png", "x"), ("other", "1")]);
    let web = || artifact(7, "web", "apps/web/**");

    let (ready, results) = build(&server, header(std::slice::from_ref(&first)), vec![web()]).await.unwrap();
    let summary = &ready.sources[0];
    assert_eq!((summary.downloaded, summary.files, summary.directories, summary.bytes), (true, 3, 2, 6));
    let result = &results[&7];
    let Some(Outcome::Built(one)) = &result.outcome else { panic!("{result:?}") };
    assert_eq!((result.files, result.ignored_files), (1, 1), "pictures are on the default ignore list");
    assert_eq!(result.ignored_examples, ["logo.png"]);
    assert_eq!(one.revision, format!("latest@{}", result.content_digest));
    assert_eq!(one.url, format!("http://artifacts.test/{}", one.path));
    let bytes = get(format!("http://{address}/{}", one.path)).await.unwrap().bytes().await.unwrap();
    assert_eq!(one.size, i64::try_from(bytes.len()).unwrap());
    let hash = hex::encode(Sha256::digest(&bytes));
    assert_eq!(one.digest, format!("sha256:{hash}"));
    assert_eq!(one.path, format!("externalartifact/apps/web/{hash}.tar.gz"));
    assert_eq!(names(&bytes), [".", "a.yaml"]);

    // The source changes elsewhere: another digest, the same content.
    let same = sources.tarball("/2.tgz", &[("apps/web/a.yaml", "a: 1"), ("other", "2")]);
    let before = place.files();
    let (_, results) = build(&server, header(&[same]), vec![published(web(), one)]).await.unwrap();
    assert_eq!(results[&7].outcome, Some(Outcome::Unchanged(one.clone())), "also the time stays");
    assert_eq!(place.files(), before, "nothing is written");

    let changed = sources.tarball("/3.tgz", &[("apps/web/a.yaml", "a: 2")]);
    let two = build_new(&server, &changed, published(web(), one)).await;
    assert_ne!((&two.path, &two.revision), (&one.path, &one.revision));
    for path in [&one.path, &two.path] {
        let response = get(format!("http://{address}/{path}")).await.unwrap();
        assert_eq!(response.status(), 200, "the previous file stays until it is collected");
    }

    let (kind, namespace, name) = ("ExternalArtifact".into(), "apps".into(), "web".into());
    let reference = weir_proto::v1::ArtifactRef { kind, namespace, name };
    let zero = Some(prost_types::Duration { seconds: 0, nanos: 0 });
    let artifacts = vec![Collectable { artifact: Some(reference), current_path: two.path.clone() }];
    let collect = |records, grace| {
        let request = GarbageCollectRequest {
            caller: caller(),
            artifacts: artifacts.clone(),
            ttl: zero,
            records,
            grace,
            limit: 0,
        };
        let mut storage = server.storage();
        async move { storage.garbage_collect(request).await.unwrap().into_inner().removed }
    };
    assert_eq!(collect(1, None).await, [""; 0], "somebody may still be on the way to what was returned lately");
    assert_eq!(get(format!("http://{address}/{}", one.path)).await.unwrap().status(), 200);
    assert_eq!(collect(9, zero).await, std::slice::from_ref(&one.path), "too old, however many may stay");
    assert_eq!(get(format!("http://{address}/{}", one.path)).await.unwrap().status(), 404);
    assert_eq!(server.figure("weir_storage_collected_total").await, 1.0);
    assert_eq!(server.figure("weir_build_artifacts_total{outcome=\"built\"}").await, 2.0);
    assert_eq!(server.figure("weir_build_artifacts_total{outcome=\"unchanged\"}").await, 1.0);
}

#[tokio::test]
async fn a_source_is_downloaded_once_however_many_ask() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/slow/1.tgz", &[("a", "1")]);
    let builds = (0..8).map(|call| {
        let artifacts = (0..40).map(|index| artifact(index, &format!("app-{call}-{index}"), "**")).collect();
        build(&server, header(std::slice::from_ref(&source)), artifacts)
    });
    let all = try_join_all(builds);
    let gate = async {
        while sources.requests() == 0 {
            tokio::task::yield_now().await;
        }
        sources.open_gate();
    };
    let (results, ()) = tokio::join!(all, gate);
    let results = results.unwrap();
    assert!(results.iter().all(|(_, results)| results.len() == 40));
    assert_eq!(results.iter().filter(|(ready, _)| ready.sources[0].downloaded).count(), 1);
    assert_eq!(sources.requests(), 1);
    assert_eq!(server.figure("weir_source_downloads_total").await, 1.0);
    assert_eq!(place.files().len(), 2 * 8 * 40, "a file and a record each");
}

#[tokio::test]
async fn one_bad_artifact_does_not_stop_the_others() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let mut wrong_strategy = artifact(4, "strategy", "a");
    wrong_strategy.copy[0].strategy = "Mix".into();
    let artifacts = vec![
        artifact(0, "good", "a"),
        artifact(1, "missing", "nope"),
        artifact(2, "../x", "a"),
        artifact(3, "good", "a"),
        wrong_strategy,
        artifact(5, "also-good", "a"),
    ];
    let (_, results) = build(&server, header(&[source]), artifacts).await.unwrap();
    let reason = |index: u32| match &results[&index].outcome {
        Some(Outcome::Error(error)) => error.reason.as_str(),
        Some(Outcome::Built(_)) => "built",
        other => panic!("{other:?}"),
    };
    let reasons: Vec<&str> = (0..6).map(reason).collect();
    let expected = ["built", "BUILD_FAILED", "INVALID_REQUEST", "INVALID_REQUEST", "BUILD_FAILED", "built"];
    assert_eq!(reasons, expected);
    let Some(Outcome::Error(error)) = &results[&1].outcome else { panic!() };
    let text = "failed to apply copy operations: failed to apply copy operation from '@repo/nope' to '@artifact/': \
                source 'nope' does not exist";
    assert_eq!((error.message.as_str(), error.code), (text, 9));
}

#[tokio::test]
async fn an_artifact_may_be_named_like_an_ignore_rule() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/1.tgz", &[("a", "1"), ("b.zip", "1")]);
    let (_, results) = build(&server, header(&[source]), vec![artifact(0, "foo.zip", "")]).await.unwrap();
    assert_eq!((results[&0].files, results[&0].ignored_files), (1, 1), "{results:?}");
}

#[tokio::test]
async fn a_few_of_the_ignored_files_are_named() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let long = format!("{}é.png", "dddd/".repeat(44));
    let mut files: Vec<(String, &str)> = (10..30).map(|number| (format!("{number}.png"), "x")).collect();
    files.extend([("kept".to_owned(), "x"), (format!("00/{long}"), "x")]);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    let source = sources.tarball("/1.tgz", &files);
    let (_, results) = build(&server, header(&[source]), vec![artifact(0, "web", "")]).await.unwrap();
    let result = &results[&0];
    assert_eq!((result.files, result.ignored_files, result.ignored_examples.len()), (1, 21, 10), "{result:?}");
    let [first, second, ..] = result.ignored_examples.as_slice() else { panic!("{result:?}") };
    assert!(first.starts_with("...") && first.ends_with("/é.png") && first.len() <= 203, "{first}");
    assert_eq!(second, "10.png", "in archive order");
}

#[tokio::test]
async fn an_optional_copy_of_nothing_is_skipped() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let mut order = artifact(0, "web", "a");
    let absent = CopyOperation { from: "@repo/none/*".into(), to: "@artifact/".into(), ..CopyOperation::default() };
    order.copy.push(CopyOperation { optional: true, ..absent.clone() });
    let mut strict = artifact(1, "strict", "a");
    strict.copy.push(absent);
    let (_, results) = build(&server, header(&[source]), vec![order, strict]).await.unwrap();
    assert!(matches!(results[&0].outcome, Some(Outcome::Built(_))), "{results:?}");
    assert!(matches!(results[&1].outcome, Some(Outcome::Error(_))), "{results:?}");
}

#[tokio::test]
async fn a_cancelled_call_leaves_nothing() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/slow/1.tgz", &[("a", "1")]);
    let call = build(&server, header(std::slice::from_ref(&source)), vec![artifact(0, "web", "a")]);
    let left = async {
        while sources.requests() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        result = call => panic!("{result:?}"),
        () = left => {}
    }
    // Nobody waits for the download any more, so it ends.
    let ended = async {
        while sources.left() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.expect("the download goes on");
    // Others are not disturbed, and download it themselves.
    sources.open_gate();
    let built = build_new(&server, &source, artifact(0, "other", "a")).await;
    let stored: Vec<String> = place.files().into_iter().filter(|file| !file.contains("/.")).collect();
    assert_eq!(stored, [built.path], "only what was asked for to the end");
}

/// A client that holds its stream open must not keep what it builds from in the cache, where others need the room.
#[tokio::test]
async fn a_build_that_falls_silent_is_ended_and_lets_go_of_its_sources() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&["--grpc-upload-silence=2s", "--source-cache-size=100Ki", "--http-retry=0"]).await;
    let large = ["/1.tgz", "/2.tgz"].map(|path| sources.tarball(path, &[("a", &noise(60_000)), ("name", path)]));
    let begun = async |source: &Source| {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let message = Message::Header(header(std::slice::from_ref(source)));
        sender.send(BuildRequest { message: Some(message) }).await.unwrap();
        let answers = server.builder().build(ReceiverStream::new(receiver)).await.unwrap();
        (sender, answers.into_inner())
    };
    let (sender, mut answers) = begun(&large[0]).await;
    assert!(matches!(answers.message().await.unwrap().unwrap().message, Some(build_response::Message::Sources(_))));
    // As slow as it likes, while it is not silent.
    for index in 0..4 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let message = Message::Artifact(artifact(index, &format!("a{index}"), "name"));
        sender.send(BuildRequest { message: Some(message) }).await.unwrap();
        assert!(matches!(answers.message().await.unwrap().unwrap().message, Some(build_response::Message::Result(_))));
    }
    let (_, busy) = begun(&large[1]).await;
    let busy = { busy }.message().await.unwrap_err();
    assert_eq!(Failure::from_status(&busy).map(|failure| failure.reason), Some(Reason::CacheBusy), "{busy:?}");
    let silent = tokio::time::timeout(DEADLINE, answers.message()).await.expect("it is ended").unwrap_err();
    assert_eq!(silent.code(), Code::DeadlineExceeded, "{silent:?}");
    assert!(silent.message().contains("--grpc-upload-silence"), "{silent:?}");
    build_new(&server, &large[1], artifact(0, "other", "name")).await;
    drop(sender);
}

/// Starts to build an artifact of 15 MiB for each copy, and returns with the call when its archive is being written.
async fn large_build<'a>(
    server: &'a Server,
    place: &Place,
    sources: &Sources,
    copies: u32,
    timeout: Option<Duration>,
) -> impl Future<Output = Result<(SourcesReady, BTreeMap<u32, BuildResult>), Status>> + 'a {
    let source = sources.tarball("/noise.tgz", &[("noise", &noise(15 << 20))]);
    // The call that counts finds it in the cache, so that its time is for the archive alone.
    build(server, header(std::slice::from_ref(&source)), vec![]).await.unwrap();
    let copy = |number: u32| CopyOperation {
        from: "@repo/noise".into(),
        to: format!("@artifact/{number}"),
        ..CopyOperation::default()
    };
    let large = BuildArtifact { copy: (0..copies).map(copy).collect(), ..artifact(0, "large", "") };
    let mut call = Box::pin(build_within(server, header(&[source]), vec![large], timeout));
    let begun = async {
        while written(place) < 1 << 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        result = &mut call => panic!("{result:?}"),
        () = begun => call,
    }
}

/// The size of the file that is being written, 0 when there is none.
pub(crate) fn written(place: &Place) -> u64 {
    let hidden = place.files().into_iter().find(|file| file.contains("/.tmp"));
    hidden.and_then(|file| std::fs::metadata(place.volume().join(file)).ok()).map_or(0, |file| file.len())
}

/// Waits until the file that is being written is gone; gives its last size.
async fn gone(place: &Place) -> u64 {
    let mut last = 0;
    while let size @ 1.. = written(place) {
        last = size;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    last
}

#[tokio::test]
async fn a_call_that_is_cancelled_while_it_packs_leaves_nothing() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    drop(large_build(&server, &place, &sources, 40, None).await);
    let size = gone(&place).await;
    assert!(size < 300 << 20, "it went on for {size} bytes");
    assert_eq!(place.files(), [""; 0]);
    assert_eq!(server.figure("weir_build_artifacts_total{outcome=\"built\"}").await, 0.0);
}

#[tokio::test]
async fn a_deadline_ends_a_build_and_leaves_nothing() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let call = large_build(&server, &place, &sources, 40, Some(Duration::from_secs(4))).await;
    // The client has no clock of its own here: the server ends it.
    let status = call.await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "the caller's deadline is over"));
    let size = gone(&place).await;
    assert!(size < 600 << 20, "it went on for {size} bytes");
    assert_eq!(place.files(), [""; 0]);
}

#[tokio::test]
async fn a_build_of_a_former_leader_fails_however_far_it_is() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let call = large_build(&server, &place, &sources, 5, None).await;
    let leader = Some(Caller { owner: "source-watcher/2".into(), epoch: 1, ..Caller::default() });
    server.storage().set_serving(SetServingRequest { caller: leader, on: true }).await.unwrap();
    assert!(written(&place) > 0, "it is still at work");
    let (_, results) = call.await.unwrap();
    let Some(Outcome::Error(error)) = &results[&0].outcome else { panic!("{results:?}") };
    assert_eq!(error.reason, "STALE_EPOCH");
    assert_eq!(place.files(), [""; 0]);
}

#[tokio::test]
async fn what_is_too_large_fails_alone() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&["--artifact-max-size=100Ki"]).await;
    let source = sources.tarball("/1.tgz", &[("a", &"x".repeat(60 << 10)), ("b", "1")]);
    let (mut long, mut wide) = (artifact(0, "long", "b"), artifact(1, "wide", "a"));
    long.copy[0].exclude = vec!["x".repeat(1 << 20)];
    let more = CopyOperation { to: "@artifact/again".into(), ..wide.copy[0].clone() };
    wide.copy.push(more);
    let (_, results) = build(&server, header(&[source]), vec![long, wide, artifact(2, "good", "a")]).await.unwrap();
    let error = |index: u32| match &results[&index].outcome {
        Some(Outcome::Error(error)) => (error.reason.as_str(), error.message.as_str()),
        other => panic!("{other:?}"),
    };
    let (reason, message) = error(0);
    assert_eq!(reason, "BUILD_FAILED");
    assert!(message.starts_with("the copy operations of artifact \"long\" take 10486"), "{message}");
    assert!(message.ends_with("1048576 are allowed: use patterns in place of long lists"), "{message}");
    let text = "failed to apply copy operations: failed to apply copy operation from '@repo/a' to '@artifact/again': the files \
                of the artifact would take more than 102400 bytes; raise --artifact-max-size of the artifact server";
    assert_eq!(error(1), ("BUILD_FAILED", text));
    assert!(matches!(results[&2].outcome, Some(Outcome::Built(_))));
}

#[tokio::test]
async fn the_callers_settings_win_over_the_servers() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let mut source = sources.tarball("/1.tgz", &[("a", "1")]);
    // The host is replaced, as developers do.
    let host = source.url.trim_start_matches("http://").trim_end_matches("/1.tgz").to_owned();
    source.url = "http://source-controller.flux-system.svc.cluster.local./1.tgz".into();
    let settings = Settings {
        advertised_address: "https://shard1.example".into(),
        digest_algorithm: "sha512".into(),
        http_retry: Some(0),
        source_host: host,
    };
    let header = BuildHeader { settings: Some(settings), ..header(&[source]) };
    let (_, results) = build(&server, header, vec![artifact(0, "web", "a")]).await.unwrap();
    let Some(Outcome::Built(built)) = &results[&0].outcome else { panic!("{results:?}") };
    assert_eq!(built.url, format!("https://shard1.example/{}", built.path));
    assert!(built.digest.starts_with("sha512:") && built.digest.len() == 7 + 128, "{}", built.digest);
}

#[tokio::test]
async fn directories_are_found_by_a_pattern_with_captures() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source =
        sources.tarball("/1.tgz", &[("apps/web/a", "1"), ("apps/db/b", "1"), ("apps/file", "1"), ("x/web/y", "1")]);
    let request = FindDirectoriesRequest {
        caller: caller(),
        source: Some(source.clone()),
        settings: None,
        pattern: "apps/{app}".into(),
    };
    let mut found = server.builder().find_directories(request).await.unwrap().into_inner();
    let mut directories = Vec::new();
    while let Some(one) = found.message().await.unwrap() {
        directories.push((one.path, one.captures["app"].clone()));
    }
    assert_eq!(directories, [("apps/db".into(), "db".into()), ("apps/web".into(), "web".to_owned())]);
    let (ready, _) = build(&server, header(&[source]), vec![]).await.unwrap();
    assert!(!ready.sources[0].downloaded, "it is still in the cache");
}
