//! Watching the volume for what happens behind the server's back.
//!
//! The kernel's events only say where to look; what happened is found by comparing the folder with the store's index, which
//! already holds the server's own writes. So own writes make no noise and nothing depends on the order of events. Where
//! events can not be had, or may have been lost, everything is compared, by stat alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::{Condvar, Mutex};
use rustix::fs::{AtFlags, CWD, statat};
use tokio::time::Instant;
use weir_proto::ArtifactPath;

use super::{Prefix, StorageError, Store};

mod event;
mod network;
#[cfg(test)]
mod tests;

/// How long after a folder appeared it is looked at again: by then its own events are on.
const SECOND_LOOK: Duration = Duration::from_millis(200);

/// How often the kernel is asked again after it had no watches left.
const LIMIT_RETRY: Duration = Duration::from_secs(600);

/// How often to look without being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two looks at everything while events work: for what they may miss.
    pub rescan: Duration,
    /// Between two looks at everything while they do not.
    pub poll: Duration,
    /// Never use the kernel's events.
    pub force_polling: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rescan: Duration::from_secs(60), poll: Duration::from_secs(10), force_polling: false }
    }
}

/// A running watch on the volume; it ends when this is dropped.
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
    polling: AtomicBool,
}

/// Where to look. Looking twice at one place is looking once.
#[derive(Default)]
struct Pending {
    /// With whether somebody wrote to the file.
    files: BTreeMap<ArtifactPath, bool>,
    folders: BTreeSet<Prefix>,
    /// Folders that have just appeared.
    fresh: BTreeSet<Prefix>,
    /// Events were lost.
    overflow: bool,
    /// The root itself went away, or the kernel has no more watches.
    broken: Option<Broken>,
    stop: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Root,
    Limit,
}

impl Pending {
    fn is_empty(&self) -> bool {
        let nowhere = self.files.is_empty() && self.folders.is_empty() && self.fresh.is_empty();
        nowhere && !self.overflow && self.broken.is_none() && !self.stop
    }
}

impl Watch {
    /// Starts watching the folder that the store's storage lies in.
    pub fn start(store: Arc<Store>, root: &Path, settings: Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut looker = Looker::new(store, root.to_owned(), settings, shared.clone());
        looker.arm();
        let thread = std::thread::Builder::new().name("volume-watch".into()).spawn(move || looker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// True while the kernel's events can not be had and the volume is looked at from time to time instead.
    pub fn is_polling(&self) -> bool {
        self.shared.polling.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.pending.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread that looks.
struct Looker {
    store: Arc<Store>,
    root: PathBuf,
    settings: Settings,
    shared: Arc<Shared>,
    /// `None` while polling.
    events: Option<RecommendedWatcher>,
    /// Device and inode of the watched root.
    watched: Option<(u64, u64)>,
    next_arm: Instant,
    next_scan: Instant,
    second_look: Option<(Instant, BTreeSet<Prefix>)>,
}

impl Looker {
    fn new(store: Arc<Store>, root: PathBuf, settings: Settings, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            store,
            root,
            settings,
            shared,
            events: None,
            watched: None,
            next_arm: now,
            next_scan: now,
            second_look: None,
        }
    }

    fn run(mut self) {
        loop {
            let pending = self.wait();
            if pending.stop {
                return;
            }
            let now = Instant::now();
            if let Some(broken) = pending.broken {
                self.disarm(broken);
            }
            let replaced = self.events.is_some() && self.identity() != self.watched;
            if replaced {
                self.disarm(Broken::Root);
            }
            let armed = self.events.is_none() && now >= self.next_arm && self.arm();
            if pending.overflow || pending.broken.is_some() || replaced || armed || now >= self.next_scan {
                self.look(self.store.check_below(&Prefix::all()));
                // A stamp alone does not tell of these.
                let written = pending.files.into_iter().filter(|(_, written)| *written).collect();
                self.look_at(written, BTreeSet::new());
                self.store.save_stamps();
                self.next_scan = Instant::now() + self.interval();
            } else {
                self.look_at(pending.files, pending.folders);
            }
            self.look_again(now, pending.fresh);
            if pending.overflow {
                tracing::warn!("the kernel dropped events of the volume; everything was compared");
                self.store.report_gap();
            }
        }
    }

    fn wait(&self) -> Pending {
        let mut pending = self.shared.pending.lock();
        let again = self.second_look.as_ref().map(|(due, _)| *due);
        let due = again.map_or(self.next_scan, |again| again.min(self.next_scan));
        while pending.is_empty() {
            if self.shared.wake.wait_until(&mut pending, due.into_std()).timed_out() {
                break;
            }
        }
        std::mem::take(&mut *pending)
    }

    fn look_at(&self, files: BTreeMap<ArtifactPath, bool>, folders: BTreeSet<Prefix>) {
        for folder in &folders {
            self.look(self.store.check_below(folder));
        }
        for (path, &written) in &files {
            self.look(if written { self.store.check_written(path) } else { self.store.check(path) });
        }
    }

    /// Between the making of a folder and the kernel's first event from it, things can happen unseen.
    fn look_again(&mut self, now: Instant, fresh: BTreeSet<Prefix>) {
        if let Some((_, folders)) = self.second_look.take_if(|(due, _)| *due <= now) {
            self.look_at(BTreeMap::new(), folders);
        }
        if !fresh.is_empty() {
            let (_, folders) = self.second_look.get_or_insert_with(|| (now + SECOND_LOOK, BTreeSet::new()));
            folders.extend(fresh);
        }
    }

    fn look(&self, outcome: Result<(), StorageError>) {
        if let Err(error) = outcome {
            tracing::warn!(%error, "the volume could not be compared with what is stored; it is tried again");
        }
    }

    fn interval(&self) -> Duration {
        if self.events.is_some() { self.settings.rescan } else { self.settings.poll }
    }

    fn identity(&self) -> Option<(u64, u64)> {
        statat(CWD, &self.root, AtFlags::empty()).ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    fn disarm(&mut self, broken: Broken) {
        self.events = None;
        self.shared.polling.store(true, Ordering::Relaxed);
        self.next_arm = Instant::now() + if broken == Broken::Limit { LIMIT_RETRY } else { Duration::ZERO };
        if broken == Broken::Limit {
            tracing::warn!(
                poll_seconds = self.settings.poll.as_secs(),
                "no inotify watches are left; polling the volume instead: raise fs.inotify.max_user_watches"
            );
        }
    }

    /// True when the kernel's events are on.
    fn arm(&mut self) -> bool {
        let identity = self.identity();
        let outcome = if self.settings.force_polling || network::is_remote(&self.root) {
            Ok(None)
        } else {
            self.subscribe().map(Some)
        };
        match outcome {
            Ok(events) => self.events = events,
            Err(ErrorKind::MaxFilesWatch) => self.disarm(Broken::Limit),
            Err(error) => tracing::debug!(?error, "the volume can not be watched now"),
        }
        self.watched = identity;
        self.shared.polling.store(self.events.is_none(), Ordering::Relaxed);
        self.events.is_some()
    }

    fn subscribe(&self) -> Result<RecommendedWatcher, ErrorKind> {
        let (shared, root, store) = (self.shared.clone(), self.root.clone(), self.store.clone());
        let on_event = move |event: notify::Result<notify::Event>| {
            if event::note(&mut shared.pending.lock(), &root, event, &|file| store.tell(file)) {
                shared.wake.notify_one();
            }
        };
        let config = Config::default().with_follow_symlinks(false);
        let mut events = RecommendedWatcher::new(on_event, config).map_err(|error| error.kind)?;
        events.watch(&self.root, RecursiveMode::Recursive).map_err(|error| error.kind)?;
        Ok(events)
    }
}
