//! How slow a download may be. Only so many run at once: servers that trickle must not keep everybody else's places.

use std::time::Duration;

/// Bounds for one try of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Longest wait for the next bytes, and the time in which `least` of them must come.
    pub window: Duration,
    /// Bytes that must come within the window, the last one excepted.
    pub least: u64,
    /// Longest time from the request to the last byte.
    pub longest: Duration,
}

impl Default for Pace {
    /// 256 KiB in 30 s, and no more than 15 minutes.
    fn default() -> Self {
        Self { window: Duration::from_secs(30), least: 256 * 1024, longest: Duration::from_secs(15 * 60) }
    }
}

/// Watches over one body. Only time that was spent waiting for the server counts: unpacking may be slow too.
#[derive(Debug)]
pub(super) struct Watched {
    pace: Pace,
    waited: Duration,
    bytes: u64,
}

impl Watched {
    /// Nothing has come yet.
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, waited: Duration::ZERO, bytes: 0 }
    }

    /// Notes a piece and how long it was waited for. False when too little has come in a window that is over.
    pub(super) fn took(&mut self, bytes: usize, waited: Duration) -> bool {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.waited += waited;
        if self.waited < self.pace.window {
            return true;
        }
        let enough = self.bytes >= self.pace.least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_must_bring_enough() {
        let pace = Pace { window: Duration::from_secs(10), least: 100, longest: Duration::MAX };
        // Row, pieces as bytes and seconds waited, the number of the piece that is too late.
        type Row = (&'static str, Vec<(usize, u64)>, Option<usize>);
        let rows: Vec<Row> = vec![
            ("steady", vec![(10, 1); 1000], None),
            ("a byte a second", vec![(1, 1); 1000], Some(9)),
            ("fast, then a trickle", [vec![(1000, 0); 10], vec![(1, 1); 30]].concat(), Some(29)),
            ("short and slow", vec![(1, 1); 9], None),
            ("time of its own does not count", vec![(1, 0); 1000], None),
            ("just enough", vec![(50, 5); 10], None),
            ("just too little", vec![(50, 5), (49, 5)], Some(1)),
        ];
        for (row, pieces, expected) in rows {
            let mut watched = Watched::new(pace);
            let late = pieces.iter().position(|&(bytes, waited)| !watched.took(bytes, Duration::from_secs(waited)));
            assert_eq!(late, expected, "row {row}");
        }
    }
}
