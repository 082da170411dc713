//! Events about generators: what is said, and a recorder that never makes a reconcile wait.
//!
//! In the cluster they are core/v1 Events, because that is the group in which Flux's cluster role lets its controllers write. Those
//! for everybody also go to the receiver at `--events-addr`, each one: it has its own ways with what it has heard before.

mod attempts;
pub mod correlator;
mod notification;
mod receiver;
mod recorder;
mod waiting;

pub use receiver::{ClientError, Deliveries, Notifier, notifier};
pub use recorder::{Recorder, RecorderMetrics, Writer, recorder};
pub use waiting::NotificationMetrics;

use crate::{api::artifact_generator::InventoryEntry, plan::commit::Commit};

/// Who is to hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Only `kubectl describe` and `kubectl events`.
    Cluster,
    /// Also the notification receiver.
    Everybody,
}

/// What an artifact holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Regular files in it.
    pub files: u64,
    /// Files that the default ignore list left out.
    pub ignored: u64,
    /// The first of them.
    pub examples: Vec<String>,
}

/// One thing to say about a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// Who is to hear of it.
    pub audience: Audience,
    /// One word for machines.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// The commit that it is about, for the notification receiver.
    pub commit: Option<Commit>,
    /// How many files the artifact has that it is about.
    pub files: Option<u64>,
}

impl Notice {
    fn trace(reason: &str, message: String) -> Self {
        Self {
            warning: false,
            audience: Audience::Cluster,
            reason: reason.to_owned(),
            message,
            commit: None,
            files: None,
        }
    }

    /// Whether it also goes to the notification receiver.
    pub fn is_for_everybody(&self) -> bool {
        self.audience == Audience::Everybody
    }

    /// Says which commit it is about.
    #[must_use]
    pub fn about(self, commit: Option<&Commit>) -> Self {
        Self { commit: commit.cloned(), ..self }
    }

    /// Says how many files the artifact has.
    #[must_use]
    pub fn holding(self, contents: Option<&Contents>) -> Self {
        Self { files: contents.map(|contents| contents.files), ..self }
    }

    /// The default ignore list left files out of an artifact that is new, which is easily missed. `None` if it did not. For the
    /// cluster only: Flux's controllers send no alerts of it.
    pub fn ignored(namespace: &str, name: &str, contents: &Contents) -> Option<Self> {
        let Contents { ignored, examples, .. } = contents;
        let named = examples.join(", ");
        let more = match ignored.saturating_sub(examples.len() as u64) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!(
            "ExternalArtifact/{namespace}/{name} is without {ignored} file(s) that the default ignore list leaves out: {named}{more}"
        );
        (*ignored > 0).then(|| Self { warning: true, ..Self::trace("FilesIgnored", message) })
    }

    /// A paused generator was looked at.
    pub fn paused() -> Self {
        Self::trace("ReconciliationDisabled", "Reconciliation is disabled".to_owned())
    }

    /// Nothing had to be done.
    pub fn no_drift(artifacts: usize) -> Self {
        Self::trace("Ready", format!("No drift detected, {artifacts} artifact(s) up to date"))
    }

    /// One output was written.
    pub fn published(namespace: &str, name: &str, revision: &str) -> Self {
        let message = format!("ExternalArtifact/{namespace}/{name} reconciled with revision {revision}");
        Self::trace("Ready", message)
    }

    /// An output was changed by others so often that its repairs wait. `last` is the field manager of the last change, if it left
    /// a trace. For the cluster only: whoever gets alerts can do little about it.
    pub fn fought(namespace: &str, name: &str, changes: u32, last: Option<&str>) -> Self {
        let by = last.map_or_else(String::new, |manager| format!(", last by field manager {manager:?}"));
        let message = format!(
            "ExternalArtifact/{namespace}/{name} was changed or deleted by others {changes} times{by}: it is repaired, but later each \
             time until that stops"
        );
        Self { warning: true, ..Self::trace("DriftDetected", message) }
    }

    /// A run came to its end.
    pub fn succeeded(artifacts: usize) -> Self {
        Self::trace("Ready", format!("reconciliation succeeded, generated {artifacts} artifact(s)"))
    }

    /// The outputs that a run changed; `None` when it changed none.
    pub fn changed(entries: &[InventoryEntry]) -> Option<Self> {
        let line = |entry: &InventoryEntry| format!("{}/{} ({})", entry.namespace, entry.name, entry.digest);
        let lines: Vec<_> = entries.iter().map(line).collect();
        let message = format!("external artifacts reconciled: {}", lines.join("\n"));
        (!lines.is_empty()).then_some(Self { audience: Audience::Everybody, ..Self::trace("Ready", message) })
    }

    /// A run waits for something that it depends on.
    pub fn waits(reason: &str, message: &str) -> Self {
        Self { audience: Audience::Everybody, ..Self::trace(reason, message.to_owned()) }
    }

    /// A run failed.
    pub fn failed(reason: &str, message: &str) -> Self {
        Self { warning: true, audience: Audience::Everybody, ..Self::trace(reason, message.to_owned()) }
    }
}
