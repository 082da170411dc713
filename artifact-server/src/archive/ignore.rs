//! The default ignore list of Flux artifacts: what is left out even when it was copied explicitly.
//!
//! The rules are gitignore patterns without a slash inside, so each names a path component at any depth and all that lies beneath it.
//! Paths count from the artifact's root: an artifact *named* like a rule is not affected.

use crate::tree::{
    Entry, Node, Tree, TreePath,
    ignore::{Rules, RulesError},
};

/// The name of files with rules in a tree.
const FILE: &[u8] = b".sourceignore";

/// The largest such file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

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

/// Applies rules. Directories that lead to something that is taken back stay, with nothing else in them. `cancelled` is asked before each
/// entry; then the rest is kept.
pub fn apply(tree: &Tree, rules: &Rules, cancelled: &dyn Fn() -> bool) -> Filtered {
    let entries = tree.entries();
    let mut stays = vec![true; entries.len()];
    let mut dropped = Vec::new();
    // The directories that the entry lies in, from the root on.
    let mut above: Vec<usize> = Vec::new();
    for (at, Entry { path, node }) in entries.iter().enumerate() {
        if cancelled() {
            break;
        }
        while above.last().is_some_and(|&outer| !path.is_within(&entries[outer].path)) {
            above.pop();
        }
        stays[at] = !rules.ignore(path, *node == Node::Directory);
        match (stays[at], node) {
            (true, _) => above.iter().for_each(|&outer| stays[outer] = true),
            (false, Node::File(_)) => dropped.push(path.clone()),
            (false, Node::Directory) => {}
        }
        if *node == Node::Directory {
            above.push(at);
        }
    }
    let kept = entries.iter().zip(stays).filter(|(_, stays)| *stays).map(|(entry, _)| entry.clone()).collect();
    Filtered { kept: Tree::from_ordered(kept), dropped }
}

/// Adds the rules in a tree's own `.sourceignore` files, each for its directory: the outer ones first, none below `.git`. They come in front
/// of those that are there: who asks for an archive has the last word, as in Flux's sources.
pub fn add_from_tree(rules: &mut Rules, tree: &Tree) -> Result<(), TreeRulesError> {
    let given = rules.count();
    let is_git = |directory: &TreePath| directory.as_bytes().split(|&byte| byte == b'/').any(|part| part == b".git");
    let mut files: Vec<_> = tree
        .entries()
        .iter()
        .filter_map(|Entry { path, node }| match node {
            Node::File(file) if path.base() == FILE => Some((path.parent(), path, file)),
            _ => None,
        })
        .collect();
    files.retain(|(parent, ..)| !parent.as_ref().is_some_and(is_git));
    // In the archive's order, a directory may stand in front of a file beside it.
    files.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    for (parent, path, file) in files {
        if file.size > MAX_FILE {
            return Err(TreeRulesError::TooLarge(path.clone()));
        }
        let content = file.read().map_err(|error| TreeRulesError::Read(path.clone(), error.to_string()))?;
        rules.add_file(&content, parent.as_ref()).map_err(|error| TreeRulesError::Rules(path.clone(), error))?;
    }
    rules.first_to_last(given);
    Ok(())
}

/// Why the rules in a tree are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeRulesError {
    /// The file is larger than any that a person writes.
    #[error("{0} has more than {MAX_FILE} bytes")]
    TooLarge(TreePath),
    /// The bytes can not be had.
    #[error("{0} can not be read: {1}")]
    Read(TreePath, String),
    /// Its patterns.
    #[error("{0}: {1}")]
    Rules(TreePath, RulesError),
}

/// Whether the last component of the entry's path falls under a rule.
fn is_ignored(entry: &Entry) -> bool {
    let name = entry.path.base();
    NAMES.contains(&name)
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || (entry.node == Node::Directory && DIRECTORIES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File, ignore::Builtin};

    fn tree(paths: &[&str]) -> Tree {
        let entry = |path: &&str| {
            let file =
                File { executable: false, size: 0, sha256: [0; 32], content: Content::Inline(Vec::new().into()) };
            let node = if path.ends_with('/') { Node::Directory } else { Node::File(file) };
            Entry { path: TreePath::new(path.trim_end_matches('/').as_bytes()).unwrap(), node }
        };
        Tree::from_entries(paths.iter().map(entry).collect()).unwrap()
    }

    fn names(tree: &Tree) -> Vec<String> {
        tree.entries().iter().map(|entry| entry.path.to_string()).collect()
    }

    /// A row: what it shows, the paths (a slash at the end: directory), what is kept, what is dropped.
    type Row = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

    const ROWS: &[Row] = &[
        ("nothing", &[], &[], &[]),
        ("other names stay", &["a.yaml", "b.tgz", "c.PNG"], &["a.yaml", "b.tgz", "c.PNG"], &[]),
        (
            "version control",
            &[".git/HEAD", ".gitignore", ".gitmodules", ".gitattributes"],
            &[],
            &[".git/HEAD", ".gitattributes", ".gitignore", ".gitmodules"],
        ),
        (
            "a file named like an ignored directory stays",
            &["a/.git", ".github", ".circleci"],
            &[".circleci", ".github", "a", "a/.git"],
            &[],
        ),
        (
            "an ignored directory goes with all beneath it",
            &["a/.github/workflows/ci.yaml", "a/x"],
            &["a", "a/x"],
            &["a/.github/workflows/ci.yaml"],
        ),
        ("an empty ignored directory goes", &[".circleci/", "a/.git/"], &["a"], &[]),
        (
            "images and archives",
            &["a.jpg", "a.jpeg", "a.gif", "a.png", "a.wmv", "a.flv", "a.tar.gz", "a.zip"],
            &[],
            &["a.flv", "a.gif", "a.jpeg", "a.jpg", "a.png", "a.tar.gz", "a.wmv", "a.zip"],
        ),
        ("a suffix may be the whole name", &["d/.zip"], &["d"], &["d/.zip"]),
        (
            "a directory with an ignored suffix goes with its content",
            &["logo.png/a.yaml", "b"],
            &["b"],
            &["logo.png/a.yaml"],
        ),
        (
            "pipelines",
            &[
                ".travis.yml",
                ".gitlab-ci.yml",
                "appveyor.yml",
                ".drone.yml",
                "cloudbuild.yaml",
                "codeship-services.yml",
                "codeship-steps.yml",
            ],
            &[],
            &[
                ".drone.yml",
                ".gitlab-ci.yml",
                ".travis.yml",
                "appveyor.yml",
                "cloudbuild.yaml",
                "codeship-services.yml",
                "codeship-steps.yml",
            ],
        ),
        (
            "at any depth",
            &["a/b/.goreleaser.yml", ".sops.yaml", "a/.flux.yaml"],
            &["a", "a/b"],
            &[".sops.yaml", "a/.flux.yaml", "a/b/.goreleaser.yml"],
        ),
        (
            "directories that became empty stay",
            &["images/a.png", "images/sub/b.png"],
            &["images", "images/sub"],
            &["images/a.png", "images/sub/b.png"],
        ),
        (".sourceignore is like any other file", &[".sourceignore"], &[".sourceignore"], &[]),
        (
            "what only starts like a rule stays",
            &[".gitignored", "a.zip.txt", ".git-old/x"],
            &[".git-old", ".git-old/x", ".gitignored", "a.zip.txt"],
            &[],
        ),
    ];

    #[test]
    fn the_default_list() {
        for (name, paths, kept, dropped) in ROWS {
            let filtered = apply_default(&tree(paths));
            assert_eq!(names(&filtered.kept), *kept, "{name}");
            let found: Vec<String> = filtered.dropped.iter().map(TreePath::to_string).collect();
            assert_eq!(found, *dropped, "{name}");
            // Read as patterns, the list says the same.
            let rules = Rules::default().with(Builtin::Automatic);
            assert_eq!(apply(&tree(paths), &rules, &|| false), filtered, "{name}");
        }
    }

    #[test]
    fn outer_files_come_first_the_callers_rules_last_and_version_control_has_none() {
        let file = |path: &str, content: &'static str| {
            let content = Content::Inline(content.as_bytes().into());
            let size = match &content {
                Content::Inline(bytes) => bytes.len() as u64,
                Content::Spooled(..) => 0,
            };
            let node = Node::File(File { executable: false, size, sha256: [0; 32], content });
            Entry { path: TreePath::new(path.as_bytes()).unwrap(), node }
        };
        // In archive order, `-a` stands in front of `.sourceignore`.
        let tree = Tree::from_entries(vec![
            file(".sourceignore", "*.txt\n"),
            file("-a/.sourceignore", "!b.txt\n"),
            file("-a/b.txt", ""),
            file("b.txt", ""),
            file(".git/.sourceignore", "*\n"),
            file(".git/x", ""),
        ]);
        let tree = tree.unwrap();
        let mut rules = Rules::default();
        add_from_tree(&mut rules, &tree).unwrap();
        let kept = apply(&tree, &rules.with(Builtin::Nothing), &|| false);
        let dropped: Vec<String> = kept.dropped.iter().map(TreePath::to_string).collect();
        assert_eq!(dropped, ["b.txt"]);

        let mut rules = Rules::default();
        rules.add_file(b"/-a/b.txt\n!/b.txt\n", None).unwrap();
        add_from_tree(&mut rules, &tree).unwrap();
        let kept = apply(&tree, &rules.with(Builtin::Nothing), &|| false);
        let dropped: Vec<String> = kept.dropped.iter().map(TreePath::to_string).collect();
        assert_eq!(dropped, ["-a/b.txt"], "the caller's rules decide");

        let many = Tree::from_entries(vec![file("d/.sourceignore", "a\n".repeat(1001).leak())]).unwrap();
        let error = add_from_tree(&mut Rules::default(), &many).unwrap_err();
        assert!(error.to_string().starts_with("d/.sourceignore: there are more than 1000"), "{error}");
    }
}
