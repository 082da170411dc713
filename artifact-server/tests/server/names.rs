//! `NewArtifact`, `ResolvePath` and `MkdirAll`: what things are called, and who may store there.

use weir_proto::{
    Reason,
    v1::{
        Artifact, ArtifactFile, MkdirAllRequest, NewArtifactRequest, ResolvePathRequest, ResolvePathResponse, Settings,
        resolve_path_request::Known,
    },
};

use crate::{
    process::{Place, caller},
    uploads::{header, other, reference, refusal, write},
};

fn advertised(address: &str) -> Option<Settings> {
    Some(Settings { advertised_address: address.into(), ..Settings::default() })
}

#[tokio::test]
async fn a_new_artifact_has_path_url_and_revision_and_nothing_is_stored() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let request = NewArtifactRequest {
        artifact: reference("web"),
        file: "1.tar.gz".into(),
        revision: "v1".into(),
        settings: None,
    };
    let new = |request| {
        let mut storage = server.storage();
        async move { storage.new_artifact(request).await.map(|answer| answer.into_inner().artifact.unwrap()) }
    };
    let artifact = new(request.clone()).await.unwrap();
    let path = "externalartifact/apps/web/1.tar.gz";
    let expected = Artifact {
        path: path.into(),
        url: format!("http://artifacts.test/{path}"),
        revision: "v1".into(),
        ..Artifact::default()
    };
    assert_eq!(artifact, expected);
    let elsewhere = new(NewArtifactRequest { settings: advertised("https://cdn/x"), ..request.clone() }).await.unwrap();
    assert_eq!(elsewhere.url, format!("https://cdn/x/{path}"));
    let rows = [
        ("artifact", NewArtifactRequest { artifact: None, ..request.clone() }),
        ("artifact.name", NewArtifactRequest { artifact: reference("../x"), ..request.clone() }),
        ("file", NewArtifactRequest { file: "..".into(), ..request.clone() }),
        ("revision", NewArtifactRequest { revision: "a\nb".into(), ..request.clone() }),
        ("settings.advertised_address", NewArtifactRequest { settings: advertised("a b"), ..request }),
    ];
    for (field, request) in rows {
        let refused = refusal(new(request).await);
        assert_eq!((refused.reason, refused.field.as_deref()), (Reason::InvalidRequest, Some(field)));
    }
    assert_eq!(place.files(), [""; 0]);
}

#[tokio::test]
async fn paths_urls_and_places_go_together() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let resolve = |known, settings| {
        let mut storage = server.storage();
        async move { storage.resolve_path(ResolvePathRequest { known, settings }).await.map(tonic::Response::into_inner) }
    };
    let path = "externalartifact/apps/web/1.tar.gz";
    let whole = ResolvePathResponse {
        dir: "externalartifact/apps/web".into(),
        path: path.into(),
        url: format!("http://artifacts.test/{path}"),
        local_path: format!("{}/{path}", place.volume().display()),
    };
    let file = |name: &str| Some(Known::File(ArtifactFile { artifact: reference("web"), file: name.into() }));
    assert_eq!(resolve(file("1.tar.gz"), None).await.unwrap(), whole);
    assert_eq!(resolve(Some(Known::Path(path.into())), None).await.unwrap(), whole);
    let folder = ResolvePathResponse { dir: whole.dir.clone(), ..ResolvePathResponse::default() };
    assert_eq!(resolve(file(""), None).await.unwrap(), folder);
    let url = Some(Known::Url("https://old:1/a/b?x".into()));
    assert_eq!(resolve(url, advertised("new:2")).await.unwrap().url, "https://new:2/a/b?x");

    let no_artifact = Some(Known::File(ArtifactFile { artifact: None, file: "a".into() }));
    let rows = [
        ("known", None),
        ("path", Some(Known::Path("../../etc/passwd".into()))),
        ("path", Some(Known::Path("/etc/passwd".into()))),
        ("path", Some(Known::Path("externalartifact/apps/web/../../x".into()))),
        ("path", Some(Known::Path("externalartifact/apps/web/.1.tar.gz.record".into()))),
        ("file.file", file("../x")),
        ("file.artifact", no_artifact),
        ("url", Some(Known::Url("old/a".into()))),
    ];
    for (field, known) in rows {
        let refused = refusal(resolve(known, None).await);
        assert_eq!((refused.reason, refused.field.as_deref()), (Reason::InvalidRequest, Some(field)));
    }
    // Whoever opened these names would leave the volume.
    let outside = tempfile::tempdir().unwrap();
    let kinds = [("externalartifact", "externalartifact/apps/web/1"), ("k/n/a/link", "k/n/a/link")];
    for (link, path) in kinds {
        let link = place.volume().join(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(outside.path(), link).unwrap();
        let refused = refusal(resolve(Some(Known::Path(path.into())), None).await);
        assert_eq!(refused.reason, Reason::StorageFailed, "{path}");
        assert!(refused.message.contains("symbolic link"), "{}", refused.message);
    }
}

#[tokio::test]
async fn a_folder_may_be_asked_for_by_those_who_may_store_there() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let make = |caller, artifact, take_over| {
        let mut storage = server.storage();
        let request = MkdirAllRequest { caller, artifact, take_over };
        async move { storage.mkdir_all(request).await.map(|answer| answer.into_inner().dir) }
    };
    assert_eq!(make(caller(), reference("web"), false).await.unwrap(), "externalartifact/apps/web");
    assert_eq!(place.files(), [""; 0]);
    write(&server, header("a"), b"1").await.unwrap();
    assert_eq!(refusal(make(other(), reference("web"), false).await).reason, Reason::OwnedByAnother);
    make(other(), reference("web"), true).await.unwrap();
    assert_eq!(refusal(make(None, reference("web"), false).await).field.as_deref(), Some("caller"));
    assert_eq!(refusal(make(caller(), reference("a/.."), false).await).field.as_deref(), Some("artifact.name"));
}
