//! Promises that no client can call in at will, and which test shows that they are kept all the same.

use std::collections::BTreeSet;

use super::promises::Promise;
use crate::root;

/// A promise as it is displayed, why no case can be about it, and the test in its place.
struct Exempt(&'static str, &'static str, &'static str);

const FULL: &str = "artifact-server/tests/server/full.rs::a_full_volume_takes_nothing_and_keeps_nothing_half";
const FULL_CACHE: &str = "artifact-server/tests/server/full.rs::a_full_source_cache_fails_the_call_and_keeps_nothing";

const EXEMPT: [Exempt; 8] = [
    Exempt(
        "any: INTERNAL",
        "it is a bug",
        "artifact-server/src/grpc/call.rs::a_call_that_panics_is_a_bug_of_the_server",
    ),
    Exempt("Write: STORAGE_FULL", "the volume must be full", FULL),
    Exempt("Archive: STORAGE_FULL", "the volume must be full", FULL),
    Exempt("Build, in an answer: STORAGE_FULL", "the volume must be full", FULL),
    Exempt("Build: STORAGE_FULL", "the volume of the source cache must be full", FULL_CACHE),
    Exempt("FindDirectories: STORAGE_FULL", "the volume of the source cache must be full", FULL_CACHE),
    Exempt(
        "Build, in an answer: CACHE_BUSY",
        "another must take the rest of the cache between the sources and the artifact",
        "artifact-server/src/source/archive.rs::what_is_held_is_not_evicted_and_all_else_is",
    ),
    Exempt(
        "Build, in an answer: STALE_EPOCH",
        "another must lead from just when the artifact is worked on",
        "artifact-server/src/build/mod.rs::a_former_leader_fails_when_its_turn_comes",
    ),
];

/// The promises that cases have to keep.
pub(super) fn without(mut promises: BTreeSet<Promise>) -> BTreeSet<Promise> {
    promises.retain(|promise| !EXEMPT.iter().any(|Exempt(name, ..)| *name == promise.to_string()));
    promises
}

/// What is wrong with the exemptions, where so many promises are not kept by cases.
pub(super) fn wrong(promises: &BTreeSet<Promise>, broken: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for Exempt(name, why, test) in EXEMPT {
        if !promises.iter().any(|promise| promise.to_string() == name) {
            wrong.push(format!("{name} is exempt, and nobody promises it"));
        } else if !broken.contains(&format!("no case: {name}")) {
            wrong.push(format!("{name} is exempt ({why}), and a case keeps it"));
        }
        if !is_there(test) {
            wrong.push(format!("{name} should be kept by {test}, which is not there"));
        }
    }
    wrong
}

/// Whether a file has a test of this name.
fn is_there(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else { return false };
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
    text.contains(&format!("fn {name}("))
}

#[test]
fn a_test_that_is_not_there_shows_nothing() {
    assert!(EXEMPT.iter().all(|Exempt(.., test)| is_there(test)));
    assert!(!is_there("artifact-server/tests/server/full.rs::nothing") && !is_there("nowhere.rs::a") && !is_there("a"));
}
