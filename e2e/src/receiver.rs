//! A receiver of events that treats them as notification-controller does: it reads strictly, drops metadata of strangers, answers 429
//! to what it has heard already, and 202 to the rest.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use warp::Filter as _;

use crate::port;

/// Most characters of a message.
const LONGEST: usize = 39_000;
/// Metadata of this group is kept, and that of the object's group.
const EVENT_GROUP: &str = "event.toolkit.fluxcd.io";

/// One request, and how it was answered.
#[derive(Clone, Debug)]
pub struct Received {
    /// The body, as sent.
    pub body: Value,
    /// 202, 429, or 400 for what could not be read.
    pub status: u16,
}

/// What the API has; anything else in a body is an error here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Event {
    involved_object: Object,
    severity: Severity,
    timestamp: String,
    message: String,
    reason: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    reporting_controller: String,
    #[serde(default)]
    reporting_instance: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Object {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    api_version: String,
    resource_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Info,
    Error,
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    heard: HashSet<String>,
}

/// A receiver that keeps its port over restarts.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Its own, so that it ends with all its connections. `None` while it is killed.
    runtime: Option<Runtime>,
}

impl Receiver {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// When it can not listen.
    pub async fn start() -> Result<Self> {
        let mut receiver = Self { address: port::free()?, state: Arc::default(), runtime: None };
        receiver.restart().await?;
        Ok(receiver)
    }

    /// Where events go.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Ends it, with its connections. What it has heard is not forgotten.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When its port is taken.
    pub async fn restart(&mut self) -> Result<()> {
        let runtime = Runtime::new()?;
        let (address, state) = (self.address, Arc::clone(&self.state));
        let listening = runtime.spawn(async move {
            let listener = TcpListener::bind(address).await?;
            let answers = warp::post()
                .and(warp::path::end())
                .and(warp::header::exact("content-type", "application/json"))
                .and(warp::body::bytes())
                .map(move |body: warp::hyper::body::Bytes| {
                    let status = take(&mut lock(&state), &body);
                    warp::http::StatusCode::from_u16(status).unwrap_or_default()
                });
            tokio::spawn(warp::serve(answers).incoming(listener).run());
            std::io::Result::Ok(())
        });
        // Kept first: dropping it here would block.
        self.runtime = Some(runtime);
        listening.await?.with_context(|| format!("cannot listen on {address}"))
    }

    /// All requests so far, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state).received.clone()
    }

    /// Those that were answered with 202.
    #[must_use]
    pub fn accepted(&self) -> Vec<Value> {
        self.received().into_iter().filter(|one| one.status == 202).map(|one| one.body).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(state: &mut State, body: &[u8]) -> u16 {
    let status = match key(body) {
        Err(_) => 400,
        Ok(key) if !state.heard.contains(&key) => {
            state.heard.insert(key);
            202
        }
        Ok(_) => 429,
    };
    let text = || Value::String(String::from_utf8_lossy(body).into_owned());
    let body = serde_json::from_slice(body).unwrap_or_else(|_| text());
    state.received.push(Received { body, status });
    status
}

/// Reads an event; returns what makes two of them the same.
fn key(body: &[u8]) -> Result<String> {
    let event: Event = serde_json::from_slice(body)?;
    let Object { kind, namespace, name, uid, api_version, resource_version } = &event.involved_object;
    let required =
        [kind, namespace, name, uid, api_version, resource_version, &event.reason, &event.reporting_controller];
    ensure!(required.iter().all(|text| !text.is_empty()), "an empty field");
    ensure!(event.reporting_instance.as_deref() != Some(""), "an empty instance");
    ensure!(event.message.chars().count() <= LONGEST, "the message is too long");
    let bytes = event.timestamp.as_bytes();
    ensure!(bytes.len() == 20 && bytes[10] == b'T' && bytes[19] == b'Z', "a timestamp of seconds: {}", event.timestamp);
    let (Severity::Info | Severity::Error) = event.severity;
    let group = api_version.split('/').next().unwrap_or_default();
    for key in event.metadata.keys() {
        let owner = key.split('/').next();
        ensure!(owner == Some(group) || owner == Some(EVENT_GROUP), "{key} would be dropped");
    }
    let of_group = |word: &str| event.metadata.get(&format!("{group}/{word}"));
    let revisions = ["originRevision", "revision", "token"].map(|word| format!("{word}={:?}", of_group(word)));
    Ok(format!("{name}/{namespace}/{kind}/{}/{}", event.message, revisions.join("/")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({
            "involvedObject": {
                "apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator", "namespace": "n",
                "name": "gen", "uid": "u", "resourceVersion": "7",
            },
            "severity": "info", "timestamp": "2026-01-02T03:04:05Z", "message": "m", "reason": "Ready",
            "reportingController": "source-watcher",
        })
    }

    #[test]
    fn it_tells_events_apart_as_notification_controller_does() {
        let with = |pointer: &str, key: &str, value: Value| {
            let mut event = event();
            event.pointer_mut(pointer).unwrap()[key] = value;
            event
        };
        let rows = [
            ("the first", event(), 202),
            ("the same", event(), 429),
            ("another reason is no other event", with("", "reason", json!("Other")), 429),
            ("another time is no other event", with("", "timestamp", json!("2026-01-02T03:04:06Z")), 429),
            ("another message", with("", "message", json!("x")), 202),
            ("another object", with("/involvedObject", "name", json!("x")), 202),
            ("a revision", with("", "metadata", json!({"source.extensions.fluxcd.io/revision": "1"})), 202),
            ("another revision", with("", "metadata", json!({"source.extensions.fluxcd.io/revision": "2"})), 202),
            ("metadata for people", with("", "metadata", json!({"event.toolkit.fluxcd.io/team": "a"})), 429),
            ("metadata that it would drop", with("", "metadata", json!({"team": "a"})), 400),
            ("no severity", with("", "severity", Value::Null), 400),
            ("trace stays in the cluster", with("", "severity", json!("trace")), 400),
            ("a field that is not in the API", with("", "more", json!(1)), 400),
            ("no UID", with("/involvedObject", "uid", json!("")), 400),
            ("fractions of seconds", with("", "timestamp", json!("2026-01-02T03:04:05.5Z")), 400),
            ("a long message", with("", "message", json!("é".repeat(39_001))), 400),
        ];
        let mut state = State::default();
        for (row, event, status) in rows {
            assert_eq!(take(&mut state, event.to_string().as_bytes()), status, "row {row}");
        }
    }
}
