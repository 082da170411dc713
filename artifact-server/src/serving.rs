//! Whether the artifact port is open. The controller that leads says so; the server remembers it on its volume, so that neither a dead
//! controller nor a restart of the server changes anything.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use warp::{filters::BoxedFilter, reply::Response};
use weir_proto::{Failure, Reason};

use crate::{
    args::{ListenAddress, ServeMode},
    http::{self, Draining},
    storage::{Caller, StorageError, Store, state},
};

const DOCUMENT: &str = "serving.json";

/// The artifact port.
pub struct Serving {
    store: Arc<Store>,
    mode: ServeMode,
    address: ListenAddress,
    files: BoxedFilter<(Response,)>,
    /// Ends connections that outlive their time at the end of the process.
    abort: CancellationToken,
    state: Mutex<State>,
    open: AtomicBool,
}

struct State {
    /// Who wants the port open, by [leadership](Caller::leadership). Each opens and closes only for itself.
    wanted: BTreeSet<String>,
    /// Whether that is on the volume.
    saved: bool,
    port: Option<Port>,
    /// Ports that were closed and still finish downloads.
    closing: Vec<JoinHandle<()>>,
}

struct Port {
    stop: CancellationToken,
    accepting: JoinHandle<Draining>,
}

impl Serving {
    /// Reads what was wanted before. Opens nothing yet. Where that can not be read, nobody is known to want the port open: a controller
    /// says so whenever it connects.
    pub fn new(
        store: Arc<Store>,
        mode: ServeMode,
        address: ListenAddress,
        files: BoxedFilter<(Response,)>,
        abort: CancellationToken,
    ) -> Self {
        let wanted = state::read(&**store.storage(), DOCUMENT).map(Option::unwrap_or_default);
        if let Err(error) = &wanted {
            tracing::error!("{}", unreadable(error));
        }
        let saved = wanted.is_ok();
        let state = State { wanted: wanted.unwrap_or_default(), saved, port: None, closing: Vec::new() };
        Self { store, mode, address, files, abort, state: Mutex::new(state), open: AtomicBool::new(false) }
    }

    /// Whether the port is open.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Opens the port if it is to be open at start.
    pub async fn start(&self) -> Result<(), Failure> {
        self.follow(&mut *self.state.lock().await).await
    }

    /// Notes what the caller's controller wants under its Lease, durably, and follows it. Says whether the port is open now: another
    /// one may still want it.
    pub async fn set(&self, caller: Caller, on: bool) -> Result<bool, Failure> {
        let mut state = self.state.lock().await;
        let leadership = caller.leadership();
        let mut wanted = state.wanted.clone();
        let changed = if on { wanted.insert(leadership) } else { wanted.remove(&leadership) };
        let document = (changed || !state.saved).then(|| wanted.clone());
        let store = Arc::clone(&self.store);
        let note = move || store.note(&caller, DOCUMENT, document.as_ref());
        let noted = tokio::task::spawn_blocking(note).await;
        noted.map_err(|error| Failure::new(Reason::Internal, error.to_string()))??;
        (state.wanted, state.saved) = (wanted, true);
        self.follow(&mut state).await?;
        Ok(self.is_open())
    }

    /// Closes the port and waits for downloads to finish, or to be aborted.
    pub async fn end(&self) {
        let mut state = self.state.lock().await;
        self.close(&mut state).await;
        for task in state.closing.drain(..) {
            let _ = task.await;
        }
    }

    async fn follow(&self, state: &mut State) -> Result<(), Failure> {
        let wanted = self.mode == ServeMode::Always || !state.wanted.is_empty();
        match (&state.port, wanted) {
            (None, true) => state.port = Some(self.open().await?),
            (Some(_), false) => self.close(state).await,
            _ => {}
        }
        Ok(())
    }

    async fn open(&self) -> Result<Port, Failure> {
        let listener = http::listen(&self.address).await.map_err(|error| {
            let message = format!(
                "can not serve artifacts on {}: {error}; free the port, or choose another --storage-addr",
                self.address
            );
            Failure::new(Reason::PortUnavailable, message)
        })?;
        http::log_open(&listener, "artifacts");
        let stop = CancellationToken::new();
        let accept =
            http::accept(listener, self.files.clone(), http::Limits::default(), stop.clone(), self.abort.clone());
        self.open.store(true, Ordering::Release);
        Ok(Port { stop, accepting: tokio::spawn(accept) })
    }

    /// Returns when new connections are refused. Those that are open finish on their own.
    async fn close(&self, state: &mut State) {
        let Some(Port { stop, accepting }) = state.port.take() else { return };
        self.open.store(false, Ordering::Release);
        stop.cancel();
        state.closing.retain(|task| !task.is_finished());
        if let Ok(draining) = accepting.await {
            state.closing.push(tokio::spawn(draining.finish(self.abort.clone())));
        }
        tracing::info!(port = "artifacts", address = %self.address, "port closed");
    }
}

/// The text of the error names the file.
fn unreadable(error: &StorageError) -> String {
    format!(
        "{error}: who wants the artifact port open is not known; with --serve=when-led it stays closed until a controller asks for it, \
         which writes the file anew"
    )
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use warp::Filter as _;
    use weir_proto::Algorithm;

    use super::*;
    use crate::storage::{Memory, Storage as _};

    fn at(epoch: u64) -> Caller {
        Caller { owner: "source-watcher/1".parse().unwrap(), lease: None, tenant: None, epoch }
    }

    fn serving(memory: &Memory) -> (Serving, Arc<Store>) {
        let store = Store::open(Arc::new(memory.clone()), Algorithm::Sha256).unwrap();
        let files = warp::any().map(Response::default).boxed();
        let (address, abort) = ("127.0.0.1:0".parse().unwrap(), CancellationToken::new());
        (Serving::new(Arc::clone(&store), ServeMode::WhenLed, address, files, abort), store)
    }

    #[tokio::test]
    async fn each_lease_opens_and_closes_for_itself() {
        let memory = Memory::new();
        // As a server wrote it that knew no Leases.
        memory.put_state(DOCUMENT, br#"["other"]"#).unwrap();
        let (serving, _store) = serving(&memory);
        serving.start().await.unwrap();
        assert!(serving.is_open(), "remembered");
        let other = || Caller { owner: "other/1".parse().unwrap(), lease: None, tenant: None, epoch: 0 };
        let under = |lease: &str| Caller { lease: Some(lease.parse().unwrap()), ..at(0) };
        // (who, wants it, open after that)
        let steps = [
            (under("shard-1"), true, true),
            (other(), false, true),
            (under("shard-2"), false, true),
            (at(0), false, true),
            (under("shard-2"), true, true),
            (under("shard-1"), false, true),
            (under("shard-2"), false, false),
        ];
        for (step, (caller, on, open)) in steps.into_iter().enumerate() {
            assert_eq!(serving.set(caller, on).await, Ok(open), "step {step}");
        }
    }

    #[tokio::test]
    async fn a_former_leader_neither_opens_nor_closes_when_its_turn_comes() {
        for on in [true, false] {
            let memory = Memory::new();
            let (serving, store) = serving(&memory);
            assert_eq!(serving.set(at(1), !on).await, Ok(!on));
            let before = memory.state(DOCUMENT).unwrap();

            let busy = serving.state.lock().await;
            let mut call = Box::pin(serving.set(at(1), on));
            assert!((&mut call).now_or_never().is_none(), "it waits");
            store.epochs().admit(&at(2)).unwrap();
            drop(busy);
            assert_eq!(call.await.unwrap_err().reason, Reason::StaleEpoch);
            assert_eq!((serving.is_open(), memory.state(DOCUMENT).unwrap()), (!on, before));
            assert_eq!(
                serving.set(at(1), !on).await.unwrap_err().reason,
                Reason::StaleEpoch,
                "nor asks for what is so"
            );
        }
    }
}
