//! Volumes without room: a tmpfs of 1 MiB, in a mount namespace of the server's own.

use std::{path::Path, process::Command};

use weir_proto::{
    Failure, Reason,
    v1::{FindDirectoriesRequest, ReadRequest, RemoveRequest, Source, build_result::Outcome},
};

use crate::{
    archives::{self, archive, tar},
    builds::{self, artifact, build},
    process::{Place, Server, caller, files_of},
    sources::{Sources, noise},
    uploads::{header, read, refusal, write},
};

/// Most of the room that there is.
const LARGE: usize = 700_000;

/// The same command with a small volume at a folder.
fn with_little_room_at(folder: &Path, command: &Command) -> Command {
    let mut unshared = Command::new("unshare");
    unshared.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    unshared.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?)))).arg("--mount");
    if !rustix::process::geteuid().is_root() {
        unshared.arg("--map-root-user");
    }
    let script = "mount -t tmpfs -o size=1m weir \"$1\" && shift && exec \"$@\"";
    unshared.args(["sh", "-ec", script, "sh"]).arg(folder).arg(command.get_program()).args(command.get_args());
    unshared
}

async fn start(place: &Place, folder: &Path, flags: &[&str]) -> Server {
    let flags = [flags, &["--http-retry=0"]].concat();
    place
        .start_with(&flags, |command| {
            *command = with_little_room_at(folder, command);
            command
        })
        .await
}

/// The error of the only artifact of a `Build`; `None` when it was built.
async fn built(server: &Server, source: &Source) -> Option<String> {
    let sources = std::slice::from_ref(source);
    let (_, results) = build(server, builds::header(sources), vec![artifact(0, "web", "a")]).await.unwrap();
    match results[&0].outcome.clone().unwrap() {
        Outcome::Error(error) => Some(error.reason),
        _ => None,
    }
}

#[tokio::test]
async fn a_full_volume_takes_nothing_and_keeps_nothing_half() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = start(&place, &place.volume(), &[]).await;
    let files = || files_of(&server.inside(&place.volume()));
    let large = noise(LARGE).into_bytes();
    let text = noise(1_000_000);
    let source = sources.tarball("/1.tgz", &[("a", &text)]);
    let tar = tar(&[("a", &text)]);
    let remove = async |file: &str| {
        let path = format!("externalartifact/apps/web/{file}");
        server.storage().remove(RemoveRequest { caller: caller(), path }).await.unwrap();
    };
    write(&server, header("large"), &large).await.unwrap();
    let before = files();
    assert!(before.contains(&"externalartifact/apps/web/large".to_owned()), "{before:?}");

    let refused = refusal(write(&server, header("more"), &large).await);
    assert_eq!((refused.reason, refused.field.as_deref()), (Reason::StorageFull, None), "{refused:?}");
    assert!(refused.message.contains(" is full (") && refused.message.contains("enlarge the volume"), "{refused:?}");
    assert_eq!(files(), before, "after Write");
    let refused = refusal(archive(&server, archives::header(), &tar).await);
    assert_eq!(refused.reason, Reason::StorageFull, "{refused:?}");
    assert_eq!(files(), before, "after Archive");
    assert_eq!(built(&server, &source).await.as_deref(), Some("STORAGE_FULL"));
    assert_eq!(files(), before, "after Build");
    let path = "externalartifact/apps/web/large".to_owned();
    assert_eq!(
        read(&server, ReadRequest { path, ..ReadRequest::default() }).await.unwrap().1,
        large,
        "it still serves"
    );

    remove("large").await;
    write(&server, header("more"), &large).await.unwrap();
    remove("more").await;
    let stored = archive(&server, archives::header(), &tar).await.unwrap().artifact.unwrap().path;
    remove(stored.rsplit('/').next().unwrap()).await;
    assert_eq!(built(&server, &source).await, None, "there is room again");
    server.stop().await;
}

#[tokio::test]
async fn a_full_source_cache_fails_the_call_and_keeps_nothing() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let folder = place.path().join("cache");
    std::fs::create_dir(&folder).unwrap();
    let server = start(&place, &folder, &[&format!("--source-cache-path={}", folder.display())]).await;
    let files = || files_of(&server.inside(&folder));
    let large = sources.tarball("/large.tgz", &[("a", &noise(2_000_000))]);
    let small = sources.tarball("/small.tgz", &[("a", "1")]);
    let before = files();

    let header = builds::header(std::slice::from_ref(&large));
    let refused = refusal(build(&server, header, vec![artifact(0, "web", "a")]).await);
    assert_eq!((refused.reason, refused.field.as_deref()), (Reason::StorageFull, None), "{refused:?}");
    assert!(refused.message.starts_with("no space left for the source cache"), "{refused:?}");
    assert_eq!(files(), before, "after Build");
    let request = FindDirectoriesRequest {
        caller: caller(),
        source: Some(large),
        pattern: "{a}".into(),
        ..FindDirectoriesRequest::default()
    };
    let refused = Failure::from_status(&server.builder().find_directories(request).await.unwrap_err()).unwrap();
    assert_eq!(refused.reason, Reason::StorageFull, "{refused:?}");
    assert_eq!(files(), before, "after FindDirectories");
    let refused = refusal(archive(&server, archives::header(), &tar(&[("a", &noise(2_000_000))])).await);
    assert_eq!(refused.reason, Reason::StorageFull, "{refused:?}");
    assert_eq!(files(), before, "after Archive");
    assert_eq!(built(&server, &small).await, None);
    server.stop().await;
}
