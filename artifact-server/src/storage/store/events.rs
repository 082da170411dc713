//! Telling watchers what happens. A hint, not a log.

use parking_lot::Mutex;
use tokio::sync::broadcast;
use weir_proto::ArtifactPath;

/// How many events a slow watcher may lag behind before it is told of a gap instead.
const CAPACITY: usize = 8192;

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was stored, or came back by itself with its record.
    Stored,
    /// It was removed on request or collected.
    Removed,
    /// It disappeared behind the server's back.
    Lost,
    /// Its bytes changed behind the server's back; it is out of service.
    Corrupted,
    /// Events may have been missed: verify what you published.
    Gap,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEvent {
    /// Rises by one with each event of this store.
    pub sequence: u64,
    /// What happened.
    pub kind: EventKind,
    /// Which file; `None` for a gap.
    pub path: Option<ArtifactPath>,
    /// Who owns it, empty when unknown.
    pub owner: String,
}

pub(super) struct Events {
    /// The last sequence given out. Held while sending, so that the order of the channel is the order of the numbers.
    last: Mutex<u64>,
    sender: broadcast::Sender<StoreEvent>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(0), sender: broadcast::Sender::new(CAPACITY) }
    }

    pub(super) fn send(&self, kind: EventKind, path: Option<&ArtifactPath>, owner: &str) {
        let mut last = self.last.lock();
        *last += 1;
        // Fails only when nobody watches.
        let _ = self.sender.send(StoreEvent { sequence: *last, kind, path: path.cloned(), owner: owner.to_owned() });
    }

    pub(super) fn subscribe(&self) -> Subscription {
        let last = self.last.lock();
        Subscription { start: *last, next: *last + 1, receiver: self.sender.subscribe() }
    }
}

/// A watcher's place in the stream of events.
pub struct Subscription {
    start: u64,
    next: u64,
    receiver: broadcast::Receiver<StoreEvent>,
}

impl Subscription {
    /// The sequence of the last event before this subscription.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The next event. When this watcher was too slow, a gap with the sequence of the last event it missed. `None` when the
    /// store is gone. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<StoreEvent> {
        match self.receiver.recv().await {
            Ok(event) => {
                self.next = event.sequence + 1;
                Some(event)
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                self.next += missed;
                Some(StoreEvent { sequence: self.next - 1, kind: EventKind::Gap, path: None, owner: String::new() })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
