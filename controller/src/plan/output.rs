//! What an ExternalArtifact should be, and whether the one in the cluster is. The same comparison serves publishing and repair:
//! what does not differ is not written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
use weir_proto::v1;

use crate::api::{
    FIELD_MANAGER, GENERATOR_LABEL, MANAGED_BY_LABEL, ORIGIN_REVISION_KEY,
    artifact_generator::{self, ArtifactGenerator, OutputArtifact},
    external_artifact::{Artifact, ExternalArtifact, ExternalArtifactSpec, ExternalArtifactStatus, SourceRef},
};

use super::{
    conditions::{find, ready},
    observe::Observed,
};

/// Status, reason and message of the condition Ready of an output that can be downloaded.
const READY: (&str, &str, &str) = ("True", "Succeeded", "Artifact is ready");

/// Everything of an output but its status: the body to apply. `captures` become labels under their bare names; the two
/// reserved labels win over captures, and captures over `commonMetadata`.
pub fn frame(generator: &ArtifactGenerator, name: &str, captures: &BTreeMap<String, String>) -> ExternalArtifact {
    let meta = &generator.metadata;
    let [namespace, owner, uid] = [&meta.namespace, &meta.name, &meta.uid].map(|part| part.clone().unwrap_or_default());
    let common = generator.spec.common_metadata.clone().unwrap_or_default();
    let mut labels = common.labels;
    labels.extend(captures.clone());
    labels.insert(MANAGED_BY_LABEL.to_owned(), FIELD_MANAGER.to_owned());
    labels.insert(GENERATOR_LABEL.to_owned(), uid.clone());
    let reference = OwnerReference {
        api_version: artifact_generator::API_VERSION.to_owned(),
        kind: artifact_generator::KIND.to_owned(),
        name: owner.clone(),
        uid,
        // The API allows one owner that controls. An object that another controller owns could not be taken over if we wanted to be that
        // one, and nobody could own an output of ours as he wants to. To be collected with its generator it needs an owner, no more.
        controller: None,
        block_owner_deletion: Some(true),
    };
    let mut frame = ExternalArtifact::default();
    frame.metadata.name = Some(name.to_owned());
    frame.metadata.namespace = Some(namespace.clone());
    frame.metadata.labels = Some(labels);
    frame.metadata.annotations = Some(common.annotations).filter(|annotations| !annotations.is_empty());
    frame.metadata.owner_references = Some(vec![reference]);
    frame.spec = ExternalArtifactSpec {
        source_ref: Some(SourceRef {
            api_version: artifact_generator::API_VERSION.to_owned(),
            kind: artifact_generator::KIND.to_owned(),
            name: owner,
            namespace,
        }),
    };
    frame
}

/// Whether applying `frame` would change the object. Labels, annotations and owner references of others do not count; ours that
/// are no longer wanted do (see [`ExternalArtifact::condense`]).
pub fn frame_differs(observed: &ExternalArtifact, frame: &ExternalArtifact) -> bool {
    let (is, wanted) = (&observed.metadata, &frame.metadata);
    let owners = is.owner_references.as_deref().unwrap_or_default();
    is.deletion_timestamp.is_some()
        || pairs_differ(is.labels.as_ref(), wanted.labels.as_ref(), &observed.applied.labels)
        || pairs_differ(is.annotations.as_ref(), wanted.annotations.as_ref(), &observed.applied.annotations)
        || wanted.owner_references.iter().flatten().any(|owner| !owners.contains(owner))
        || observed.spec != frame.spec
}

type Pairs = BTreeMap<String, String>;

fn pairs_differ(is: Option<&Pairs>, wanted: Option<&Pairs>, applied: &[String]) -> bool {
    let value = |key: &String| is.and_then(|is| is.get(key));
    let missing = wanted.into_iter().flatten().any(|(key, wanted)| value(key) != Some(wanted));
    let obsolete =
        applied.iter().any(|key| value(key).is_some() && !wanted.is_some_and(|wanted| wanted.contains_key(key)));
    missing || obsolete
}

/// Whether the two states of one object differ in anything that a generator answers for. Times, observed generations, and what
/// others keep there do not count.
pub fn differs(before: &ExternalArtifact, after: &ExternalArtifact) -> bool {
    let (old, new) = (&before.metadata, &after.metadata);
    let (were, are) = (&before.applied, &after.applied);
    let reserved = [GENERATOR_LABEL, MANAGED_BY_LABEL].map(str::to_owned);
    let labels = were.labels.iter().chain(&are.labels).chain(&reserved);
    let annotations = were.annotations.iter().chain(&are.annotations);
    let ready = |object: &ExternalArtifact| {
        let ready = old_ready(object).cloned();
        ready.map(|ready| (ready.status, ready.reason, ready.message))
    };
    old.uid != new.uid
        || any_differs(old.labels.as_ref(), new.labels.as_ref(), labels)
        || any_differs(old.annotations.as_ref(), new.annotations.as_ref(), annotations)
        || !generators(before).eq(generators(after))
        || before.spec != after.spec
        || before.artifact() != after.artifact()
        || ready(before) != ready(after)
}

fn any_differs<'a>(old: Option<&Pairs>, new: Option<&Pairs>, mut keys: impl Iterator<Item = &'a String>) -> bool {
    keys.any(|key| old.and_then(|old| old.get(key)) != new.and_then(|new| new.get(key)))
}

/// The generators among the owners of an object.
fn generators(object: &ExternalArtifact) -> impl Iterator<Item = &OwnerReference> {
    let owners = object.metadata.owner_references.iter().flatten();
    owners.filter(|owner| owner.kind == artifact_generator::KIND)
}

/// How the origin revision of an artifact behaves when only the source moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It stays at the revision that brought the content. The default.
    WithContent,
    /// It follows the source. Also right when the spec changed: another alias may be named now.
    Always,
}

/// How origin revisions behave in a run. Those that are published are a precedent only when the spec has been carried out as it is
/// now: another one may have named another source. That is so when Ready is True, or a run of this process has `succeeded` at
/// this generation.
pub fn origin(generator: &ArtifactGenerator, succeeded: Option<i64>, setting: Origin) -> Origin {
    let generation = generator.metadata.generation;
    let ready = generator.status.as_ref().and_then(|status| find(&status.conditions, "Ready"));
    let is_ready = ready.is_some_and(|ready| ready.status == "True" && ready.observed_generation == generation);
    let is_carried_out = is_ready || (succeeded.is_some() && succeeded == generation);
    if is_carried_out { setting } else { Origin::Always }
}

/// `status.artifact` for a file in the store: the revision and origin revision that the spec asks for, and the fields of
/// `previous` wherever the content is the same.
///
/// The revision is the one of the named source, or the content's. The origin revision is the named source's own origin, or else
/// its revision; an unknown alias sets none.
pub fn artifact(
    stored: v1::Artifact,
    spec: &OutputArtifact,
    sources: &Observed,
    previous: Option<&Artifact>,
    origin: Origin,
) -> Artifact {
    let source = |reference: &str| sources.sources.get(reference.strip_prefix('@')?);
    let kept = previous.filter(|previous| {
        origin == Origin::WithContent && (previous.digest == stored.digest || previous.revision == stored.revision)
    });
    let revision = source(&spec.revision).map(|source| source.revision.clone());
    let origin_revision = source(&spec.origin_revision).map(|source| {
        let kept = kept.and_then(|previous| previous.metadata.get(ORIGIN_REVISION_KEY));
        kept.or(source.origin_revision.as_ref()).unwrap_or(&source.revision).clone()
    });
    let fresh = Artifact {
        digest: stored.digest,
        last_update_time: Time(second(stored.last_update_time)),
        path: stored.path,
        revision: revision.unwrap_or(stored.revision),
        url: stored.url,
        size: Some(stored.size),
        metadata: origin_revision.map(|value| (ORIGIN_REVISION_KEY.to_owned(), value)).into_iter().collect(),
    };
    // A file stored anew with the same bytes is no news to anybody.
    match previous {
        Some(previous)
            if (Artifact { last_update_time: previous.last_update_time.clone(), ..fresh.clone() }) == *previous =>
        {
            previous.clone()
        }
        _ => fresh,
    }
}

/// The status to publish with an artifact: Ready, at the generation of `observed`, which is the object as the API last gave it.
/// When it equals `observed.status`, there is nothing to write.
pub fn status(artifact: Artifact, observed: &ExternalArtifact, now: Timestamp) -> ExternalArtifactStatus {
    let condition = ready(old_ready(observed), READY, observed.metadata.generation, now);
    ExternalArtifactStatus { artifact: Some(artifact), conditions: vec![condition] }
}

/// The status of an output whose bytes are gone: not Ready, but with its artifact, which others rely on. `None` when that is
/// what the object says already, or when it has no artifact to lose.
pub fn lost(observed: &ExternalArtifact, why: &str, now: Timestamp) -> Option<ExternalArtifactStatus> {
    let artifact = observed.artifact()?.clone();
    let message = format!("artifact file {} is {why}, it will be rebuilt", artifact.filename());
    let state = ("False", "StorageOperationFailed", message.as_str());
    let condition = ready(old_ready(observed), state, observed.metadata.generation, now);
    let lost = ExternalArtifactStatus { artifact: Some(artifact), conditions: vec![condition] };
    (observed.status.as_ref() != Some(&lost)).then_some(lost)
}

/// Whether the object says Ready of exactly this artifact, in our words and of its generation. Conditions of others do not count.
pub fn is_ready_with(observed: &ExternalArtifact, artifact: &Artifact) -> bool {
    let is_ours = |ready: &Condition| {
        (ready.status.as_str(), ready.reason.as_str(), ready.message.as_str()) == READY
            && ready.observed_generation == observed.metadata.generation
    };
    observed.artifact() == Some(artifact) && old_ready(observed).is_some_and(is_ours)
}

fn old_ready(observed: &ExternalArtifact) -> Option<&Condition> {
    find(&observed.status.as_ref()?.conditions, "Ready")
}

fn second(time: Option<prost_types::Timestamp>) -> Timestamp {
    time.and_then(|time| Timestamp::from_second(time.seconds).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::artifact_generator::{ArtifactGeneratorStatus, CommonMetadata},
        plan::observe::ObservedSource,
    };

    fn pairs(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.into(), b.into())).collect()
    }

    fn generator(labels: &str, annotations: &str) -> ArtifactGenerator {
        let mut generator = ArtifactGenerator::default();
        generator.metadata.name = Some("gen".into());
        generator.metadata.namespace = Some("apps".into());
        generator.metadata.uid = Some("uid-1".into());
        let common = CommonMetadata { labels: pairs(labels), annotations: pairs(annotations) };
        generator.spec.common_metadata = Some(common);
        generator
    }

    fn stored(digest: &str, revision: &str, seconds: i64) -> v1::Artifact {
        v1::Artifact {
            path: format!("externalartifact/apps/out/{digest}.tar.gz"),
            url: format!("http://host/externalartifact/apps/out/{digest}.tar.gz"),
            revision: revision.into(),
            digest: digest.into(),
            last_update_time: Some(prost_types::Timestamp { seconds, nanos: 5 }),
            size: 7,
            metadata: Default::default(),
        }
    }

    #[test]
    fn an_origin_stays_only_if_its_spec_was_carried_out() {
        // (row, status of Ready, its generation, what this process has carried out, whether an origin may stay)
        let rows = [
            ("the last run did it", Some("True"), 3, None, true),
            ("a new spec", Some("True"), 2, None, false),
            ("a new spec, known here", Some("True"), 2, Some(2), false),
            ("a new spec whose first run failed", Some("False"), 3, Some(2), false),
            ("a failure since", Some("False"), 3, Some(3), true),
            ("a failure before a restart", Some("False"), 3, None, false),
            ("at work", Some("Unknown"), 3, Some(3), true),
            ("nothing is said yet", None, 3, None, false),
        ];
        for (row, status, observed, succeeded, stays) in rows {
            let mut generator = ArtifactGenerator::default();
            generator.metadata.generation = Some(3);
            let ready = status.map(|status| Condition {
                type_: "Ready".into(),
                status: status.into(),
                reason: "Reason".into(),
                message: String::new(),
                observed_generation: Some(observed),
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            });
            generator.status =
                Some(ArtifactGeneratorStatus { conditions: ready.into_iter().collect(), ..Default::default() });
            let expected = if stays { Origin::WithContent } else { Origin::Always };
            assert_eq!(origin(&generator, succeeded, Origin::WithContent), expected, "row {row}");
        }
        let unknown = ArtifactGenerator::default();
        assert_eq!(origin(&unknown, None, Origin::WithContent), Origin::Always, "no generation at all");
    }

    #[test]
    fn the_frame_is_the_one_of_the_reference_with_an_owner() {
        let got = serde_json::to_value(frame(&generator("team=a app=x", ""), "out", &pairs("app=auth"))).unwrap();
        let wanted = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "ExternalArtifact",
            "metadata": {
                "name": "out",
                "namespace": "apps",
                "labels": {
                    "team": "a",
                    "app": "auth",
                    "app.kubernetes.io/managed-by": "source-watcher",
                    "source.extensions.fluxcd.io/generator": "uid-1",
                },
                "ownerReferences": [{
                    "apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator", "name": "gen",
                    "uid": "uid-1", "blockOwnerDeletion": true,
                }],
            },
            "spec": { "sourceRef": {
                "apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator", "name": "gen",
                "namespace": "apps",
            }},
        });
        assert_eq!(got, wanted, "§12 labels: captures over common ones, no annotations field when there are none");
        let stubborn = generator("app.kubernetes.io/managed-by=me", "note=x");
        let frame = frame(&stubborn, "out", &pairs(""));
        assert_eq!(frame.metadata.labels.unwrap()[MANAGED_BY_LABEL], "source-watcher", "§12 reserved labels win");
        assert_eq!(frame.metadata.annotations.unwrap(), pairs("note=x"));
    }

    #[test]
    fn a_frame_is_written_when_something_of_ours_differs() {
        let wanted = frame(&generator("team=a", "note=x"), "out", &pairs(""));
        type Edit = fn(&mut ExternalArtifact);
        let rows: [(&str, Edit, bool); 15] = [
            ("untouched", |_| {}, false),
            ("the API's own fields", |o| o.metadata.resource_version = Some("7".into()), false),
            ("foreign label", |o| _ = o.metadata.labels.as_mut().unwrap().insert("x".into(), "y".into()), false),
            ("our label edited", |o| _ = o.metadata.labels.as_mut().unwrap().insert("team".into(), "b".into()), true),
            ("reserved label removed", |o| _ = o.metadata.labels.as_mut().unwrap().remove(GENERATOR_LABEL), true),
            ("all labels removed", |o| o.metadata.labels = None, true),
            ("annotation removed", |o| o.metadata.annotations = None, true),
            ("foreign owner", |o| o.metadata.owner_references.as_mut().unwrap().push(Default::default()), false),
            (
                "an owner that controls it",
                |o| {
                    let theirs = OwnerReference { controller: Some(true), ..Default::default() };
                    o.metadata.owner_references.as_mut().unwrap().insert(0, theirs);
                },
                false,
            ),
            (
                "our owner is to control it: nobody else could",
                |o| o.metadata.owner_references.as_mut().unwrap()[0].controller = Some(true),
                true,
            ),
            ("no owner", |o| o.metadata.owner_references = None, true),
            ("sourceRef edited", |o| o.spec.source_ref.as_mut().unwrap().name = "other".into(), true),
            ("sourceRef removed", |o| o.spec.source_ref = None, true),
            (
                "label of an earlier commonMetadata",
                |o| {
                    _ = o.metadata.labels.as_mut().unwrap().insert("old".into(), "y".into());
                    o.applied.labels.push("old".into());
                },
                true,
            ),
            ("on its way out", |o| o.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH)), true),
        ];
        for (row, edit, differs) in rows {
            let mut observed = wanted.clone();
            edit(&mut observed);
            assert_eq!(frame_differs(&observed, &wanted), differs, "row {row}");
        }
    }

    #[test]
    fn condensing_keeps_what_we_applied() {
        let fields = |labels: &[&str]| -> serde_json::Value {
            let labels: serde_json::Map<_, _> = labels.iter().map(|key| (format!("f:{key}"), json!({}))).collect();
            json!({"f:metadata": {"f:labels": labels, "f:annotations": {"f:note": {}}}})
        };
        let entry = |manager: &str, subresource: Option<&str>, labels: &[&str]| json!({"manager": manager, "operation": "Apply", "subresource": subresource, "fieldsV1": fields(labels)});
        let mut object: ExternalArtifact = serde_json::from_value(json!({"metadata": {"managedFields": [
            entry("source-watcher", None, &["team", MANAGED_BY_LABEL, GENERATOR_LABEL]),
            entry("source-watcher", Some("status"), &["status"]),
            entry("kubectl", None, &["theirs"]),
        ]}}))
        .unwrap();
        object.condense();
        assert_eq!(object.applied.labels, ["team"]);
        assert_eq!(object.applied.annotations, ["note"]);
        assert_eq!(object.metadata.managed_fields, None);
    }

    #[test]
    fn condensing_keeps_who_wrote_last() {
        /// Manager and second.
        type Entries = &'static [(&'static str, u8)];
        // (row, entries, editor)
        let rows: [(&str, Entries, Option<&str>); 6] = [
            ("nobody", &[], None),
            ("only we", &[("source-watcher", 1), ("source-watcher", 2)], None),
            ("somebody before us", &[("kubectl-label", 1), ("source-watcher", 2)], None),
            ("somebody after us", &[("source-watcher", 1), ("kubectl-edit", 2)], Some("kubectl-edit")),
            ("in the same second", &[("kubectl-edit", 2), ("source-watcher", 2)], Some("kubectl-edit")),
            ("the last of several", &[("a", 3), ("source-watcher", 1), ("b", 2)], Some("a")),
        ];
        for (row, entries, editor) in rows {
            let entry = |(manager, second): &(&str, u8)| json!({"manager": manager, "operation": "Update", "time": format!("2026-01-01T00:00:0{second}Z")});
            let entries: Vec<_> = entries.iter().map(entry).collect();
            let mut object: ExternalArtifact =
                serde_json::from_value(json!({"metadata": {"managedFields": entries}})).unwrap();
            object.condense();
            assert_eq!(object.editor.as_deref(), editor, "row {row}");
        }
    }

    fn observed(revision: &str, origin: Option<&str>) -> Observed {
        let source = ObservedSource {
            digest: "d".into(),
            revision: revision.into(),
            url: "u".into(),
            origin_revision: origin.map(str::to_owned),
        };
        Observed { sources: [("src".to_owned(), source)].into(), digest: String::new() }
    }

    fn spec(revision: &str, origin: &str) -> OutputArtifact {
        OutputArtifact { revision: revision.into(), origin_revision: origin.into(), ..Default::default() }
    }

    #[test]
    fn revisions() {
        // (row, revision and originRevision of the spec, origin revision of the source, wanted revision and origin)
        let rows = [
            ("§10.11 neither", "", "", None, "latest@c1", None),
            ("§10.11 revision of a source", "@src", "", None, "main@2", None),
            ("§10.11 origin falls back to the revision", "", "@src", None, "latest@c1", Some("main@2")),
            ("§10.11 origin of the source", "", "@src", Some("v9"), "latest@c1", Some("v9")),
            ("§10.11 both", "@src", "@src", Some("v9"), "main@2", Some("v9")),
            ("§10.11 unknown origin alias is ignored", "", "@nobody", Some("v9"), "latest@c1", None),
        ];
        for (row, revision, origin, of_source, wanted, wanted_origin) in rows {
            let sources = observed("main@2", of_source);
            let got =
                artifact(stored("d1", "latest@c1", 9), &spec(revision, origin), &sources, None, Origin::WithContent);
            assert_eq!(got.revision, wanted, "row {row}");
            assert_eq!(got.metadata.get(ORIGIN_REVISION_KEY).map(String::as_str), wanted_origin, "row {row}");
            assert_eq!(got.last_update_time.0.to_string(), "1970-01-01T00:00:09Z", "row {row}: whole seconds");
            assert_eq!((got.size, got.filename()), (Some(7), "d1.tar.gz"), "row {row}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn origin_moves_with_the_content() {
        let first = |revision: &str, origin: &str| {
            let sources = observed("main@1", None);
            artifact(stored("d1", "latest@c1", 9), &spec(revision, origin), &sources, None, Origin::WithContent)
        };
        // (row, before, stored now, origin rule, spec, wanted origin, the same as before)
        let rows = [
            (
                "same bytes",
                first("", "@src"),
                stored("d1", "latest@c1", 9),
                Origin::WithContent,
                ("", "@src"),
                Some("main@1"),
                true,
            ),
            (
                "same bytes, stored anew",
                first("", "@src"),
                stored("d1", "latest@c1", 99),
                Origin::WithContent,
                ("", "@src"),
                Some("main@1"),
                true,
            ),
            (
                "same content, other compressor",
                first("", "@src"),
                stored("d2", "latest@c1", 99),
                Origin::WithContent,
                ("", "@src"),
                Some("main@1"),
                false,
            ),
            (
                "other content",
                first("", "@src"),
                stored("d2", "latest@c2", 99),
                Origin::WithContent,
                ("", "@src"),
                Some("main@2"),
                false,
            ),
            (
                "always",
                first("", "@src"),
                stored("d1", "latest@c1", 9),
                Origin::Always,
                ("", "@src"),
                Some("main@2"),
                false,
            ),
            (
                "newly asked for",
                first("", ""),
                stored("d1", "latest@c1", 9),
                Origin::WithContent,
                ("", "@src"),
                Some("main@2"),
                false,
            ),
            (
                "no longer asked for",
                first("", "@src"),
                stored("d1", "latest@c1", 9),
                Origin::WithContent,
                ("", ""),
                None,
                false,
            ),
            (
                "revision of a source moves anyway",
                first("@src", "@src"),
                stored("d1", "latest@c1", 9),
                Origin::WithContent,
                ("@src", "@src"),
                Some("main@1"),
                false,
            ),
        ];
        for (row, before, now, rule, (revision, origin), wanted, same) in rows {
            let got = artifact(now, &spec(revision, origin), &observed("main@2", None), Some(&before), rule);
            assert_eq!(got.metadata.get(ORIGIN_REVISION_KEY).map(String::as_str), wanted, "row {row}");
            assert_eq!(got == before, same, "row {row}");
        }
    }

    #[test]
    fn a_status_is_written_once() {
        let [early, late]: [Timestamp; 2] =
            ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"].map(|text| text.parse().unwrap());
        let plain =
            artifact(stored("d1", "latest@c1", 9), &spec("", ""), &observed("r", None), None, Origin::WithContent);
        let mut object = frame(&generator("", ""), "out", &pairs(""));
        object.metadata.generation = Some(1);
        object.status = Some(status(plain.clone(), &object, early));
        assert!(is_ready_with(&object, &plain));
        assert_eq!(Some(status(plain.clone(), &object, late)), object.status, "nothing changed: nothing to write");

        let lost_status = lost(&object, "missing", late).unwrap();
        assert_eq!(lost_status.artifact.as_ref(), Some(&plain), "the artifact stays");
        let ready = &lost_status.conditions[0];
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "StorageOperationFailed"));
        assert_eq!(ready.message, "artifact file d1.tar.gz is missing, it will be rebuilt");
        object.status = Some(lost_status);
        assert!(!is_ready_with(&object, &plain));
        assert_eq!(lost(&object, "missing", early), None, "said already");

        let rebuilt = status(plain, &object, late);
        assert_ne!(Some(&rebuilt), object.status.as_ref(), "Ready comes back");
        object.status = None;
        assert_eq!(lost(&object, "missing", late), None, "nothing to lose");
    }

    /// What source-watcher published and the artifact server adopted: only the owner is missing.
    #[test]
    fn an_adopted_output_is_no_news() {
        let adopted = |revision: &str, metadata: &str| Artifact {
            digest: "sha256:d1".into(),
            last_update_time: Time("2025-10-08T10:00:00Z".parse().unwrap()),
            path: "externalartifact/apps/out/2936578364.tar.gz".into(),
            revision: revision.into(),
            url: "http://host/externalartifact/apps/out/2936578364.tar.gz".into(),
            size: Some(7),
            metadata: pairs(metadata),
        };
        let origin = format!("{ORIGIN_REVISION_KEY}=main@1");
        // (row, spec, what source-watcher published)
        let rows = [
            ("§10.11 neither", spec("", ""), adopted("latest@sha256:d1", "")),
            ("§10.11 revision of a source", spec("@src", ""), adopted("main@1", "")),
            ("§10.11 both", spec("@src", "@src"), adopted("main@1", &origin)),
        ];
        for (row, spec, published) in rows {
            let wanted = frame(&generator("", ""), "out", &pairs(""));
            let mut object =
                ExternalArtifact { metadata: wanted.metadata.clone(), spec: wanted.spec.clone(), ..Default::default() };
            object.metadata.owner_references = None;
            object.status = Some(status(published.clone(), &object, Timestamp::UNIX_EPOCH));
            let unchanged = v1::Artifact {
                path: published.path.clone(),
                url: published.url.clone(),
                ..stored("sha256:d1", "latest@sha256:d1", 1_700_000_000)
            };
            for origin in [Origin::WithContent, Origin::Always] {
                let got = artifact(unchanged.clone(), &spec, &observed("main@1", None), object.artifact(), origin);
                assert!(is_ready_with(&object, &got), "row {row}: {got:?}");
            }
            assert!(frame_differs(&object, &wanted), "row {row}");
            object.metadata.owner_references.clone_from(&wanted.metadata.owner_references);
            assert!(!frame_differs(&object, &wanted), "row {row}");
        }
    }
}
