//! Owners, epochs, stat, list, watch.

use std::time::Duration;

use tonic::Streaming;
use weir_proto::{
    Failure, Reason,
    v1::{
        Artifact, ArtifactRef, Caller, Collectable, EventType, FindDirectoriesRequest, GarbageCollectRequest,
        GetInfoRequest, ListRequest, RemoveAllRequest, RemoveRequest, SetServingRequest, StatRequest, Verdict,
        VerifyRequest, WatchRequest, WatchResponse, build_result::Outcome,
    },
};

use crate::{
    builds::{artifact, build, build_new, header, published},
    process::{DEADLINE, Place, Server, caller},
    sources::Sources,
};

fn owner(owner: &str, epoch: u64) -> Option<Caller> {
    Some(Caller { owner: owner.into(), epoch, ..Caller::default() })
}

fn web() -> Option<ArtifactRef> {
    Some(ArtifactRef { kind: "ExternalArtifact".into(), namespace: "apps".into(), name: "web".into() })
}

async fn verdict(server: &Server, artifact: &Artifact) -> Verdict {
    let request = VerifyRequest { path: artifact.path.clone(), digest: artifact.digest.clone() };
    server.storage().verify(request).await.unwrap().into_inner().verdict()
}

async fn list(server: &Server, controller: &str) -> Vec<String> {
    listed(server, ListRequest { controller: controller.into(), ..ListRequest::default() }).await
}

async fn listed(server: &Server, request: ListRequest) -> Vec<String> {
    let mut answers = server.storage().list(request).await.unwrap().into_inner();
    let mut paths = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        paths.push(answer.file.unwrap().artifact.unwrap().path);
    }
    paths
}

/// Keeps nothing of the artifact.
fn collection(caller: Option<Caller>) -> GarbageCollectRequest {
    let zero = Some(prost_types::Duration::default());
    let artifacts = vec![Collectable { artifact: web(), current_path: String::new() }];
    GarbageCollectRequest { caller, artifacts, ttl: zero, records: 1, grace: zero, limit: 0 }
}

async fn collect_all(server: &Server, caller: Option<Caller>) -> Vec<String> {
    server.storage().garbage_collect(collection(caller)).await.unwrap().into_inner().removed
}

async fn watch(server: &Server, controller: &str) -> Streaming<WatchResponse> {
    let request = WatchRequest { controller: controller.into() };
    let mut events = server.storage().watch(request).await.unwrap().into_inner();
    let started = next(&mut events).await;
    assert_eq!(started.r#type(), EventType::Started);
    events
}

async fn next(events: &mut Streaming<WatchResponse>) -> WatchResponse {
    tokio::time::timeout(DEADLINE, events.message()).await.expect("no event").unwrap().unwrap()
}

fn failure<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> Failure {
    let status = result.unwrap_err();
    Failure::from_status(&status).unwrap_or_else(|| panic!("{status:?}"))
}

/// Both files are of `other/2`, in one artifact.
async fn lists_select(server: &Server, expected: &[String]) {
    let place_of = |controller: &str| ListRequest {
        controller: controller.into(),
        namespace: "apps".into(),
        ..ListRequest::default()
    };
    assert_eq!(listed(server, place_of("other")).await, expected);
    assert_eq!(listed(server, place_of("source-watcher")).await, [""; 0]);
    let select =
        |name: &str, owner: &str| ListRequest { name: name.into(), owner: owner.into(), ..ListRequest::default() };
    assert_eq!(listed(server, select("", "other/2")).await, expected);
    assert_eq!(listed(server, select("web", "other/2")).await, expected);
    assert_eq!(listed(server, select("web", "")).await, expected);
    for (name, owner) in [("", "other/1"), ("", "source-watcher/1"), ("db", "other/2"), ("we", "")] {
        assert_eq!(listed(server, select(name, owner)).await, [""; 0], "{name:?} {owner:?}");
    }
    let refused = failure(server.storage().list(select("", "other")).await);
    assert_eq!((refused.reason, refused.field.as_deref()), (Reason::InvalidRequest, Some("owner")));
}

#[tokio::test]
async fn files_belong_to_who_stored_them() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let (one, two) = (sources.tarball("/1.tgz", &[("a", "1")]), sources.tarball("/2.tgz", &[("a", "2")]));
    let ours = build_new(&server, &one, artifact(0, "web", "a")).await;
    let other = owner("other/2", 0);

    let foreign = |take_over| {
        let mut header = header(std::slice::from_ref(&two));
        header.caller = other.clone();
        build(&server, header, vec![weir_proto::v1::BuildArtifact { take_over, ..artifact(0, "web", "a") }])
    };
    let (_, results) = foreign(false).await.unwrap();
    assert!(
        matches!(&results[&0].outcome, Some(Outcome::Error(error)) if error.reason == "OWNED_BY_ANOTHER"),
        "{results:?}"
    );
    let remove = RemoveRequest { caller: other.clone(), path: ours.path.clone() };
    let refused = failure(server.storage().remove(remove.clone()).await);
    assert_eq!(refused.reason, Reason::OwnedByAnother);
    assert!(refused.message.contains("source-watcher/1"), "{}", refused.message);
    let all = RemoveAllRequest { caller: other.clone(), artifact: web(), take_over: false };
    assert!(server.storage().remove_all(all).await.unwrap().into_inner().removed.is_empty(), "sees only its own");
    assert!(collect_all(&server, other.clone()).await.is_empty(), "collects only its own");
    // What another has published is not good for this one, though the content is the same.
    let mut same = header(std::slice::from_ref(&one));
    same.caller = other.clone();
    let (_, results) = build(&server, same, vec![published(artifact(0, "web", "a"), &ours)]).await.unwrap();
    assert!(
        matches!(&results[&0].outcome, Some(Outcome::Error(error)) if error.reason == "OWNED_BY_ANOTHER"),
        "{results:?}"
    );
    assert_eq!(verdict(&server, &ours).await, Verdict::Ok);

    let (_, results) = foreign(true).await.unwrap();
    let Some(Outcome::Built(theirs)) = &results[&0].outcome else { panic!("{results:?}") };
    let mut expected = vec![ours.path.clone(), theirs.path.clone()];
    expected.sort();
    assert_eq!(list(&server, "").await, expected, "in path order");
    assert_eq!(list(&server, "other").await.len(), 2, "taken over, all of them");
    assert!(list(&server, "source-watcher").await.is_empty());
    lists_select(&server, &expected).await;

    server.storage().remove(remove.clone()).await.unwrap();
    assert_eq!(failure(server.storage().remove(remove).await).reason, Reason::NotFound);
    let all = RemoveAllRequest { caller: other, artifact: web(), take_over: false };
    let removed = server.storage().remove_all(all.clone()).await.unwrap().into_inner().removed;
    assert_eq!(removed, std::slice::from_ref(&theirs.path));
    assert!(
        server.storage().remove_all(all).await.unwrap().into_inner().removed.is_empty(),
        "nothing there is success"
    );
    assert_eq!(place.files(), [""; 0]);

    let again = build_new(&server, &one, artifact(0, "web", "a")).await;
    let all = RemoveAllRequest { caller: owner("other/2", 0), artifact: web(), take_over: true };
    let removed = server.storage().remove_all(all).await.unwrap().into_inner().removed;
    assert_eq!(removed, [again.path], "everybody's, when asked for");
}

#[tokio::test]
async fn a_deposed_leader_can_not_write_also_after_a_restart() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let remove_all = |caller| RemoveAllRequest { caller, artifact: web(), take_over: false };
    server.storage().remove_all(remove_all(owner("source-watcher/1", 5))).await.unwrap();
    let old = owner("source-watcher/9", 4);
    let mut storage = server.storage();
    let path = "externalartifact/apps/web/0.tar.gz".to_owned();
    let pattern = FindDirectoriesRequest {
        caller: old.clone(),
        source: Some(source.clone()),
        pattern: "{a}".into(),
        ..FindDirectoriesRequest::default()
    };
    let refusals = [
        failure(storage.remove(RemoveRequest { caller: old.clone(), path }).await),
        failure(storage.remove_all(remove_all(old.clone())).await),
        failure(storage.garbage_collect(collection(old.clone())).await),
        failure(storage.set_serving(SetServingRequest { caller: old.clone(), on: true }).await),
        failure(server.builder().find_directories(pattern).await),
    ];
    for refused in refusals {
        assert_eq!((refused.reason, refused.field.as_deref()), (Reason::StaleEpoch, Some("caller.epoch")));
    }
    assert!(!storage.get_info(GetInfoRequest {}).await.unwrap().into_inner().serving);
    server.storage().remove_all(remove_all(owner("other/1", 0))).await.expect("each controller has its own");
    server.stop().await;
    let server = place.start(&[]).await;
    let mut header = header(&[source]);
    header.caller = old;
    assert_eq!(failure(build(&server, header, vec![]).await).reason, Reason::StaleEpoch);
    server.storage().remove_all(remove_all(owner("source-watcher/1", 6))).await.unwrap();
}

/// Two shards on one server: the epoch of the one says nothing about the other, and the port stays open while one of them wants it.
#[tokio::test]
async fn shards_neither_fence_each_other_nor_close_for_each_other() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let shard =
        |lease: &str, epoch| owner("source-watcher/1", epoch).map(|caller| Caller { lease: lease.into(), ..caller });
    let change = async |server: &Server, caller| {
        let call = RemoveAllRequest { caller, artifact: web(), take_over: false };
        server
            .storage()
            .remove_all(call)
            .await
            .map(drop)
            .map_err(|status| Failure::from_status(&status).unwrap().reason)
    };
    let set = async |server: &Server, caller, on| {
        server.storage().set_serving(SetServingRequest { caller, on }).await.unwrap().into_inner().serving
    };
    change(&server, shard("one", 7)).await.unwrap();
    change(&server, shard("two", 1)).await.expect("it has a Lease of its own");
    assert!(set(&server, shard("one", 7), true).await && set(&server, shard("two", 1), true).await);
    assert!(set(&server, shard("two", 1), false).await, "the other one still wants it open");
    server.stop().await;

    let server = place.start(&[]).await;
    assert_eq!(change(&server, shard("one", 6)).await, Err(Reason::StaleEpoch));
    assert_eq!(change(&server, shard("two", 0)).await, Err(Reason::StaleEpoch));
    change(&server, shard("two", 1)).await.unwrap();
    assert!(server.storage().get_info(GetInfoRequest {}).await.unwrap().into_inner().serving, "remembered");
    assert!(!set(&server, shard("one", 7), false).await);
}

#[tokio::test]
async fn stat_and_verify_say_what_is_there() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let stored = build_new(&server, &source, artifact(0, "web", "a")).await;
    let stat = server.storage().stat(StatRequest { path: stored.path.clone() }).await.unwrap().into_inner();
    let file = stat.file.unwrap();
    assert_eq!((stat.exists, file.artifact.as_ref(), file.owner.as_str()), (true, Some(&stored), "source-watcher/1"));
    assert_eq!((format!("latest@{}", file.content_digest), file.sequence), (stored.revision.clone(), 1));
    let absent = "externalartifact/apps/web/0.tar.gz".to_owned();
    let stat = server.storage().stat(StatRequest { path: absent.clone() }).await.unwrap().into_inner();
    assert_eq!((stat.exists, stat.file), (false, None));

    let other = format!("sha256:{}", "0".repeat(64));
    let requests = vec![
        VerifyRequest { path: stored.path.clone(), digest: stored.digest.clone() },
        VerifyRequest { path: absent, digest: other.clone() },
        VerifyRequest { path: stored.path.clone(), digest: other },
    ];
    let mut answers = server.storage().verify_many(futures::stream::iter(requests)).await.unwrap().into_inner();
    for expected in [Verdict::Ok, Verdict::Missing, Verdict::Mismatch] {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.verdict(), expected);
        assert_eq!(answer.message.is_empty(), expected == Verdict::Ok);
    }
    assert!(answers.message().await.unwrap().is_none());

    std::fs::write(place.volume().join(&stored.path), "other bytes").unwrap();
    // Whoever looks first, the watch or this call, takes it out of service.
    let verdict = verdict(&server, &stored).await;
    assert!(matches!(verdict, Verdict::Corrupted | Verdict::Missing), "{verdict:?}");
}

#[tokio::test]
async fn watchers_see_what_happens_to_their_files() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let (mut ours, mut others) = (watch(&server, "source-watcher").await, watch(&server, "other").await);
    let source = sources.tarball("/1.tgz", &[("a", "1"), ("b", "2"), ("c", "3")]);
    let mut stored = Vec::new();
    for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
        stored.push(build_new(&server, &source, artifact(u32::try_from(index).unwrap(), name, name)).await);
    }
    std::fs::remove_file(place.volume().join(&stored[0].path)).unwrap();
    let seen = [(); 3].map(|()| EventType::Stored);
    let mut sequence = 0;
    for (index, kind) in seen.into_iter().enumerate() {
        let event = next(&mut ours).await;
        assert_eq!((event.r#type(), &event.path), (kind, &stored[index].path));
        assert!(event.sequence > sequence);
        sequence = event.sequence;
    }
    let lost = next(&mut ours).await;
    assert_eq!(
        (lost.r#type(), &lost.path, lost.owner.as_str()),
        (EventType::Lost, &stored[0].path, "source-watcher/1")
    );
    std::fs::write(place.volume().join(&stored[1].path), "other bytes").unwrap();
    let corrupted = next(&mut ours).await;
    assert_eq!((corrupted.r#type(), &corrupted.path), (EventType::Corrupted, &stored[1].path));
    let remove = RemoveRequest { caller: caller(), path: stored[2].path.clone() };
    server.storage().remove(remove).await.unwrap();
    let removed = next(&mut ours).await;
    assert_eq!((removed.r#type(), &removed.path), (EventType::Removed, &stored[2].path));
    assert!(tokio::time::timeout(Duration::from_millis(1), others.message()).await.is_err(), "not theirs");
    assert_eq!(list(&server, "").await, [""; 0]);
}
