//! Go's own answers, see e2e/oracle, and what is otherwise on purpose.

use std::collections::HashSet;

use super::*;
use crate::tree::unquote;

fn merged(base: &str, over: &str) -> Result<String, String> {
    let merged = merge(base.as_bytes(), over.as_bytes()).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(merged).unwrap())
}

/// What errors have in common. Go shows map keys with their values, which may be secrets, and counts lines of the JSON between reading and
/// writing.
fn in_common(error: &str) -> String {
    let error = error.find("map key").map_or(error, |at| &error[..at]);
    match error.strip_prefix("failed to merged YAML: yaml: line ") {
        Some(rest) => format!("failed to merged YAML: yaml: {}", rest.split_once(": ").map_or(rest, |(_, rest)| rest)),
        None => error.to_owned(),
    }
}

#[test]
fn files_merge_as_in_go() {
    let (mut same, mut errors, mut failures) = (0, 0, Vec::new());
    for line in include_str!("vectors/merge.txt").lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(' ').collect();
        let (base, over, answer) = (unquote(parts[0]), unquote(parts[1]), unquote(&parts[2][1..]));
        let answer = String::from_utf8(answer).unwrap();
        let expected = if parts[2].starts_with('+') { Ok(answer) } else { Err(answer) };
        let found =
            merge(&base, &over).map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|error| error.to_string());
        let fine = match (&found, &expected) {
            // Texts with these are the same to a reader, but not byte for byte.
            (Ok(ours), Ok(_)) if ours.contains(['\u{2028}', '\u{2029}']) => true,
            (Ok(ours), Ok(go)) => ours == go,
            (Err(ours), Err(go)) => in_common(ours) == in_common(go),
            _ => false,
        };
        same += usize::from(fine);
        errors += usize::from(fine && expected.is_err());
        if !fine {
            let show = |file: &[u8]| String::from_utf8_lossy(file).into_owned();
            failures.push(format!(
                "{:?} into {:?}\n  expected {expected:?}\n  found    {found:?}",
                show(&over),
                show(&base)
            ));
        }
    }
    assert!(failures.is_empty(), "{} vectors:\n{}", failures.len(), failures.join("\n"));
    assert!(same >= 900 && errors >= 150, "{same} vectors, {errors} of them errors");
}

/// A row: why, the file that is merged into nothing, what comes out.
type Row = (&'static str, &'static str, Result<&'static str, &'static str>);

/// What Go does instead stands in the first column.
const OTHERWISE: &[Row] = &[
    ("Go writes a plain <<, which it then can not read", "\"<<\": {a: 1}\n", Ok("\"<<\":\n  a: 1\n")),
    ("Go's error has the value, which may be a secret", "~: a\n", Err("unsupported map key: null")),
    ("the same", "18446744073709551615: a\n", Err("unsupported map key: 18446744073709551615")),
    ("the same", "{a: b}: c\n", Err("yaml: invalid map key: a map")),
    ("the same", "[a]: b\n", Err("yaml: invalid map key: a list")),
    ("Go keeps one of the two by chance, the last is kept here", "1: a\n\"1\": b\n", Ok("\"1\": b\n")),
    ("the same", "\"true\": a\nyes: b\n", Ok("\"true\": b\n")),
    ("Go sorts these by chance", "0xb: 1\n\"029c\": 1\n1/: 1\n", Ok("1/: 1\n\"11\": 1\n029c: 1\n")),
    ("Go escapes what lies beyond 16 bits", "a: \u{1f600}\n", Ok("a: \u{1f600}\n")),
    ("Go escapes all that follows a byte order mark", "a: \"\u{feff}b\"\n", Ok("a: \"\\uFEFFb\"\n")),
    ("Go does not know the escape of JSON", "a: \"b\\/c\"\n", Ok("a: b/c\n")),
    ("Go takes the mark for part of the key", "a: 1\n\u{feff}b: 2\n", Err("yaml: line 1: did not find expected key")),
    ("Go ignores a mark at the end no more than elsewhere", "a: 1\n\u{feff}", Ok("a: 1\n")),
    ("Go reads the key `b:`", "a: {b:}\n", Err("yaml: found unexpected ':'")),
    ("Go refuses a ? here", "a: {b: c?}\n", Ok("a:\n  b: c?\n")),
    ("Go takes the comma for part of the tag", "a: [!b, c]\n", Err("yaml: a tag must be followed by a blank")),
];

#[test]
fn where_it_is_otherwise() {
    for (why, file, expected) in OTHERWISE {
        let found = merged("", file);
        let wrapped = "cannot unmarshal YAML document: error converting YAML to JSON: ";
        let expected = expected.map(str::to_owned).map_err(|error| format!("{wrapped}{error}"));
        assert_eq!(found, expected, "{why}: {file:?}");
    }
}

/// A row: what it shows, the file, the end of the error or none.
fn bounded() -> Vec<(&'static str, String, Option<&'static str>)> {
    let nested = |open: &str, depth: usize, close: &str| format!("a: {}1{}\n", open.repeat(depth), close.repeat(depth));
    let blocks = |depth: usize| (0..depth).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>();
    let laughs = |width: usize| {
        let level = |level: usize| {
            format!("l{}: &l{} [{}]\n", level + 1, level + 1, vec![format!("*l{level}"); width].join(", "))
        };
        format!("l0: &l0 [ha]\n{}", (0..9).map(level).collect::<String>())
    };
    let text = "x".repeat(1024 * 1024);
    let repeated = |times: usize| format!("a: &a {text}\nb: [{}]\n", vec!["*a"; times].join(", "));
    let too_deep = "more than 256 maps and lists one inside the other";
    let too_many = "more than 200000 values, aliases spelled out";
    let chain = (0..300).map(|level| format!("a{}: &a{} [*a{level}]\n", level + 1, level + 1)).collect::<String>();
    vec![
        ("lists 255 deep", nested("[", 255, "]"), None),
        ("lists 256 deep", nested("[", 256, "]"), Some(too_deep)),
        ("lists a million deep, never closed", format!("a: {}", "[".repeat(1_000_000)), Some(too_deep)),
        ("maps a thousand deep", nested("{a: ", 1000, "}"), Some(too_deep)),
        ("maps 256 deep, by indentation", blocks(256), None),
        ("maps a thousand deep, by indentation", blocks(1000), Some(too_deep)),
        ("sequences a thousand deep on one line", format!("a:\n{}1\n", "- ".repeat(1000)), Some(too_deep)),
        ("deep through aliases", format!("a0: &a0 x\n{chain}"), Some(too_deep)),
        ("billions of laughs", laughs(9), Some("yaml: document contains excessive aliasing")),
        ("a laugh or two", laughs(1), None),
        ("a long text a few times", repeated(14), None),
        ("a long text too often", repeated(16), Some("more than 16777216 bytes of text, aliases spelled out")),
        ("many values", format!("a: [{}]\n", "1,".repeat(199_000)), None),
        ("too many values", format!("a: [{}]\n", "1,".repeat(201_000)), Some(too_many)),
        ("a file of 8 MiB", format!("a: {}\n", "x".repeat(8 * 1024 * 1024 - 4)), None),
        (
            "a larger one",
            format!("a: {}\n", "x".repeat(8 * 1024 * 1024 - 3)),
            Some("which is the most that can be merged"),
        ),
        ("100 MiB of blanks", " ".repeat(100 * 1024 * 1024), Some("which is the most that can be merged")),
        ("directives without end", "%TAG !a! b\n".repeat(200_000), Some("more than 100 lines that start with '%'")),
        ("an error that would be as long as the file", format!("a: !!int {text}\n"), Some("…` as a !!int")),
        ("the same of an anchor", format!("a: *{text}\n"), Some("…' referenced")),
        ("the same of a separator", format!("--- {text}\n"), Some("…")),
    ]
}

#[test]
fn files_can_not_cost_without_end() {
    for (row, file, expected) in bounded() {
        match (merged("", &file), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(end)) => {
                assert!(error.ends_with(end), "row {row}: {error}");
                assert!(error.len() < 1000, "row {row}: {} bytes of error", error.len());
            }
            (found, expected) => panic!("row {row}: expected {expected:?}, found {:?}", found.map(|text| text.len())),
        }
    }
}

/// Indentation can make much of little: 199 long lists at a depth of 250 take a line of 500 blanks for each item.
#[test]
fn results_are_bounded() {
    let lists = format!("[{}]", "1,".repeat(900));
    let file = format!("a: {}{}{}\n", "[".repeat(250), vec![lists; 199].join(","), "]".repeat(250));
    assert_eq!(merged("", &file).unwrap_err(), "failed to merged YAML: the result has more than 16777216 bytes");
}

#[test]
fn a_broken_file_is_said_to_be_the_one_it_is() {
    let side = |base: &str, over: &str| merge(base.as_bytes(), over.as_bytes()).unwrap_err();
    assert!(matches!(side("a: [", "a: 1"), MergeError::Base(_)));
    assert!(matches!(side("a: 1", "a: ["), MergeError::Over(_)));
    assert!(matches!(side("a: [", "a: ["), MergeError::Over(_)), "the file that is copied is read first");
    assert!(matches!(side("", "a: \"\\x7f\""), MergeError::Output(_)));
}

#[test]
fn keys_in_no_order_are_sorted_somehow() {
    let keys: Vec<String> = (0..5000_u32).map(|number| format!("{:b}a{:o}", number ^ 0x155, number * 7919)).collect();
    let mixed: String = keys.iter().map(|key| format!("\"{key}\": 1\n\"{}\": 2\n", key.replace('0', "/"))).collect();
    let sorted = merged("", &mixed).unwrap();
    let distinct: HashSet<&str> = mixed.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(sorted.lines().count(), distinct.len());
    let again: String = mixed.replace(": 1", ": 2").lines().rev().map(|line| format!("{line}\n")).collect();
    assert_eq!(merged("", &again).unwrap(), sorted.replace(": 1\n", ": 2\n"), "whatever order they come in");
}
