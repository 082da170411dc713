//! Values that are read from files, and read again when these change: certificates and the policy.
//!
//! The folders are watched, not the files, as a Secret's mount swaps the symlink `..data` and never touches what lies behind it. What
//! the kernel's events miss is found by a look at the contents every few seconds. What can not be used changes nothing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::{AbortHandle, spawn_blocking},
};

/// How long after the first event the files are read: several are written together.
const SETTLE: Duration = Duration::from_millis(100);

/// Between two looks without an event. Three small files cost nothing.
const POLL: Duration = Duration::from_secs(10);

/// A file, and the flag that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Without dashes, e.g. `grpc-tls-key`.
    pub flag: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

impl NamedFile {
    /// An error about this file, with the flag to look at.
    pub fn error(&self, problem: impl std::fmt::Display) -> String {
        format!("--{} {}: {problem}", self.flag, self.path.display())
    }
}

/// The contents of the files, or why one of them can not be read.
type Contents = Result<Vec<Vec<u8>>, String>;

/// The value that the files gave last. It is followed until this is dropped.
#[derive(Debug)]
pub struct Live<T> {
    current: Arc<ArcSwap<T>>,
    task: AbortHandle,
}

impl<T> Drop for Live<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T: Send + Sync + 'static> Live<T> {
    /// Reads the value and follows its files. `what` names it in the log. An error is one line that names flag and file.
    pub async fn open(
        what: &'static str,
        files: Vec<NamedFile>,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + 'static,
    ) -> Result<Self, String> {
        // Watched before they are read: what changes in between is an event.
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = watch(&files, sender.clone());
        let contents = read(files.clone()).await;
        let current = Arc::new(ArcSwap::from_pointee(contents.clone().and_then(|contents| parse(&contents))?));
        let follower = Follower { what, files, parse, contents, current: Arc::clone(&current), events };
        let task = tokio::spawn(async move {
            follower.run().await;
            drop((watcher, sender));
        });
        Ok(Self { current, task: task.abort_handle() })
    }

    /// What holds now.
    pub fn get(&self) -> Arc<T> {
        self.current.load_full()
    }
}

struct Follower<T, P> {
    what: &'static str,
    files: Vec<NamedFile>,
    parse: P,
    /// What was looked at last, good or not: it is judged once.
    contents: Contents,
    current: Arc<ArcSwap<T>>,
    events: UnboundedReceiver<()>,
}

impl<T, P: Fn(&[Vec<u8>]) -> Result<T, String>> Follower<T, P> {
    async fn run(mut self) {
        loop {
            if let Ok(Some(())) = tokio::time::timeout(POLL, self.events.recv()).await {
                tokio::time::sleep(SETTLE).await;
                while self.events.try_recv().is_ok() {}
            }
            let contents = read(self.files.clone()).await;
            if contents == self.contents {
                continue;
            }
            self.contents.clone_from(&contents);
            match contents.and_then(|contents| (self.parse)(&contents)) {
                Ok(new) => {
                    self.current.store(Arc::new(new));
                    tracing::info!("{} read again", self.what);
                }
                Err(error) => tracing::error!(error, "{} can not be used, the last good one stays", self.what),
            }
        }
    }
}

async fn read(files: Vec<NamedFile>) -> Contents {
    let read = move || files.iter().map(|file| std::fs::read(&file.path).map_err(|error| file.error(error))).collect();
    spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Watches the folders of the files, and those that symlinks lead to. `None`, and whatever is missed, is left to the looks in between.
fn watch(files: &[NamedFile], events: UnboundedSender<()>) -> Option<RecommendedWatcher> {
    let changed = move |event: notify::Result<notify::Event>| {
        // Reading is an event, too.
        let only_read = |kind: &EventKind| matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write));
        if !event.is_ok_and(|event| only_read(&event.kind)) {
            let _ = events.send(());
        }
    };
    let mut watcher = notify::recommended_watcher(changed).ok()?;
    let ends = files.iter().flat_map(|file| [Some(file.path.clone()), file.path.canonicalize().ok()]).flatten();
    let folders: BTreeSet<PathBuf> = ends.map(|path| folder(&path)).collect();
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            tracing::debug!(%error, folder = %folder.display(), "not watched, looked at every {POLL:?}");
        }
    }
    Some(watcher)
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Waits for a value; a broken run ends.
    async fn until(live: &Live<String>, expected: &str) {
        let seen = async {
            while *live.get() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Less than POLL: the event brings it.
        let late = tokio::time::timeout(Duration::from_secs(8), seen).await.is_err();
        assert!(!late, "still {:?}", live.get());
    }

    fn parse(contents: &[Vec<u8>]) -> Result<String, String> {
        let text = String::from_utf8_lossy(&contents[0]).into_owned();
        if text == "bad" { Err("it is bad".to_owned()) } else { Ok(text) }
    }

    /// As the kubelet lays out a Secret: `file -> ..data/file`, `..data -> ..<time>`.
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "this is the kubelet, which publishes nothing of ours")]
    async fn the_swap_of_a_secret_is_seen_and_what_is_bad_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let swap = |version: &str, text: &str| {
            let folder = root.path().join(version);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("file"), text).unwrap();
            std::os::unix::fs::symlink(version, root.path().join("..data_tmp")).unwrap();
            fs::rename(root.path().join("..data_tmp"), root.path().join("..data")).unwrap();
        };
        swap("..1", "one");
        let path = root.path().join("file");
        std::os::unix::fs::symlink("..data/file", &path).unwrap();
        let file = NamedFile { flag: "x", path };
        let live = Live::open("the file", vec![file.clone()], parse).await.unwrap();
        assert_eq!(*live.get(), "one");
        swap("..2", "two");
        fs::remove_dir_all(root.path().join("..1")).unwrap();
        until(&live, "two").await;
        swap("..3", "bad");
        tokio::time::sleep(SETTLE * 5).await;
        assert_eq!(*live.get(), "two");
        swap("..4", "four");
        until(&live, "four").await;
        fs::remove_file(root.path().join("..data")).unwrap();
        tokio::time::sleep(SETTLE * 5).await;
        assert_eq!(*live.get(), "four");
        let error = Live::open("the file", vec![file.clone()], parse).await.unwrap_err();
        assert!(error.starts_with(&format!("--x {}: No such file", file.path.display())), "{error}");
    }
}
