//! The artifacts that a run is to make: as the spec lists them, or as its path pattern expands them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::api::artifact_generator::{ArtifactGenerator, OutputArtifact};

use super::pattern::Rendered;

/// Labels of an artifact that has no captures.
static NONE: BTreeMap<String, String> = BTreeMap::new();

/// What to make, in order. Clones are cheap.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// `spec.artifacts`, word by word.
    Listed(Arc<ArtifactGenerator>),
    /// One set of artifacts for each directory that matches `spec.pathPattern`.
    Expanded(Arc<[Rendered]>),
}

impl Wanted {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Listed(generator) => generator.spec.artifacts.len(),
            Self::Expanded(rendered) => rendered.len(),
        }
    }

    /// Whether there is nothing to make.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn artifacts(&self) -> impl Iterator<Item = &OutputArtifact> {
        (0..self.len()).map(|index| self.artifact(index))
    }

    /// The one at a place below [`Self::len`].
    pub fn artifact(&self, index: usize) -> &OutputArtifact {
        match self {
            Self::Listed(generator) => &generator.spec.artifacts[index],
            Self::Expanded(rendered) => &rendered[index].artifact,
        }
    }

    /// What the captures took, by name of the artifact; nothing of those that were listed.
    pub fn all_captures(&self) -> HashMap<&str, &BTreeMap<String, String>> {
        match self {
            Self::Listed(_) => HashMap::new(),
            Self::Expanded(all) => all.iter().map(|one| (one.artifact.name.as_str(), &one.captures)).collect(),
        }
    }

    /// What the captures took for it, which become labels of its output.
    pub fn captures(&self, index: usize) -> &BTreeMap<String, String> {
        match self {
            Self::Listed(_) => &NONE,
            Self::Expanded(rendered) => &rendered[index].captures,
        }
    }
}
