//! What documents say, in the types of JSON.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// All numbers are floats: the reference reads them so.
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Map(Map),
}

/// A map; its keys are texts by now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map {
    pub(super) entries: BTreeMap<String, Value>,
    /// A key that can not become a text. It is no error as long as something may replace the map.
    pub(super) unusable: Option<String>,
}

impl Map {
    /// Puts the values of another map over the own ones. Where both have a map the two become one; all else is replaced.
    pub(super) fn overlay(&mut self, over: Self) {
        for (key, value) in over.entries {
            match (self.entries.get_mut(&key), value) {
                (Some(Value::Map(before)), Value::Map(over)) => before.overlay(over),
                (Some(before), value) => *before = value,
                (None, value) => drop(self.entries.insert(key, value)),
            }
        }
    }
}

impl Value {
    /// Fails for what JSON can not say. Keys are looked at before numbers, as in Go.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_keys()?;
        self.check_numbers()
    }

    /// The name of the type in errors of Go's JSON.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }

    fn check_keys(&self) -> Result<(), String> {
        match self {
            Self::Map(Map { unusable: Some(key), .. }) => Err(format!("unsupported map key: {key}")),
            Self::Map(map) => map.entries.values().try_for_each(Self::check_keys),
            Self::List(items) => items.iter().try_for_each(Self::check_keys),
            _ => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), String> {
        let unsupported = |text: &str| Err(format!("json: unsupported value: {text}"));
        match self {
            Self::Map(map) => map.entries.values().try_for_each(Self::check_numbers),
            Self::List(items) => items.iter().try_for_each(Self::check_numbers),
            Self::Number(number) if number.is_nan() => unsupported("NaN"),
            Self::Number(number) if *number == f64::INFINITY => unsupported("+Inf"),
            Self::Number(number) if *number == f64::NEG_INFINITY => unsupported("-Inf"),
            _ => Ok(()),
        }
    }
}
