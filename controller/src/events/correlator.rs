//! Keeps events from flooding the cluster, by the rules of client-go: equal events become one with a count, many similar ones are
//! combined, and one object gets only so many. Pure: the caller brings the time.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Event,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

/// Objects and texts that are remembered in each table; the ones not seen for longest go first.
const REMEMBERED: usize = 4096;
/// From how many different messages of one reason on they are combined.
const SIMILAR: usize = 10;
/// How long a reason may be quiet before its messages count anew.
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
/// Events that one object may have at once, of each type.
const BURST: f64 = 25.0;
/// Seconds until it may have one more.
const REFILL_SECONDS: f64 = 300.0;

/// What to do with an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create it.
    Create(Box<Event>),
    /// It was there before: set count, time and message of the event with this name.
    Count(Box<Event>),
    /// Say nothing.
    Drop,
}

/// Everything but the message that makes two events similar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Subject {
    object: [Option<String>; 5],
    type_: Option<String>,
    reason: Option<String>,
}

/// What an event is counted under: its own text, or (`None`) all that were combined.
type Topic = (Subject, Option<String>);

#[derive(Debug)]
struct Seen {
    name: Option<String>,
    first: Option<Time>,
    count: i32,
}

#[derive(Debug)]
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Budget {
    left: f64,
    at: Timestamp,
}

/// Memory of the events so far.
#[derive(Debug, Default)]
pub struct Correlator {
    similar: Recent<Subject, Similar>,
    seen: Recent<Topic, Seen>,
    budgets: Recent<([Option<String>; 5], Option<String>), Budget>,
}

impl Correlator {
    /// Decides on a new event and remembers it.
    pub fn correlate(&mut self, event: Event, now: Timestamp) -> Action {
        let (event, topic) = self.combine(event, now);
        let event = self.count(event, topic);
        if !self.is_within_budget(&event, now) {
            return Action::Drop;
        }
        if event.count > Some(1) { Action::Count(Box::new(event)) } else { Action::Create(Box::new(event)) }
    }

    /// From the tenth different message of a subject on, all become one event.
    fn combine(&mut self, event: Event, now: Timestamp) -> (Event, Topic) {
        let subject = subject(&event);
        let message = event.message.clone().unwrap_or_default();
        let fresh = || Similar { messages: BTreeSet::new(), last: now };
        let record = self.similar.get_or_insert(subject.clone(), fresh);
        if now.duration_since(record.last) > jiff::SignedDuration::try_from(SIMILAR_WINDOW).unwrap_or_default() {
            *record = fresh();
        }
        record.last = now;
        record.messages.insert(message.clone());
        if record.messages.len() < SIMILAR {
            return (event, (subject, Some(message)));
        }
        record.messages.pop_first();
        (combined(event, &message, now), (subject, None))
    }

    fn count(&mut self, mut event: Event, topic: Topic) -> Event {
        let fresh = || Seen { name: event.metadata.name.clone(), first: event.first_timestamp.clone(), count: 0 };
        let seen = self.seen.get_or_insert(topic, fresh);
        seen.count = seen.count.saturating_add(1);
        event.metadata.name = seen.name.clone();
        event.first_timestamp = seen.first.clone();
        event.count = Some(seen.count);
        event
    }

    fn is_within_budget(&mut self, event: &Event, now: Timestamp) -> bool {
        let Subject { object, type_, .. } = subject(event);
        let budget = self.budgets.get_or_insert((object, type_), || Budget { left: BURST, at: now });
        let elapsed = now.duration_since(budget.at).as_secs_f64().max(0.0);
        budget.left = (budget.left + elapsed / REFILL_SECONDS).min(BURST);
        budget.at = now;
        let allowed = budget.left >= 1.0;
        if allowed {
            budget.left -= 1.0;
        }
        allowed
    }
}

fn subject(event: &Event) -> Subject {
    let object = event.involved_object.clone();
    Subject {
        object: [object.kind, object.namespace, object.name, object.uid, object.api_version],
        type_: event.type_.clone(),
        reason: event.reason.clone(),
    }
}

fn combined(event: Event, message: &str, now: Timestamp) -> Event {
    let name = event_name(event.involved_object.name.as_deref().unwrap_or_default(), now);
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: event.metadata.namespace, ..Default::default() },
        message: Some(format!("(combined from similar events): {message}")),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..event
    }
}

/// `<object name>.<nanoseconds since 1970 in hex>`, 253 bytes at most.
pub(super) fn event_name(object: &str, now: Timestamp) -> String {
    let suffix = format!(".{:x}", now.as_nanosecond());
    let end = object.floor_char_boundary(253_usize.saturating_sub(suffix.len()).min(object.len()));
    let name = object[..end].trim_end_matches(['.', '-']);
    format!("{name}{suffix}")
}

/// A map that forgets what it has not been asked about for longest.
#[derive(Debug)]
struct Recent<K, V> {
    map: HashMap<K, (u64, V)>,
    clock: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { map: HashMap::new(), clock: 0 }
    }
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    fn get_or_insert(&mut self, key: K, fresh: impl FnOnce() -> V) -> &mut V {
        self.clock += 1;
        if self.map.len() >= REMEMBERED && !self.map.contains_key(&key) {
            self.forget();
        }
        let clock = self.clock;
        let slot = self.map.entry(key).or_insert_with(|| (clock, fresh()));
        slot.0 = clock;
        &mut slot.1
    }

    /// Drops the older half at once: one sort for many entries instead of a search for each.
    fn forget(&mut self) {
        let mut ages: Vec<_> = self.map.values().map(|slot| slot.0).collect();
        ages.sort_unstable();
        let middle = ages.get(ages.len() / 2).copied().unwrap_or_default();
        self.map.retain(|_, slot| slot.0 > middle);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn event(object: &str, reason: &str, message: &str, second: i64) -> Event {
        Event {
            metadata: ObjectMeta { name: Some(event_name(object, at(second))), ..Default::default() },
            involved_object: ObjectReference { name: Some(object.into()), ..Default::default() },
            type_: Some("Normal".into()),
            reason: Some(reason.into()),
            message: Some(message.into()),
            first_timestamp: Some(Time(at(second))),
            last_timestamp: Some(Time(at(second))),
            count: Some(1),
            ..Default::default()
        }
    }

    fn send(correlator: &mut Correlator, object: &str, reason: &str, message: &str, second: i64) -> Action {
        correlator.correlate(event(object, reason, message, second), at(second))
    }

    #[test]
    fn equal_events_are_counted() {
        let mut correlator = Correlator::default();
        let Action::Create(first) = send(&mut correlator, "a", "Ready", "ok", 0) else { panic!("first is new") };
        for (count, second) in [(2, 10), (3, 20)] {
            let Action::Count(again) = send(&mut correlator, "a", "Ready", "ok", second) else { panic!("counted") };
            assert_eq!((again.count, &again.metadata.name), (Some(count), &first.metadata.name));
            assert_eq!(again.first_timestamp, Some(Time(at(0))), "the first time stays");
            assert_eq!(again.last_timestamp, Some(Time(at(second))));
        }
        for (object, reason, message) in [("b", "Ready", "ok"), ("a", "Failed", "ok"), ("a", "Ready", "other")] {
            let action = send(&mut correlator, object, reason, message, 30);
            assert!(matches!(action, Action::Create(_)), "{object} {reason} {message} is another event");
        }
    }

    #[test]
    fn similar_events_are_combined() {
        let mut correlator = Correlator::default();
        for number in 1..=9 {
            let action = send(&mut correlator, "a", "Ready", &format!("m{number}"), number);
            assert!(matches!(action, Action::Create(event) if event.message == Some(format!("m{number}"))), "{number}");
        }
        let Action::Create(tenth) = send(&mut correlator, "a", "Ready", "m10", 10) else { panic!("a combined event") };
        assert_eq!(tenth.message.as_deref(), Some("(combined from similar events): m10"));
        let Action::Count(next) = send(&mut correlator, "a", "Ready", "m11", 11) else { panic!("counted") };
        assert_eq!((next.count, &next.metadata.name), (Some(2), &tenth.metadata.name));
        assert_eq!(next.message.as_deref(), Some("(combined from similar events): m11"));
        assert!(
            matches!(send(&mut correlator, "a", "Failed", "m12", 12), Action::Create(_)),
            "other reasons stand alone"
        );
        let Action::Create(later) = send(&mut correlator, "a", "Ready", "m13", 11 + 601) else {
            panic!("a new window")
        };
        assert_eq!(later.message.as_deref(), Some("m13"));
    }

    #[test]
    fn one_object_gets_only_so_many() {
        let mut correlator = Correlator::default();
        let mut said =
            |object: &str, second| !matches!(send(&mut correlator, object, "Ready", "ok", second), Action::Drop);
        let burst = (0..40).filter(|_| said("a", 0)).count();
        assert_eq!(burst, 25);
        assert!(said("b", 0), "another object has its own budget");
        assert!(!said("a", 299), "not yet");
        assert!(said("a", 301), "one after five minutes");
        assert!(!said("a", 302));
        let refilled = (0..40).filter(|_| said("a", 1_000_000)).count();
        assert_eq!(refilled, 25, "never more than the burst");
        let warning = Event { type_: Some("Warning".into()), ..event("a", "Ready", "ok", 1_000_000) };
        let action = correlator.correlate(warning, at(1_000_000));
        assert!(matches!(action, Action::Create(_)), "another type has its own budget");
    }

    #[test]
    fn dropped_events_are_counted_too() {
        let mut correlator = Correlator::default();
        for _ in 0..40 {
            send(&mut correlator, "a", "Ready", "ok", 0);
        }
        let Action::Count(event) = send(&mut correlator, "a", "Ready", "ok", 400) else { panic!("said again") };
        assert_eq!(event.count, Some(41));
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for number in 0..REMEMBERED * 3 {
            send(&mut correlator, &format!("o{number}"), "Ready", "ok", 0);
        }
        assert!(correlator.seen.map.len() <= REMEMBERED);
        let last = format!("o{}", REMEMBERED * 3 - 1);
        assert!(matches!(send(&mut correlator, &last, "Ready", "ok", 1), Action::Count(_)), "the newest is remembered");
    }

    #[test]
    fn names_fit() {
        assert_eq!(event_name("a.b", Timestamp::from_nanosecond(255).unwrap()), "a.b.ff");
        let long = event_name(&format!("{}-{}", "a".repeat(238), "b".repeat(40)), at(0));
        assert!(long.len() <= 253 && !long.contains("-.") && long.starts_with("aaa"), "{long}");
    }
}
