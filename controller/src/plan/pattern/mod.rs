//! `spec.pathPattern`: which directories it asks for, and what each of them makes of the artifacts of the spec.
//!
//! The artifact server finds the directories; here is what comes before and after.

mod error;
mod label;
mod render;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use weir_proto::captures::{self, Piece};

pub use error::{PatternError, TemplateError};
pub use render::Rendered;

use error::Problem;

use super::validate::name_is_valid;
use crate::api::artifact_generator::OutputArtifact;

/// A path pattern that can be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern<'a> {
    text: &'a str,
    alias: &'a str,
    path: &'a str,
    captures: Vec<&'a str>,
}

/// A directory that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its path in the source.
    pub path: String,
    /// What each capture took, as it is on disk.
    pub captures: BTreeMap<String, String>,
}

/// The names of the captures in a path pattern, which are labels of each output; none when it can not be read.
pub fn captures(text: &str) -> Vec<&str> {
    PathPattern::parse(text, |_| true).map(|pattern| pattern.captures).unwrap_or_default()
}

impl<'a> PathPattern<'a> {
    /// Reads `@alias/path/{name}`. The alias must be one of `aliases`, each name a label key.
    pub fn parse(text: &'a str, aliases: impl Fn(&str) -> bool) -> Result<Self, PatternError> {
        let parts = text.split_once('/').and_then(|(alias, path)| Some((alias.strip_prefix('@')?, path)));
        let (alias, path) = parts.ok_or_else(|| PatternError::Format(text.to_owned()))?;
        if !aliases(alias) {
            return Err(Problem::Alias(alias.to_owned()).of(text));
        }
        let pieces = captures::pattern(path).map_err(|error| Problem::Syntax(error).of(text))?;
        let names = pieces.iter().filter_map(|piece| match piece {
            Piece::Capture(name) => Some(*name),
            Piece::Literal(_) => None,
        });
        let captures: Vec<&str> = names.collect();
        for name in &captures {
            let checked = label::key(name);
            checked.map_err(|why| Problem::LabelKey { name: (*name).to_owned(), why }.of(text))?;
        }
        Ok(Self { text, alias, path, captures })
    }

    /// The source to look at.
    pub fn alias(&self) -> &'a str {
        self.alias
    }

    /// What to look for in it.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// Fills each directory into each template: directory by directory, in each the templates in their order. All errors need a
    /// change of the spec or of the source; one directory that does not fit fails all.
    pub fn expand(
        &self,
        templates: &[OutputArtifact],
        directories: &[Directory],
    ) -> Result<Vec<Rendered>, PatternError> {
        let mut expanded = Vec::with_capacity(templates.len().saturating_mul(directories.len()));
        let mut makers: HashMap<String, &str> = HashMap::new();
        for directory in directories {
            let normalised = self.normalised(directory)?;
            for template in templates {
                let rendered = render::render(template, &normalised, directory).map_err(|error| self.of(error))?;
                self.check_name(&rendered.artifact.name)?;
                if let Some(first) = makers.insert(rendered.artifact.name.clone(), &directory.path) {
                    let (name, first) = (rendered.artifact.name, first.to_owned());
                    return Err(self.of(Problem::Collision { first, second: directory.path.clone(), name }));
                }
                expanded.push(rendered);
            }
        }
        Ok(expanded)
    }

    /// What the captures took, fit for names and labels.
    fn normalised(&self, directory: &Directory) -> Result<BTreeMap<String, String>, PatternError> {
        let mut normalised = BTreeMap::new();
        for (name, raw) in &directory.captures {
            let value = label::lower(raw);
            if let Err(why) = label::value(&value) {
                return Err(self.of(Problem::LabelValue { name: name.clone(), value, why }));
            }
            normalised.insert(name.clone(), value);
        }
        Ok(normalised)
    }

    fn check_name(&self, name: &str) -> Result<(), PatternError> {
        name_is_valid(name).map_err(|why| self.of(Problem::Name { name: name.to_owned(), why }))
    }

    fn of(&self, problem: Problem) -> PatternError {
        problem.of(self.text)
    }
}
