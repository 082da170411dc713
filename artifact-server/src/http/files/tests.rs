//! Files that are harmed between the look at them and the first byte, or later.

use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt as _;
use weir_proto::{Algorithm, ArtifactDir};

use super::*;
use crate::storage::{Caller, EventKind, Memory, Put, Storage, rigged::Rigged};

/// What is done before a read, by the number of the read.
type Harm = fn(usize, &Memory, &ArtifactPath) -> io::Result<()>;

struct Scene {
    files: Files,
    path: ArtifactPath,
    events: crate::storage::Subscription,
}

fn scene(bytes: &[u8], harm: Harm) -> Scene {
    let (memory, reads) = (Memory::new(), AtomicUsize::new(0));
    let on_read = move |memory: &Memory, path: &ArtifactPath| harm(reads.fetch_add(1, Ordering::SeqCst), memory, path);
    let storage: Arc<dyn Storage> = Arc::new(Rigged { on_read: Arc::new(on_read), ..Rigged::over(memory) });
    let store = Store::open(storage, Algorithm::Sha256).unwrap();
    let put = Put {
        dir: ArtifactDir::new("ExternalArtifact", "apps", "front").unwrap(),
        caller: Caller { owner: "c/1".parse().unwrap(), lease: None, tenant: None, epoch: 0 },
        algorithm: Algorithm::Sha256,
        content_digest: None,
        take_over: false,
    };
    let (path, _) = store.put(&put, &mut |out| out.write_all(bytes)).unwrap();
    let (events, patience) = (store.watch(), Patience { verifying: Duration::from_secs(60), openings: 2, hashings: 2 });
    Scene { files: Files::new(store, Metrics::new(Vec::new), patience), path, events }
}

impl Scene {
    async fn get(&self) -> (StatusCode, Result<Bytes, warp::Error>) {
        let response = self.files.answer(&format!("/{}", self.path), false, HeaderMap::new()).await;
        let (head, body) = response.into_parts();
        (head.status, body.collect().await.map(http_body_util::Collected::to_bytes))
    }

    fn heard(&mut self) -> Vec<EventKind> {
        let next = || futures::FutureExt::now_or_never(self.events.next()).flatten();
        std::iter::from_fn(next).map(|event| event.kind).collect()
    }
}

fn fault() -> io::Error {
    io::Error::from_raw_os_error(5)
}

#[tokio::test]
async fn a_file_that_is_harmed_before_its_first_byte_gets_the_answer_of_a_second_look() {
    // Row, harm, status, what watchers hear.
    type Row = (&'static str, Harm, u16, &'static [EventKind]);
    let rows: [Row; 7] = [
        ("nothing happens", |_, _, _| Ok(()), 200, &[]),
        (
            "other bytes",
            |at, memory, path| {
                if at == 0 {
                    memory.tamper(path, b"other");
                }
                Ok(())
            },
            404,
            &[EventKind::Corrupted],
        ),
        (
            "cut off",
            |at, memory, path| {
                if at > 0 {
                    return Ok(());
                }
                memory.tamper(path, b"byt");
                Err(io::ErrorKind::UnexpectedEof.into())
            },
            404,
            &[EventKind::Corrupted],
        ),
        (
            "the same bytes",
            |at, memory, path| {
                if at == 0 {
                    memory.tamper(path, b"bytes");
                }
                Ok(())
            },
            200,
            &[],
        ),
        ("a disk that is broken there", |_, _, _| Err(fault()), 404, &[EventKind::Corrupted]),
        ("a fault that passes", |at, _, _| if at == 0 { Err(fault()) } else { Ok(()) }, 200, &[]),
        ("a fault of another kind", |_, _, _| Err(io::Error::other("no more handles")), 500, &[]),
    ];
    for (row, harm, status, events) in rows {
        let mut scene = scene(b"bytes", harm);
        let (got, body) = scene.get().await;
        assert_eq!(got, status, "row {row}");
        assert_eq!(scene.heard(), events, "row {row}");
        if status == 200 {
            assert_eq!(body.unwrap(), "bytes", "row {row}");
        }
    }
}

#[tokio::test]
async fn a_file_that_goes_when_it_is_open_is_sent() {
    let scene = scene(b"bytes", |_, memory, path| {
        memory.lose(path, true);
        Ok(())
    });
    assert_eq!(scene.get().await.1.unwrap(), "bytes");
    assert_eq!(scene.get().await.0, 404);
}

#[tokio::test]
async fn reads_that_fail_again_and_again_end() {
    // Whoever hashes it finds it good, whoever sends it can not read it.
    let scene = scene(b"bytes", |at, _, _| if at % 2 == 0 { Err(io::Error::other("away")) } else { Ok(()) });
    assert_eq!(scene.get().await.0, 500);
}

#[tokio::test]
async fn a_download_that_breaks_off_is_no_download_for_the_next() {
    let bytes = vec![7; usize::try_from(PIECE).unwrap() + 1];
    // The second piece can not be read; nor can the third block, which is how it is hashed then.
    let mut scene = scene(&bytes, |at, _, _| if matches!(at, 1 | 4) { Err(fault()) } else { Ok(()) });
    let (status, body) = scene.get().await;
    assert!(status == 200 && body.is_err(), "{status}: the head was sent already");
    assert_eq!(scene.heard(), []);
    assert_eq!(scene.get().await.0, 404);
    assert_eq!(scene.heard(), [EventKind::Corrupted], "so that it is built again");
}
