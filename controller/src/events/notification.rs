//! What the notification receiver is told of an event: JSON, as notification-controller reads it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Event, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde::Serialize;

use crate::{api::FIELD_MANAGER, plan::commit::Commit};

/// Most characters of a message that the receiver's API allows.
const LONGEST: usize = 39_000;
/// Metadata with the revision that a commit status is for. The receiver drops keys of other groups than the object's, but for
/// `event.toolkit.fluxcd.io`.
const REVISION: &str = "source.extensions.fluxcd.io/revision";
/// The same, of what the source was made from: the receiver prefers it.
const ORIGIN_REVISION: &str = "source.extensions.fluxcd.io/originRevision";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification<'a> {
    involved_object: &'a ObjectReference,
    severity: &'static str,
    timestamp: Option<&'a Time>,
    message: String,
    reason: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
    reporting_controller: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reporting_instance: &'a str,
}

/// The body of the request about an event as it is before correlation. `commit` is what it was about, for commit statuses.
pub(super) fn body(event: &Event, commit: Option<&Commit>) -> serde_json::Result<Vec<u8>> {
    let annotations = event.metadata.annotations.iter().flatten();
    let mut metadata: BTreeMap<&str, &str> = annotations.map(|(key, value)| (key.as_str(), value.as_str())).collect();
    if let Some(commit) = commit {
        metadata.insert(REVISION, &commit.revision);
        metadata.extend(commit.origin_revision.as_deref().map(|origin| (ORIGIN_REVISION, origin)));
    }
    serde_json::to_vec(&Notification {
        involved_object: &event.involved_object,
        severity: if event.type_.as_deref() == Some("Warning") { "error" } else { "info" },
        timestamp: event.last_timestamp.as_ref(),
        message: shortened(event.message.as_deref().unwrap_or_default()),
        reason: event.reason.as_deref().unwrap_or_default(),
        metadata,
        reporting_controller: FIELD_MANAGER,
        reporting_instance: event.reporting_instance.as_deref().unwrap_or_default(),
    })
}

/// At most [`LONGEST`] characters; what is cut off ends in `...`.
fn shortened(message: &str) -> String {
    if message.chars().nth(LONGEST).is_none() {
        return message.to_owned();
    }
    message.chars().take(LONGEST - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, json};

    use super::*;

    fn event(warning: bool, annotations: &[(&str, &str)]) -> Event {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let object = json!({
            "apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator", "namespace": "apps",
            "name": "gen", "uid": "u", "resourceVersion": "7",
        });
        Event {
            metadata: ObjectMeta { annotations: Some(annotations), ..Default::default() },
            involved_object: serde_json::from_value(object).unwrap(),
            type_: Some(if warning { "Warning" } else { "Normal" }.into()),
            reason: Some("Ready".into()),
            message: Some("done".into()),
            last_timestamp: Some(Time("2026-01-02T03:04:05.6Z".parse().unwrap())),
            reporting_instance: Some("pod-1".into()),
            ..Default::default()
        }
    }

    fn sent(event: &Event, commit: Option<&Commit>) -> Value {
        serde_json::from_slice(&body(event, commit).unwrap()).unwrap()
    }

    #[test]
    fn the_payload_is_the_one_of_the_reference() {
        let team = ("event.toolkit.fluxcd.io/team", "a");
        let plain = Commit { revision: "main@sha1:1".into(), origin_revision: None };
        let made = Commit { revision: "v1@sha256:2".into(), origin_revision: Some("main@sha1:1".into()) };
        // (row, is a warning, annotations, commit, severity, metadata; null: the key is absent)
        let rows = [
            ("runtime §9 Normal is info", false, vec![], None, "info", json!(null)),
            ("runtime §9 Warning is error", true, vec![], None, "error", json!(null)),
            ("runtime §9 annotations", false, vec![team], None, "info", json!({team.0: "a"})),
            ("a commit", true, vec![], Some(&plain), "error", json!({REVISION: "main@sha1:1"})),
            (
                "a commit behind an image, and annotations",
                false,
                vec![team],
                Some(&made),
                "info",
                json!({team.0: "a", REVISION: "v1@sha256:2", ORIGIN_REVISION: "main@sha1:1"}),
            ),
        ];
        for (row, warning, annotations, commit, severity, metadata) in rows {
            let mut wanted = json!({
                "involvedObject": {
                    "apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator",
                    "namespace": "apps", "name": "gen", "uid": "u", "resourceVersion": "7",
                },
                "severity": severity,
                "timestamp": "2026-01-02T03:04:05Z",
                "message": "done",
                "reason": "Ready",
                "reportingController": "source-watcher",
                "reportingInstance": "pod-1",
            });
            if !metadata.is_null() {
                wanted["metadata"] = metadata;
            }
            assert_eq!(sent(&event(warning, &annotations), commit), wanted, "row {row}");
        }
    }

    #[test]
    fn messages_end_where_the_receiver_would_refuse_them() {
        let rows = [(38_999, 38_999, false), (39_000, 39_000, false), (39_001, 39_000, true), (100_000, 39_000, true)];
        for (characters, left, cut) in rows {
            // Two bytes each: what is counted are characters.
            let event = Event { message: Some("é".repeat(characters)), ..event(false, &[]) };
            let message = sent(&event, None)["message"].as_str().unwrap().to_owned();
            assert_eq!((message.chars().count(), message.ends_with("...")), (left, cut), "{characters}");
        }
    }

    #[test]
    fn an_unknown_host_is_left_out() {
        let event = Event { reporting_instance: None, ..event(false, &[]) };
        assert_eq!(sent(&event, None).get("reportingInstance"), None);
    }
}
