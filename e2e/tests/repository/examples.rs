//! What the example controllers say of themselves.

use std::{fs, path::Path};

use crate::root;

/// The rows `| … | [file:line](file#Lline) code |` of a document: file, line and code.
fn rows(text: &str) -> Vec<(&str, usize, &str)> {
    let row = |line| -> Option<(_, _, _)> {
        let (_, row): (&str, &str) = str::rsplit_once(line, "| [")?;
        let (place, rest) = row.split_once("](")?;
        let (file, number) = place.split_once(':')?;
        let code = rest.split_once(") `")?.1.strip_suffix("` |")?;
        assert!(rest.starts_with(&format!("{file}#L{number})")), "the link of {place} leads elsewhere");
        Some((file, number.parse().ok()?, code))
    };
    text.lines().filter_map(row).collect()
}

/// Lines of the files of a folder, itself only, that end so.
fn lines(folder: &Path, ending: &str) -> usize {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|kind| kind == ending))
        .map(|file| text(&file).lines().count())
        .sum()
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn each_rule_stands_on_the_line_that_the_document_names() {
    let folder = root().join("examples/configmaps-go");
    let document = text(&folder.join("README.md"));
    let rows = rows(&document);
    assert!(rows.len() >= 15, "only {} rows: the table has another form", rows.len());
    for (file, number, code) in rows {
        let source = text(&folder.join(file));
        let line = source.lines().nth(number - 1).unwrap_or_default();
        assert!(line.contains(code), "{file}:{number} has no {code}: {line}");
    }
}

#[test]
fn an_example_is_short() {
    for (folder, ending) in [("configmaps-go", "go"), ("http-directory-python", "py")] {
        let lines = lines(&root().join("examples").join(folder), ending);
        assert!((100..300).contains(&lines), "{folder} has {lines} lines");
    }
}
