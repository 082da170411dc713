//! One artifact: from copy operations to a stored file.

use std::{
    io::{self, Write},
    sync::Arc,
};

use weir_proto::{ArtifactPath, Failure, Reason};

use super::{Job, Made, Order};
use crate::{
    archive,
    storage::{Put, Record, StorageError, Store, Verdict},
    tree::{Node, Tree, compose::compose, digest::content_digest},
};

pub(super) fn make(store: &Store, job: &Job, order: &Order, cancelled: &dyn Fn() -> bool) -> Result<Made, Failure> {
    let tree =
        compose(&job.sources, &order.copy).map_err(|error| Failure::new(Reason::BuildFailed, error.to_string()))?;
    let filtered = archive::ignore::apply_default(&tree);
    let content = content_digest(&filtered.kept).to_string();
    let (files, ignored) = (count_files(&filtered.kept), filtered.dropped.len() as u64);
    let made =
        |(path, record), unchanged| Made { path, record, unchanged, content_digest: content.clone(), files, ignored };
    if let Some(current) = unchanged(store, job, order, &content)? {
        return Ok(made(current, true));
    }
    let put = Put {
        dir: order.dir.clone(),
        owner: job.owner.clone(),
        algorithm: job.algorithm,
        content_digest: Some(content.clone()),
        take_over: order.take_over,
    };
    let stored = store.put(&put, &mut |out| pack(&filtered.kept, out, cancelled))?;
    Ok(made(stored, false))
}

fn count_files(tree: &Tree) -> u64 {
    tree.entries().iter().filter(|entry| matches!(entry.node, Node::File(_))).count() as u64
}

/// Packs, unless nobody waits for it any more. Looked at before and after: after it only the publishing is left.
fn pack(tree: &Tree, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> io::Result<()> {
    let go_on =
        || if cancelled() { Err(io::Error::new(io::ErrorKind::Interrupted, "the call was cancelled")) } else { Ok(()) };
    go_on()?;
    archive::pack(tree, out)?;
    go_on()
}

/// The published file, when its content is the composed one, it is the caller's own, and its bytes are still good. It then counts as
/// returned now, so that collection spares it.
fn unchanged(
    store: &Store,
    job: &Job,
    order: &Order,
    content: &str,
) -> Result<Option<(ArtifactPath, Arc<Record>)>, StorageError> {
    let Some((path, digest)) = &order.current else { return Ok(None) };
    let Some(record) = store.file(path).filter(|record| record.content_digest.as_deref() == Some(content)) else {
        return Ok(None);
    };
    // Another owner's: storing decides whether it may be taken over.
    if *path.dir() != order.dir || record.owner != job.owner.to_string() {
        return Ok(None);
    }
    // A caller that published a digest of another algorithm keeps it.
    let digest = digest.as_ref().unwrap_or(&record.digest);
    if store.verify(path, digest)? != Verdict::Ok {
        return Ok(None);
    }
    let record = if *digest == record.digest {
        record
    } else {
        Arc::new(Record { digest: digest.clone(), ..(*record).clone() })
    };
    Ok(Some((path.clone(), record)))
}
