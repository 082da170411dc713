//! Whether what is published is still what the spec and the sources ask for.

use std::collections::{BTreeMap, HashMap};

use weir_proto::v1::Verdict;

use crate::api::{
    artifact_generator::{ArtifactGenerator, ArtifactGeneratorStatus, InventoryEntry},
    external_artifact::{Artifact, ExternalArtifact},
};

use super::{conditions::find, output, pattern, wanted::Wanted};

/// The first difference that was found. Any of them means that everything is composed again; what turns out unchanged is not
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The last run failed, or did not come to its end.
    NotReady,
    /// The spec changed.
    GenerationChanged,
    /// A source offers something else.
    SourcesChanged,
    /// The inventory has more or fewer entries than the spec.
    ArtifactsChanged,
    /// A file is not in the store.
    ArtifactMissing,
    /// A file is not what it was.
    ArtifactCorrupted,
    /// An ExternalArtifact was deleted, edited or added by somebody else.
    ExternalArtifactsChanged,
}

impl Drift {
    /// The reason in the logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotReady => "NotReady",
            Self::GenerationChanged => "GenerationChanged",
            Self::SourcesChanged => "SourcesChanged",
            Self::ArtifactsChanged => "ArtifactsChanged",
            Self::ArtifactMissing => "ArtifactMissing",
            Self::ArtifactCorrupted => "ArtifactCorrupted",
            Self::ExternalArtifactsChanged => "ExternalArtifactsChanged",
        }
    }
}

/// What a generator and its surroundings look like.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The generator with its last status.
    pub generator: &'a ArtifactGenerator,
    /// Digest of the sources as they are now.
    pub sources_digest: &'a str,
    /// What the store says of each published file, in the order of the outputs. Empty: not asked yet; then files count as good,
    /// so that drift known without the store costs no call.
    pub verdicts: &'a [Verdict],
    /// The ExternalArtifacts in the namespace with the generator's label.
    pub outputs: &'a [&'a ExternalArtifact],
    /// What is to be made, if that is known: with a path pattern, after the source was read.
    pub wanted: Option<&'a Wanted>,
    /// What this process published last, by name. Names that are missing (after a restart) are compared with the inventory only.
    pub published: &'a HashMap<String, Artifact>,
}

/// The first drift in order of the reasons; `None` when all is as it should be.
///
/// Unlike in source-watcher a Ready that is not True counts (also Unknown: a run that died may have noted the new generation
/// without carrying it out), so does Reconciling=True, and an output without artifact is drift and not a panic.
pub fn detect(scene: &Scene<'_>) -> Option<Drift> {
    let generator = scene.generator;
    let empty = ArtifactGeneratorStatus::default();
    let status = generator.status.as_ref().unwrap_or(&empty);
    let ready = find(&status.conditions, "Ready");
    let reconciling = find(&status.conditions, "Reconciling").is_some_and(|found| found.status == "True");
    let observed_generation = ready.and_then(|ready| ready.observed_generation).unwrap_or_default();
    if ready.is_some_and(|ready| ready.status != "True") || reconciling {
        Some(Drift::NotReady)
    } else if generator.metadata.generation.unwrap_or_default() != observed_generation {
        Some(Drift::GenerationChanged)
    } else if status.observed_sources_digest != scene.sources_digest {
        Some(Drift::SourcesChanged)
    } else if generator.spec.path_pattern.is_empty() && status.inventory.len() != generator.spec.artifacts.len() {
        Some(Drift::ArtifactsChanged)
    } else {
        of_files(scene.verdicts).or_else(|| of_outputs(scene).then_some(Drift::ExternalArtifactsChanged))
    }
}

fn of_files(verdicts: &[Verdict]) -> Option<Drift> {
    verdicts.iter().find_map(|verdict| match verdict {
        Verdict::Ok => None,
        Verdict::Missing => Some(Drift::ArtifactMissing),
        Verdict::Corrupted | Verdict::Mismatch | Verdict::Unspecified => Some(Drift::ArtifactCorrupted),
    })
}

fn of_outputs(scene: &Scene<'_>) -> bool {
    let inventory = scene.generator.inventory();
    let entries: HashMap<_, _> = inventory.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let captures = scene.wanted.map(Wanted::all_captures).unwrap_or_default();
    scene.outputs.len() != inventory.len()
        || scene.outputs.iter().any(|output| {
            let name = output.metadata.name.as_deref().unwrap_or_default();
            let frame_is_intact = || frame_is_intact(scene.generator, output, name, captures.get(name).copied());
            entries.get(name).is_none_or(|entry| !is_as_published(scene, output, entry) || !frame_is_intact())
        })
}

fn is_as_published(scene: &Scene<'_>, observed: &ExternalArtifact, entry: &InventoryEntry) -> bool {
    let Some(artifact) = observed.artifact() else { return false };
    let published = scene.published.get(&entry.name).unwrap_or(artifact);
    artifact.digest == entry.digest
        && artifact.filename() == entry.filename
        && artifact.url.ends_with(&format!("/{}", artifact.path))
        && output::is_ready_with(observed, published)
}

/// Where it is not known what the captures of a path pattern took, any value of their labels will do; none does not.
fn frame_is_intact(
    generator: &ArtifactGenerator,
    observed: &ExternalArtifact,
    name: &str,
    captures: Option<&BTreeMap<String, String>>,
) -> bool {
    if let Some(captures) = captures {
        return !output::frame_differs(observed, &output::frame(generator, name, captures));
    }
    let labels = observed.metadata.labels.as_ref();
    let value = |key: &str| labels.and_then(|labels| labels.get(key)).cloned().unwrap_or_default();
    let captures = pattern::captures(&generator.spec.path_pattern);
    let captures = captures.into_iter().map(|key| (key.to_owned(), value(key))).collect();
    !output::frame_differs(observed, &output::frame(generator, name, &captures))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

    use super::*;
    use crate::{
        api::artifact_generator::OutputArtifact,
        plan::{
            conditions::{self, Situation},
            inventory, output,
            pattern::Rendered,
        },
    };

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// A generator with two artifacts, published and Ready, as most rows start from.
    struct World {
        generator: ArtifactGenerator,
        outputs: Vec<ExternalArtifact>,
        verdicts: Vec<Verdict>,
        published: HashMap<String, Artifact>,
        wanted: Option<Wanted>,
        digest: &'static str,
    }

    fn world() -> World {
        let mut generator = ArtifactGenerator::default();
        generator.metadata.name = Some("gen".into());
        generator.metadata.namespace = Some("n".into());
        generator.metadata.uid = Some("uid".into());
        generator.metadata.generation = Some(3);
        let mut status = ArtifactGeneratorStatus { observed_sources_digest: "sources".into(), ..Default::default() };
        status.conditions = conditions::next(&[], Situation::Succeeded { artifacts: 2 }, 3, NOW);
        let mut world = World {
            generator: generator.clone(),
            outputs: Vec::new(),
            verdicts: vec![Verdict::Ok; 2],
            published: HashMap::new(),
            wanted: None,
            digest: "sources",
        };
        for name in ["a", "b"] {
            generator.spec.artifacts.push(OutputArtifact { name: name.into(), ..Default::default() });
            let path = format!("externalartifact/n/{name}/1.tar.gz");
            let artifact = Artifact { digest: "d".into(), url: format!("http://h/{path}"), path, ..Default::default() };
            let mut output = output::frame(&generator, name, &Default::default());
            output.status = Some(output::status(artifact.clone(), &output, NOW));
            status.inventory.push(inventory::entry("n", name, &artifact));
            world.outputs.push(output);
            world.published.insert(name.into(), artifact);
        }
        generator.status = Some(status);
        world.generator = generator;
        world
    }

    fn status(world: &mut World) -> &mut ArtifactGeneratorStatus {
        world.generator.status.as_mut().unwrap()
    }

    fn artifact(world: &mut World) -> &mut Artifact {
        world.outputs[1].status.as_mut().unwrap().artifact.as_mut().unwrap()
    }

    fn in_situation(world: &mut World, situation: Situation<'_>) {
        let before: Vec<Condition> = std::mem::take(&mut status(world).conditions);
        status(world).conditions = conditions::next(&before, situation, 3, NOW);
    }

    /// The two artifacts are what a pattern found.
    fn with_pattern(world: &mut World) {
        world.generator.spec.path_pattern = "@src/apps/{app}".into();
        for output in &mut world.outputs {
            let name = output.metadata.name.clone().unwrap();
            output.metadata.labels.as_mut().unwrap().insert("app".into(), name);
        }
    }

    fn expanded(world: &World) -> Wanted {
        let rendered = |name: &str| Rendered {
            artifact: OutputArtifact { name: name.into(), ..Default::default() },
            captures: [("app".to_owned(), name.to_owned())].into(),
        };
        Wanted::Expanded(world.generator.inventory().iter().map(|entry| rendered(&entry.name)).collect())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn first_hit_wins() {
        type Edit = fn(&mut World);
        let rows: [(&str, Edit, Option<Drift>); 42] = [
            ("§8 nothing", |_| {}, None),
            ("§8 nothing, store not asked", |w| w.verdicts.clear(), None),
            ("§8 nothing, after a restart", |w| w.published.clear(), None),
            (
                "§8.1 Ready=False",
                |w| in_situation(w, Situation::Failed { reason: "BuildFailed", message: "x" }),
                Some(Drift::NotReady),
            ),
            (
                "§8 trap: Ready=Unknown at the new generation",
                |w| in_situation(w, Situation::Working),
                Some(Drift::NotReady),
            ),
            (
                "§8 trap: Ready=Unknown alone",
                |w| {
                    in_situation(w, Situation::Working);
                    status(w).conditions.retain(|condition| condition.type_ == "Ready");
                },
                Some(Drift::NotReady),
            ),
            (
                "§8 trap: Reconciling=True beside Ready=True",
                |w| {
                    in_situation(w, Situation::Working);
                    status(w).conditions.last_mut().unwrap().status = "True".into();
                },
                Some(Drift::NotReady),
            ),
            (
                "§8.1 before §8.2",
                |w| {
                    in_situation(w, Situation::Working);
                    w.generator.metadata.generation = Some(4)
                },
                Some(Drift::NotReady),
            ),
            ("§8.2 generation", |w| w.generator.metadata.generation = Some(4), Some(Drift::GenerationChanged)),
            ("§8.2 Ready missing", |w| status(w).conditions.clear(), Some(Drift::GenerationChanged)),
            ("§8.2 no status at all", |w| w.generator.status = None, Some(Drift::GenerationChanged)),
            (
                "§8.2 before §8.3",
                |w| {
                    w.generator.metadata.generation = Some(4);
                    w.digest = "other"
                },
                Some(Drift::GenerationChanged),
            ),
            ("§8.3 sources", |w| w.digest = "other", Some(Drift::SourcesChanged)),
            (
                "§8.3 resumed after a paused start",
                |w| {
                    *status(w) = Default::default();
                    in_situation(w, Situation::FirstPassPaused);
                },
                Some(Drift::SourcesChanged),
            ),
            (
                "§8.4 more entries",
                |w| {
                    let one = status(w).inventory[0].clone();
                    status(w).inventory.push(one)
                },
                Some(Drift::ArtifactsChanged),
            ),
            ("§8.4 fewer entries", |w| _ = status(w).inventory.pop(), Some(Drift::ArtifactsChanged)),
            (
                "§8.4 not with pathPattern",
                |w| {
                    with_pattern(w);
                    w.generator.spec.artifacts.pop();
                },
                None,
            ),
            ("§8.4 nothing, with pathPattern", with_pattern, None),
            (
                "#346 label of a capture removed",
                |w| {
                    with_pattern(w);
                    _ = w.outputs[0].metadata.labels.as_mut().unwrap().remove("app");
                },
                Some(Drift::ExternalArtifactsChanged),
            ),
            (
                "#346 label of a capture edited",
                |w| {
                    with_pattern(w);
                    w.wanted = Some(expanded(w));
                    _ = w.outputs[0].metadata.labels.as_mut().unwrap().insert("app".into(), "other".into());
                },
                Some(Drift::ExternalArtifactsChanged),
            ),
            (
                "§8.4 nothing, with an expanded pathPattern",
                |w| {
                    with_pattern(w);
                    w.wanted = Some(expanded(w));
                },
                None,
            ),
            (
                "after a restart nobody knows what a capture took",
                |w| {
                    with_pattern(w);
                    _ = w.outputs[0].metadata.labels.as_mut().unwrap().insert("app".into(), "other".into());
                },
                None,
            ),
            (
                "#346 reserved label edited, with pathPattern",
                |w| {
                    with_pattern(w);
                    let labels = w.outputs[0].metadata.labels.as_mut().unwrap();
                    _ = labels.insert(crate::api::MANAGED_BY_LABEL.into(), "me".into());
                },
                Some(Drift::ExternalArtifactsChanged),
            ),
            ("§8.5 missing", |w| w.verdicts[1] = Verdict::Missing, Some(Drift::ArtifactMissing)),
            ("§8.6 corrupted", |w| w.verdicts[1] = Verdict::Corrupted, Some(Drift::ArtifactCorrupted)),
            ("§8.6 another digest", |w| w.verdicts[1] = Verdict::Mismatch, Some(Drift::ArtifactCorrupted)),
            (
                "§8.5-6 in order of the outputs",
                |w| w.verdicts = vec![Verdict::Corrupted, Verdict::Missing],
                Some(Drift::ArtifactCorrupted),
            ),
            (
                "§8.5 before §8.8",
                |w| {
                    w.verdicts[0] = Verdict::Missing;
                    w.outputs.clear()
                },
                Some(Drift::ArtifactMissing),
            ),
            ("§8.8 output deleted", |w| _ = w.outputs.pop(), Some(Drift::ExternalArtifactsChanged)),
            (
                "§8.8 output added",
                |w| {
                    let mut other = w.outputs[0].clone();
                    other.metadata.name = Some("x".into());
                    w.outputs.push(other)
                },
                Some(Drift::ExternalArtifactsChanged),
            ),
            (
                "§8.8 output replaced",
                |w| w.outputs[0].metadata.name = Some("x".into()),
                Some(Drift::ExternalArtifactsChanged),
            ),
            ("§8.8 digest edited", |w| artifact(w).digest = "x".into(), Some(Drift::ExternalArtifactsChanged)),
            (
                "§8 no panic on an output without artifact",
                |w| w.outputs[0].status = None,
                Some(Drift::ExternalArtifactsChanged),
            ),
            ("#346 URL edited", |w| artifact(w).url = "http://evil/x".into(), Some(Drift::ExternalArtifactsChanged)),
            (
                "#346 URL edited, after a restart",
                |w| {
                    artifact(w).url = "http://evil/x".into();
                    w.published.clear()
                },
                Some(Drift::ExternalArtifactsChanged),
            ),
            ("#346 revision edited", |w| artifact(w).revision = "x".into(), Some(Drift::ExternalArtifactsChanged)),
            ("#346 label edited", |w| w.outputs[0].metadata.labels = None, Some(Drift::ExternalArtifactsChanged)),
            (
                "#346 condition edited",
                |w| w.outputs[0].status.as_mut().unwrap().conditions[0].status = "False".into(),
                Some(Drift::ExternalArtifactsChanged),
            ),
            (
                "#346 reason of the condition edited",
                |w| w.outputs[0].status.as_mut().unwrap().conditions[0].reason = "Other".into(),
                Some(Drift::ExternalArtifactsChanged),
            ),
            (
                "#346 message of the condition edited",
                |w| w.outputs[0].status.as_mut().unwrap().conditions[0].message = "other".into(),
                Some(Drift::ExternalArtifactsChanged),
            ),
            (
                "Ready is not said of this generation",
                |w| w.outputs[0].metadata.generation = Some(2),
                Some(Drift::ExternalArtifactsChanged),
            ),
            (
                "conditions of others do not count",
                |w| {
                    let conditions = &mut w.outputs[0].status.as_mut().unwrap().conditions;
                    let theirs = Condition { type_: "Theirs".into(), ..conditions[0].clone() };
                    conditions.push(theirs)
                },
                None,
            ),
        ];
        for (row, edit, drift) in rows {
            let mut world = world();
            edit(&mut world);
            let outputs: Vec<_> = world.outputs.iter().collect();
            let scene = Scene {
                generator: &world.generator,
                sources_digest: world.digest,
                verdicts: &world.verdicts,
                outputs: &outputs,
                wanted: world.wanted.as_ref(),
                published: &world.published,
            };
            assert_eq!(detect(&scene), drift, "row {row}");
        }
    }
}
