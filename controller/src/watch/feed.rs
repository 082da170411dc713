//! One watch, whatever the kind: list, follow, list again after trouble. Trouble with one kind is said once, waited for, and
//! never touches the others.

use std::{fmt, time::Duration};

use futures::{Stream, StreamExt as _};
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
use tokio::{sync::watch, time::timeout};
use tracing::{info, warn};

/// First wait after trouble; it doubles up to [`MAX_WAIT`].
const MIN_WAIT: Duration = Duration::from_millis(500);
/// Longest wait: an API server that returns, or a CRD that appears, is noticed within this.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(10);
/// After trouble, silence for this long says that the watch stands again. Any further trouble is heard earlier: the longest
/// wait, and the 30 s that the client gives a watch to begin.
pub(crate) const SILENCE: Duration = Duration::from_secs(45);
/// Seconds after which the API server ends a watch, which is then resumed where it was. One whose end does not come five seconds later is
/// dead. Events may be rare, so nothing else tells a quiet watch from one that nobody writes to any more.
const RENEWAL: u32 = 60;
/// Objects in one page of a list. Pages bound the memory that a list needs on the way in.
const PAGE: u32 = 500;

/// How far a watch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// Nothing has been heard yet.
    Starting,
    /// There is trouble; what was known before is still there, but may be old.
    Waiting {
        /// What is wrong, and what to do.
        trouble: String,
        /// Whether all objects were known once.
        listed: bool,
    },
    /// All objects are known, and changes are told as they happen.
    Following,
}

/// The state of a watch, for everybody who waits for it.
pub type FeedWatch = watch::Receiver<FeedState>;

/// Waits until the kind is known, or known to be in trouble.
pub async fn settled(feed: &mut FeedWatch) -> FeedState {
    match feed.wait_for(|state| *state != FeedState::Starting).await {
        Ok(state) => state.clone(),
        Err(_) => FeedState::Waiting { trouble: "the watch has ended".to_owned(), listed: false },
    }
}

/// Waits until all objects of the kind are known, or were known before the trouble of now: what can be done with them must not
/// wait for news of them.
pub async fn listed(feed: &mut FeedWatch) {
    if feed.wait_for(FeedState::is_listed).await.is_err() {
        // The watch has ended, which happens on the way out only: whoever waits here is ended too.
        std::future::pending::<()>().await;
    }
}

impl FeedState {
    fn is_listed(&self) -> bool {
        matches!(self, Self::Following | Self::Waiting { listed: true, .. })
    }
}

/// Lists and follows all objects that `api` gives and whose labels match `selector` (empty: all), for ever. `plural` names them in messages, e.g.
/// `buckets.source.toolkit.fluxcd.io`. `take` gets every event, with what it does not need removed by `strip`.
pub async fn follow<K>(
    api: Api<K>,
    selector: String,
    plural: String,
    strip: fn(&mut K),
    state: watch::Sender<FeedState>,
    mut take: impl FnMut(Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let selector = Some(selector).filter(|selector| !selector.is_empty());
    let settings = watcher::Config::default().page_size(PAGE).timeout(RENEWAL);
    let settings = watcher::Config { label_selector: selector, ..settings };
    let events = kube::runtime::watcher(api, settings).backoff(Wait::default());
    follow_events(events, &plural, &state, |event| take(event.modify(strip))).await;
}

/// A watch that resumes says so with the next change only; where nothing changes, silence says it.
async fn follow_events<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    plural: &str,
    state: &watch::Sender<FeedState>,
    mut take: impl FnMut(Event<K>),
) {
    let mut events = std::pin::pin!(events);
    let (mut said, mut is_listing) = (String::new(), false);
    loop {
        let may_resume = !is_listing && matches!(&*state.borrow(), FeedState::Waiting { listed: true, .. });
        let patience = if may_resume { SILENCE } else { Duration::MAX };
        let stands = match timeout(patience, events.next()).await {
            Err(_) => true,
            Ok(None) => return,
            Ok(Some(Ok(event))) => {
                is_listing = matches!(event, Event::Init | Event::InitApply(_));
                take(event);
                !is_listing
            }
            Ok(Some(Err(error))) if is_routine(&error) => false,
            Ok(Some(Err(error))) => {
                let trouble = explain(&error, plural);
                if trouble != said {
                    warn!(resource = plural, error = trouble, "cannot watch, trying again");
                    said.clone_from(&trouble);
                }
                state.send_modify(|state| *state = FeedState::Waiting { trouble, listed: state.is_listed() });
                false
            }
        };
        if stands && state.send_replace(FeedState::Following) != FeedState::Following {
            info!(resource = plural, "watching");
            said.clear();
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
    use k8s_openapi::api::core::v1::ConfigMap;
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

    /// Sends items, and leaves the stream open afterwards.
    async fn feed(state: &watch::Sender<FeedState>, items: Vec<watcher::Result<Event<ConfigMap>>>) {
        let events = futures::stream::iter(items).chain(futures::stream::pending());
        // Time stands still in this test: it passes only when everything has been taken.
        let followed = follow_events(events, "configmaps", state, |_| {});
        timeout(Duration::from_secs(1), followed).await.unwrap_err();
    }

    fn broken() -> watcher::Error {
        let cut = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset");
        watcher::Error::WatchFailed(kube::Error::Service(Box::new(cut)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_resumes_is_followed_again() {
        let (state, mut watched) = watch::channel(FeedState::Starting);
        let waiting = |listed| FeedState::Waiting {
            trouble: "the API server cannot be reached: connection reset".to_owned(),
            listed,
        };
        feed(&state, vec![Err(broken()), Ok(Event::Init)]).await;
        assert_eq!(*state.borrow(), waiting(false), "nothing was listed");
        assert!(timeout(SILENCE * 2, listed(&mut watched)).await.is_err(), "nothing was listed");
        feed(&state, vec![Ok(Event::Init), Ok(Event::InitDone)]).await;
        assert_eq!(*state.borrow(), FeedState::Following);
        feed(&state, vec![Err(broken())]).await;
        assert_eq!(*state.borrow(), waiting(true));
        timeout(Duration::from_secs(1), listed(&mut watched)).await.expect("what was listed once stays listed");
        feed(&state, vec![Ok(Event::Init)]).await;
        assert_eq!(*state.borrow(), waiting(true), "a list that has only begun");
        feed(&state, vec![Ok(Event::Apply(ConfigMap::default()))]).await;
        assert_eq!(*state.borrow(), FeedState::Following, "the watch goes on without a new list");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_after_trouble_is_a_watch_that_stands() {
        let (state, mut watched) = watch::channel(FeedState::Following);
        let events = futures::stream::iter([Err(broken())]).chain(futures::stream::pending());
        let followed = follow_events::<ConfigMap>(events, "configmaps", &state, |_| {});
        let resumed = async {
            watched.wait_for(|state| *state != FeedState::Following).await.unwrap();
            watched.wait_for(|state| *state == FeedState::Following).await.unwrap();
        };
        tokio::select! {
            () = followed => panic!("the stream is open"),
            done = timeout(SILENCE * 2, resumed) => done.unwrap(),
        }
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
