//! Words of a case: variables that are put in, and patterns that answers must fit. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What a case can put in, by name.
pub type Variables = BTreeMap<String, Value>;

/// Puts variables in place of every `${name}` in every text of a value. A text that is nothing else becomes the variable, whatever that is.
///
/// # Errors
/// When there is no variable of that name.
pub fn filled(value: &Value, variables: &Variables) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => fill(text, variables)?,
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| filled(item, variables)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Ok((name.clone(), filled(value, variables)?)));
            Value::Object(fields.collect::<Result<Map<_, _>, String>>()?)
        }
        other => other.clone(),
    })
}

fn fill(text: &str, variables: &Variables) -> Result<Value, String> {
    let variable = |name: &str| variables.get(name).ok_or_else(|| format!("there is no variable {name:?}"));
    let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    if let Some(name) = whole.filter(|name| !name.contains("${")) {
        return variable(name).cloned();
    }
    let mut parts = text.split("${");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').ok_or_else(|| format!("{text:?}: a ${{ without its }}"))?;
        filled += variable(name)?.as_str().ok_or_else(|| format!("{name:?} is no text, and stands within {text:?}"))?;
        filled += rest;
    }
    Ok(filled.into())
}

/// Checks that an answer fits a pattern, and keeps what the pattern saves.
///
/// Objects fit when each field of the pattern does; lists item by item, with as many items. A field that is not there is one with its
/// default. An object with one key that begins with `$` is a rule: see `e2e/conformance/README.md`.
///
/// # Errors
/// When it does not: where, and why.
pub fn fits(pattern: &Value, found: &Value, at: &str, variables: &mut Variables) -> Result<(), String> {
    match pattern {
        Value::Object(fields) => match fields.iter().next() {
            Some((rule, value)) if rule.starts_with('$') => follows(rule, value, found, at, variables),
            _ => fields
                .iter()
                .try_for_each(|(name, pattern)| fits(pattern, &found[name], &format!("{at}.{name}"), variables)),
        },
        Value::Array(patterns) => {
            let none = Vec::new();
            let items = found.as_array().unwrap_or(&none);
            if items.len() != patterns.len() {
                return Err(format!("{at}: {} items expected, found {}", patterns.len(), shown(found)));
            }
            let mut pairs = patterns.iter().zip(items).enumerate();
            pairs.try_for_each(|(index, (pattern, item))| fits(pattern, item, &format!("{at}[{index}]"), variables))
        }
        _ => {
            let expected = filled(pattern, variables)?;
            if &expected == found || (found.is_null() && is_default(&expected)) {
                return Ok(());
            }
            Err(format!("{at}: {} expected, found {}", shown(&expected), shown(found)))
        }
    }
}

fn follows(rule: &str, value: &Value, found: &Value, at: &str, variables: &mut Variables) -> Result<(), String> {
    let text = || Ok::<_, String>(filled(value, variables)?.as_str().unwrap_or_default().to_owned());
    let found_text = found.as_str().unwrap_or_default();
    let holds = match rule {
        "$any" => !is_default(found),
        "$not" => found_text != text()?,
        "$prefix" => found_text.starts_with(&text()?),
        "$suffix" => found_text.ends_with(&text()?),
        "$contains" => found_text.contains(&text()?),
        "$has" => {
            let none = Vec::new();
            let (wanted, items) = (value.as_array().unwrap_or(&none), found.as_array().unwrap_or(&none));
            wanted.iter().all(|wanted| items.iter().any(|item| fits(wanted, item, at, variables).is_ok()))
        }
        "$save" => {
            variables.insert(value.as_str().unwrap_or_default().to_owned(), found_text.into());
            !found_text.is_empty()
        }
        other => return Err(format!("{at}: there is no rule {other}")),
    };
    if holds { Ok(()) } else { Err(format!("{at}: {rule} {} does not hold for {}", shown(value), shown(found))) }
}

/// JSON of protobuf leaves out what has its default.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables() -> Variables {
        let variables = [("name", json!("web")), ("empty", json!("")), ("me", json!({"owner": "a/1"}))];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    #[test]
    fn variables_are_put_in_everywhere() {
        let value = json!({"a": ["${name}/${name}", 1, {"b": "x${empty}y"}], "c": "${me}"});
        let expected = json!({"a": ["web/web", 1, {"b": "xy"}], "c": {"owner": "a/1"}});
        assert_eq!(filled(&value, &variables()), Ok(expected));
        for wrong in ["${nobody}", "${name", "x${me}"] {
            assert!(filled(&json!(wrong), &variables()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_fit_or_say_where_they_do_not() {
        let rows = [
            ("more fields", json!({"a": 1}), json!({"a": 1, "b": 2}), ""),
            ("another value", json!({"a": {"b": "x"}}), json!({"a": {"b": "y"}}), "answer.a.b: "),
            ("a variable", json!({"a": "${name}"}), json!({"a": "web"}), ""),
            ("a default that is not there", json!({"a": {"b": ""}, "c": false, "d": "0", "e": []}), json!({}), ""),
            ("no default that is not there", json!({"a": {"b": "x"}}), json!({}), "answer.a.b: "),
            ("true that is not there", json!({"a": true}), json!({}), "answer.a: "),
            ("a number that is not there", json!({"a": 1}), json!({}), "answer.a: "),
            ("items that are not there", json!({"a": [1]}), json!({}), "answer.a: 1 items"),
            ("a list", json!([1, {"a": 2}]), json!([1, {"a": 2, "b": 3}]), ""),
            ("a longer list", json!([1]), json!([1, 2]), "answer: 1 items"),
            ("another order", json!([1, 2]), json!([2, 1]), "answer[0]: "),
            ("any", json!({"$any": true}), json!("x"), ""),
            ("nothing is not any", json!({"$any": true}), json!(""), "answer: $any"),
            ("not", json!({"$not": "${name}"}), json!("web"), "answer: $not"),
            ("a beginning", json!({"$prefix": "${name}"}), json!("web/1"), ""),
            ("no beginning", json!({"$prefix": "eb"}), json!("web"), "answer: $prefix"),
            ("an end", json!({"$suffix": "eb"}), json!("web"), ""),
            ("a part", json!({"$contains": "e"}), json!("web"), ""),
            ("no part", json!({"$contains": "x"}), json!("web"), "answer: $contains"),
            ("among others", json!({"$has": ["b", "a"]}), json!(["a", "b", "c"]), ""),
            ("not among others", json!({"$has": ["d"]}), json!(["a"]), "answer: $has"),
            ("no such rule", json!({"$wish": 1}), json!(1), "answer: there is no rule"),
        ];
        for (row, pattern, found, wrong) in rows {
            let result = fits(&pattern, &found, "answer", &mut variables());
            match wrong {
                "" => assert_eq!(result, Ok(()), "row {row}"),
                text => assert!(result.clone().is_err_and(|error| error.starts_with(text)), "row {row}: {result:?}"),
            }
        }
    }

    #[test]
    fn what_is_saved_can_be_put_in() {
        let mut variables = variables();
        let pattern = json!({"path": {"$save": "path"}});
        assert_eq!(fits(&pattern, &json!({"path": "a/b"}), "answer", &mut variables), Ok(()));
        assert_eq!(filled(&json!("${path}/c"), &variables), Ok(json!("a/b/c")));
        assert!(fits(&pattern, &json!({}), "answer", &mut variables).is_err(), "nothing to save");
    }
}
