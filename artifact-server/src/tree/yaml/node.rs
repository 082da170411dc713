//! A document as it is written: scalars as text, aliases not followed.

use std::collections::HashMap;

use libyaml_safer::{Encoding, Error, ErrorKind, EventData, Parser};

use super::{MAX_DEPTH, MAX_VALUES, shortened};

/// Most directives (`%TAG …`) of a document. The parser compares each with all others.
const MAX_DIRECTIVES: usize = 100;

/// A place in [`Nodes`].
pub(super) type Id = u32;

/// One thing in a document.
#[derive(Debug)]
pub(super) enum Node {
    /// A scalar, its quotes and escapes undone.
    Scalar {
        value: String,
        /// In full, e.g. `tag:yaml.org,2002:int`.
        tag: Option<String>,
        /// Neither quoted nor tagged: the value says what it is.
        plain: bool,
    },
    List(Vec<Id>),
    /// Keys and values in turn.
    Map(Vec<Id>),
    /// What an anchor names.
    Alias {
        target: Id,
        anchor: String,
    },
}

/// The nodes of one document.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
    /// Nothing for a document without any content.
    pub(super) root: Option<Id>,
    anchors: HashMap<String, Id>,
    /// Lists and maps that are not closed yet.
    open: Vec<Id>,
}

/// Reads the first document of a text; what follows a line of `...` is not looked at.
pub(super) fn parse(text: &str) -> Result<Nodes, String> {
    if text.lines().filter(|line| line.starts_with('%')).count() > MAX_DIRECTIVES {
        return Err(format!("the document has more than {MAX_DIRECTIVES} lines that start with '%'"));
    }
    // The library ends in a panic where its author did not know what to expect: `[!tag, x]`. Nothing of it is used after that.
    let parsed = std::panic::catch_unwind(|| read(text));
    parsed.unwrap_or_else(|_| Err("yaml: a tag must be followed by a blank".to_owned()))
}

fn read(text: &str) -> Result<Nodes, String> {
    let mut bytes = text.as_bytes();
    let mut parser = Parser::new();
    // Else it takes any first character that is encoded with a byte 0xef for a broken mark.
    parser.set_encoding(Encoding::Utf8);
    parser.set_input_string(&mut bytes);
    let mut nodes = Nodes::default();
    loop {
        match parser.parse().map_err(|error| in_words(&error))?.data {
            EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
            EventData::StreamEnd | EventData::DocumentEnd { .. } => return Ok(nodes),
            EventData::Scalar { anchor, tag, value, plain_implicit: plain, .. } => {
                nodes.add(Node::Scalar { value, tag, plain }, anchor)?;
            }
            EventData::SequenceStart { anchor, .. } => nodes.enter(Node::List(Vec::new()), anchor)?,
            EventData::MappingStart { anchor, .. } => nodes.enter(Node::Map(Vec::new()), anchor)?,
            EventData::SequenceEnd | EventData::MappingEnd => drop(nodes.open.pop()),
            EventData::Alias { anchor } => {
                let target = nodes.anchors.get(&anchor).copied();
                let target =
                    target.ok_or_else(|| format!("yaml: unknown anchor '{}' referenced", shortened(&anchor)))?;
                nodes.add(Node::Alias { target, anchor }, None)?;
            }
        }
    }
}

impl Nodes {
    fn add(&mut self, node: Node, anchor: Option<String>) -> Result<Id, String> {
        let id = Id::try_from(self.all.len()).ok().filter(|_| self.all.len() < MAX_VALUES).ok_or_else(too_many)?;
        self.all.push(node);
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, id);
        }
        match self.open.last().map(|&parent| &mut self.all[parent as usize]) {
            Some(Node::List(items) | Node::Map(items)) => items.push(id),
            _ => self.root = Some(id),
        }
        Ok(id)
    }

    fn enter(&mut self, node: Node, anchor: Option<String>) -> Result<(), String> {
        let id = self.add(node, anchor)?;
        self.open.push(id);
        if self.open.len() > MAX_DEPTH { Err(too_deep()) } else { Ok(()) }
    }
}

pub(super) fn too_many() -> String {
    format!("the document has more than {MAX_VALUES} values, aliases spelled out")
}

pub(super) fn too_deep() -> String {
    format!("the document has more than {MAX_DEPTH} maps and lists one inside the other")
}

/// An error of the library in the words of go-yaml, which counts lines from zero unless the scanner finds the error.
fn in_words(error: &Error) -> String {
    let line = |mark: Option<libyaml_safer::Mark>| mark.map_or(0, |mark| mark.line);
    let line = match line(error.problem_mark()) {
        0 => line(error.context_mark()),
        line => line + u64::from(error.kind() == ErrorKind::Scanner),
    };
    let place = if line == 0 { String::new() } else { format!("line {line}: ") };
    format!("yaml: {place}{}", error.problem())
}
