//! The server's own documents on the volume, when they can not be read back.

use weir_proto::{
    Failure, Reason,
    v1::{ArtifactRef, Caller, RemoveAllRequest, StatRequest},
};

use crate::{
    builds::{artifact, build_new},
    process::{Place, Server, get},
    sources::Sources,
};

/// Calls for a change that does nothing but ask whether the caller may.
async fn change(server: &Server, epoch: u64) -> Result<(), Failure> {
    let caller = Some(Caller { owner: "source-watcher/1".into(), epoch, ..Caller::default() });
    let artifact = Some(ArtifactRef { kind: "ExternalArtifact".into(), namespace: "apps".into(), name: "none".into() });
    let answer = server.storage().remove_all(RemoveAllRequest { caller, artifact, take_over: false }).await;
    answer.map(drop).map_err(|status| Failure::from_status(&status).unwrap())
}

/// The lines of the log with the level `error`.
fn errors(server: &Server) -> Vec<String> {
    let text = server.lines.text();
    text.lines().filter(|line| line.contains("\"level\":\"error\"")).map(str::to_owned).collect()
}

#[tokio::test]
async fn damaged_epochs_let_nobody_write_and_everybody_read() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let stored = build_new(&server, &source, artifact(0, "web", "a")).await;
    server.serving().await;
    change(&server, 5).await.unwrap();
    server.stop().await;

    let document = place.volume().join(".weir/epochs.json");
    let kept = std::fs::read(&document).unwrap();
    std::fs::write(&document, &kept[..kept.len() - 3]).unwrap();
    let server = place.start(&[]).await;
    for epoch in [4, 5, 6] {
        let refused = change(&server, epoch).await.unwrap_err();
        assert_eq!(refused.reason, Reason::StorageFailed, "{refused}");
        assert!(refused.message.contains(&document.display().to_string()), "{refused}");
    }
    assert_eq!(std::fs::read(&document).unwrap(), kept[..kept.len() - 3], "left as it is");
    let url = format!("http://{}/{}", server.port("artifacts"), stored.path);
    assert_eq!(get(&url).await.unwrap().status(), 200);
    assert!(server.storage().stat(StatRequest { path: stored.path }).await.unwrap().into_inner().exists);
    let lines = errors(&server);
    assert!(lines.len() == 1 && lines[0].contains("epochs.json") && lines[0].contains("delete it"), "{lines:#?}");

    // Mended while it runs.
    std::fs::write(&document, &kept).unwrap();
    assert_eq!(change(&server, 4).await.unwrap_err().reason, Reason::StaleEpoch);
    change(&server, 5).await.unwrap();
    server.stop().await;
    let server = place.start(&[]).await;
    assert_eq!(change(&server, 4).await.unwrap_err().reason, Reason::StaleEpoch);
}

#[tokio::test]
async fn a_port_whose_document_is_damaged_waits_for_a_controller() {
    let place = Place::new();
    let server = place.start(&[]).await;
    server.serving().await;
    server.stop().await;

    let document = place.volume().join(".weir/serving.json");
    std::fs::write(&document, "").unwrap();
    let server = place.start(&[]).await;
    let lines = errors(&server);
    assert!(lines.len() == 1 && lines[0].contains("serving.json") && lines[0].contains("until a"), "{lines:#?}");
    assert!(!server.lines.text().contains("\"port\":\"artifacts\""), "closed");
    let address = server.serving().await;
    assert_eq!(get(format!("http://{address}/")).await.unwrap().status(), 200);
    server.stop().await;

    let server = place.start(&[]).await;
    let address = server.port("artifacts");
    assert_eq!(get(format!("http://{address}/")).await.unwrap().status(), 200, "and is remembered again");
    assert!(errors(&server).is_empty());
}
