//! One watch, whatever the kind: list, follow, list again after trouble. Trouble with one kind is said once, waited for, and
//! never touches the others.

use std::{fmt, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        utils::Backoff,
        watcher::{self, Event},
    },
};
use rand::Rng as _;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{info, warn};

/// First wait after trouble; it doubles up to [`MAX_WAIT`].
const MIN_WAIT: Duration = Duration::from_millis(500);
/// Longest wait: an API server that returns, or a CRD that appears, is noticed within this.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Objects in one page of a list. Pages bound the memory that a list needs on the way in.
const PAGE: u32 = 500;

/// How far a watch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// Nothing has been heard yet.
    Starting,
    /// There is trouble; what was known before is still there, but may be old.
    Waiting(String),
    /// All objects are known, and changes are told as they happen.
    Following,
}

/// The state of a watch, for everybody who waits for it.
pub type FeedWatch = watch::Receiver<FeedState>;

/// Waits until the kind is known, or known to be in trouble.
pub async fn settled(feed: &mut FeedWatch) -> FeedState {
    match feed.wait_for(|state| *state != FeedState::Starting).await {
        Ok(state) => state.clone(),
        Err(_) => FeedState::Waiting("the watch has ended".to_owned()),
    }
}

/// Waits until all objects of the kind are known.
pub async fn following(feed: &mut FeedWatch) {
    if feed.wait_for(|state| *state == FeedState::Following).await.is_err() {
        // The watch has ended, which happens on the way out only: whoever waits here is ended too.
        std::future::pending::<()>().await;
    }
}

/// Lists and follows all objects that `api` gives, for ever. `plural` names them in messages, e.g.
/// `buckets.source.toolkit.fluxcd.io`. `take` gets every event, with what it does not need removed by `strip`.
pub async fn follow<K>(
    api: Api<K>,
    plural: String,
    strip: fn(&mut K),
    state: watch::Sender<FeedState>,
    mut take: impl FnMut(Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let settings = watcher::Config::default().page_size(PAGE);
    let mut events = std::pin::pin!(kube::runtime::watcher(api, settings).backoff(Wait::default()));
    let mut said = String::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                let listed = matches!(event, Event::InitDone);
                take(event.modify(strip));
                if listed && state.send_replace(FeedState::Following) != FeedState::Following {
                    info!(resource = plural, "watching");
                    said.clear();
                }
            }
            Err(error) if is_routine(&error) => {}
            Err(error) => {
                let trouble = explain(&error, &plural);
                if trouble != said {
                    warn!(resource = plural, error = trouble, "cannot watch, trying again");
                    said.clone_from(&trouble);
                }
                state.send_replace(FeedState::Waiting(trouble));
            }
        }
    }
}

/// An expired resource version is how the API server asks for a new list; that is not trouble.
fn is_routine(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// One line that says what to do.
fn explain(error: &watcher::Error, plural: &str) -> String {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    let status = match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => status,
        WatchError(status) => status,
        InitialListFailed(cause) | WatchStartFailed(cause) | WatchFailed(cause) => {
            return format!("the API server cannot be reached: {}", innermost(cause));
        }
        NoResourceVersion => return format!("{plural} can not be watched"),
    };
    match status.code {
        404 => format!("the cluster does not know {plural}: install its CustomResourceDefinition"),
        401 | 403 => format!("{}: grant get, list and watch on {plural}", status.message),
        _ => status.message.clone(),
    }
}

/// What the API server said, or the deepest cause of a call that did not reach it. The layers between only repeat each other.
pub fn innermost(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut last: &dyn std::error::Error = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

/// Doubling waits with jitter, so that the watches of many kinds do not come back in one moment.
struct Wait {
    next: Duration,
}

impl Default for Wait {
    fn default() -> Self {
        Self { next: MIN_WAIT }
    }
}

impl Iterator for Wait {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.next;
        self.next = (wait * 2).min(MAX_WAIT);
        Some(wait.mul_f64(rand::rng().random_range(0.8..1.0)))
    }
}

impl Backoff for Wait {
    fn reset(&mut self) {
        self.next = MIN_WAIT;
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn says_what_to_do() {
        let plural = "buckets.source.toolkit.fluxcd.io";
        let api = |code: u16, message: &str| {
            kube::Error::Api(Status { code, message: message.into(), ..Status::default() }.boxed())
        };
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let rows = [
            ("missing CRD", watcher::Error::InitialListFailed(api(404, "404 page not found")), "install its Custom"),
            ("no right", watcher::Error::WatchStartFailed(api(403, "buckets is forbidden")), "forbidden: grant get,"),
            ("overload", watcher::Error::InitialListFailed(api(429, "too many requests")), "too many requests"),
            (
                "no server",
                watcher::Error::InitialListFailed(kube::Error::Service(Box::new(refused))),
                "cannot be reached: connection refused",
            ),
        ];
        for (row, error, part) in rows {
            let text = explain(&error, plural);
            assert!(text.contains(part), "row {row}: {text}");
        }
        let expired = watcher::Error::WatchError(Status { code: 410, ..Status::default() }.boxed());
        assert!(is_routine(&expired));
    }

    #[test]
    fn waits_double_up_to_the_longest_and_start_again() {
        let mut waits = Wait::default();
        let longest = waits.by_ref().take(10).last().unwrap();
        assert!(longest > MAX_WAIT.mul_f64(0.79) && longest <= MAX_WAIT);
        waits.reset();
        assert!(waits.next().unwrap() <= MIN_WAIT);
    }
}
