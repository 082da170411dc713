//! How many threads block for what. Each kind of work has its share of one pool, so that none can take the threads of another.

/// Most workers, however many processors there are: past this the disk decides, and each worker takes memory.
const MOST_WORKERS: usize = 32;

/// The shares. Threads are started when they are needed first, so a large share costs nothing while it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Artifacts that are composed and archived at once, in batches.
    pub workers: usize,
    /// Downloads that are unpacked at once. Each has its thread from its first byte to its last.
    pub fetches: usize,
    /// Stored files that are opened for consumers at once. This takes a moment each.
    pub openings: usize,
    /// Stored files that are hashed for consumers at once, as somebody touched them. This may take a minute.
    pub hashings: usize,
    /// Pieces of uploads that are written, and uploads that are made durable, at once. Whoever has more of them waits.
    pub uploads: usize,
    /// For the rest: pieces of downloads, calls about stored files, looking after the volume.
    pub reserve: usize,
}

impl Threads {
    /// The shares on a machine with this many processors: as many workers as pay off, since half of the time of a small artifact is spent
    /// waiting for the disk.
    pub fn for_processors(processors: usize) -> Self {
        let workers = processors.saturating_mul(2).clamp(2, MOST_WORKERS);
        Self { workers, fetches: 16, openings: 6, hashings: 2, uploads: 8, reserve: 8 }
    }

    /// The shares on this machine.
    pub fn here() -> Self {
        Self::for_processors(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// What the pool must have, so that everybody can use all of a share at once.
    pub fn blocking(self) -> usize {
        let Self { workers, fetches, openings, hashings, uploads, reserve } = self;
        workers + fetches + openings + hashings + uploads + reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_has_room_for_all_shares() {
        for (processors, workers) in [(0, 2), (1, 2), (2, 4), (16, 32), (64, 32), (usize::MAX, 32)] {
            let threads = Threads::for_processors(processors);
            assert_eq!(threads.workers, workers, "{processors} processors");
            let others = threads.fetches + threads.openings + threads.hashings + threads.uploads;
            assert!(
                threads.blocking() >= workers + others + 4,
                "{processors} processors: something is left for the rest"
            );
        }
    }
}
