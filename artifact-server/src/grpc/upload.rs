//! `Write` and `Archive`: a header, then bytes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::{task::coop, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use weir_proto::{ArtifactDir, Digest, Failure, Reason, v1};

use super::{
    access::Access,
    call::{self, Server},
    convert::{self, Defaults, Settings},
};
use crate::{
    build::{Archived, Builder, Ignore},
    hash::Hasher,
    source::SourceError,
    storage::{Caller, Incoming, Put, Stored, Upload},
    tree::ignore::{Builtin, RulesError},
};

/// One message of an upload.
trait Message {
    type Header;

    fn part(self) -> Option<Part<Self::Header>>;
}

enum Part<H> {
    Header(Box<H>),
    Chunk(Bytes),
}

impl Message for v1::WriteRequest {
    type Header = v1::WriteHeader;

    fn part(self) -> Option<Part<Self::Header>> {
        Some(match self.message? {
            v1::write_request::Message::Header(header) => Part::Header(Box::new(header)),
            v1::write_request::Message::Chunk(chunk) => Part::Chunk(chunk.into()),
        })
    }
}

impl Message for v1::ArchiveRequest {
    type Header = v1::ArchiveHeader;

    fn part(self) -> Option<Part<Self::Header>> {
        Some(match self.message? {
            v1::archive_request::Message::Header(header) => Part::Header(Box::new(header)),
            v1::archive_request::Message::Chunk(chunk) => Part::Chunk(chunk.into()),
        })
    }
}

/// The messages of an upload, as long as they come.
struct Messages<S> {
    stream: S,
    /// How long it may bring nothing.
    silence: Duration,
}

impl<M: Message, S: Stream<Item = Result<M, Status>> + Unpin> Messages<S> {
    async fn header(&mut self) -> Result<M::Header, Status> {
        let message = timeout(self.silence, self.stream.next()).await.map_err(|_| self.silent())?;
        match message.transpose()?.and_then(Message::part) {
            Some(Part::Header(header)) => Ok(*header),
            _ => Err(convert::invalid("header", "the first message must be the header").into()),
        }
    }

    /// The next bytes; `None` at the end. A chunk that is empty is not one: a stream of them is as silent as one without messages.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Status> {
        let bytes = async {
            loop {
                match self.stream.next().await.transpose()?.map(Message::part) {
                    None => return Ok(None),
                    Some(Some(Part::Chunk(chunk))) if chunk.is_empty() => coop::consume_budget().await,
                    Some(Some(Part::Chunk(chunk))) => return Ok(Some(chunk)),
                    Some(_) => {
                        return Err(convert::invalid("chunk", "every message after the header must be a chunk").into());
                    }
                }
            }
        };
        let bytes = timeout(self.silence, bytes).await;
        bytes.unwrap_or_else(|_| Err(self.silent()))
    }

    fn silent(&self) -> Status {
        Status::deadline_exceeded(format!(
            "nothing came for {:?}, and nothing is stored: send it again, or raise --grpc-upload-silence",
            self.silence
        ))
    }
}

/// Carries out a `Write`. Dropping it leaves nothing, unless all bytes were there already.
pub(super) async fn write(
    server: &Server,
    access: &Access,
    stream: Streaming<v1::WriteRequest>,
) -> Result<v1::WriteResponse, Status> {
    let mut messages = Messages { stream, silence: server.silence };
    let mut header = messages.header().await?;
    let token = call::token(header.caller.as_ref());
    let caller = access.caller(header.caller.take()).map_err(of_header)?;
    let (upload, settings) = write_order(header, caller.clone(), &server.defaults).map_err(of_header)?;
    server.admit_caller(access, caller, &[(&upload.put.dir).into()]).await.map_err(of_header)?;
    let dir = upload.put.dir.clone();
    let mut incoming = begin(server, upload).await.map_err(of_header)?;
    while let Some(chunk) = messages.chunk().await? {
        server.metrics.uploaded(chunk.len() as u64);
        let most = server.max_bytes;
        if incoming.size().saturating_add(chunk.len() as u64) > most {
            let text = format!("the file is larger than {most} bytes; raise --artifact-max-size");
            return Err(Failure::new(Reason::TooLarge, text).into());
        }
        incoming = server.uploading(move || incoming.append(&chunk).map(|()| incoming)).await?;
    }
    let stored = finish(server, dir, token.as_deref(), incoming).await.map_err(of_header)?;
    let Stored { path, record, unchanged, digests } = stored;
    let artifact = convert::artifact(&path, &record, &settings.advertised_address);
    Ok(v1::WriteResponse { artifact: Some(artifact), unchanged, digests: texts(&digests) })
}

/// The error of a field of the header, or of what the header asks for.
fn of_header(failure: Failure) -> Failure {
    convert::claimed(failure).within("header")
}

async fn begin(server: &Server, upload: Upload) -> Result<Incoming, Failure> {
    let store = Arc::clone(&server.store);
    server.uploading(move || store.begin(upload)).await
}

/// Makes a file visible once nobody else works on the artifact, or has locked it.
async fn finish(server: &Server, dir: ArtifactDir, token: Option<&str>, incoming: Incoming) -> Result<Stored, Failure> {
    let guards = call::enter(&server.store, vec![dir], token).await?;
    let store = Arc::clone(&server.store);
    server.uploading(move || (store.finish(incoming), drop(guards)).0).await
}

/// Carries out an `Archive`. Dropping it leaves nothing, unless all bytes were there already.
pub(super) async fn archive(
    server: &Server,
    access: &Access,
    builder: &Arc<Builder>,
    stream: Streaming<v1::ArchiveRequest>,
) -> Result<v1::ArchiveResponse, Status> {
    let mut messages = Messages { stream, silence: server.silence };
    let mut header = messages.header().await?;
    let token = call::token(header.caller.as_ref());
    let caller = access.caller(header.caller.take()).map_err(of_header)?;
    let order = archive_order(header, caller.clone(), &server.defaults).map_err(of_header)?;
    let ArchiveOrder { upload, settings, ignore, expected } = order;
    server.admit_caller(access, caller, &[(&upload.put.dir).into()]).await.map_err(of_header)?;
    let dir = upload.put.dir.clone();
    let may = server.store.may_store(&upload.put.caller, &dir, upload.put.take_over);
    may.map_err(|error| of_header(error.into()))?;

    let receiver = Arc::clone(builder);
    let mut receiving = server.uploading(move || receiver.receive()).await?;
    let mut hasher = expected.as_ref().map(|expected| Hasher::new(expected.algorithm()));
    while let Some(chunk) = messages.chunk().await? {
        server.metrics.uploaded(chunk.len() as u64);
        let append = move || {
            if let Some(hasher) = &mut hasher {
                hasher.update(&chunk);
            }
            receiving.append(&chunk).map_err(SourceError::of_sent).map(|()| (receiving, hasher))
        };
        (receiving, hasher) = server.uploading(append).await?;
    }
    check_sent(expected.as_ref(), hasher).map_err(of_header)?;
    let sent = server.uploading(move || receiving.finish().map_err(SourceError::of_sent)).await?;

    let over = CancellationToken::new();
    let _end = over.clone().drop_guard();
    let archived = builder.archive(sent, upload, ignore, over.clone()).await.map_err(of_header)?;
    let Archived { incoming, content_digest, files, ignored, skipped_links } = archived;
    let stored = finish(server, dir, token.as_deref(), incoming).await.map_err(of_header)?;
    let Stored { path, record, unchanged, digests } = stored;
    let artifact = convert::artifact(&path, &record, &settings.advertised_address);
    Ok(v1::ArchiveResponse {
        artifact: Some(artifact),
        unchanged,
        digests: texts(&digests),
        content_digest,
        files,
        ignored_files: ignored,
        skipped_links,
    })
}

fn texts(digests: &[Digest]) -> Vec<String> {
    digests.iter().map(ToString::to_string).collect()
}

fn check_sent(expected: Option<&Digest>, hasher: Option<Hasher>) -> Result<(), Failure> {
    let (Some(expected), Some(hasher)) = (expected, hasher) else { return Ok(()) };
    let found = hasher.finish().map_err(|error| Failure::new(Reason::Internal, error.to_string()))?;
    if found == *expected {
        return Ok(());
    }
    let message = format!("what was sent has the digest {found}, not {expected}: send it again, or correct the digest");
    Err(Failure::field(Reason::DigestMismatch, "expected_digest", message))
}

/// Reads the header of a `Write`. Pure.
fn write_order(header: v1::WriteHeader, caller: Caller, defaults: &Defaults) -> Result<(Upload, Settings), Failure> {
    let v1::WriteHeader {
        caller: _,
        artifact,
        file,
        mode,
        expected_digest,
        revision,
        settings,
        take_over,
        digest_algorithms,
    } = header;
    let dir = convert::dir("artifact", artifact)?;
    convert::file("file", &dir, &file)?;
    let settings = convert::settings(settings, defaults)?;
    let upload = Upload {
        put: Put { dir, caller, algorithm: settings.algorithm, content_digest: None, take_over },
        file: Some(file),
        revision: Some(convert::chosen_revision("revision", revision)?),
        mode: convert::mode("mode", mode)?,
        expected: convert::optional_digest("expected_digest", &expected_digest)?,
        also: convert::algorithms("digest_algorithms", &digest_algorithms)?,
    };
    Ok((upload, settings))
}

struct ArchiveOrder {
    upload: Upload,
    settings: Settings,
    ignore: Ignore,
    /// Of what is sent.
    expected: Option<Digest>,
}

/// Reads the header of an `Archive`. Pure.
fn archive_order(header: v1::ArchiveHeader, caller: Caller, defaults: &Defaults) -> Result<ArchiveOrder, Failure> {
    let v1::ArchiveHeader {
        caller: _,
        artifact,
        file,
        ignore,
        expected_digest,
        revision,
        settings,
        take_over,
        digest_algorithms,
    } = header;
    let dir = convert::dir("artifact", artifact)?;
    let file = Some(file).filter(|file| !file.is_empty());
    if let Some(file) = &file {
        convert::file("file", &dir, file)?;
    }
    let settings = convert::settings(settings, defaults)?;
    let upload = Upload {
        put: Put { dir, caller, algorithm: settings.algorithm, content_digest: None, take_over },
        file,
        revision: Some(convert::chosen_revision("revision", revision)?),
        mode: None,
        expected: None,
        also: convert::algorithms("digest_algorithms", &digest_algorithms)?,
    };
    let expected = convert::optional_digest("expected_digest", &expected_digest)?;
    Ok(ArchiveOrder { upload, settings, ignore: ignore_rules(ignore.unwrap_or_default())?, expected })
}

/// Reads what to leave out. Pure.
fn ignore_rules(message: v1::IgnoreRules) -> Result<Ignore, Failure> {
    let builtin = match message.builtin() {
        v1::BuiltinRules::Unspecified => Builtin::Automatic,
        v1::BuiltinRules::None => Builtin::Nothing,
        v1::BuiltinRules::Vcs => Builtin::Vcs,
        v1::BuiltinRules::All => Builtin::All,
    };
    if v1::BuiltinRules::try_from(message.builtin).is_err() {
        return Err(convert::invalid("ignore.builtin", format!("{} is none of the lists", message.builtin)));
    }
    let mut ignore = Ignore { builtin, from_tree: message.from_tar, ..Ignore::default() };
    let wrong = |field: &'static str| move |error: RulesError| convert::invalid(field, error.to_string());
    for line in &message.patterns {
        ignore.rules.add(line.as_bytes(), None).map_err(wrong("ignore.patterns"))?;
    }
    let content = message.sourceignore.as_bytes();
    ignore.rules.add_file(content, None).map_err(wrong("ignore.sourceignore"))?;
    Ok(ignore)
}

#[cfg(test)]
mod tests {
    use weir_proto::Algorithm;

    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            advertised_address: "a".into(),
            algorithm: Algorithm::Sha256,
            retention_ttl: Duration::ZERO,
            retention_records: 2,
        }
    }

    fn caller() -> Caller {
        Caller { owner: "c/1".parse().unwrap(), lease: None, tenant: None, epoch: 0 }
    }

    fn web() -> Option<v1::ArtifactRef> {
        Some(v1::ArtifactRef { kind: "ExternalArtifact".into(), namespace: "apps".into(), name: "web".into() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_given_up_when_it_is_silent_for_too_long_and_not_when_it_is_slow() {
        let chunk = || v1::WriteRequest { message: Some(v1::write_request::Message::Chunk(vec![7])) };
        let start = tokio::time::Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // Each 59 seconds after the one before, and nothing after the third.
        let stream = futures::stream::iter(1..=3).then(|number| async move {
            tokio::time::sleep_until(at(59 * number)).await;
            Ok(chunk())
        });
        let stream = Box::pin(stream.chain(futures::stream::pending()));
        let mut messages = Messages { stream, silence: Duration::from_secs(60) };
        for number in 1..=3 {
            assert_eq!(messages.chunk().await.unwrap().as_deref(), Some(&[7][..]), "{number}");
        }
        let status = messages.chunk().await.unwrap_err();
        assert_eq!((status.code(), start.elapsed().as_secs()), (tonic::Code::DeadlineExceeded, 3 * 59 + 60));
        assert!(status.message().starts_with("nothing came for 60s, and nothing is stored"), "{status:?}");
    }

    fn empty() -> Result<v1::WriteRequest, Status> {
        Ok(v1::WriteRequest { message: Some(v1::write_request::Message::Chunk(Vec::new())) })
    }

    /// Messages that bring nothing are no sign of life.
    #[tokio::test(start_paused = true)]
    async fn a_stream_of_empty_chunks_is_a_silent_one() {
        let seconds = futures::stream::repeat(()).then(|()| tokio::time::sleep(Duration::from_secs(1)));
        let stream = Box::pin(seconds.map(|()| empty()));
        let mut messages = Messages { stream, silence: Duration::from_secs(60) };
        let status = messages.chunk().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status:?}");
    }

    #[tokio::test]
    async fn however_fast_empty_chunks_come() {
        let mut messages = Messages { stream: futures::stream::repeat_with(empty), silence: Duration::from_millis(50) };
        let status = messages.chunk().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status:?}");
    }

    #[test]
    fn headers_of_writes_are_checked() {
        let good = || v1::WriteHeader { artifact: web(), file: "a.yaml".into(), ..v1::WriteHeader::default() };
        let (upload, _) = write_order(v1::WriteHeader { mode: Some(0o600), ..good() }, caller(), &defaults()).unwrap();
        assert_eq!((upload.mode, upload.file.as_deref(), upload.revision), (None, Some("a.yaml"), Some(None)));
        type Row = (&'static str, Reason, fn(&mut v1::WriteHeader));
        let rows: [Row; 15] = [
            ("artifact", Reason::InvalidRequest, |header| header.artifact = None),
            ("artifact.kind", Reason::InvalidRequest, |header| {
                header.artifact.as_mut().unwrap().kind = "..".into();
            }),
            ("artifact.namespace", Reason::InvalidRequest, |header| {
                header.artifact.as_mut().unwrap().namespace = "a/..".into();
            }),
            ("artifact.name", Reason::InvalidRequest, |header| {
                header.artifact.as_mut().unwrap().name = "../x".into();
            }),
            ("file", Reason::InvalidRequest, |header| header.file.clear()),
            ("file", Reason::InvalidRequest, |header| header.file = "../x".into()),
            ("file", Reason::InvalidRequest, |header| header.file = ".record".into()),
            ("file", Reason::InvalidRequest, |header| header.file = "a.lock".into()),
            ("mode", Reason::InvalidRequest, |header| header.mode = Some(0o1755)),
            ("expected_digest", Reason::InvalidRequest, |header| header.expected_digest = "sha256:1".into()),
            ("expected_digest", Reason::UnknownDigestAlgorithm, |header| {
                header.expected_digest = "md5:1".into();
            }),
            ("revision", Reason::InvalidRequest, |header| header.revision = "a\nb".into()),
            ("revision", Reason::InvalidRequest, |header| header.revision = "a".repeat(1025)),
            ("digest_algorithms", Reason::UnknownDigestAlgorithm, |header| {
                header.digest_algorithms = vec!["sha256".into(), "md5".into()];
            }),
            ("digest_algorithms", Reason::InvalidRequest, |header| {
                header.digest_algorithms = vec!["sha256".into(); 17];
            }),
        ];
        for (field, reason, change) in rows {
            let mut header = good();
            change(&mut header);
            let failure = write_order(header, caller(), &defaults()).err().unwrap();
            assert_eq!((failure.field.as_deref(), failure.reason), (Some(field), reason), "{failure:?}");
        }
    }

    #[test]
    fn headers_of_archives_are_checked() {
        let good = || v1::ArchiveHeader { artifact: web(), ..v1::ArchiveHeader::default() };
        let order = archive_order(good(), caller(), &defaults()).unwrap();
        assert_eq!((order.upload.file, order.ignore.builtin, order.expected), (None, Builtin::Automatic, None));
        let with = |change: fn(&mut v1::IgnoreRules)| {
            let mut rules = v1::IgnoreRules::default();
            change(&mut rules);
            archive_order(v1::ArchiveHeader { ignore: Some(rules), ..good() }, caller(), &defaults())
        };
        let rows = [
            ("file", archive_order(v1::ArchiveHeader { file: "a/b".into(), ..good() }, caller(), &defaults())),
            ("ignore.builtin", with(|rules| rules.builtin = 9)),
            ("ignore.patterns", with(|rules| rules.patterns = vec!["a".into(); 1001])),
            ("ignore.patterns", with(|rules| rules.patterns = vec!["a".repeat(4097)])),
            ("ignore.sourceignore", with(|rules| rules.sourceignore = "a\n".repeat(1001))),
        ];
        for (field, outcome) in rows {
            let failure = outcome.err().unwrap();
            assert_eq!((failure.field.as_deref(), failure.reason), (Some(field), Reason::InvalidRequest));
        }
    }
}
