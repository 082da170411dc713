//! What can be wrong with a path pattern, and with what it finds. The texts are those that users of Flux know.

use weir_proto::{captures::CaptureError, quoted};

/// A path pattern that can not be carried out. Only another spec or other directories help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is not `@alias/path`.
    #[error("invalid pathPattern format: {0}")]
    Format(String),
    /// What else is wrong.
    #[error("pathPattern {}: {problem}", quoted(.pattern))]
    Of {
        /// `spec.pathPattern`.
        pattern: String,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
}

/// What is wrong with a path pattern that has an alias and a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No source has that alias.
    #[error("source alias {0} not found in local sources")]
    Alias(String),
    /// Its braces make no captures.
    #[error("{0}")]
    Syntax(CaptureError),
    /// No label can have the name of a capture.
    #[error("capture variable {} is not a valid Kubernetes label key: {why}", quoted(.name))]
    LabelKey {
        /// Name of the capture.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// No label can have what a capture took.
    #[error("captured value {} for variable {} is not a valid Kubernetes label value: {why}", quoted(.value), quoted(.name))]
    LabelValue {
        /// Name of the capture.
        name: String,
        /// What it took, in lower case.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// A directory can not be filled into an artifact of the spec.
    #[error("failed to render artifact {artifact} for match {directory}: {error}")]
    Render {
        /// Name of the artifact, as the spec has it.
        artifact: String,
        /// Path of the directory.
        directory: String,
        /// What is wrong with the artifact.
        error: TemplateError,
    },
    /// No object can have the name that results.
    #[error("rendered artifact name {} is not a valid Kubernetes object name: {why}", quoted(.name))]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two directories, or two templates for one, make the same name.
    #[error("directories {} and {} both resolve to artifact name {}", quoted(.first), quoted(.second), quoted(.name))]
    Collision {
        /// Path of the first.
        first: String,
        /// Path of the second.
        second: String,
        /// The name.
        name: String,
    },
}

impl Problem {
    pub(super) fn of(self, pattern: &str) -> PatternError {
        PatternError::Of { pattern: pattern.to_owned(), problem: Box::new(self) }
    }
}

/// A template that can not be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid template {}: {}", quoted(.template), self.what())]
pub struct TemplateError {
    /// The template.
    pub template: String,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Its braces make no captures.
    Syntax(CaptureError),
    /// The pattern has no such capture.
    Undefined(String),
}

impl TemplateError {
    /// A template words two of the errors otherwise than a pattern does.
    fn what(&self) -> String {
        match &self.flaw {
            Flaw::Syntax(CaptureError::Unclosed(at)) => {
                format!("capture starting at offset {at} is missing closing brace")
            }
            Flaw::Syntax(CaptureError::Unopened(at)) => {
                format!("capture ending at offset {at} is missing opening brace")
            }
            Flaw::Syntax(error) => error.to_string(),
            Flaw::Undefined(name) => format!("capture variable {} is not defined by pathPattern", quoted(name)),
        }
    }
}
