//! Sharing one folder sync among all who wait for it.

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

/// Rounds of syncing one folder. Whoever arrives while a round runs is served by the next one, together with all others.
#[derive(Default)]
pub(super) struct SharedSync {
    rounds: Mutex<Rounds>,
    ended: Condvar,
}

#[derive(Default)]
struct Rounds {
    started: u64,
    succeeded: u64,
    running: bool,
}

impl SharedSync {
    /// Returns when a sync that started after this call has succeeded, or this caller's own has failed.
    pub(super) fn sync(&self, run: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
        let mut rounds = self.rounds.lock();
        let wanted = rounds.started + 1;
        while rounds.succeeded < wanted {
            if rounds.running {
                self.ended.wait(&mut rounds);
                continue;
            }
            rounds.running = true;
            rounds.started += 1;
            let round = rounds.started;
            drop(rounds);
            let outcome = run();
            rounds = self.rounds.lock();
            rounds.running = false;
            if outcome.is_ok() {
                rounds.succeeded = round;
            }
            self.ended.notify_all();
            outcome?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    #[test]
    fn every_caller_gets_a_round_that_began_after_it() {
        let shared = Arc::new(SharedSync::default());
        let (begun, state) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let durable = Arc::new(AtomicU64::new(0));
        let start = Arc::new(Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..200 {
                        let mine = state.fetch_add(1, Ordering::SeqCst) + 1;
                        let sync = || {
                            begun.fetch_add(1, Ordering::SeqCst);
                            let seen = state.load(Ordering::SeqCst);
                            std::thread::yield_now();
                            durable.fetch_max(seen, Ordering::SeqCst);
                            Ok(())
                        };
                        shared.sync(sync).unwrap();
                        assert!(durable.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
        assert!(begun.load(Ordering::SeqCst) <= 1600);
        assert_eq!(shared.sync(|| Err(Errno::IO)), Err(Errno::IO));
        assert_eq!(shared.sync(|| Ok(())), Ok(()), "a failed round does not count");
    }
}
