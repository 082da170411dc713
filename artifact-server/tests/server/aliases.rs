//! `Symlink`, `RemoveAllButCurrent`, and the limit and deadline of `GarbageCollect`.

use std::time::Duration;

use tonic::{Code, Request};
use weir_proto::{
    Reason,
    v1::{
        Collectable, GarbageCollectRequest, ListRequest, ReadRequest, RemoveAllButCurrentRequest, RemoveAllRequest,
        RemoveRequest, StatRequest, SymlinkRequest, Verdict, VerifyRequest,
    },
};

use crate::{
    process::{Place, Server, caller, get},
    uploads::{header, other, read, reference, refusal, write},
};

async fn put(server: &Server, file: &str, bytes: &str) -> weir_proto::v1::Artifact {
    write(server, header(file), bytes.as_bytes()).await.unwrap().artifact.unwrap()
}

fn link(path: &str, name: &str) -> SymlinkRequest {
    SymlinkRequest { caller: caller(), path: path.into(), name: name.into(), ..SymlinkRequest::default() }
}

fn path(file: &str) -> String {
    format!("externalartifact/apps/web/{file}")
}

#[tokio::test]
async fn an_alias_is_the_file_that_it_names_now() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let address = server.serving().await;
    let (one, two) = (put(&server, "1.tar.gz", "one").await, put(&server, "2.tar.gz", "two!").await);
    let fetch = || async move {
        let response = get(format!("http://{address}/{}", path("latest.tar.gz"))).await.unwrap();
        let (status, tag) = (response.status(), response.headers().get("etag").cloned());
        (status.as_u16(), tag.map(|tag| tag.to_str().unwrap().to_owned()), response.text().await.unwrap())
    };
    assert_eq!(fetch().await.0, 404);
    let answer = server.storage().symlink(link(&one.path, "latest.tar.gz")).await.unwrap().into_inner();
    let alias = answer.artifact.unwrap();
    assert_eq!((alias.path.as_str(), alias.digest.as_str()), (path("latest.tar.gz").as_str(), one.digest.as_str()));
    assert_eq!((alias.url.clone(), alias.size), (format!("http://artifacts.test/{}", alias.path), 3));
    assert_eq!(fetch().await, (200, Some(format!("\"{}\"", one.digest)), "one".into()));
    let (start, bytes) =
        read(&server, ReadRequest { path: alias.path.clone(), ..ReadRequest::default() }).await.unwrap();
    assert_eq!((start.digest, bytes), (one.digest.clone(), b"one".to_vec()));
    let again = server.storage().symlink(link(&one.path, "latest.tar.gz")).await.unwrap().into_inner();
    assert!(again.unchanged && !answer.unchanged);

    // Pointed elsewhere, through another alias; also after a restart.
    server.storage().symlink(link(&two.path, "newest")).await.unwrap();
    server.storage().symlink(link(&path("newest"), "latest.tar.gz")).await.unwrap();
    assert_eq!(fetch().await, (200, Some(format!("\"{}\"", two.digest)), "two!".into()));
    server.stop().await;
    let server = place.start(&[]).await;
    let stat =
        server.storage().stat(StatRequest { path: alias.path.clone() }).await.unwrap().into_inner().file.unwrap();
    assert_eq!((stat.alias_of.as_str(), stat.artifact.unwrap().digest), (two.path.as_str(), two.digest.clone()));
    let verify = VerifyRequest { path: alias.path.clone(), digest: two.digest.clone() };
    assert_eq!(server.storage().verify(verify).await.unwrap().into_inner().verdict(), Verdict::Ok);
    assert_eq!(server.figure("weir_storage_aliases").await, 2.0);
    assert_eq!(server.figure("weir_storage_files").await, 2.0);

    // Its file goes: nothing is served any more, and it can be pointed to another.
    let address = server.serving().await;
    server.storage().remove(RemoveRequest { caller: caller(), path: two.path.clone() }).await.unwrap();
    let status = get(format!("http://{address}/{}", alias.path)).await.unwrap().status();
    assert_eq!(status, 404);
    let mut listed = server.storage().list(ListRequest::default()).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(answer) = listed.message().await.unwrap() {
        let file = answer.file.unwrap();
        seen.push((file.artifact.unwrap().digest, file.alias_of));
    }
    let dangling = (String::new(), two.path.clone());
    assert_eq!(seen, [(one.digest.clone(), String::new()), dangling.clone(), dangling]);
    server.storage().symlink(link(&one.path, "latest.tar.gz")).await.unwrap();
    assert_eq!(get(format!("http://{address}/{}", alias.path)).await.unwrap().text().await.unwrap(), "one");
    server.storage().remove(RemoveRequest { caller: caller(), path: alias.path }).await.unwrap();
    let all = RemoveAllRequest { caller: caller(), artifact: reference("web"), take_over: false };
    assert_eq!(server.storage().remove_all(all).await.unwrap().into_inner().removed, [one.path, path("newest")]);
    assert_eq!(place.files(), [""; 0]);
}

#[tokio::test]
async fn names_of_files_and_digests_are_no_aliases() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let one = put(&server, "1", "one").await;
    put(&server, "2", "two").await;
    server.storage().symlink(link(&one.path, "latest")).await.unwrap();
    let before = place.files();
    let digest = format!("{}.tar.gz", "0".repeat(64));
    let rows = [
        (link(&path("absent"), "x"), Reason::NotFound, None),
        (link(&one.path, "2"), Reason::NameTaken, Some("name")),
        (link(&path("latest"), "1"), Reason::NameTaken, Some("name")),
        (link(&one.path, "1"), Reason::InvalidRequest, Some("name")),
        (link(&one.path, &digest), Reason::InvalidRequest, Some("name")),
        (link(&one.path, "../x"), Reason::InvalidRequest, Some("name")),
        (link(&one.path, "a/b"), Reason::InvalidRequest, Some("name")),
        (link(&one.path, ".record"), Reason::InvalidRequest, Some("name")),
        (link("../../etc/passwd", "x"), Reason::InvalidRequest, Some("path")),
        (SymlinkRequest { caller: None, ..link(&one.path, "x") }, Reason::InvalidRequest, Some("caller")),
        (SymlinkRequest { caller: other(), ..link(&one.path, "x") }, Reason::OwnedByAnother, Some("take_over")),
    ];
    for (request, reason, field) in rows {
        let refused = refusal(server.storage().symlink(request.clone()).await);
        assert_eq!((refused.reason, refused.field.as_deref()), (reason, field), "{request:?}");
    }
    let taken = refusal(write(&server, header("latest"), b"x").await);
    assert_eq!((taken.reason, taken.field.as_deref()), (Reason::NameTaken, Some("header.file")));
    assert_eq!(place.files(), before);
    let taken = SymlinkRequest { caller: other(), take_over: true, ..link(&one.path, "theirs") };
    server.storage().symlink(taken).await.unwrap();
    assert_eq!(refusal(server.storage().symlink(link(&one.path, "latest")).await).reason, Reason::OwnedByAnother);
}

#[tokio::test]
async fn all_but_the_current_file_can_be_removed() {
    let place = Place::new();
    let server = place.start(&[]).await;
    for file in ["1", "2", "3"] {
        put(&server, file, file).await;
    }
    server.storage().symlink(link(&path("1"), "old")).await.unwrap();
    let request = |caller, current: &str| RemoveAllButCurrentRequest {
        caller,
        artifact: reference("web"),
        current_path: current.into(),
    };
    let rows = [
        (request(caller(), &path("absent")), Reason::NotFound, None),
        (request(caller(), ""), Reason::InvalidRequest, Some("current_path")),
        (request(caller(), "externalartifact/apps/db/1"), Reason::InvalidRequest, Some("current_path")),
        (request(caller(), "../x"), Reason::InvalidRequest, Some("current_path")),
        (request(None, &path("2")), Reason::InvalidRequest, Some("caller")),
    ];
    for (request, reason, field) in rows {
        let refused = refusal(server.storage().remove_all_but_current(request).await);
        assert_eq!((refused.reason, refused.field.as_deref()), (reason, field));
    }
    let remove = |caller| {
        let mut storage = server.storage();
        let request = request(caller, &path("2"));
        async move { storage.remove_all_but_current(request).await.unwrap().into_inner().removed }
    };
    assert_eq!(remove(other()).await, [""; 0], "only its own");
    assert_eq!(remove(caller()).await, [path("1"), path("3")]);
    assert_eq!(remove(caller()).await, [""; 0]);
    assert_eq!(place.files(), [path(".2.record"), path(".old.record"), path("2"), path("old")]);
}

#[tokio::test]
async fn collection_has_a_limit_and_ends_with_the_callers_deadline() {
    let place = Place::new();
    let server = place.start(&[]).await;
    for file in ["1", "2", "3", "4"] {
        put(&server, file, file).await;
    }
    server.storage().symlink(link(&path("4"), "latest")).await.unwrap();
    let zero = Some(prost_types::Duration::default());
    let collect = |limit, current: &str| {
        let artifacts = vec![Collectable { artifact: reference("web"), current_path: current.into() }];
        GarbageCollectRequest { caller: caller(), artifacts, ttl: zero, records: 1, grace: zero, limit }
    };
    let refused = refusal(server.storage().garbage_collect(collect(1001, "")).await);
    assert_eq!((refused.reason, refused.field.as_deref()), (Reason::InvalidRequest, Some("limit")));
    let removed = server.storage().garbage_collect(collect(2, &path("1"))).await.unwrap().into_inner().removed;
    assert_eq!(removed, [path("2"), path("3")], "the oldest, but not the current one");
    // A deadline that is over when it begins: nothing is removed by then, nor afterwards.
    let mut late = Request::new(collect(0, &path("1")));
    late.set_timeout(Duration::ZERO);
    let status = server.storage().garbage_collect(late).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    let removed = server.storage().garbage_collect(collect(0, &path("1"))).await.unwrap().into_inner().removed;
    assert_eq!(removed, [path("4")], "aliases are no files");
    assert_eq!(server.figure("weir_storage_collected_total").await, 3.0);
}
