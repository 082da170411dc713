//! The conditions of a generator: which situation leads to which Ready, Reconciling and Stalled.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Message while a generator is worked on.
const IN_PROGRESS: &str = "Reconciliation in progress";
/// Longest message of a condition, in bytes; the schema admits no more.
const MESSAGE_LIMIT: usize = 32_768;

/// Where a reconcile has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation<'a> {
    /// The finalizer was just added, and the generator is paused.
    FirstPassPaused,
    /// The finalizer was just added, or drift was found and the sources are about to be fetched.
    Working,
    /// Everything is published.
    Succeeded {
        /// How many artifacts the generator has.
        artifacts: usize,
    },
    /// Something failed that is tried again by itself.
    Failed {
        /// Reason of Ready.
        reason: &'a str,
        /// Message of Ready.
        message: &'a str,
    },
    /// Something that the generator depends on is not there yet.
    Waiting {
        /// Reason of Ready.
        reason: &'a str,
        /// Message of Ready.
        message: &'a str,
    },
    /// Something failed that only a change of the spec can mend.
    Stalled {
        /// Reason of Ready and Stalled.
        reason: &'a str,
        /// Message of both.
        message: &'a str,
    },
}

/// The conditions after `situation`, ordered Stalled, Reconciling, Ready and then foreign ones by type. A condition that is set
/// carries `generation`; its transition time moves only when status, reason or message change.
pub fn next(current: &[Condition], situation: Situation<'_>, generation: i64, now: Timestamp) -> Vec<Condition> {
    let mut draft = Draft { conditions: current.to_vec(), generation, now };
    match situation {
        Situation::Working => {
            draft.remove("Stalled");
            draft.set("Reconciling", "True", "Progressing", IN_PROGRESS);
            draft.set("Ready", "Unknown", "Progressing", IN_PROGRESS);
        }
        Situation::FirstPassPaused => {
            draft.set("Ready", "True", "ReconciliationDisabled", "Initialized with reconciliation suspended");
        }
        Situation::Succeeded { artifacts } => {
            let message = format!("reconciliation succeeded, generated {artifacts} artifact(s)");
            draft.remove("Stalled");
            draft.remove("Reconciling");
            draft.set("Ready", "True", "Succeeded", &message);
        }
        Situation::Failed { reason, message } => {
            draft.set("Ready", "False", reason, message);
            draft.retry();
        }
        Situation::Waiting { reason, message } => {
            // Nothing is wrong with the spec: what said so before was about another one, or about somebody else's.
            draft.remove("Stalled");
            draft.set("Ready", "False", reason, message);
            draft.retry();
        }
        Situation::Stalled { reason, message } => {
            draft.remove("Reconciling");
            draft.set("Stalled", "True", reason, message);
            draft.set("Ready", "False", reason, message);
        }
    }
    draft.finish()
}

/// The Ready condition of an output, with the transition time of `old` where nothing changed.
pub(super) fn ready(
    old: Option<&Condition>,
    (status, reason, message): (&str, &str, &str),
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let message = cut(message);
    let same = |old: &&Condition| old.status == status && old.reason == reason && old.message == message;
    Condition {
        last_transition_time: old.filter(same).map_or_else(|| seconds(now), |old| old.last_transition_time.clone()),
        message,
        observed_generation: generation,
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: "Ready".to_owned(),
    }
}

/// The condition of a type, if it is there.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the conditions tell how this generation ended, so that a reader may rely on them until the next end.
pub fn are_of(conditions: &[Condition], generation: Option<i64>) -> bool {
    find(conditions, "Ready").is_some_and(|ready| ready.status != "Unknown" && ready.observed_generation == generation)
}

struct Draft {
    conditions: Vec<Condition>,
    generation: i64,
    now: Timestamp,
}

impl Draft {
    fn remove(&mut self, type_: &str) {
        self.conditions.retain(|condition| condition.type_ != type_);
    }

    fn set(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let old = find(&self.conditions, type_);
        let new = ready(old, (status, reason, message), Some(self.generation), self.now);
        self.remove(type_);
        self.conditions.push(Condition { type_: type_.to_owned(), ..new });
    }

    /// A condition Reconciling that was there stays, and says that more tries will follow. Stalled rules it out.
    fn retry(&mut self) {
        if find(&self.conditions, "Stalled").is_some_and(|stalled| stalled.status == "True") {
            self.remove("Reconciling");
        } else if let Some(Condition { status, message, .. }) = find(&self.conditions, "Reconciling").cloned() {
            self.set("Reconciling", &status, "ProgressingWithRetry", &message);
        }
    }

    fn finish(mut self) -> Vec<Condition> {
        let rank = |type_: &str| match type_ {
            "Stalled" => 0,
            "Reconciling" => 1,
            "Ready" => 2,
            _ => 3,
        };
        self.conditions.sort_by(|a, b| rank(&a.type_).cmp(&rank(&b.type_)).then_with(|| a.type_.cmp(&b.type_)));
        self.conditions
    }
}

/// The API keeps whole seconds; a finer time would differ from itself after one round trip.
fn seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// At most [`MESSAGE_LIMIT`] bytes of a text, ending in `...` when something is missing.
fn cut(message: &str) -> String {
    if message.len() <= MESSAGE_LIMIT {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MESSAGE_LIMIT - 3);
    format!("{}...", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Type=Status/Reason/Message@generation` in one line, to keep the table readable.
    fn show(conditions: &[Condition]) -> String {
        let one = |condition: &Condition| {
            let Condition { type_, status, reason, message, observed_generation, .. } = condition;
            format!("{type_}={status}/{reason}/{message}@{}", observed_generation.unwrap_or_default())
        };
        conditions.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn read(text: &str) -> Vec<Condition> {
        let one = |part: &str| {
            let (type_, rest) = part.split_once('=').unwrap();
            let mut fields = rest.split(['/', '@']);
            let mut field = || fields.next().unwrap().replace('_', " ");
            Condition {
                type_: type_.into(),
                status: field(),
                reason: field(),
                message: field(),
                observed_generation: Some(field().parse().unwrap()),
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            }
        };
        text.split_whitespace().map(one).collect()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_situation() {
        let working = "Reconciling=True/Progressing/Reconciliation_in_progress@1 Ready=Unknown/Progressing/Reconciliation_in_progress@1";
        let stalled = "Stalled=True/ValidationFailed/bad@1 Ready=False/ValidationFailed/bad@1";
        let source = Situation::Failed { reason: "SourceFetchFailed", message: "get sources failed: x" };
        let build = Situation::Failed { reason: "BuildFailed", message: "a build failed: x" };
        let publish = Situation::Failed { reason: "ReconciliationFailed", message: "a reconcile failed: x" };
        let invalid = Situation::Stalled { reason: "AccessDenied", message: "not allowed" };
        let progress = "Reconciling=True/Progressing/Reconciliation in progress@2 Ready=Unknown/Progressing/Reconciliation in progress@2";
        let retry = "Reconciling=True/ProgressingWithRetry/Reconciliation in progress@2";
        let success = "Ready=True/Succeeded/reconciliation succeeded, generated 3 artifact(s)@2";
        let denied = "Stalled=True/AccessDenied/not allowed@2 Ready=False/AccessDenied/not allowed@2";
        // (row, before, situation at generation 2, after)
        let rows = [
            ("§11 first pass", "", Situation::Working, progress.to_owned()),
            (
                "§11 first pass, paused",
                "",
                Situation::FirstPassPaused,
                "Ready=True/ReconciliationDisabled/Initialized with reconciliation suspended@2".into(),
            ),
            ("§11 working", "Ready=True/Succeeded/ok@1", Situation::Working, progress.into()),
            ("§11 working removes Stalled", stalled, Situation::Working, progress.into()),
            ("§11 success", working, Situation::Succeeded { artifacts: 3 }, success.into()),
            (
                "§11 source failure before working",
                "Ready=True/Succeeded/ok@1",
                source,
                "Ready=False/SourceFetchFailed/get sources failed: x@2".into(),
            ),
            (
                "§11 source failure while working",
                working,
                source,
                format!("{retry} Ready=False/SourceFetchFailed/get sources failed: x@2"),
            ),
            (
                "§11 source failure leaves Stalled",
                stalled,
                source,
                "Stalled=True/ValidationFailed/bad@1 Ready=False/SourceFetchFailed/get sources failed: x@2".into(),
            ),
            ("§11 build failure", working, build, format!("{retry} Ready=False/BuildFailed/a build failed: x@2")),
            (
                "§11 apply failure",
                working,
                publish,
                format!("{retry} Ready=False/ReconciliationFailed/a reconcile failed: x@2"),
            ),
            ("§11 validation", "Ready=True/Succeeded/ok@1", invalid, denied.into()),
            ("§11 validation removes Reconciling", working, invalid, denied.into()),
            (
                "waiting removes Stalled",
                stalled,
                Situation::Waiting { reason: "DependencyNotReady", message: "x" },
                "Ready=False/DependencyNotReady/x@2".into(),
            ),
            (
                "waiting while working",
                working,
                Situation::Waiting { reason: "DependencyNotReady", message: "x" },
                format!("{retry} Ready=False/DependencyNotReady/x@2"),
            ),
            (
                "§11 order, foreign conditions last",
                "Zebra=True/Z/z@1 Ready=True/Succeeded/ok@1 Alpha=True/A/a@1",
                invalid,
                format!("{denied} Alpha=True/A/a@1 Zebra=True/Z/z@1"),
            ),
        ];
        for (row, before, situation, after) in rows {
            let got = next(&read(before), situation, 2, Timestamp::UNIX_EPOCH);
            assert_eq!(show(&got), after, "row {row}");
        }
    }

    #[test]
    fn only_an_end_of_this_generation_is_an_answer() {
        let rows = [
            ("", false),
            ("Ready=True/Succeeded/ok@2", true),
            ("Ready=False/BuildFailed/x@2", true),
            ("Ready=True/Succeeded/ok@1", false),
            ("Ready=Unknown/Progressing/x@2", false),
            ("Reconciling=True/Progressing/x@2", false),
        ];
        for (conditions, expected) in rows {
            assert_eq!(are_of(&read(conditions), Some(2)), expected, "{conditions}");
        }
    }

    #[test]
    fn transition_time_moves_with_the_condition_only() {
        let [early, late] = ["2026-01-01T00:00:00.75Z", "2026-01-02T00:00:00Z"].map(|text| text.parse().unwrap());
        let done = |artifacts| Situation::Succeeded { artifacts };
        let first = next(&[], done(1), 1, early);
        let time = |conditions: &[Condition]| conditions[0].last_transition_time.0.to_string();
        assert_eq!(time(&first), "2026-01-01T00:00:00Z", "whole seconds");
        let again = next(&first, done(1), 2, late);
        assert_eq!(time(&again), "2026-01-01T00:00:00Z", "only the generation moved");
        assert_eq!(again[0].observed_generation, Some(2));
        assert_eq!(time(&next(&first, done(2), 1, late)), "2026-01-02T00:00:00Z", "the message moved");
    }

    #[test]
    fn long_messages_are_cut() {
        // (row, text, length after)
        let rows = [
            ("§11 fits exactly", "x".repeat(32_768), 32_768),
            ("§11 one byte over", "x".repeat(32_769), 32_768),
            ("§11 no character is cut in half", "ä".repeat(20_000), 32_767),
        ];
        for (row, text, length) in rows {
            let got = cut(&text);
            assert_eq!((got.len(), got.ends_with("...")), (length, text.len() > 32_768), "row {row}");
        }
    }
}
