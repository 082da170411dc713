//! `Watch`, without an end.

use backon::ExponentialBackoff;
use futures::{Stream, stream};
use tonic::{Request, Streaming};

use super::{
    Client, Error,
    position::{Position, Why},
};
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
        let position = Position::default();
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
