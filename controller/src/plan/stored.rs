//! What can be known from the files that the artifact server has of a generator: which of them nobody names, and what their
//! outputs should say. After a start of this process nothing else tells what its predecessor left and published.

use std::collections::{BTreeSet, HashMap};

use weir_proto::{ArtifactPath, v1::StoredFile};

use crate::api::{
    ObjectKey,
    artifact_generator::{ArtifactGenerator, InventoryEntry, OutputArtifact},
    external_artifact::Artifact,
};

use super::{
    inventory,
    observe::Observed,
    output::{self, Origin},
    wanted::Wanted,
};

/// The output that a file is of; `None` when its path is none of this controller's.
pub fn key(file: &StoredFile) -> Option<ObjectKey> {
    let path: ArtifactPath = file.artifact.as_ref()?.path.parse().ok()?;
    let (_, namespace, name) = path.dir().parts();
    Some(ObjectKey::new(namespace, name))
}

/// The outputs that have files and that nobody names.
pub fn strays(files: &[StoredFile], named: &[InventoryEntry]) -> BTreeSet<ObjectKey> {
    let mut keys: BTreeSet<_> = files.iter().filter_map(key).collect();
    named.iter().for_each(|entry| _ = keys.remove(&entry.key()));
    keys
}

/// What the outputs of a generator are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Recall<'a> {
    /// The generator, its inventory included.
    pub generator: &'a ArtifactGenerator,
    /// Its sources, which are those of the inventory.
    pub sources: &'a Observed,
    /// When the origin revision moves.
    pub origin: Origin,
    /// What URLs start with; empty: the artifact server's own.
    pub advertised: &'a str,
}

impl Recall<'_> {
    /// What each output should say; `None` where that is not known, e.g. of a file without a record. The outputs are those that are
    /// `wanted`; where a path pattern was not looked up yet, those of the inventory.
    ///
    /// `published` is what the output says now. Only two things are taken from there, as nothing else has them: the origin revision
    /// of content that did not change, and since when the bytes are there.
    pub fn artifacts(
        &self,
        wanted: Option<&Wanted>,
        files: &[StoredFile],
        published: impl Fn(&InventoryEntry) -> Option<Artifact>,
    ) -> Vec<Option<(ObjectKey, Artifact)>> {
        let paths = files.iter().filter_map(|file| Some((file.artifact.as_ref()?.path.as_str(), file)));
        let files: HashMap<&str, &StoredFile> = paths.collect();
        let entries = entries(self.generator);
        let artifact = |name: &str, spec: &OutputArtifact| {
            let entry = *entries.get(name)?;
            let file = files.get(inventory::path(entry).as_str())?;
            Some((entry.key(), self.artifact(file, spec, entry, published(entry).as_ref())?))
        };
        match wanted {
            Some(wanted) => wanted.artifacts().map(|spec| artifact(&spec.name, spec)).collect(),
            None => {
                let template = self.template();
                self.generator.inventory().iter().map(|entry| artifact(&entry.name, template?)).collect()
            }
        }
    }

    /// An artifact of the spec that stands for all, as they name the same sources for their revisions. A name does not tell which
    /// template it was made by.
    fn template(&self) -> Option<&OutputArtifact> {
        let (first, others) = self.generator.spec.artifacts.split_first()?;
        let revisions = |spec: &OutputArtifact| (spec.revision.clone(), spec.origin_revision.clone());
        others.iter().all(|other| revisions(other) == revisions(first)).then_some(first)
    }

    fn artifact(
        &self,
        file: &StoredFile,
        spec: &OutputArtifact,
        entry: &InventoryEntry,
        published: Option<&Artifact>,
    ) -> Option<Artifact> {
        let mut stored = file.artifact.clone()?;
        if file.content_digest.is_empty() {
            return None;
        }
        // The inventory may name the same bytes by a digest of another algorithm; whether they are the same is verified.
        stored.digest.clone_from(&entry.digest);
        if !self.advertised.is_empty() {
            stored.url = stored.path.parse::<ArtifactPath>().ok()?.url(self.advertised);
        }
        Some(output::artifact(stored, spec, self.sources, published, self.origin))
    }
}

/// What each artifact is to publish, in their order, when all of it is known: then nothing has to be built to restore an output.
/// `known` is what this process last published as an output, or has found to be right.
pub fn restorable(
    generator: &ArtifactGenerator,
    wanted: &Wanted,
    known: impl Fn(&ObjectKey) -> Option<Artifact>,
) -> Option<Vec<Artifact>> {
    let entries = entries(generator);
    let artifact = |spec: &OutputArtifact| {
        let entry = *entries.get(spec.name.as_str())?;
        known(&entry.key())
            .filter(|artifact| artifact.digest == entry.digest && artifact.path == inventory::path(entry))
    };
    wanted.artifacts().map(artifact).collect()
}

fn entries(generator: &ArtifactGenerator) -> HashMap<&str, &InventoryEntry> {
    let own = |entry: &&InventoryEntry| Some(&entry.namespace) == generator.metadata.namespace.as_ref();
    generator.inventory().iter().filter(own).map(|entry| (entry.name.as_str(), entry)).collect()
}

#[cfg(test)]
mod tests {
    use weir_proto::v1;

    use super::*;
    use crate::{
        api::{ORIGIN_REVISION_KEY, artifact_generator::ArtifactGeneratorStatus},
        plan::{observe::ObservedSource, pattern::Rendered},
    };

    fn file(name: &str, file: &str) -> StoredFile {
        let path = format!("externalartifact/n/{name}/{file}.tar.gz");
        let artifact = v1::Artifact {
            url: format!("http://server/{path}"),
            path,
            revision: format!("latest@sha256:{file}"),
            digest: format!("sha256:{file}"),
            last_update_time: Some(prost_types::Timestamp { seconds: 9, nanos: 0 }),
            size: 7,
            ..v1::Artifact::default()
        };
        let content_digest = format!("sha256:{file}");
        StoredFile {
            artifact: Some(artifact),
            owner: "source-watcher/u".into(),
            content_digest,
            sequence: 1,
            ..StoredFile::default()
        }
    }

    fn entry(name: &str, file: &str) -> InventoryEntry {
        let filename = format!("{file}.tar.gz");
        InventoryEntry { name: name.into(), namespace: "n".into(), digest: format!("sha256:{file}"), filename }
    }

    /// One artifact `a` with this revision and origin revision, published as the file `1`.
    fn generator(revision: &str, origin: &str) -> ArtifactGenerator {
        let mut generator = ArtifactGenerator::default();
        generator.metadata.namespace = Some("n".into());
        let (revision, origin_revision) = (revision.into(), origin.into());
        generator.spec.artifacts =
            vec![OutputArtifact { name: "a".into(), revision, origin_revision, ..OutputArtifact::default() }];
        let inventory = vec![entry("a", "1")];
        generator.status = Some(ArtifactGeneratorStatus { inventory, ..ArtifactGeneratorStatus::default() });
        generator
    }

    fn sources() -> Observed {
        let source =
            ObservedSource { digest: "d".into(), revision: "main@2".into(), url: "u".into(), origin_revision: None };
        Observed { sources: [("src".to_owned(), source)].into(), digest: String::new() }
    }

    fn recalled(
        generator: &ArtifactGenerator,
        files: &[StoredFile],
        advertised: &str,
        published: Option<Artifact>,
    ) -> Option<Artifact> {
        let recall = Recall { generator, sources: &sources(), origin: Origin::WithContent, advertised };
        let listed = Wanted::Listed(generator.clone().into());
        let mut found = recall.artifacts(Some(&listed), files, |_| published.clone());
        assert_eq!(found.len(), 1);
        found.remove(0).map(|(key, artifact)| {
            assert_eq!(key, ObjectKey::new("n", "a"));
            artifact
        })
    }

    #[test]
    fn what_is_recorded_is_what_was_published() {
        let plain = recalled(&generator("", ""), &[file("a", "0"), file("a", "1")], "", None).unwrap();
        assert_eq!((plain.revision.as_str(), plain.digest.as_str()), ("latest@sha256:1", "sha256:1"));
        assert_eq!(plain.url, "http://server/externalartifact/n/a/1.tar.gz", "the server's own address");
        assert_eq!((plain.size, plain.last_update_time.0.as_second()), (Some(7), 9));
        let ours = recalled(&generator("", ""), &[file("a", "1")], "host:80", None).unwrap();
        assert_eq!(ours.url, "http://host:80/externalartifact/n/a/1.tar.gz", "--storage-adv-addr");
        let named = recalled(&generator("@src", "@src"), &[file("a", "1")], "", None).unwrap();
        assert_eq!(named.revision, "main@2");
        assert_eq!(named.metadata[ORIGIN_REVISION_KEY], "main@2", "nothing better is known");
    }

    #[test]
    fn every_edit_of_an_artifact_is_seen_but_two() {
        let generator = generator("", "@src");
        let published = {
            let mut artifact = recalled(&generator, &[file("a", "1")], "", None).unwrap();
            artifact.metadata.insert(ORIGIN_REVISION_KEY.into(), "main@1".into());
            artifact
        };
        type Edit = fn(&mut Artifact);
        let rows: [(&str, Edit, bool); 10] = [
            ("as it was published", |_| {}, false),
            ("digest", |artifact| artifact.digest = "sha256:2".into(), true),
            ("url", |artifact| artifact.url = "http://evil/a".into(), true),
            ("path", |artifact| artifact.path = "externalartifact/n/b/1.tar.gz".into(), true),
            ("revision", |artifact| artifact.revision = "latest@evil".into(), true),
            ("size", |artifact| artifact.size = Some(8), true),
            ("no size", |artifact| artifact.size = None, true),
            ("foreign metadata", |artifact| _ = artifact.metadata.insert("x".into(), "y".into()), true),
            (
                "origin revision: only the output has it",
                |artifact| {
                    artifact.metadata.insert(ORIGIN_REVISION_KEY.into(), "other".into());
                },
                false,
            ),
            (
                "time: that of the first file with these bytes",
                |artifact| {
                    artifact.last_update_time.0 = jiff::Timestamp::UNIX_EPOCH;
                },
                false,
            ),
        ];
        for (row, edit, is_seen) in rows {
            let mut edited = published.clone();
            edit(&mut edited);
            let should = recalled(&generator, &[file("a", "1")], "", Some(edited.clone())).unwrap();
            assert_eq!(should != edited, is_seen, "row {row}: {should:?}");
        }
    }

    #[test]
    fn what_is_not_recorded_is_not_known() {
        let generator = generator("", "");
        let mut unrecorded = file("a", "1");
        unrecorded.content_digest.clear();
        for (row, files) in [
            ("no file", vec![]),
            ("an older file", vec![file("a", "0")]),
            ("a file of another output", vec![file("b", "1")]),
            ("a file without a record", vec![unrecorded]),
        ] {
            assert_eq!(recalled(&generator, &files, "", None), None, "row {row}");
        }
        let mut foreign = generator.clone();
        foreign.metadata.namespace = Some("other".into());
        assert_eq!(recalled(&foreign, &[file("a", "1")], "", None), None, "an entry of another namespace");
    }

    #[test]
    fn what_a_path_pattern_made_is_recalled_too() {
        let of = |name: &str, revision: &str| OutputArtifact {
            name: name.into(),
            revision: revision.into(),
            ..OutputArtifact::default()
        };
        let expanded = |names: &[&str]| {
            let one = |name: &&str| Rendered { artifact: of(name, ""), captures: [].into() };
            Wanted::Expanded(names.iter().map(one).collect())
        };
        // (row, templates, what they were expanded to if that is known, what is recalled)
        let rows = [
            ("by its entries", vec![of("{app}", "")], None, vec![Some("latest@sha256:1")]),
            ("with their revision", vec![of("{app}", "@src")], None, vec![Some("main@2")]),
            ("two templates of a kind", vec![of("{app}", ""), of("{app}-x", "")], None, vec![Some("latest@sha256:1")]),
            ("either of two", vec![of("{app}", ""), of("{app}-x", "@src")], None, vec![None]),
            ("looked up", vec![of("{app}", "@src")], Some(expanded(&["a"])), vec![Some("latest@sha256:1")]),
            ("one is new", vec![of("{app}", "")], Some(expanded(&["a", "b"])), vec![Some("latest@sha256:1"), None]),
        ];
        for (row, templates, wanted, revisions) in rows {
            let mut generator = generator("", "");
            generator.spec.path_pattern = "@src/apps/{app}".into();
            generator.spec.artifacts = templates;
            let sources = sources();
            let recall =
                Recall { generator: &generator, sources: &sources, origin: Origin::WithContent, advertised: "host:80" };
            let found = recall.artifacts(wanted.as_ref(), &[file("a", "1")], |_| None);
            let is_ours = |artifact: &Artifact| artifact.url == "http://host:80/externalartifact/n/a/1.tar.gz";
            assert!(found.iter().flatten().all(|(_, artifact)| is_ours(artifact)), "row {row}: --storage-adv-addr");
            let found: Vec<_> =
                found.iter().map(|one| one.as_ref().map(|(_, artifact)| artifact.revision.as_str())).collect();
            assert_eq!(found, revisions, "row {row}");
        }
    }

    #[test]
    fn files_that_nobody_names_are_strays() {
        let broken = StoredFile { artifact: Some(v1::Artifact::default()), ..StoredFile::default() };
        let files = [file("a", "1"), file("a", "0"), file("b", "1"), broken];
        assert_eq!(strays(&files, &[entry("a", "1")]), [ObjectKey::new("n", "b")].into());
        assert_eq!(strays(&files, &[entry("a", "9"), entry("b", "9")]), BTreeSet::new(), "old versions are no strays");
    }

    #[test]
    fn only_what_is_wholly_known_is_restored() {
        let known = |_: &ObjectKey| recalled(&generator("", ""), &[file("a", "1")], "", None);
        type Edit = fn(&mut ArtifactGenerator);
        let rows: [(&str, Edit, bool); 4] = [
            ("all is known", |_| {}, true),
            ("no entry", |generator| generator.status = None, false),
            ("the entry has another digest", |generator| inventory_of(generator).digest = "sha256:2".into(), false),
            ("the entry has another file", |generator| inventory_of(generator).filename = "2.tar.gz".into(), false),
        ];
        for (row, edit, is_known) in rows {
            let mut generator = generator("", "");
            edit(&mut generator);
            let wanted = Wanted::Listed(generator.clone().into());
            let found = restorable(&generator, &wanted, known).map(|artifacts| artifacts.len());
            assert_eq!(found, is_known.then_some(1), "row {row}");
        }
        let plain = generator("", "");
        let wanted = Wanted::Listed(plain.clone().into());
        assert_eq!(restorable(&plain, &wanted, |_| None), None, "nobody knows");
        let none = Wanted::Expanded([].into());
        assert_eq!(restorable(&plain, &none, known), Some(vec![]), "§10.2 nothing is to be made");
    }

    fn inventory_of(generator: &mut ArtifactGenerator) -> &mut InventoryEntry {
        &mut generator.status.as_mut().unwrap().inventory[0]
    }
}
