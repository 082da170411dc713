//! Flights: what is being fetched. Each goes to one URL, and all who ask for that URL share it.
//!
//! URLs that stand for one digest have a flight each but one lane, which takes one try at a time. So nothing is downloaded twice at once, and
//! a URL that fails and waits for its next try does not keep the others from theirs. With a policy each URL has a lane of its own: one tenant's
//! slow server must not hold up what another asks for, and what it brings would not be for the other anyway.

use std::{collections::HashMap, sync::Arc};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use reqwest::Url;
use tokio::sync::{Mutex, MutexGuard, watch};

use super::{Source, SourceError, fetch::Target, shelf::Key};

/// What a flight brings: the source, and whether the flight itself downloaded it.
pub(super) type Landed = (Arc<Source>, bool);

type Outcome = Result<Landed, SourceError>;

/// A fetch that all who wait for it drive together. It ends early only when all of them have gone.
pub(super) type Flight = Shared<BoxFuture<'static, Outcome>>;

/// All flights that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Flights {
    by_key: HashMap<Key, Together>,
    /// Tells a flight from a later one.
    started: u64,
}

/// The flights that bring the same.
#[derive(Debug, Default)]
struct Together {
    lane: Arc<Lane>,
    /// Weak, so that the map does not keep a flight alive that nobody waits for.
    flights: Vec<(u64, Url, WeakShared<BoxFuture<'static, Outcome>>)>,
}

impl Flights {
    /// The flight to exactly this.
    pub(super) fn find(&self, target: &Target) -> Option<Flight> {
        let flights = &self.by_key.get(&target.key())?.flights;
        flights.iter().filter(|(_, url, _)| *url == target.url).find_map(|(_, _, flight)| flight.upgrade())
    }

    /// Starts a flight. `fly` gets its number and its lane.
    pub(super) fn start<F>(&mut self, target: &Target, fly: impl FnOnce(u64, Arc<Lane>) -> F) -> Flight
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        // Those that all have left are swept here.
        self.by_key.retain(|_, together| {
            together.flights.retain(|(_, _, flight)| flight.upgrade().is_some());
            !together.flights.is_empty()
        });
        self.started += 1;
        let together = self.by_key.entry(target.key()).or_default();
        let flight = fly(self.started, Arc::clone(&together.lane)).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            together.flights.push((self.started, target.url.clone(), weak));
        }
        flight
    }

    /// Forgets a flight that has ended.
    pub(super) fn end(&mut self, key: &Key, id: u64) {
        let Some(together) = self.by_key.get_mut(key) else { return };
        together.flights.retain(|(number, _, _)| *number != id);
        if together.flights.is_empty() {
            self.by_key.remove(key);
        }
    }

    /// How many sources are on their way.
    pub(super) fn sources(&self) -> u64 {
        let waited_for =
            |together: &&Together| together.flights.iter().any(|(_, _, flight)| flight.upgrade().is_some());
        self.by_key.values().filter(waited_for).count() as u64
    }
}

/// Where the flights that bring the same take turns.
#[derive(Debug)]
pub(super) struct Lane {
    turn: Mutex<()>,
    arrived: watch::Sender<bool>,
}

impl Default for Lane {
    fn default() -> Self {
        Self { turn: Mutex::default(), arrived: watch::Sender::new(false) }
    }
}

impl Lane {
    /// The turn, if nobody has it.
    pub(super) fn try_enter(&self) -> Option<MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    /// Waits for the turn. Whoever came first has it first.
    pub(super) async fn enter(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Says that the source is on the shelf.
    pub(super) fn announce(&self) {
        self.arrived.send_replace(true);
    }

    /// Waits for that.
    pub(super) async fn arrived(&self) {
        let _ = self.arrived.subscribe().wait_for(|arrived| *arrived).await;
    }
}
