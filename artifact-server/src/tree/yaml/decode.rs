//! Nodes to values: aliases are followed, merge keys carried out, keys become texts.

use super::{
    MAX_DEPTH, MAX_TEXT, MAX_VALUES, encoding,
    node::{Id, Node, Nodes, parse, too_deep, too_many},
    number,
    resolve::Scalar,
    scalar, shortened,
    value::{Map, Value},
};

/// Reads a document, whose root must be a map or nothing.
pub(super) fn document(bytes: &[u8]) -> Result<Map, String> {
    match value(bytes).map_err(|error| format!("error converting YAML to JSON: {error}"))? {
        Value::Map(map) => Ok(map),
        Value::Null => Ok(Map::default()),
        other => Err(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.kind()
        )),
    }
}

fn value(bytes: &[u8]) -> Result<Value, String> {
    let text = encoding::text(bytes).map_err(|error| format!("yaml: {error}"))?;
    let nodes = parse(&text)?;
    let Some(root) = nodes.root else {
        return Ok(Value::Null);
    };
    // Go counts the document itself too.
    let mut decoder = Decoder { nodes: &nodes, count: 1, aliased: 0, text: 0, depth: 0, followed: Vec::new() };
    let value = decoder.value(root)?;
    value.check()?;
    Ok(value)
}

struct Decoder<'a> {
    nodes: &'a Nodes,
    /// Nodes visited, and how many of them behind an alias.
    count: usize,
    aliased: usize,
    /// Bytes of text in values and keys.
    text: usize,
    /// Maps and lists that are being read.
    depth: usize,
    /// Aliases that are being followed.
    followed: Vec<Id>,
}

/// A key as text, or why it can not be one.
type Key = Result<String, String>;

impl<'a> Decoder<'a> {
    fn node(&self, id: Id) -> &'a Node {
        &self.nodes.all[id as usize]
    }

    fn value(&mut self, id: Id) -> Result<Value, String> {
        self.visit()?;
        match self.node(id) {
            Node::Alias { target, anchor } => self.follow(id, anchor, |this| this.value(*target)),
            Node::Scalar { value, tag, plain } => {
                let scalar = scalar::read(value, tag.as_deref(), *plain)?;
                self.take(scalar.text_length())?;
                Ok(scalar.into_value())
            }
            Node::List(items) => self.inside(|this| {
                let values = items.iter().map(|&item| this.value(item)).collect::<Result<_, _>>()?;
                Ok(Value::List(values))
            }),
            Node::Map(items) => {
                let mut map = Map::default();
                self.entries(items, &mut map)?;
                Ok(Value::Map(map))
            }
        }
    }

    /// Reads the entries of a map into one that may have some already. Of equal keys the last counts; a merge key replaces what stands
    /// in front of it.
    fn entries(&mut self, items: &[Id], map: &mut Map) -> Result<(), String> {
        self.inside(|this| {
            for &[key, value] in items.as_chunks().0 {
                if this.is_merge(key) {
                    this.merge(value, map)?;
                    continue;
                }
                let key = this.key(key)?;
                let value = this.value(value)?;
                match key {
                    Ok(key) => drop(map.entries.insert(key, value)),
                    Err(unusable) => drop(map.unusable.get_or_insert(unusable)),
                }
            }
            Ok(())
        })
    }

    fn key(&mut self, id: Id) -> Result<Key, String> {
        self.visit()?;
        match self.node(id) {
            Node::Alias { target, anchor } => self.follow(id, anchor, |this| this.key(*target)),
            Node::List(_) => Err("yaml: invalid map key: a list".to_owned()),
            Node::Map(_) => Err("yaml: invalid map key: a map".to_owned()),
            Node::Scalar { value, tag, plain } => {
                let key = match scalar::read(value, tag.as_deref(), *plain)? {
                    Scalar::Null => Err("null".to_owned()),
                    Scalar::Bool(value) => Ok(value.to_string()),
                    Scalar::Int(number) => Ok(number.to_string()),
                    Scalar::Uint(number) => Err(number.to_string()),
                    Scalar::Float(number) => Ok(number::key(number)),
                    Scalar::Timestamp(text) | Scalar::Text(text) => Ok(text.into_owned()),
                };
                self.take(key.as_ref().map_or(0, String::len))?;
                Ok(key)
            }
        }
    }

    /// Whether a key is `<<`.
    fn is_merge(&self, id: Id) -> bool {
        matches!(self.node(id), Node::Scalar { value, tag, plain }
            if value == "<<" && (*plain || tag.as_deref() == Some("tag:yaml.org,2002:merge")))
    }

    /// Merges a map, or a list of maps of which earlier ones win.
    fn merge(&mut self, id: Id, map: &mut Map) -> Result<(), String> {
        match self.node(id) {
            Node::List(items) => items.iter().rev().try_for_each(|&item| self.merge_one(item, map)),
            _ => self.merge_one(id, map),
        }
    }

    fn merge_one(&mut self, id: Id, map: &mut Map) -> Result<(), String> {
        let wrong = || Err("yaml: map merge requires map or sequence of maps as the value".to_owned());
        match self.node(id) {
            Node::Map(items) => {
                self.visit()?;
                self.entries(items, map)
            }
            Node::Alias { target, anchor } => {
                let Node::Map(items) = self.node(*target) else { return wrong() };
                self.visit()?;
                self.follow(id, anchor, |this| {
                    this.visit()?;
                    this.entries(items, map)
                })
            }
            _ => wrong(),
        }
    }

    /// Does something behind an alias.
    fn follow<T>(
        &mut self,
        id: Id,
        anchor: &str,
        then: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        if self.followed.contains(&id) {
            return Err(format!("yaml: anchor '{}' value contains itself", shortened(anchor)));
        }
        self.followed.push(id);
        let done = then(self);
        self.followed.pop();
        done
    }

    /// Does something in a map or list.
    fn inside<T>(&mut self, then: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let done = then(self)?;
        self.depth -= 1;
        Ok(done)
    }

    /// Counts a node. Documents that consist of aliases are refused as by go-yaml, and all documents at a limit of our own.
    fn visit(&mut self) -> Result<(), String> {
        self.count += 1;
        self.aliased += usize::from(!self.followed.is_empty());
        if self.aliased > 100 && self.count > 1000 && self.aliased * 100 > self.count * 99 {
            return Err("yaml: document contains excessive aliasing".to_owned());
        }
        if self.count > MAX_VALUES { Err(too_many()) } else { Ok(()) }
    }

    /// Counts the bytes of a text: one long text can be repeated by many aliases.
    fn take(&mut self, bytes: usize) -> Result<(), String> {
        self.text += bytes;
        if self.text <= MAX_TEXT {
            return Ok(());
        }
        Err(format!("the document has more than {MAX_TEXT} bytes of text, aliases spelled out"))
    }
}
