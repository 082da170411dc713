//! The default ignore list of Flux artifacts: what is left out even when it was copied explicitly.
//!
//! The rules are gitignore patterns without a slash inside, so each names a path component at any depth and all that lies beneath it.
//! Paths count from the artifact's root: an artifact *named* like a rule is not affected.

use crate::tree::{Entry, Node, Tree, TreePath};

/// Rules with a trailing slash: directories with these names; a file of that name stays.
const DIRECTORIES: &[&[u8]] = &[b".git", b".github", b".circleci"];

/// Files and directories with exactly these names.
const NAMES: &[&[u8]] = &[
    b".gitignore",
    b".gitmodules",
    b".gitattributes",
    b".travis.yml",
    b".gitlab-ci.yml",
    b"appveyor.yml",
    b".drone.yml",
    b"cloudbuild.yaml",
    b"codeship-services.yml",
    b"codeship-steps.yml",
    b".goreleaser.yml",
    b".sops.yaml",
    b".flux.yaml",
];

/// Files and directories whose names end like this; upper case does not count.
const SUFFIXES: &[&[u8]] = &[b".jpg", b".jpeg", b".gif", b".png", b".wmv", b".flv", b".tar.gz", b".zip"];

/// A tree parted by the ignore list.
#[derive(Clone, Debug, PartialEq)]
pub struct Filtered {
    /// What is archived. Directories that lost all their files stay, as in Flux's archives.
    pub kept: Tree,
    /// The files left out, in archive order. Directories are not listed.
    pub dropped: Vec<TreePath>,
}

/// Applies the default list. The contents are shared, not copied.
pub fn apply_default(tree: &Tree) -> Filtered {
    let mut kept = Vec::with_capacity(tree.entries().len());
    let mut dropped = Vec::new();
    let mut beneath: Option<&TreePath> = None;
    for entry in tree.entries() {
        let inside = beneath.is_some_and(|directory| entry.path.is_within(directory));
        if !inside && !is_ignored(entry) {
            kept.push(entry.clone());
            continue;
        }
        match entry.node {
            Node::Directory if !inside => beneath = Some(&entry.path),
            Node::Directory => {}
            Node::File(_) => dropped.push(entry.path.clone()),
        }
    }
    Filtered { kept: Tree::from_ordered(kept), dropped }
}

/// Whether the last component of the entry's path falls under a rule.
fn is_ignored(entry: &Entry) -> bool {
    let name = entry.path.base();
    NAMES.contains(&name)
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || (entry.node == Node::Directory && DIRECTORIES.contains(&name))
}
