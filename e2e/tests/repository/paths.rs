//! What documents name must exist: files, and tests inside them.

use std::{fs, path::PathBuf};

use crate::root;

/// Folders at the root that a path in a document can start with.
const FOLDERS: &[&str] =
    &["artifact-server/", "controller/", "proto/", "e2e/", "deploy/", "docs/", "examples/", ".ci/", ".cargo/"];

fn documents() -> Vec<PathBuf> {
    let folders = [root(), root().join("docs")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    files.sort();
    files
}

/// Text outside fenced blocks.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// Spans in backticks that name a path of this repository: `folder/file` or `folder/file.rs::test`.
fn spans(text: &str) -> Vec<String> {
    let prose = prose(text);
    let spans = prose.split('`').skip(1).step_by(2);
    spans.filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder))).map(str::to_owned).collect()
}

/// Targets of Markdown links that stay in the repository, relative to the document.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| target.split('#').next().unwrap_or(target).to_owned()).collect()
}

/// What is wrong with a span, if anything.
fn complaint(span: &str) -> Option<String> {
    let (path, item) = span.split_once("::").map_or((span, None), |(path, item)| (path, Some(item)));
    let found = root().join(path);
    if !found.exists() {
        return Some(format!("{path} does not exist"));
    }
    let item = item?.rsplit("::").next()?;
    let text = fs::read_to_string(found).unwrap_or_default();
    (!text.contains(item)).then(|| format!("{path} has no {item}"))
}

#[test]
fn every_path_and_test_that_a_document_names_exists() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let name = document.strip_prefix(root()).unwrap().display().to_string();
        wrong.extend(spans(&text).iter().filter_map(|span| complaint(span)).map(|what| format!("{name}: {what}")));
        let folder = document.parent().unwrap();
        let dead = links(&text).into_iter().filter(|target| !folder.join(target).exists());
        wrong.extend(dead.map(|target| format!("{name}: dead link to {target}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn spans_links_and_complaints_are_found() {
    let text =
        "See `e2e/src/lib.rs`, `cargo test` and [docs](docs/none.md#part), [web](https://x/y).\n```\n`e2e/no`\n```\n";
    assert_eq!(spans(text), ["e2e/src/lib.rs"]);
    assert_eq!(links(text), ["docs/none.md"]);
    assert_eq!(complaint("e2e/Cargo.toml"), None);
    assert_eq!(complaint("e2e/Cargo.toml::weir-e2e"), None);
    assert_eq!(complaint("e2e/no.rs").as_deref(), Some("e2e/no.rs does not exist"));
    assert_eq!(
        complaint("e2e/Cargo.toml::nothing_of_that_name").as_deref(),
        Some("e2e/Cargo.toml has no nothing_of_that_name")
    );
}
/// What the README shows is what the playground runs.
#[test]
fn the_readme_shows_the_examples() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for example in ["artifact-generator.yaml", "kustomization.yaml"] {
        let text = fs::read_to_string(root().join("examples").join(example)).unwrap();
        assert!(
            readme.contains(&format!("```yaml\n{}\n```", text.trim())),
            "README.md does not show examples/{example}"
        );
    }
}

#[test]
fn architecture_stays_short_and_names_many_places() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 250, "{} lines", text.lines().count());
    assert!(spans(&text).len() >= 40, "only {} paths: the check above proves little", spans(&text).len());
}
