//! Values to YAML, as the reference writes it: block style, two blanks for each level, long lines folded near column 80.
//!
//! What is written becomes part of digests and revisions. The library is pinned, and the vectors of the tests hold its bytes.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};

use super::{
    MAX_TEXT,
    node::{Node, parse},
    number, order,
    resolve::{Scalar, is_sexagesimal, resolve},
    value::{Map, Value},
};

/// Longest key, in characters of JSON with its quotes: go-yaml finds no key in a longer one.
const MAX_KEY: usize = 1024;
/// A line break to YAML 1.1 and an ordinary character to JSON.
const NEXT_LINE: char = '\u{85}';

/// The YAML of a map. Fails for the few texts that go-yaml can not read back from JSON, and for results of more than [`MAX_TEXT`] bytes.
pub(super) fn emit(map: &Map) -> Result<Vec<u8>, String> {
    let mut bytes = Bounded(Vec::new());
    {
        let mut emitter = Emitter::new();
        emitter.set_output(&mut bytes);
        emitter.set_unicode(true);
        let mut writer = Writer(emitter);
        writer.event(Event::stream_start(Encoding::Utf8))?;
        writer.event(Event::document_start(None, &[], true))?;
        writer.map(map)?;
        writer.event(Event::document_end(true))?;
        writer.event(Event::stream_end())?;
    }
    let Bounded(mut bytes) = bytes;
    // libyaml writes a line of three dots behind a last text that keeps all its line breaks; go-yaml does not.
    if bytes.ends_with(b"\n...\n") {
        bytes.truncate(bytes.len() - 4);
    }
    Ok(bytes)
}

struct Writer<'a>(Emitter<'a>);

impl Writer<'_> {
    fn event(&mut self, event: Event) -> Result<(), String> {
        self.0.emit(event).map_err(|error| match io::Error::try_from(error) {
            Ok(error) => error.to_string(),
            Err(error) => error.to_string(),
        })
    }

    fn value(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Null => self.plain("null"),
            Value::Bool(true) => self.plain("true"),
            Value::Bool(false) => self.plain("false"),
            Value::Number(number) => self.plain(&number::yaml(*number)),
            Value::Text(text) => self.text(&reread(text)?),
            Value::Map(map) => self.map(map),
            Value::List(items) => {
                self.event(Event::sequence_start(None, None, true, SequenceStyle::Block))?;
                items.iter().try_for_each(|item| self.value(item))?;
                self.event(Event::sequence_end())
            }
        }
    }

    fn map(&mut self, map: &Map) -> Result<(), String> {
        self.event(Event::mapping_start(None, None, true, MappingStyle::Block))?;
        for (key, value) in order::sorted(map.entries.iter().collect()) {
            check_key(key)?;
            self.key(key)?;
            self.value(value)?;
        }
        self.event(Event::mapping_end())
    }

    /// go-yaml leaves the key `<<` plain, and then reads something else in what it has written.
    fn key(&mut self, key: &str) -> Result<(), String> {
        if key == "<<" { self.scalar(key, ScalarStyle::DoubleQuoted) } else { self.text(key) }
    }

    /// A text in the plainest style that keeps it one.
    fn text(&mut self, text: &str) -> Result<(), String> {
        let quoted = is_sexagesimal(text) || !matches!(resolve(text, true), Scalar::Text(_));
        self.scalar(
            text,
            match quoted {
                _ if text.contains('\n') => ScalarStyle::Literal,
                true => ScalarStyle::DoubleQuoted,
                false => ScalarStyle::Plain,
            },
        )
    }

    fn plain(&mut self, text: &str) -> Result<(), String> {
        self.scalar(text, ScalarStyle::Plain)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle) -> Result<(), String> {
        self.event(Event::scalar(None, None, text, true, true, style))
    }
}

/// Fails for a key that go-yaml does not find when it reads JSON.
fn check_key(key: &str) -> Result<(), String> {
    check_characters(key)?;
    // A character takes at most six in JSON.
    let too_long = key.len() > MAX_KEY / 6 - 2 && json(key).chars().count() > MAX_KEY;
    if too_long || key.contains(NEXT_LINE) {
        return Err("yaml: did not find expected ',' or '}'".to_owned());
    }
    Ok(())
}

fn check_characters(text: &str) -> Result<(), String> {
    let refused = |character| matches!(character, '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}');
    if text.contains(refused) { Err("yaml: control characters are not allowed".to_owned()) } else { Ok(()) }
}

/// A text after its way through JSON and back: line breaks that JSON does not know have been folded.
fn reread(text: &str) -> Result<Cow<'_, str>, String> {
    check_characters(text)?;
    if !text.contains(NEXT_LINE) {
        return Ok(text.into());
    }
    match parse(&json(text))?.all.pop() {
        Some(Node::Scalar { value, .. }) => Ok(value.into()),
        _ => Err("yaml: did not find expected node content".to_owned()),
    }
}

/// A text as Go writes it into JSON.
fn json(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                json.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => json.push(character),
        }
    }
    json + "\""
}

/// Bytes up to [`MAX_TEXT`]: deep nesting can take far more in indentation than in text.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_TEXT {
            return Err(io::Error::other(format!("the result has more than {MAX_TEXT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
