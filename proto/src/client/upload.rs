//! `Write` and `Archive`.

use std::path::Path;

use futures::{FutureExt as _, Stream, StreamExt as _, future::Either, stream};
use prost::bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    Client, Error,
    directory::{self, CHUNK, Piece, Stopped},
};
use crate::{
    ArtifactDir,
    v1::{self, ArchiveHeader, ArchiveResponse, WriteHeader, WriteResponse},
};

/// Chunks that wait to be sent.
const AHEAD: usize = 4;

impl Client {
    /// Stores bytes under the name in the header. Sent again after a connection error only with an `expected_digest`, or under a name that
    /// is a digest; otherwise somebody else's bytes could be there by then.
    ///
    /// ```no_run
    /// # use weir_proto::{client::{Client, Error}, v1::{ArtifactRef, WriteHeader}};
    /// # async fn write(client: Client, artifact: ArtifactRef, digest: String) -> Result<(), Error> {
    /// let header = WriteHeader {
    ///     artifact: Some(artifact),
    ///     file: "values.yaml".into(),
    ///     expected_digest: digest,
    ///     ..WriteHeader::default()
    /// };
    /// let answer = client.write(header, "replicas: 2\n").await?;
    /// println!("{:?}", answer.artifact);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(&self, mut header: WriteHeader, bytes: impl Into<Bytes>) -> Result<WriteResponse, Error> {
        use v1::write_request::Message;
        let bytes = bytes.into();
        let safe = !header.expected_digest.is_empty() || names_a_digest(&header.file);
        header.caller.get_or_insert_with(|| self.caller.clone());
        header.settings = header.settings.or_else(|| self.settings.clone());
        self.again_if(safe, || async {
            let first = stream::iter([Message::Header(header.clone())]);
            let messages = first.chain(chunks(bytes.clone()).map(Message::Chunk));
            let messages = messages.map(|message| v1::WriteRequest { message: Some(message) });
            self.answer(self.storage().write(self.timed(messages)).await)
        })
        .await
    }

    /// Makes an artifact of what a directory holds: regular files and directories, less what the ignore rules of the header leave out.
    /// `skipped_links` of the answer counts the symbolic links there. The directory is read while it is sent, in chunks; a file that
    /// changes meanwhile is an error, and then nothing is stored.
    ///
    /// Sent again after a connection error without a `file` in the header, when the archive is named by its digest, or with an
    /// `expected_digest`, here that of the tar.
    ///
    /// ```no_run
    /// # use weir_proto::{client::{Client, Error}, v1::{ArchiveHeader, ArtifactRef, IgnoreRules}};
    /// # async fn archive(client: Client, artifact: ArtifactRef) -> Result<(), Error> {
    /// let ignore = IgnoreRules { patterns: vec!["*.md".into()], ..IgnoreRules::default() };
    /// let header = ArchiveHeader { artifact: Some(artifact), ignore: Some(ignore), ..ArchiveHeader::default() };
    /// let answer = client.archive_dir(header, "/srv/site").await?;
    /// println!("{} files, {} left out", answer.files, answer.ignored_files);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn archive_dir(
        &self,
        mut header: ArchiveHeader,
        directory: impl AsRef<Path>,
    ) -> Result<ArchiveResponse, Error> {
        let directory = directory.as_ref();
        let named = header.file.is_empty() || names_a_digest(&header.file);
        let safe = named || !header.expected_digest.is_empty();
        header.caller.get_or_insert_with(|| self.caller.clone());
        header.settings = header.settings.or_else(|| self.settings.clone());
        self.again_if(safe, || self.send_dir(header.clone(), directory)).await
    }

    async fn send_dir(&self, header: ArchiveHeader, directory: &Path) -> Result<ArchiveResponse, Error> {
        use v1::archive_request::Message;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let root = directory.to_owned();
        let reading = tokio::task::spawn_blocking(move || directory::send(&root, sender));
        let messages = stream::iter([Message::Header(header)]).chain(whole(receiver).map(Message::Chunk));
        let messages = messages.map(|message| v1::ArchiveRequest { message: Some(message) });
        let mut storage = self.storage();
        let call = storage.archive(self.timed(messages)).boxed();
        let (answer, read) = match futures::future::select(call, reading).await {
            // Refused before its end, or all of it is there.
            Either::Left((answer, reading)) => (self.answer(answer)?, reading.await),
            // Returning drops the call, which leaves nothing.
            Either::Right((Ok(Err(Stopped::Unreadable(error))), _)) => return Err(error),
            Either::Right((read, call)) => (self.answer(call.await)?, read),
        };
        match read {
            Ok(Ok(links)) => Ok(ArchiveResponse { skipped_links: links, ..answer }),
            Ok(Err(Stopped::Unreadable(error))) => Err(error),
            Ok(Err(Stopped::Unwanted)) => Err(self.cut("before the directory was sent")),
            Err(error) => Err(Self::unreadable(directory.to_owned(), error)),
        }
    }
}

/// Whether a name can only ever hold the bytes of one digest.
fn names_a_digest(file: &str) -> bool {
    let path = ArtifactDir::new("kind", "namespace", "name").and_then(|dir| dir.file(file));
    path.is_ok_and(|path| path.named_digest().is_some())
}

fn chunks(bytes: Bytes) -> impl Stream<Item = Vec<u8>> + Send {
    stream::unfold(bytes, async |mut rest| {
        let next = rest.split_to(rest.len().min(CHUNK));
        (!next.is_empty()).then(|| (next.to_vec(), rest))
    })
}

/// The bytes of a directory that is being read. Without its end the stream has none either: an upload that stops early must not pass for a
/// shorter one.
fn whole(receiver: mpsc::Receiver<Piece>) -> impl Stream<Item = Vec<u8>> + Send {
    stream::unfold(receiver, async |mut receiver| match receiver.recv().await {
        Some(Piece::Bytes(bytes)) => Some((bytes, receiver)),
        Some(Piece::End) => None,
        None => std::future::pending().await,
    })
}
