//! Whether a runner did what it should: every case once, and each of them well. Pure.

use std::collections::BTreeMap;

use super::setup::Outcome;

/// Reads what a runner printed.
///
/// # Errors
/// At the first line that is none: that line.
pub fn read(printed: &str) -> Result<Vec<Outcome>, String> {
    let line = |line: &str| serde_json::from_str(line).map_err(|error| format!("it printed {line:?}: {error}"));
    printed.lines().filter(|text| !text.trim().is_empty()).map(line).collect()
}

/// What is wrong with the outcomes, a line each; empty when nothing is.
#[must_use]
pub fn complaints(expected: &[&str], outcomes: &[Outcome]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = expected.iter().map(|name| (*name, 0)).collect();
    let mut complaints = Vec::new();
    for Outcome { case, ok, why } in outcomes {
        match seen.get_mut(case.as_str()) {
            Some(count) => *count += 1,
            None => complaints.push(format!("{case}: there is no such case")),
        }
        if !ok {
            complaints.push(format!("{case}: {why}"));
        }
    }
    let wrong = seen.iter().filter(|(_, count)| **count != 1);
    complaints.extend(wrong.map(|(case, count)| format!("{case}: was run {count} times")));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(case: &str, why: &str) -> Outcome {
        Outcome { case: case.to_owned(), ok: why.is_empty(), why: why.to_owned() }
    }

    #[test]
    fn every_case_once_and_well() {
        let rows: [(&str, &[Outcome], &[&str]); 5] = [
            ("all well", &[outcome("b", ""), outcome("a", "")], &[]),
            ("one fails", &[outcome("a", "no"), outcome("b", "")], &["a: no"]),
            ("one is left out", &[outcome("a", "")], &["b: was run 0 times"]),
            ("one is run twice", &[outcome("a", ""), outcome("b", ""), outcome("a", "")], &["a: was run 2 times"]),
            ("one is made up", &[outcome("a", ""), outcome("b", ""), outcome("c", "")], &["c: there is no such case"]),
        ];
        for (row, outcomes, expected) in rows {
            assert_eq!(complaints(&["a", "b"], outcomes), expected, "row {row}");
        }
    }

    #[test]
    fn a_line_that_is_no_outcome_is_an_error() {
        let good = "{\"case\": \"a\", \"ok\": true}\n\n{\"case\": \"b\", \"ok\": false, \"why\": \"no\"}\n";
        assert_eq!(read(good), Ok(vec![outcome("a", ""), outcome("b", "no")]));
        for bad in ["a: ok", "{\"case\": \"a\"}", "{\"case\": \"a\", \"ok\": true, \"skipped\": true}"] {
            assert!(read(bad).is_err_and(|error| error.contains("it printed")), "{bad}");
        }
    }
}
