//! News and writes in every order, and who is told.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::{GENERATOR_LABEL, external_artifact::ExternalArtifactStatus, source::SourceKind};

fn output(version: u64, revision: &str) -> ExternalArtifact {
    let mut object = ExternalArtifact::default();
    object.metadata.namespace = Some("ns".into());
    object.metadata.name = Some("o".into());
    object.metadata.uid = Some("1".into());
    object.metadata.resource_version = Some(version.to_string());
    object.metadata.labels = Some([(GENERATOR_LABEL.to_owned(), "g".to_owned())].into());
    let artifact = Artifact { revision: revision.into(), ..Artifact::default() };
    object.status = Some(ExternalArtifactStatus { artifact: Some(artifact), ..ExternalArtifactStatus::default() });
    object
}

/// News of the outputs of the only generator that there is.
fn take(outputs: &Outputs, event: Event<ExternalArtifact>) -> Vec<Effect> {
    outputs.take(event, |uid| uid == "g")
}

fn key() -> ObjectKey {
    ObjectKey::new("ns", "o")
}

fn listed() -> Outputs {
    let outputs = Outputs::default();
    take(&outputs, Event::Init);
    take(&outputs, Event::InitApply(output(1, "a")));
    take(&outputs, Event::InitDone);
    outputs
}

fn touched() -> Effect {
    Effect::Touched("g".into())
}

fn source() -> Effect {
    Effect::Source(SourceKey { kind: SourceKind::ExternalArtifact, namespace: "ns".into(), name: "o".into() })
}

#[test]
fn edits_and_deletions_by_others_reach_the_generator() {
    let outputs = listed();
    assert_eq!(outputs.of_generator("g").len(), 1);
    assert_eq!(take(&outputs, Event::Apply(output(2, "a"))), [], "nothing of ours changed");
    let mut edited = output(3, "a");
    edited.metadata.labels = Some([("other".to_owned(), "label".to_owned())].into());
    assert_eq!(take(&outputs, Event::Apply(edited)), [touched()], "the label that names us is gone");
    assert!(outputs.published(&key()).is_some());
    assert!(outputs.of_generator("g").is_empty());
    assert_eq!(take(&outputs, Event::Apply(output(4, "evil"))), [source(), touched()]);
    assert_eq!(take(&outputs, Event::Delete(output(5, "evil"))), [source(), touched()]);
    assert_eq!(outputs.published(&key()).unwrap().revision, "a", "what we had published is remembered");
    assert!(outputs.get(&key()).is_none());
    outputs.begin(key(), "g").landed(output(6, "a"));
    assert!(outputs.published(&key()).is_none(), "restored");
}

#[test]
fn what_should_be_published_is_noted_where_it_is_not() {
    let outputs = listed();
    let artifact = |revision: &str| output(1, revision).artifact().unwrap().clone();
    outputs.expect(&key(), artifact("a"));
    assert_eq!(outputs.published(&key()), None, "it is");
    outputs.expect(&key(), artifact("b"));
    assert_eq!(outputs.published(&key()), Some(artifact("b")), "edited while nobody watched");
    let gone = ObjectKey::new("ns", "gone");
    outputs.expect(&gone, artifact("a"));
    assert_eq!(outputs.published(&gone), Some(artifact("a")), "deleted while nobody watched");
}

#[test]
fn what_is_changed_again_and_again_is_repaired_later_each_time() {
    type Edit = fn(&mut ExternalArtifact);
    let rows: [(&str, Edit); 3] = [
        ("the artifact", |object| object.status.as_mut().unwrap().artifact.as_mut().unwrap().url = "evil".into()),
        ("the label that names us", |object| object.metadata.labels = None),
        ("the label names somebody else", |object| {
            object.metadata.labels = Some([(GENERATOR_LABEL.to_owned(), "other".to_owned())].into());
        }),
    ];
    for (row, edit) in rows {
        let outputs = listed();
        let waits: Vec<Option<u64>> = (1..=8)
            .map(|round| {
                let mut edited = output(round * 2, "a");
                edit(&mut edited);
                let effects = take(&outputs, Event::Apply(edited));
                outputs.begin(key(), "g").landed(output(round * 2 + 1, "a"));
                match effects.as_slice() {
                    [] => None,
                    [Effect::Fought { wait, .. }, ..] => Some(wait.as_secs()),
                    effects => {
                        assert!(effects.contains(&touched()), "row {row}: {effects:?}");
                        Some(0)
                    }
                }
            })
            .collect();
        // The last two come before the repair of the sixth is due.
        let [now, none] = [Some(0), None];
        assert_eq!(waits, [now, now, now, now, now, Some(1), none, none], "row {row}");
        assert_eq!(outputs.fought(&key()), Some(6), "row {row}");
    }
}

#[test]
fn what_others_keep_on_an_object_is_their_business() {
    let outputs = listed();
    for version in 2..50 {
        let mut object = output(version, "a");
        object.metadata.annotations = Some([("theirs".to_owned(), version.to_string())].into());
        object.metadata.labels.as_mut().unwrap().insert("theirs".into(), version.to_string());
        assert_eq!(take(&outputs, Event::Apply(object)), []);
    }
    assert_eq!(outputs.fought(&key()), None);
}

#[test]
fn own_writes_touch_nothing_whichever_is_heard_first() {
    let outputs = listed();
    // The answer first, then the watch. A chained generator hears of it once.
    let write = outputs.begin(key(), "g");
    assert_eq!(write.landed(output(2, "b")).1, [source()]);
    assert_eq!(take(&outputs, Event::Apply(output(2, "b"))), []);
    // The watch first.
    let write = outputs.begin(key(), "g");
    assert_eq!(take(&outputs, Event::Apply(output(3, "c"))), [source()]);
    assert_eq!(write.landed(output(3, "c")).1, []);
    // Two writes in a row: the watch tells of the first while the second is on its way.
    outputs.begin(key(), "g").landed(output(4, "d"));
    let write = outputs.begin(key(), "g");
    assert_eq!(take(&outputs, Event::Apply(output(4, "d"))), []);
    assert_eq!(write.landed(output(5, "d")).1, []);
    assert!(outputs.published(&key()).is_none());
    // Our own delete, in both orders.
    assert_eq!(outputs.begin(key(), "g").deleted("1"), [source()]);
    assert_eq!(take(&outputs, Event::Apply(output(5, "d"))), []);
    assert_eq!(take(&outputs, Event::Delete(output(6, "d"))), []);
    take(&outputs, Event::Apply(output(7, "e")));
    let write = outputs.begin(key(), "g");
    assert_eq!(take(&outputs, Event::Delete(output(8, "e"))), [source()]);
    assert_eq!(write.deleted("1"), []);
}

#[test]
fn an_edit_during_a_write_is_found_when_it_lands() {
    let rows: [(&str, u64); 2] = [("edit before the write", 2), ("edit after the write", 4)];
    for (row, edit) in rows {
        let outputs = listed();
        let write = outputs.begin(key(), "g");
        take(&outputs, Event::Apply(output(edit, "b")));
        let (_, effects) = write.landed(output(3, "b"));
        assert_eq!(effects.last(), Some(&touched()), "row {row}");
        assert!(outputs.published(&key()).is_some(), "row {row}");
    }
    let outputs = listed();
    let write = outputs.begin(key(), "g");
    take(&outputs, Event::Delete(output(9, "a")));
    assert_eq!(write.landed(output(3, "a")).1, [touched()], "deleted after the write");
    assert!(outputs.get(&key()).is_none(), "no ghost is left");
    // A write of unknown outcome.
    let outputs = listed();
    drop(outputs.begin(key(), "g"));
    assert!(outputs.state.lock().flights.is_empty());
}

#[test]
fn a_name_is_for_one_generator_at_a_time() {
    let lives = |_: &str| true;
    let free = || [Effect::Touched("late".into())];
    // Nobody has it: the first one gets it, also before anything is published.
    let outputs = Outputs::default();
    assert_eq!(outputs.claim(&key(), "g", lives), Ok(()));
    assert_eq!(outputs.claim(&key(), "g", lives), Ok(()), "its own");
    assert_eq!(outputs.claim(&key(), "late", lives), Err("g".to_owned()));
    assert_eq!(outputs.release(&key(), "g"), free(), "given up without an object");
    assert_eq!(outputs.claim(&key(), "late", lives), Ok(()));
    // Published: it stays taken, until the object goes, whoever deletes it.
    for deleted in [
        |outputs: &Outputs| outputs.begin(key(), "g").deleted("1"),
        |outputs: &Outputs| take(outputs, Event::Delete(output(9, "a"))),
    ] {
        let outputs = Outputs::default();
        assert_eq!(outputs.claim(&key(), "g", lives), Ok(()));
        outputs.begin(key(), "g").landed(output(1, "a"));
        assert_eq!(outputs.claim(&key(), "late", lives), Err("g".to_owned()));
        assert_eq!(outputs.release(&key(), "g"), []);
        assert_eq!(outputs.claim(&key(), "late", lives), Err("g".to_owned()));
        assert_eq!(deleted(&outputs).last(), free().last());
        assert_eq!(outputs.claim(&key(), "late", lives), Ok(()));
    }
    // Its generator is gone, and the object is not.
    let outputs = listed();
    assert_eq!(outputs.claim(&key(), "late", lives), Err("g".to_owned()));
    assert_eq!(outputs.generator_gone(), free());
    assert_eq!(outputs.generator_gone(), [], "told once");
    assert_eq!(outputs.claim(&key(), "late", |uid| uid != "g"), Ok(()));
}

#[test]
fn what_waits_for_its_finalizers_is_not_gone() {
    let terminating = |version| {
        let mut object = output(version, "a");
        object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        object
    };
    let woken = || Effect::Touched("late".into());
    // (row, the answer, whether the object is left)
    let rows = [
        ("the API server says that it is gone", None, false),
        ("it shows what it deleted", Some(output(1, "a")), false),
        ("it waits", Some(terminating(2)), true),
        ("it was deleted before, and waits", Some(terminating(1)), true),
    ];
    for (row, answer, is_left) in rows {
        let outputs = listed();
        assert_eq!(outputs.claim(&key(), "late", |_| true), Err("g".to_owned()));
        let (left, effects) = outputs.begin(key(), "g").delete_taken("1", answer);
        assert_eq!((left.is_some(), outputs.get(&key()).is_some()), (is_left, is_left), "row {row}");
        assert_eq!(effects.contains(&woken()), !is_left, "row {row}: {effects:?}");
        if is_left {
            assert_eq!(outputs.claim(&key(), "late", |_| true), Err("g".to_owned()), "row {row}");
            assert_eq!(take(&outputs, Event::Apply(terminating(2))), [], "row {row}: no edit of others");
            let effects = take(&outputs, Event::Delete(terminating(3)));
            assert_eq!(effects, [source(), touched(), woken()], "row {row}: both may go on");
        }
        assert_eq!(outputs.claim(&key(), "late", |_| true), Ok(()), "row {row}");
    }
}

#[test]
fn who_loses_an_output_is_told_also_when_the_write_was_our_own() {
    let outputs = listed();
    let mut taken = output(2, "a");
    taken.metadata.labels = Some([(GENERATOR_LABEL.to_owned(), "other".to_owned())].into());
    let (_, effects) = outputs.begin(key(), "other").landed(taken);
    assert_eq!(effects, [touched()]);
    assert!(outputs.of_generator("g").is_empty());
    assert_eq!(outputs.of_generator("other").len(), 1);
}

#[test]
fn what_another_process_publishes_is_no_edit() {
    let outputs = listed();
    let theirs = |version, revision| {
        let mut object = output(version, revision);
        object.metadata.labels = Some([(GENERATOR_LABEL.to_owned(), "theirs".to_owned())].into());
        object
    };
    // It goes to another process: the one that loses it is told, and has its own knowledge of it.
    assert_eq!(take(&outputs, Event::Apply(theirs(2, "a"))), [touched()]);
    outputs.forget([&key()]);
    for version in 3..20 {
        let news = Event::Apply(theirs(version, if version % 2 == 0 { "a" } else { "b" }));
        assert_eq!(take(&outputs, news), [source()], "still a source");
    }
    assert_eq!((outputs.published(&key()), outputs.fought(&key())), (None, None));
    assert_eq!(outputs.claim(&key(), "g", |uid| uid == "theirs"), Err("theirs".to_owned()), "its name is taken");
    assert_eq!(take(&outputs, Event::Delete(theirs(20, "20"))), [source(), touched()], "and free");
    assert_eq!(outputs.published(&key()), None);
}

#[test]
fn what_was_published_before_an_absence_is_forgotten() {
    let outputs = listed();
    for version in 2..10 {
        take(&outputs, Event::Apply(output(version, &version.to_string())));
    }
    assert_eq!(outputs.published(&key()).unwrap().revision, "a");
    assert!(outputs.fought(&key()).is_some());
    outputs.forget([&key()]);
    assert_eq!((outputs.published(&key()), outputs.fought(&key())), (None, None));
}

#[test]
fn the_first_listing_touches_nothing() {
    let outputs = Outputs::default();
    take(&outputs, Event::Init);
    assert_eq!(take(&outputs, Event::InitApply(output(1, "a"))), [source()]);
    take(&outputs, Event::InitDone);
    take(&outputs, Event::Init);
    assert_eq!(take(&outputs, Event::InitDone), [source(), touched()], "gone while nobody looked");
}
