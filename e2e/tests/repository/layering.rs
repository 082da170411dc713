//! Which module may know what. A decision without I/O can be tested with a table; this keeps it that way.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::root;

/// Folders and files that decide and do no I/O of their own. They may read through what they are given (`Read`, `ReadAt`).
const PURE: &[&str] = &[
    "artifact-server/src/archive",
    "artifact-server/src/hash.rs",
    "artifact-server/src/policy",
    "artifact-server/src/source/admission.rs",
    "artifact-server/src/source/header.rs",
    "artifact-server/src/source/limits.rs",
    "artifact-server/src/source/name.rs",
    "artifact-server/src/source/pax.rs",
    "artifact-server/src/tree",
    "artifact-server/src/storage/prefix.rs",
    "artifact-server/src/storage/record.rs",
    "artifact-server/src/storage/retention.rs",
    "controller/src/api",
    "controller/src/events/correlator.rs",
    "controller/src/events/notification.rs",
    "controller/src/plan",
    "proto/src/captures.rs",
    "proto/src/client/position.rs",
    "proto/src/digest.rs",
    "proto/src/owner.rs",
    "proto/src/path.rs",
    "proto/src/quote.rs",
];

/// What I/O, clocks and servers look like in a path of Rust.
const IMPURE: &[&str] = &[
    "tokio",
    "tonic",
    "warp",
    "reqwest",
    "hyper",
    "notify",
    "rustix",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "rand",
];

/// Code of a file before its tests, without comments.
pub(crate) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end].lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or(line)))
}

/// Whether a line names a crate or module: `word::…`, `use word;` or `{word::…}`, not `my_word::`.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + word.len()..];
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') && after.starts_with([':', ';', '('])
    })
}

/// `use std::{fs, …}` hides `std::fs`; write groups of `std` apart so that one line shows one path.
fn grouped(line: &str, word: &str) -> bool {
    let Some(module) = word.strip_prefix("std::") else { return false };
    let Some(group) = line.trim().strip_prefix("use std::{") else { return false };
    group
        .split([',', '{', '}', ';'])
        .any(|part| part.trim() == module || part.trim().starts_with(&format!("{module}::")))
}

fn rust_files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        found.extend((path.extension().is_some_and(|kind| kind == "rs")).then(|| path.to_owned()));
        return;
    }
    let folder = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for entry in folder {
        rust_files(&entry.unwrap().path(), found);
    }
}

/// The Rust files of some places, tests left out.
pub(crate) fn sources(places: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for place in places {
        let before = files.len();
        rust_files(&root().join(place), &mut files);
        assert!(files.len() > before, "{place} has no Rust file: correct the list");
    }
    files.retain(|file| !file.ends_with("tests.rs"));
    files
}

fn offences(place: &str, words: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in sources(&[place]) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in code(&text) {
            for word in words.iter().filter(|word| names(line, word) || grouped(line, word)) {
                offences.push(format!(
                    "{}:{number} names {word}: {}",
                    file.strip_prefix(root()).unwrap().display(),
                    line.trim()
                ));
            }
        }
    }
    offences
}

#[test]
fn pure_modules_do_no_io() {
    let found: Vec<_> = PURE.iter().flat_map(|place| offences(place, IMPURE)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Kubernetes types are data; `kube` is a client.
#[test]
fn decisions_of_the_controller_know_no_client() {
    let places =
        ["controller/src/plan", "controller/src/events/correlator.rs", "controller/src/events/notification.rs"];
    let found: Vec<_> = places.iter().flat_map(|place| offences(place, &["kube"])).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What it takes to believe a server without checking who it is.
#[test]
fn nobody_leaves_a_certificate_unchecked() {
    let words = ["dangerous", "danger_accept", "tls_danger", "ServerCertVerifier", "accept_invalid"];
    let mut found = Vec::new();
    for file in sources(&["artifact-server/src", "controller/src", "proto/src"]) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = code(&text).filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.extend(lines.map(|(number, line)| format!("{}:{number}: {}", file.display(), line.trim())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_controller_opens_no_file() {
    let found = offences("controller/src", &["std::fs", "tokio::fs", "rustix", "tempfile", "procfs"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The contract does no I/O and knows no server of ours. What both programs do as processes, and what a client does, stand apart, behind
/// features. For the first the kernel is asked about the process itself, and no file is opened; the second opens what it archives, and
/// certificates, which its TLS library reads.
#[test]
fn the_contract_does_no_io() {
    let apart = ["proto/src/process", "proto/src/client", "proto/src/tls"].map(|folder| root().join(folder));
    let mut files = Vec::new();
    rust_files(&root().join("proto/src"), &mut files);
    files.retain(|file| {
        !apart.iter().any(|folder| file.starts_with(folder)) && !file.starts_with(root().join("proto/src/gen"))
    });
    assert!(files.len() > 5, "{files:?}");
    let io = ["tokio", "procfs", "tracing", "prometheus_client", "std::fs", "std::net", "std::env", "std::process"];
    let places = files.iter().map(|file| file.strip_prefix(root()).unwrap().to_str().unwrap());
    let found: Vec<_> = places.flat_map(|place| offences(place, &io)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    let found = offences("proto/src/tls", &["std::fs", "std::env", "tokio::fs", "kube"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let found = offences("proto/src/process", &["std::fs", "std::net", "std::env", "tokio::fs", "rustix", "kube"]);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let clients = sources(&["proto/src/client"]).into_iter().filter(|file| !file.ends_with("directory.rs"));
    let clients: Vec<_> = clients.map(|file| file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect();
    let found: Vec<_> =
        clients.iter().flat_map(|place| offences(place, &["std::fs", "std::env", "std::net"])).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    let list = dependencies("proto/Cargo.toml");
    let always = list.lines().filter(|line| line.contains('=') && !line.contains("optional = true"));
    let always: Vec<_> = always.filter_map(|line| line.split_once(" =")).map(|(name, _)| name).collect();
    let expected = ["tonic", "tonic-prost", "tonic-types", "prost", "prost-types", "thiserror"];
    assert_eq!(always, expected, "everything that only a feature needs is optional");
}

/// The dependencies of a crate, tests left out.
fn dependencies(manifest: &str) -> String {
    let text = fs::read_to_string(root().join(manifest)).unwrap();
    let start = text.find("[dependencies]").expect("a list of dependencies");
    let list = &text[start + 1..];
    list[..list.find("\n[").unwrap_or(list.len())].to_owned()
}

#[test]
fn the_two_processes_never_import_each_other_nor_the_others_trade() {
    let server = dependencies("artifact-server/Cargo.toml");
    for foreign in ["kube", "k8s-openapi", "weir-controller", "weir-e2e"] {
        assert!(!server.lines().any(|line| line.starts_with(foreign)), "the server depends on {foreign}");
    }
    let controller = dependencies("controller/Cargo.toml");
    for foreign in ["weir-artifact-server", "weir-e2e", "tar", "flate2", "notify", "rustix"] {
        assert!(
            !controller.lines().any(|line| line.starts_with(&format!("{foreign} "))),
            "the controller depends on {foreign}"
        );
    }
}

#[test]
fn the_scan_sees_what_it_should() {
    let rows = [
        ("use tokio::sync::watch;", "tokio", true),
        ("    tokio::spawn(async {});", "tokio", true),
        ("use std::{fmt, fs};", "std::fs", true),
        ("use std::{fs::File, io};", "std::fs", true),
        ("use std::{fmt, io};", "std::fs", false),
        ("std::fs::read(path)", "std::fs", true),
        ("use my_tokio::x;", "tokio", false),
        ("let tokio = 1;", "tokio", false),
        ("let now = Timestamp::now();", "Timestamp::now", true),
    ];
    for (line, word, expected) in rows {
        assert_eq!(names(line, word) || grouped(line, word), expected, "{line}");
    }
}
