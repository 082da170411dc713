//! Hashing stored files that somebody touched, for consumers that wait for them.

use std::{collections::HashMap, io, sync::Arc};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use weir_proto::ArtifactPath;

use crate::storage::{StorageError, Store};

/// One run over a file, for all who wait for it: whether it may be served. Errors are shared.
type Run = Shared<BoxFuture<'static, Result<bool, Arc<StorageError>>>>;

/// Runs over a few files at a time, and over each once however many ask.
pub(super) struct Hashing {
    store: Arc<Store>,
    turns: Semaphore,
    running: Mutex<HashMap<ArtifactPath, Run>>,
}

impl Hashing {
    /// At most so many files at a time.
    pub(super) fn new(store: Arc<Store>, at_once: usize) -> Self {
        Self { store, turns: Semaphore::new(at_once), running: Mutex::default() }
    }

    /// Finds out whether a touched file may be served; the store knows it afterwards. Goes on when all who wait have left: they will be back.
    pub(super) async fn hash(self: &Arc<Self>, path: &ArtifactPath) -> Result<bool, Arc<StorageError>> {
        let run = {
            let mut running = self.running.lock();
            running.entry(path.clone()).or_insert_with(|| Arc::clone(self).start(path.clone())).clone()
        };
        run.await
    }

    fn start(self: Arc<Self>, path: ArtifactPath) -> Run {
        let task = tokio::spawn(async move {
            let _turn = self.turns.acquire().await;
            let (store, file) = (Arc::clone(&self.store), path.clone());
            // The open file is let go: whoever waits opens it anew, and sees whether it was touched again.
            let verify = move || store.open_verified(&file).map(|opened| opened.is_some());
            let result = tokio::task::spawn_blocking(verify).await;
            self.running.lock().remove(&path);
            result.unwrap_or_else(|error| Err(StorageError::io("read", path, io::Error::other(error))))
        });
        let result = task.map(|joined| match joined {
            Ok(result) => result.map_err(Arc::new),
            Err(error) => Err(Arc::new(StorageError::io("read", "an artifact", io::Error::other(error)))),
        });
        result.boxed().shared()
    }
}
