//! What an event of a watch means to who has heard some before. Pure.

use super::Notice;
use crate::v1::{EventType, WatchResponse};

/// Why everything has to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The watch has just begun.
    Started,
    /// The server was started again, or is another one.
    NewInstance,
    /// It is the same run of the server, but events were missed.
    Gap,
}

/// How far a watch has heard.
#[derive(Debug, Default)]
pub(super) struct Position {
    instance: Option<String>,
    sequence: u64,
}

impl Position {
    /// What an event means to who has heard everything up to here. `None`: nothing was missed.
    pub(super) fn hear(&mut self, event: WatchResponse) -> Option<Notice> {
        let kind = event.r#type();
        let before = self.instance.replace(event.instance);
        // After a break the number says whether something happened meanwhile; whose it was, it does not say. Within a stream a missing number
        // is of another controller, or of what a policy hides: what this watch missed, the server says.
        let missed = kind == EventType::Gap || (kind == EventType::Started && event.sequence != self.sequence);
        self.sequence = event.sequence;
        match before {
            None => Some(Notice::VerifyAll(Why::Started)),
            Some(before) if self.instance.as_ref() != Some(&before) => Some(Notice::VerifyAll(Why::NewInstance)),
            Some(_) if missed => Some(Notice::VerifyAll(Why::Gap)),
            Some(_) if kind == EventType::Started => None,
            Some(_) => Some(Notice::File { kind, path: event.path, owner: event.owner }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(instance: &str, sequence: u64, kind: EventType) -> WatchResponse {
        let mut event = WatchResponse { instance: instance.into(), sequence, ..WatchResponse::default() };
        event.set_type(kind);
        event
    }

    #[test]
    fn what_may_have_been_missed_is_verified() {
        use EventType::{Gap, Lost, Started, Stored};
        let file = |kind| Some(Notice::File { kind, path: String::new(), owner: String::new() });
        let all = |why| Some(Notice::VerifyAll(why));
        // Each row: what it shows, what was heard before, the event, what it means.
        let rows = [
            ("the first", vec![], event("a", 7, Started), all(Why::Started)),
            ("the next", vec![event("a", 7, Started)], event("a", 8, Stored), file(Stored)),
            ("others' between", vec![event("a", 7, Started)], event("a", 9, Lost), file(Lost)),
            ("the server says so", vec![event("a", 7, Started)], event("a", 8, Gap), all(Why::Gap)),
            ("a break, all quiet", vec![event("a", 7, Started)], event("a", 7, Started), None),
            ("a break, heard all", vec![event("a", 7, Started), event("a", 9, Lost)], event("a", 9, Started), None),
            ("a break, something", vec![event("a", 7, Started)], event("a", 8, Started), all(Why::Gap)),
            ("a restart", vec![event("a", 7, Started)], event("b", 7, Started), all(Why::NewInstance)),
        ];
        for (row, before, event, expected) in rows {
            let mut position = Position::default();
            for event in before {
                position.hear(event);
            }
            assert_eq!(position.hear(event), expected, "row {row}");
        }
    }
}
