//! Who leads. One instance at a time holds the Lease that source-watcher holds too, by the rules of client-go: a holder renews; the others
//! take the Lease when they have seen no renewal for as long as the holder itself asked for. How long that was, each of them says by its
//! own clock: times in the Lease are never compared with it.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

mod terms;
#[cfg(test)]
mod tests;

pub use terms::{RETRY, Settings, Terms, TermsError};

/// What the Lease is called without a label selector.
const LEASE: &str = "source-watcher-leader-election";

/// The name of the Lease for generators that `selector` selects. A shard has one of its own: 8 hex digits of the selector's SHA-256
/// are added.
pub fn lease_name(selector: &str) -> String {
    if selector.is_empty() {
        return LEASE.to_owned();
    }
    let digest = hex::encode(Sha256::digest(selector));
    format!("{LEASE}-{}", &digest[..8])
}

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// How many seconds after the last renewal others may take it.
    pub seconds: i32,
    /// How often the holder has changed. For as long as nobody deletes the Lease, this rises: it is the epoch of the leader.
    pub transitions: i32,
    /// When the holder got it, by the holder's clock.
    pub acquired: Option<Timestamp>,
    /// When the holder renewed it last, by the holder's clock. Other values than before mean that it is alive.
    pub renewed: Option<Timestamp>,
}

impl Record {
    /// The transitions as an epoch.
    fn epoch(&self) -> u64 {
        u64::try_from(self.transitions).unwrap_or_default()
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Time since the process began, of a clock that never jumps.
    pub clock: Duration,
    /// What the Lease tells people.
    pub wall: Timestamp,
}

/// What this instance may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing, and who leads is not certain.
    Waiting,
    /// Nothing: another instance leads, and had the time to say so to its artifact server.
    Behind {
        /// Who leads.
        holder: String,
        /// The epoch at which this instance may tell its own artifact server that it does not want artifacts served: the last one before the
        /// holder's. A server that the holder uses has seen the holder's, and refuses; so does one that was opened by a holder who has died
        /// and is not followed yet. `None`: there was no holder before.
        epoch: Option<u64>,
    },
    /// Reconcile, with this epoch.
    Leading {
        /// The transitions of the Lease.
        epoch: u64,
    },
    /// End: it led, and leads no more.
    Lost,
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write this; only if nobody else has written since it was read.
    Write(Record),
    /// Nothing for now.
    Wait,
}

/// One instance that wants to lead, or leads.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    terms: Terms,
    seen: Option<Seen>,
    /// While leading: when it was last certain of it, by its clock. Taken before the write was sent, so that no answer that is late makes it longer.
    sure: Option<Duration>,
    lost: bool,
}

/// What was seen last.
#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    /// When it was first seen so.
    at: Duration,
    /// When this holder was first seen.
    holder_at: Duration,
}

impl Candidate {
    /// An instance with a name that no other one has.
    pub fn new(identity: String, terms: Terms) -> Self {
        Self { identity, terms, seen: None, sure: None, lost: false }
    }

    /// What to write to renew the Lease without reading it; `None` while not leading.
    pub fn renewal(&self, now: Moment) -> Option<Record> {
        let seen = self.seen.as_ref().filter(|_| self.sure.is_some() && !self.lost)?;
        Some(Record { renewed: Some(now.wall), seconds: self.terms.seconds(), ..seen.record.clone() })
    }

    /// Takes in what the Lease says (`None`: there is none), and decides.
    pub fn look(&mut self, found: Option<Record>, now: Moment) -> Step {
        let leads = self.sure.is_some();
        let before = self.seen.as_ref().map(|seen| seen.record.transitions);
        let Some(record) = found else {
            // Deleted by somebody. Epochs go on from where they were, as far as that is known.
            let transitions = before.map_or(0, |before| if leads { before } else { before.saturating_add(1) });
            return Step::Write(self.own(transitions, now));
        };
        let mine = record.holder == self.identity;
        let (held, transitions) = (!record.holder.is_empty(), record.transitions);
        let seconds = record.seconds;
        let since = self.see(record, now.clock);
        if mine {
            return self.renewal_of(now);
        }
        if leads {
            self.lost = true;
            return Step::Wait;
        }
        if held && now.clock < since + self.terms.patience(seconds) {
            return Step::Wait;
        }
        Step::Write(self.own(transitions.saturating_add(1), now))
    }

    /// Notes that `record` is written. `sent` is when the request was sent.
    pub fn wrote(&mut self, record: Record, sent: Duration) {
        let leads = record.holder == self.identity;
        self.see(record, sent);
        self.sure = leads.then_some(sent);
    }

    /// What this instance may do now.
    pub fn standing(&self, now: Duration) -> Standing {
        let Some(seen) = &self.seen else { return Standing::Waiting };
        match self.sure {
            Some(sure) if self.lost || now >= sure + self.terms.renew() => Standing::Lost,
            Some(_) => Standing::Leading { epoch: seen.record.epoch() },
            None if seen.record.holder.is_empty() || seen.record.holder == self.identity => Standing::Waiting,
            // A leader opens its port before anything else. One that shares our server must have been able to.
            None if now < seen.holder_at + RETRY => Standing::Waiting,
            None => Standing::Behind { holder: seen.record.holder.clone(), epoch: seen.record.epoch().checked_sub(1) },
        }
    }

    /// How long to wait before the next try. `random` is from 0 up to 1: those who wait do not come at the same moment. Who leads
    /// never sleeps through its deadline: others may begin soon after it.
    pub fn pause(&self, now: Duration, random: f64) -> Duration {
        match self.sure {
            Some(_) => RETRY.min(self.left(now)),
            None => RETRY.mul_f64(1.0 + terms::JITTER * random.clamp(0.0, 1.0)),
        }
    }

    /// How long one try may take: half of the time in which a leader must renew, and never longer than it leads without.
    pub fn limit(&self, now: Duration) -> Duration {
        let half = self.terms.renew() / 2;
        if self.sure.is_some() { half.min(self.left(now)) } else { half }
    }

    /// How long it leads without a renewal.
    fn left(&self, now: Duration) -> Duration {
        self.sure.map_or(Duration::ZERO, |sure| (sure + self.terms.renew()).saturating_sub(now))
    }

    /// What to write to give the Lease back, given what it says; `None` when it is not ours.
    pub fn release(&self, found: &Record, now: Moment) -> Option<Record> {
        let wall = Some(now.wall);
        let free =
            Record { holder: String::new(), seconds: 1, transitions: found.transitions, acquired: wall, renewed: wall };
        (found.holder == self.identity).then_some(free)
    }

    /// Remembers what was found. Returns since when it is so.
    fn see(&mut self, record: Record, now: Duration) -> Duration {
        let holder_at = match &self.seen {
            Some(seen) if seen.record == record => return seen.at,
            Some(seen) if (&seen.record.holder, seen.record.transitions) == (&record.holder, record.transitions) => {
                seen.holder_at
            }
            _ => now,
        };
        self.seen = Some(Seen { record, at: now, holder_at });
        now
    }

    /// The Lease is ours, also when the answer to the write that made it so was lost.
    fn renewal_of(&self, now: Moment) -> Step {
        let record = self.seen.as_ref().map(|seen| seen.record.clone()).unwrap_or_default();
        Step::Write(Record { renewed: Some(now.wall), seconds: self.terms.seconds(), ..record })
    }

    fn own(&self, transitions: i32, now: Moment) -> Record {
        let kept = self.seen.as_ref().filter(|_| self.sure.is_some()).and_then(|seen| seen.record.acquired);
        Record {
            holder: self.identity.clone(),
            seconds: self.terms.seconds(),
            transitions,
            acquired: kept.or(Some(now.wall)),
            renewed: Some(now.wall),
        }
    }
}
