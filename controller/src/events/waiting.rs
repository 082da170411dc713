//! What may wait for a receiver that is slow or away: bounded in all, in bytes and for each object, so that neither memory nor
//! anybody's turn is lost to one that has much to say.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use tokio::sync::mpsc;

use super::attempts::Outcome;

/// Notifications are sent in so many rows at a time, those of one object in one row: their order stays, and one that the receiver
/// can not take holds up only a part of the others.
const LANES: usize = 4;
/// Notifications that may wait in one row.
const LANE: usize = 250;
/// Of one object.
const EACH: usize = 16;
/// Bytes that may wait in all.
const BYTES: usize = 16 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// What became of notifications, by `outcome`: `sent`, `duplicate`, `refused`, `failed`, `dropped`.
#[derive(Clone, Debug)]
pub struct NotificationMetrics(Family<OutcomeLabel, Counter>);

impl Default for NotificationMetrics {
    fn default() -> Self {
        let metrics = Self(Family::default());
        for outcome in ["sent", "duplicate", "refused", "failed", "dropped"] {
            drop(metrics.0.get_or_create(&OutcomeLabel { outcome }));
        }
        metrics
    }
}

impl NotificationMetrics {
    /// To be registered with the metrics of the process.
    pub fn family(&self) -> impl prometheus_client::registry::Metric + use<> {
        self.0.clone()
    }

    fn count(&self, outcome: &'static str) {
        self.0.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// How many ended like that.
    pub fn get(&self, outcome: &'static str) -> u64 {
        self.0.get_or_create(&OutcomeLabel { outcome }).get()
    }
}

/// Who waits at the moment.
#[derive(Debug, Default)]
struct Crowd {
    each: HashMap<String, Own>,
    bytes: usize,
}

/// What waits of one object.
#[derive(Debug)]
struct Own {
    number: usize,
    /// What the last one says, unless that one was dropped.
    last: Option<u64>,
}

/// What both ends share.
#[derive(Debug, Default)]
struct Room {
    crowd: Mutex<Crowd>,
    /// Something was dropped, and the log knows.
    is_full: AtomicBool,
    metrics: NotificationMetrics,
}

/// A notification on its way. Dropped before it was [finished](Self::finish), it counts as lost.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Body of the request.
    pub(super) body: Vec<u8>,
    /// UID of the object.
    object: String,
    is_finished: bool,
    room: Arc<Room>,
}

/// The near end. Never waits.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    lanes: Arc<[mpsc::Sender<Waiting>]>,
    room: Arc<Room>,
}

/// Makes both ends; the far end is one queue for each row, all to be emptied at the same time.
pub(super) fn waiting_room(metrics: NotificationMetrics) -> (Entrance, Vec<mpsc::Receiver<Waiting>>) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..LANES).map(|_| mpsc::channel(LANE)).unzip();
    let room = Arc::new(Room { metrics, ..Room::default() });
    (Entrance { lanes: senders.into(), room }, receivers)
}

impl Entrance {
    /// Lets a notification of an object in, or drops and counts it. The log hears of the first that is dropped, and of the next
    /// one once the receiver has answered again. One that `says` the same as the last of this object that still waits has nothing
    /// to add: a generator that waits for something says so with each look, and would leave no place for what comes after it.
    pub(super) fn enter(&self, object: &str, says: &impl Hash, body: Vec<u8>) {
        let lane = usize::try_from(hash(object) % LANES as u64).unwrap_or_default();
        let entered = Waiting::enter(&self.room, object, hash(says), body).and_then(|waiting| match waiting {
            Some(waiting) => self.lanes[lane].try_send(waiting).map_err(|_| "too many notifications wait"),
            None => Ok(()),
        });
        if let Err(why) = entered
            && !self.room.is_full.swap(true, Ordering::Relaxed)
        {
            let advice = "further ones are only counted, as weir_notifications_total{outcome=\"dropped\"}";
            tracing::error!(error = why, "unable to record event: dropped one notification; {advice}");
        }
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Waiting {
    /// `None`: the last one says it already.
    fn enter(room: &Arc<Room>, object: &str, says: u64, body: Vec<u8>) -> Result<Option<Self>, &'static str> {
        let refuse = |why| {
            room.metrics.count("dropped");
            Err(why)
        };
        let mut crowd = room.crowd.lock();
        if crowd.each.get(object).is_some_and(|own| own.last == Some(says)) {
            return Ok(None);
        }
        if crowd.bytes + body.len() > BYTES {
            return refuse("too many bytes of notifications wait");
        }
        let own = crowd.each.entry(object.to_owned()).or_insert(Own { number: 0, last: None });
        if own.number >= EACH {
            return refuse("too many notifications of one generator wait");
        }
        (own.number, own.last) = (own.number + 1, Some(says));
        crowd.bytes += body.len();
        Ok(Some(Self { body, object: object.to_owned(), is_finished: false, room: room.clone() }))
    }

    /// Makes room, and counts how it ended.
    pub(super) fn finish(mut self, outcome: &Outcome) {
        self.is_finished = true;
        let metrics = &self.room.metrics;
        match outcome {
            Outcome::Sent => metrics.count("sent"),
            Outcome::Duplicate => metrics.count("duplicate"),
            Outcome::Refused(_) => metrics.count("refused"),
            Outcome::Failed(_) => return metrics.count("failed"),
        }
        self.room.is_full.store(false, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_finished {
            self.room.metrics.count("dropped");
        }
        let mut crowd = self.room.crowd.lock();
        crowd.bytes = crowd.bytes.saturating_sub(self.body.len());
        if let Some(own) = crowd.each.get_mut(&self.object) {
            own.number -= 1;
            if !self.is_finished {
                own.last = None;
            }
            if own.number == 0 {
                crowd.each.remove(&self.object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(lanes: &mut [mpsc::Receiver<Waiting>]) -> Vec<Waiting> {
        lanes.iter_mut().flat_map(|lane| std::iter::from_fn(|| lane.try_recv().ok())).collect()
    }

    #[test]
    fn one_object_has_few_places_and_all_others_theirs() {
        let metrics = NotificationMetrics::default();
        let (entrance, mut lanes) = waiting_room(metrics.clone());
        for number in 0..100_u8 {
            entrance.enter("noisy", &number, vec![number]);
        }
        entrance.enter("quiet", &0_u8, vec![0]);
        let found = waiting(&mut lanes);
        let noisy: Vec<u8> = found.iter().filter(|one| one.object == "noisy").map(|one| one.body[0]).collect();
        assert_eq!(noisy, (0..16).collect::<Vec<u8>>(), "the first ones, in order");
        assert_eq!(found.len(), 17, "the other has its place");
        assert_eq!(metrics.get("dropped"), 84);
        found.into_iter().for_each(|one| one.finish(&Outcome::Sent));
        entrance.enter("noisy", &1_u8, vec![1]);
        assert_eq!(waiting(&mut lanes).len(), 1, "there is room again");
        assert_eq!((metrics.get("sent"), metrics.get("dropped")), (17, 85), "the last one was left");
    }

    #[test]
    fn what_still_waits_is_not_said_again() {
        // (row, what is said, what waits then)
        let rows: [(&str, Vec<&str>, &[&str]); 4] = [
            ("again and again", vec!["a"; 40], &["a"]),
            ("the newest has its place", [vec!["a"; 40], vec!["b"]].concat(), &["a", "b"]),
            ("it was otherwise meanwhile", vec!["a", "b", "b", "a"], &["a", "b", "a"]),
            ("of one object", vec!["a", "other", "a"], &["a", "other"]),
        ];
        for (row, said, wanted) in rows {
            let metrics = NotificationMetrics::default();
            let (entrance, mut lanes) = waiting_room(metrics.clone());
            for text in said {
                entrance.enter(if text == "other" { "other" } else { "one" }, &text, text.into());
            }
            let mut found = waiting(&mut lanes);
            found.sort_by_key(|one| one.object == "other");
            let texts: Vec<_> = found.iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect();
            assert_eq!(texts, wanted, "row {row}");
            assert_eq!(metrics.get("dropped"), 0, "row {row}: nothing is lost");
            drop(found);
            entrance.enter("one", &"a", "a".into());
            assert_eq!(waiting(&mut lanes).len(), 1, "row {row}: said again once nothing waits");
        }
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        // (row, bytes of each, how many come at most)
        let rows =
            [("small ones", 1, LANES * LANE), ("large ones", 1 << 20, 16), ("one that is too large", BYTES + 1, 0)];
        for (row, bytes, most) in rows {
            let metrics = NotificationMetrics::default();
            let (entrance, mut lanes) = waiting_room(metrics.clone());
            for number in 0..LANES * LANE * 2 {
                entrance.enter(&number.to_string(), &"", vec![0; bytes]);
            }
            let came = waiting(&mut lanes).len();
            assert_eq!(metrics.get("dropped"), (LANES * LANE * 2) as u64, "row {row}: {came} came, and were not sent");
            assert_eq!(came, most, "row {row}");
            let crowd = entrance.room.crowd.lock();
            assert_eq!((crowd.bytes, crowd.each.len()), (0, 0), "row {row}");
        }
    }
}
