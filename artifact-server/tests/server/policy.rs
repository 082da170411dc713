//! `--grpc-policy`: each RPC, by who calls.

use std::{process::Command, time::Duration};

use tonic::transport::{Channel, Endpoint};
use weir_proto::{
    Failure, Reason,
    v1::{
        ArchiveHeader, ArchiveRequest, ArtifactRef, BuildHeader, Caller, Collectable, EventType,
        FindDirectoriesRequest, GarbageCollectRequest, GetInfoRequest, ListRequest, LockRequest, MkdirAllRequest,
        ReadRequest, RemoveAllButCurrentRequest, RemoveAllRequest, RemoveRequest, SetServingRequest, StatRequest,
        SymlinkRequest, VerifyRequest, WatchRequest, WriteHeader, WriteRequest, archive_request,
        artifact_storage_client::ArtifactStorageClient, write_request,
    },
};

use crate::{
    builds::{artifact, build, build_new, header},
    pki::{Authority, Files, connect},
    process::{DEADLINE, Place, Server},
    sources::Sources,
};

/// One rule, for one identity, that allows ExternalArtifacts in `apps` to source-watcher.
fn rule(identity: &str, namespaces: &str) -> String {
    format!(
        "rules:\n  - identities: [{{{identity}}}]\n    kinds: [ExternalArtifact]\n    namespaces: [{namespaces}]\n    \
         controllers: [source-watcher]\n"
    )
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn owner(owner: &str) -> Option<Caller> {
    Some(Caller { owner: owner.into(), epoch: 0, ..Caller::default() })
}

/// What became of a call: `None` when the policy let it pass, whatever came of it then.
fn refused<T>(answer: Result<T, tonic::Status>) -> Option<String> {
    let status = answer.err()?;
    let failure = Failure::from_status(&status).unwrap_or_else(|| panic!("{status:?}"));
    (failure.reason == Reason::NotAllowed).then(|| {
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        failure.message
    })
}

/// Every RPC once, about an artifact in a namespace, on behalf of a controller: those that were refused.
#[expect(clippy::too_many_lines, reason = "one row for each call")]
async fn each_call(server: &Server, sources: &Sources, namespace: &str, controller: &str) -> Vec<&'static str> {
    let source = sources.tarball("/1.tgz", &[("a/b", "1")]);
    let caller = owner(&format!("{controller}/1"));
    let reference =
        Some(ArtifactRef { kind: "ExternalArtifact".into(), namespace: namespace.into(), name: "web".into() });
    let path = format!("externalartifact/{namespace}/web/0.tar.gz");
    let digest = format!("sha256:{}", "0".repeat(64));
    let (mut storage, mut builder) = (server.storage(), server.builder());
    let mut head = header(std::slice::from_ref(&source));
    (head.caller, head.namespace) = (caller.clone(), namespace.into());
    let pattern = FindDirectoriesRequest {
        caller: caller.clone(),
        source: Some(source),
        pattern: "{app}".into(),
        ..FindDirectoriesRequest::default()
    };
    let verify = VerifyRequest { path: path.clone(), digest };
    let many = async {
        let mut answers = server.storage().verify_many(futures::stream::iter([verify.clone()])).await?.into_inner();
        answers.message().await
    };
    let collectable = Collectable { artifact: reference.clone(), current_path: String::new() };
    let collect = GarbageCollectRequest {
        caller: caller.clone(),
        artifacts: vec![collectable],
        ..GarbageCollectRequest::default()
    };
    let list = ListRequest { kind: "ExternalArtifact".into(), namespace: namespace.into(), ..ListRequest::default() };
    let read = async {
        let mut answers = server.storage().read(ReadRequest { path: path.clone(), ..ReadRequest::default() }).await?;
        answers.get_mut().message().await
    };
    let lock = LockRequest { caller: caller.clone(), artifact: reference.clone(), take_over: false };
    let lock = async {
        let mut answers = server.storage().lock(futures::stream::iter([lock])).await?;
        answers.get_mut().message().await
    };
    let make = MkdirAllRequest { caller: caller.clone(), artifact: reference.clone(), take_over: false };
    let link = SymlinkRequest {
        caller: caller.clone(),
        path: path.clone(),
        name: "latest".into(),
        ..SymlinkRequest::default()
    };
    let all_but =
        RemoveAllButCurrentRequest { caller: caller.clone(), artifact: reference.clone(), current_path: path.clone() };
    let write = WriteHeader {
        caller: caller.clone(),
        artifact: reference.clone(),
        file: "a.txt".into(),
        ..WriteHeader::default()
    };
    let write = WriteRequest { message: Some(write_request::Message::Header(write)) };
    let archive = ArchiveHeader { caller: caller.clone(), artifact: reference.clone(), ..ArchiveHeader::default() };
    let archive = ArchiveRequest { message: Some(archive_request::Message::Header(archive)) };
    let answers = [
        ("Stat", refused(storage.stat(StatRequest { path: path.clone() }).await)),
        ("Verify", refused(storage.verify(verify.clone()).await)),
        ("VerifyMany", refused(many.await)),
        ("Read", refused(read.await)),
        ("List", refused(storage.list(list).await)),
        ("List of all", refused(storage.list(ListRequest::default()).await)),
        ("Watch", refused(storage.watch(WatchRequest::default()).await)),
        ("GetInfo", refused(storage.get_info(GetInfoRequest {}).await)),
        ("SetServing", refused(storage.set_serving(SetServingRequest { caller: caller.clone(), on: true }).await)),
        ("Build", refused(build(server, head, vec![artifact(0, "web", "a")]).await)),
        ("FindDirectories", refused(builder.find_directories(pattern).await)),
        ("GarbageCollect", refused(storage.garbage_collect(collect).await)),
        ("Remove", refused(storage.remove(RemoveRequest { caller: caller.clone(), path }).await)),
        ("MkdirAll", refused(storage.mkdir_all(make).await)),
        ("Symlink", refused(storage.symlink(link).await)),
        ("RemoveAllButCurrent", refused(storage.remove_all_but_current(all_but).await)),
        ("Write", refused(storage.write(futures::stream::iter([write])).await)),
        ("Archive", refused(storage.archive(futures::stream::iter([archive])).await)),
        ("Lock", refused(lock.await)),
        (
            "RemoveAll",
            refused(storage.remove_all(RemoveAllRequest { caller, artifact: reference, take_over: true }).await),
        ),
    ];
    answers.into_iter().filter_map(|(name, message)| message.map(|_| name)).collect()
}

const READS: [&str; 5] = ["Stat", "Verify", "VerifyMany", "Read", "List"];
const CHANGES: [&str; 10] = [
    "Build",
    "GarbageCollect",
    "Remove",
    "MkdirAll",
    "Symlink",
    "RemoveAllButCurrent",
    "Write",
    "Archive",
    "Lock",
    "RemoveAll",
];

#[tokio::test]
async fn each_call_is_checked() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let policy = place.path().join("policy.yaml");
    std::fs::write(&policy, rule(&format!("uid: {}", own_uid()), "apps")).unwrap();
    let flag = format!("--grpc-policy={}", policy.display());
    let server = place.start(&[&flag]).await;
    assert_eq!(each_call(&server, &sources, "apps", "source-watcher").await, [""; 0]);
    let elsewhere = each_call(&server, &sources, "other", "source-watcher").await;
    assert_eq!(elsewhere, [&READS[..], &CHANGES[..]].concat(), "another tenant's artifact");
    let as_another = each_call(&server, &sources, "apps", "other").await;
    assert_eq!(as_another, [&["SetServing", "Build", "FindDirectories"][..], &CHANGES[1..]].concat());
    assert_eq!(server.lines.text().matches("refused: it may not").count(), 1, "logged once for each caller");
    assert!(server.lines.text().contains(&format!("uid {} (gid", own_uid())), "{}", server.lines.text());

    // Nothing of a broken file counts; a whole one counts at once.
    std::fs::write(&policy, "rules: [").unwrap();
    server.lines.wait_times("the last good one stays", 1).await;
    assert_eq!(each_call(&server, &sources, "apps", "source-watcher").await, [""; 0]);
    std::fs::write(&policy, rule("uid: 4242", "apps")).unwrap();
    let closed = async {
        while server.storage().list(ListRequest::default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(9), closed).await.is_ok());
    let all = each_call(&server, &sources, "apps", "source-watcher").await;
    assert_eq!(all.len(), 19, "all but GetInfo: {all:?}");
    server.stop().await;
    let without = place.start(&[]).await;
    assert_eq!(each_call(&without, &sources, "other", "whoever").await, [""; 0], "as ever without a policy");
}

/// Two tenants behind TLS see and change what is theirs, and no more.
#[tokio::test]
async fn tenants_are_told_apart_by_their_certificates() {
    let (place, sources, ours) = (Place::new(), Sources::start().await, Authority::new("ours"));
    let files = Files::new(place.path(), &ours.server(), &ours);
    let text = "rules:\n\
                - {identities: [{dns: a.test}], kinds: ['*'], namespaces: [apps]}\n\
                - {identities: [{uri: 'spiffe://x/b'}], kinds: ['*'], namespaces: [b]}\n";
    files.write("policy.yaml", text);
    let mut flags = files.flags();
    flags.push(format!("--grpc-policy={}", files.0.join("policy.yaml").display()));
    let mut server = place.start_secured(&flags).await;
    let client = async |pair| connect(server.grpc(), &ours, Some(&pair)).await.unwrap();
    let (a, b) = (client(ours.client(&["a.test"])).await, client(ours.client_with_uri("spiffe://x/b")).await);
    let nobody = client(ours.client(&["c.test"])).await;
    let watch = async |channel: Channel| {
        let events = ArtifactStorageClient::new(channel).watch(WatchRequest::default()).await;
        events.map(tonic::Response::into_inner)
    };
    let (mut seen_by_a, mut seen_by_b) = (watch(a.clone()).await.unwrap(), watch(b.clone()).await.unwrap());
    assert!(refused(watch(nobody).await).is_some_and(|message| message.contains("dns c.test")));
    for events in [&mut seen_by_a, &mut seen_by_b] {
        assert_eq!(events.message().await.unwrap().unwrap().r#type(), EventType::Started);
    }
    server.use_channel(a);
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let stored = build_new(&server, &source, artifact(0, "web", "a")).await;
    let event = tokio::time::timeout(DEADLINE, seen_by_a.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(event.path, stored.path);
    server.use_channel(b);
    let mut files = server.storage().list(ListRequest::default()).await.unwrap().into_inner();
    assert!(files.message().await.unwrap().is_none(), "lists only what it may see");
    let stat = server.storage().stat(StatRequest { path: stored.path.clone() }).await;
    let message = refused(stat).expect("another tenant's artifact");
    assert!(message.contains("uri spiffe://x/b") && message.contains("\"apps\""), "{message}");
    let mut own = header(std::slice::from_ref(&source));
    own.namespace = "b".into();
    let requests = sources.requests();
    build(&server, own, vec![artifact(0, "web", "a")]).await.unwrap();
    assert_eq!(sources.requests(), requests + 1, "asks for the source itself, though it is here");
    let event = tokio::time::timeout(DEADLINE, seen_by_b.message()).await.unwrap().unwrap().unwrap();
    assert!(event.path.starts_with("externalartifact/b/"), "the first that it sees is its own: {}", event.path);
    server.stop().await;
}

/// Neither the epoch nor the wish of one tenant counts for another, though both say to be the same leader.
#[tokio::test]
async fn no_tenant_leads_in_the_place_of_another() {
    let (place, sources, ours) = (Place::new(), Sources::start().await, Authority::new("ours"));
    let files = Files::new(place.path(), &ours.server(), &ours);
    let rule = |name: &str| {
        format!(
            "- {{identities: [{{dns: {name}}}], kinds: [ExternalArtifact], namespaces: [apps], \
             controllers: [source-watcher]}}\n"
        )
    };
    files.write("policy.yaml", &format!("rules:\n{}{}", rule("a.test"), rule("b.test")));
    let mut flags = files.flags();
    flags.push(format!("--grpc-policy={}", files.0.join("policy.yaml").display()));
    let mut server = place.start_secured(&flags).await;
    let client = async |pair| connect(server.grpc(), &ours, Some(&pair)).await.unwrap();
    let (a, b) = (client(ours.client(&["a.test"])).await, client(ours.client(&["b.test"])).await);
    let renewed = client(ours.client(&["a.test", "pod-2.test"])).await;
    let leader = |epoch| {
        Some(Caller { owner: "source-watcher/1".into(), epoch, lease: "apps/leader".into(), ..Caller::default() })
    };
    let serve = async |channel: &Channel, epoch, on| {
        let request = SetServingRequest { caller: leader(epoch), on };
        ArtifactStorageClient::new(channel.clone()).set_serving(request).await.map(|answer| answer.into_inner().serving)
    };
    assert!(serve(&a, 2, true).await.unwrap());
    assert!(serve(&b, 1 << 63, false).await.unwrap(), "a wants it open");
    server.use_channel(a.clone());
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let head = || BuildHeader { caller: leader(2), ..header(std::slice::from_ref(&source)) };
    build(&server, head(), vec![artifact(0, "web", "a")]).await.unwrap();
    assert!(serve(&a, 2, true).await.unwrap());
    // Its own successor counts, also with a certificate that has more names.
    assert!(serve(&renewed, 3, true).await.unwrap());
    let status = build(&server, head(), vec![artifact(0, "web", "a")]).await.unwrap_err();
    let failure = Failure::from_status(&status).unwrap();
    assert_eq!(failure.reason, Reason::StaleEpoch);
    assert!(failure.message.contains("source-watcher/apps/leader of dns a.test"), "{}", failure.message);
    server.stop().await;
}

const SOCKET: &str = "WEIR_TEST_SOCKET";

/// The kernel says who connects, whatever the client says. Only root can become somebody else; another user is told apart from root.
#[tokio::test]
async fn the_kernel_says_who_is_at_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    if let Ok(socket) = std::env::var(SOCKET) {
        let channel = Endpoint::try_from(format!("unix://{socket}")).unwrap().connect().await.unwrap();
        let answer = ArtifactStorageClient::new(channel).list(ListRequest::default()).await;
        println!("refused: {:?}", refused(answer));
        return;
    }
    let place = Place::new();
    let policy = place.path().join("policy.yaml");
    std::fs::write(&policy, rule("uid: 65534", "apps")).unwrap();
    let server = place.start(&[&format!("--grpc-policy={}", policy.display())]).await;
    let own = refused(server.storage().list(ListRequest::default()).await);
    assert!(own.is_some_and(|message| message.contains(&format!("uid {}", own_uid()))));
    // The other user must reach program and socket.
    let program = place.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for (path, mode) in [(place.path(), 0o755), (place.socket().parent().unwrap(), 0o777), (&place.socket(), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let name = "policy::the_kernel_says_who_is_at_the_socket";
    command.arg(&program).args(["--exact", name, "--nocapture"]).env(SOCKET, place.socket());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let expected = if [0, 65534].contains(&own_uid()) { "refused: None" } else { "refused: Some" };
    assert!(text.contains(expected) && text.contains("1 passed"), "{text}");
    server.stop().await;
}
