//! `Watch`, without an end.

use backon::ExponentialBackoff;
use futures::{Stream, stream};
use tonic::{Request, Streaming};

use super::{Client, Error};
use crate::v1::{EventType, WatchRequest, WatchResponse};

/// What a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Events may have been missed: verify everything that you have published, e.g. with [`Client::verify`].
    VerifyAll(Why),
    /// Something happened to one file.
    File {
        /// What: stored, removed, lost or corrupted, or something that only a newer server knows.
        kind: EventType,
        /// Its path, as in `Artifact.path`.
        path: String,
        /// Its owner, empty when unknown.
        owner: String,
    },
    /// The server is gone. The watch goes on when it is back; until then nothing is heard. Said once each time.
    Away(Error),
}

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
struct Position {
    instance: Option<String>,
    sequence: u64,
    /// Others' events have numbers too, so that a missing one means nothing.
    filtered: bool,
}

impl Position {
    /// What an event means to who has heard everything up to here. `None`: nothing was missed.
    fn hear(&mut self, event: WatchResponse) -> Option<Notice> {
        let kind = event.r#type();
        let before = self.instance.replace(event.instance);
        let expected = if kind == EventType::Started { self.sequence } else { self.sequence.saturating_add(1) };
        // After a break the number says whether something happened meanwhile; whose it was, it does not say.
        let follows = event.sequence == expected || (self.filtered && kind != EventType::Started);
        self.sequence = event.sequence;
        match before {
            None => Some(Notice::VerifyAll(Why::Started)),
            Some(before) if self.instance.as_ref() != Some(&before) => Some(Notice::VerifyAll(Why::NewInstance)),
            Some(_) if kind == EventType::Gap || !follows => Some(Notice::VerifyAll(Why::Gap)),
            Some(_) if kind == EventType::Started => None,
            Some(_) => Some(Notice::File { kind, path: event.path, owner: event.owner }),
        }
    }
}

/// A watch between two of its notices.
struct Watch {
    client: Client,
    controller: String,
    position: Position,
    answers: Option<Streaming<WatchResponse>>,
    waits: ExponentialBackoff,
    away: bool,
}

impl Client {
    /// What happens to the files of one controller, or of all when it is empty. Goes on over restarts of the server and broken connections.
    /// The first notice asks for everything to be verified. Ends after an error that waiting can not mend, e.g. a refused caller.
    ///
    /// ```no_run
    /// # use std::pin::pin;
    /// # use futures::StreamExt as _;
    /// # use weir_proto::client::{Client, Error, Notice};
    /// # async fn follow(client: Client) -> Result<(), Error> {
    /// let mut notices = pin!(client.watch("docs-controller"));
    /// while let Some(notice) = notices.next().await {
    ///     match notice? {
    ///         Notice::VerifyAll(why) => println!("verify all: {why:?}"),
    ///         Notice::File { kind, path, .. } => println!("{path}: {kind:?}"),
    ///         Notice::Away(error) => println!("{error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, controller: &str) -> impl Stream<Item = Result<Notice, Error>> + Send + use<> {
        let position = Position { filtered: !controller.is_empty(), ..Position::default() };
        let (client, controller) = (self.clone(), controller.to_owned());
        let waits = client.retries.endless();
        let watch = Watch { client, controller, position, answers: None, waits, away: false };
        stream::unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(notice) => Some((Ok(notice), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

impl Watch {
    async fn next(&mut self) -> Result<Notice, Error> {
        loop {
            match self.event().await {
                Ok(event) => {
                    (self.waits, self.away) = (self.client.retries.endless(), false);
                    if let Some(notice) = self.position.hear(event) {
                        return Ok(notice);
                    }
                }
                Err(error) if error.is_transient() => {
                    self.answers = None;
                    if !std::mem::replace(&mut self.away, true) {
                        return Ok(Notice::Away(error));
                    }
                    tokio::time::sleep(self.waits.next().unwrap_or(self.client.retries.longest)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn event(&mut self) -> Result<WatchResponse, Error> {
        if self.answers.is_none() {
            let request = Request::new(WatchRequest { controller: self.controller.clone() });
            self.answers = Some(self.client.answer(self.client.storage().watch(request).await)?);
        }
        let Some(answers) = &mut self.answers else { return Err(self.client.cut("before it began")) };
        let event = answers.message().await.map_err(|status| self.client.error(&status))?;
        event.ok_or_else(|| self.client.cut("while it was followed"))
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
        // Each row: what it shows, of which watch, what was heard before, the event, what it means.
        let rows = [
            ("the first", false, vec![], event("a", 7, Started), all(Why::Started)),
            ("the next", false, vec![event("a", 7, Started)], event("a", 8, Stored), file(Stored)),
            ("one is missing", false, vec![event("a", 7, Started)], event("a", 9, Stored), all(Why::Gap)),
            ("of others", true, vec![event("a", 7, Started)], event("a", 9, Lost), file(Lost)),
            ("the server says so", true, vec![event("a", 7, Started)], event("a", 8, Gap), all(Why::Gap)),
            ("a break, all quiet", false, vec![event("a", 7, Started)], event("a", 7, Started), None),
            ("a break, something", false, vec![event("a", 7, Started)], event("a", 8, Started), all(Why::Gap)),
            ("a break, of whom?", true, vec![event("a", 7, Started)], event("a", 8, Started), all(Why::Gap)),
            ("a restart", false, vec![event("a", 7, Started)], event("b", 7, Started), all(Why::NewInstance)),
        ];
        for (row, filtered, before, event, expected) in rows {
            let mut position = Position { filtered, ..Position::default() };
            for event in before {
                position.hear(event);
            }
            assert_eq!(position.hear(event), expected, "row {row}");
        }
    }
}
