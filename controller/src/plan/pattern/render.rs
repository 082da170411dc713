//! Fills what the captures of a directory took into an artifact of the spec.

use std::collections::BTreeMap;

use weir_proto::captures::{self, Piece};

use super::{
    Directory,
    error::{Flaw, Problem, TemplateError},
};
use crate::api::artifact_generator::{CopyOperation, OutputArtifact};

/// An artifact for one directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// The artifact, with everything filled in.
    pub artifact: OutputArtifact,
    /// What the captures took, in lower case: labels of its output.
    pub captures: BTreeMap<String, String>,
}

/// The name gets what fits into names, `from` and `to` what is on disk. Everything else is no template.
pub(super) fn render(
    template: &OutputArtifact,
    normalised: &BTreeMap<String, String>,
    directory: &Directory,
) -> Result<Rendered, Problem> {
    let raw = &directory.captures;
    let mut artifact = template.clone();
    let artifact = fill(&template.name, normalised).and_then(|name| {
        artifact.name = name;
        for CopyOperation { from, to, .. } in &mut artifact.copy {
            *from = fill(from, raw)?;
            *to = fill(to, raw)?;
        }
        Ok(artifact)
    });
    match artifact {
        Ok(artifact) => Ok(Rendered { artifact, captures: normalised.clone() }),
        Err(error) => {
            let (artifact, directory) = (template.name.clone(), directory.path.clone());
            Err(Problem::Render { artifact, directory, error })
        }
    }
}

fn fill(template: &str, values: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    let error = |flaw| TemplateError { template: template.to_owned(), flaw };
    let mut filled = String::with_capacity(template.len());
    for piece in captures::pieces(template) {
        filled.push_str(match piece.map_err(|syntax| error(Flaw::Syntax(syntax)))? {
            Piece::Literal(text) => text,
            Piece::Capture(name) => values.get(name).ok_or_else(|| error(Flaw::Undefined(name.to_owned())))?,
        });
    }
    Ok(filled)
}
