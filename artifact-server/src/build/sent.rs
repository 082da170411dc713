//! An artifact made of a tar that a caller sent: the same archive that building it from a source would give.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weir_proto::{Failure, Reason};

use super::{Builder, artifact::count_files};
use crate::{
    archive::{
        self,
        ignore::{self, Filtered},
    },
    grpc::blocking,
    source::{Receiving, Sent},
    storage::{Incoming, Upload},
    tree::{
        Tree,
        compose::MAX_ENTRIES,
        digest::content_digest,
        ignore::{Builtin, Rules},
    },
};

/// What to leave out of an archive.
#[derive(Debug, Default)]
pub struct Ignore {
    /// The lists that come first.
    pub builtin: Builtin,
    /// The caller's patterns.
    pub rules: Rules,
    /// Whether the tar's own `.sourceignore` files count.
    pub from_tree: bool,
}

/// An archive that is on the volume, but not visible yet.
pub struct Archived {
    /// The file.
    pub incoming: Incoming,
    /// `sha256:<hex>` of the content.
    pub content_digest: String,
    /// Regular files in the archive.
    pub files: u64,
    /// Files that the rules left out.
    pub ignored: u64,
    /// Symbolic links in the tar.
    pub skipped_links: u64,
}

impl Builder {
    /// Makes room for a tar. Blocks.
    pub fn receive(&self) -> Result<Receiving, Failure> {
        self.sources.receive(self.settings.max_bytes).map_err(crate::source::SourceError::of_sent)
    }

    /// Unpacks a tar and archives what the rules leave of it. Waits for a worker, and gives it back before anything waits for the artifact.
    /// Ends soon after `over` says so; then nothing is left.
    pub async fn archive(
        self: &Arc<Self>,
        sent: Sent,
        upload: Upload,
        ignore: Ignore,
        over: CancellationToken,
    ) -> Result<Archived, Failure> {
        let permit = self.worker().await?;
        let builder = Arc::clone(self);
        blocking(move || {
            let archived = builder.pack(&sent, upload, ignore, &|| over.is_cancelled());
            drop(permit);
            archived
        })
        .await
    }

    fn pack(
        &self,
        sent: &Sent,
        mut upload: Upload,
        ignore: Ignore,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Archived, Failure> {
        let source = self.sources.open_sent(sent, cancelled).map_err(crate::source::SourceError::of_sent)?;
        if source.tree.entries().len() > MAX_ENTRIES {
            let text = format!("the tar has more than the {MAX_ENTRIES} files and directories of an artifact");
            return Err(Failure::new(Reason::TooLarge, text));
        }
        let Filtered { kept, dropped } = filter(&source.tree, ignore, cancelled)?;
        let content_digest = content_digest(&kept).to_string();
        upload.put.content_digest = Some(content_digest.clone());
        let mut incoming = self.store.begin(upload)?;
        incoming.fill(&mut |out| archive::pack_unless(&kept, out, cancelled))?;
        let (files, ignored) = (count_files(&kept), dropped.len() as u64);
        Ok(Archived { incoming, content_digest, files, ignored, skipped_links: source.summary.skipped_links })
    }
}

fn filter(tree: &Tree, ignore: Ignore, cancelled: &dyn Fn() -> bool) -> Result<Filtered, Failure> {
    let Ignore { builtin, mut rules, from_tree } = ignore;
    if from_tree {
        let added = ignore::add_from_tree(&mut rules, tree);
        added.map_err(|error| Failure::field(Reason::ArchiveRefused, "ignore.from_tar", error.to_string()))?;
    }
    Ok(ignore::apply(tree, &rules.with(builtin), cancelled))
}
