//! The stream of `Watch`.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use tonic::Status;
use weir_proto::v1::{EventType, WatchResponse};

use super::access::Access;
use crate::{
    policy::Deed,
    storage::{EventKind, Store, StoreEvent, Subscription},
};

/// What happens to the files of one controller, or to all files when it is empty, as far as the watcher may see them: first that the watch
/// has started, then each event.
pub(super) fn events(
    store: &Arc<Store>,
    access: Access,
    controller: String,
) -> impl Stream<Item = Result<WatchResponse, Status>> + Send + use<> {
    let (subscription, instance) = (store.watch(), store.instance().to_owned());
    let started = WatchResponse {
        instance: instance.clone(),
        sequence: subscription.start(),
        r#type: EventType::Started.into(),
        path: String::new(),
        owner: String::new(),
    };
    let next = |mut subscription: Subscription| async move { Some((subscription.next().await?, subscription)) };
    let events = stream::unfold(subscription, next)
        .filter(move |event| std::future::ready(concerns(event, &controller) && is_visible(event, &access)))
        .map(move |event| response(&instance, event));
    stream::iter([started]).chain(events).map(Ok)
}

/// A file without an owner concerns everybody, and so does a gap.
fn concerns(event: &StoreEvent, controller: &str) -> bool {
    let owned_by = event.owner.split_once('/').map_or(event.owner.as_str(), |(first, _)| first);
    controller.is_empty() || owned_by.is_empty() || owned_by == controller
}

/// The policy may change while somebody watches.
fn is_visible(event: &StoreEvent, access: &Access) -> bool {
    event.path.as_ref().is_none_or(|path| access.allows(Deed::See(path.dir().into())))
}

fn response(instance: &str, event: StoreEvent) -> WatchResponse {
    let kind = match event.kind {
        EventKind::Stored => EventType::Stored,
        EventKind::Removed => EventType::Removed,
        EventKind::Lost => EventType::Lost,
        EventKind::Corrupted => EventType::Corrupted,
        EventKind::Gap => EventType::Gap,
    };
    WatchResponse {
        instance: instance.to_owned(),
        sequence: event.sequence,
        r#type: kind.into(),
        path: event.path.map(|path| path.to_string()).unwrap_or_default(),
        owner: event.owner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watcher_sees_what_concerns_it() {
        let rows = [
            ("own file", "a/1", "a", true),
            ("another's file", "b/1", "a", false),
            ("everything", "b/1", "", true),
            ("no owner", "", "a", true),
            ("a longer name", "ab/1", "a", false),
        ];
        for (row, owner, controller, expected) in rows {
            let event = StoreEvent { sequence: 1, kind: EventKind::Lost, path: None, owner: owner.to_owned() };
            assert_eq!(concerns(&event, controller), expected, "row {row}");
        }
    }
}
