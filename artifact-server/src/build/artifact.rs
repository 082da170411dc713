//! One artifact: from its tree to a stored file.

use std::sync::Arc;

use weir_proto::{ArtifactPath, Failure};

use super::{Job, Made, Order, adoption};
use crate::{
    archive,
    storage::{Put, Record, StorageError, Store, Verdict},
    tree::{Node, Tree, digest::content_digest},
};

/// How many of the files that the ignore list left out are named.
const EXAMPLES: usize = 10;
/// Longest path that is named whole, in bytes.
const EXAMPLE_BYTES: usize = 200;

/// What the copy operations come to, without what the ignore list drops.
#[derive(Clone, Copy)]
pub(super) struct Composed<'a> {
    pub(super) tree: &'a Tree,
    /// Its content digest.
    pub(super) digest: &'a str,
}

pub(super) fn make(
    store: &Store,
    job: &Job,
    order: &Order,
    tree: &Tree,
    cancelled: &dyn Fn() -> bool,
) -> Result<Made, Failure> {
    let filtered = archive::ignore::apply_default(tree);
    let content = content_digest(&filtered.kept).to_string();
    let made = |(path, record), unchanged| Made {
        path,
        record,
        unchanged,
        content_digest: content.clone(),
        files: count_files(&filtered.kept),
        ignored: filtered.dropped.len() as u64,
        ignored_examples: filtered.dropped.iter().take(EXAMPLES).map(|path| shortened(path.to_string())).collect(),
    };
    let composed = Composed { tree: &filtered.kept, digest: &content };
    if let Some(current) = unchanged(store, job, order, composed, cancelled)? {
        return Ok(made(current, true));
    }
    let put = Put {
        dir: order.dir.clone(),
        caller: job.caller.clone(),
        algorithm: job.algorithm,
        content_digest: Some(content.clone()),
        take_over: order.take_over,
    };
    let stored = store.put(&put, &mut |out| archive::pack_unless(&filtered.kept, out, cancelled))?;
    Ok(made(stored, false))
}

/// The end of a path that is too long: it has the name that a rule matched, or nearly.
fn shortened(path: String) -> String {
    if path.len() <= EXAMPLE_BYTES {
        return path;
    }
    format!("...{}", &path[path.ceil_char_boundary(path.len() - EXAMPLE_BYTES)..])
}

pub(super) fn count_files(tree: &Tree) -> u64 {
    tree.entries().iter().filter(|entry| matches!(entry.node, Node::File(_))).count() as u64
}

/// The published file, when its content is the composed one, it is the caller's own, and its bytes are still good. It then counts as
/// returned now, so that collection spares it. One whose content nobody recorded is read, once.
fn unchanged(
    store: &Store,
    job: &Job,
    order: &Order,
    composed: Composed<'_>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<(ArtifactPath, Arc<Record>)>, StorageError> {
    let Some((path, digest)) = order.current.as_ref().filter(|(path, _)| *path.dir() == order.dir) else {
        return Ok(None);
    };
    let Some(record) = store.file(path).filter(|record| record.content_digest.is_some()) else {
        let adopted = match digest {
            Some(digest) => adoption::adopted(store, job, (path, digest), composed, cancelled)?,
            None => None,
        };
        return Ok(adopted.map(|record| (path.clone(), record)));
    };
    // Another owner's: storing decides whether it may be taken over.
    if record.content_digest.as_deref() != Some(composed.digest) || record.owner != job.caller.owner.to_string() {
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
