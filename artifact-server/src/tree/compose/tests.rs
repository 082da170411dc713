//! The rules of copy operations as a table. A rule's number is the section of the reference's behaviour that it belongs to: 10.3 steps, 10.4
//! parsing, 10.5 plain sources, 10.6 globs, 10.7 excludes, 10.8 copies over what is there, 10.9 Merge, 10.10 Extract.

use std::{collections::BTreeSet, sync::LazyLock};

use super::*;
use crate::{
    build::ContentMaker,
    hash::sha256,
    source::{CacheSettings, SourceCache},
    tree::{Content, Entry, File, Node, TreePath},
};

mod extract_rows;
mod merge_rows;
mod optional_rows;
mod rows;

/// All rules and all rows.
const TABLES: [(&[&str], &[Row]); 4] = [
    (rows::RULES, rows::ROWS),
    (merge_rows::RULES, merge_rows::ROWS),
    (extract_rows::RULES, extract_rows::ROWS),
    (optional_rows::RULES, optional_rows::ROWS),
];

/// One row: the rule, what it shows, the operations, and the artifact or the error's text behind the wrapper.
///
/// An operation is `<from> -> <to>` with excludes behind it, each after ` ! `, ` optional` at its end, and `Merge: ` or `Extract: ` in front. The artifact is a list:
/// directories with a slash at the end, files as they are; a file that is not the one of that name of source `s` is
/// `<path>=<alias>:<path there>`, one of the sources `y` and `z` or made of them `<path>=<content>`.
pub(super) struct Row(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) &'static [&'static str],
    pub(super) Result<&'static str, &'static str>,
);

fn tree(alias: &str, paths: &[&str]) -> Arc<Tree> {
    let entry = |path: &&str| {
        let clean = path.trim_end_matches(['/', '*']);
        // The content says where the file comes from.
        let content = Content::Inline(format!("{alias}:{clean}").into_bytes().into());
        let file = File { executable: path.ends_with('*'), size: 1, sha256: [0; 32], content };
        let node = if path.ends_with('/') { Node::Directory } else { Node::File(file) };
        Entry { path: TreePath::new(clean.as_bytes()).unwrap(), node }
    };
    Arc::new(Tree::from_entries(paths.iter().map(entry).collect()).unwrap())
}

/// A source of files with content.
fn holding(files: Vec<(&str, Vec<u8>)>) -> Arc<Tree> {
    let entry = |(path, content): (&str, Vec<u8>)| {
        let clean = path.trim_end_matches(['/', '*']);
        let (size, sha256) = (content.len() as u64, sha256(&content));
        let file = File { executable: path.ends_with('*'), size, sha256, content: Content::Inline(content.into()) };
        let node = if path.ends_with('/') { Node::Directory } else { Node::File(file) };
        Entry { path: TreePath::new(clean.as_bytes()).unwrap(), node }
    };
    Arc::new(Tree::from_entries(files.into_iter().map(entry).collect()).unwrap())
}

/// What makes files of files, in the server too, and the folder that it needs.
fn maker() -> (ContentMaker, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let settings = CacheSettings::new(folder.path().join("cache"), 1 << 30);
    (ContentMaker::new(SourceCache::new(settings).unwrap()), folder)
}

type Sources = BTreeMap<String, Arc<Tree>>;

fn composed_within(bounds: Bounds<'_>, sources: &Sources, operations: &[CopyOperation]) -> Result<Tree, ComposeError> {
    let (maker, _folder) = maker();
    compose_within(bounds, &maker.until(bounds.cancelled), sources, operations)
}

fn composed(sources: &Sources, operations: &[CopyOperation]) -> Result<Tree, ComposeError> {
    composed_within(Bounds::default(), sources, operations)
}

/// The sources of all rows. `*` at the end: executable.
fn sources() -> BTreeMap<String, Arc<Tree>> {
    let s = [
        ".hidden",
        "README.md",
        "apps/api/app.yaml",
        "apps/api/docs/guide.md",
        "apps/api/secret.yaml",
        "apps/web/app.yaml",
        "bin/run*",
        "config/.env",
        "config/app.yaml",
        "config/base/deep/k.yaml",
        "config/base/k.yaml",
        "config/notes.md",
        "empty/",
        "infra/controllers/descheduler/d.yaml",
        "infra/descheduler/d.yaml",
        "infra/x.yaml",
        "odd/a]b",
        "odd/{x}",
        "odd/é.txt",
    ];
    let t = ["README.md/inner", "app.yaml", "apps", "config/app.yaml", "config/extra.yaml", "run", "vacant/"];
    static FILES: LazyLock<[Arc<Tree>; 2]> =
        LazyLock::new(|| [holding(merge_rows::files()), holding(extract_rows::files())]);
    let [y, z] = FILES.clone();
    let named = [("s", tree("s", &s)), ("t", tree("t", &t)), ("y", y), ("z", z)];
    named.into_iter().map(|(alias, tree)| (alias.to_owned(), tree)).collect()
}

fn operation(text: &str) -> CopyOperation {
    let (text, optional) = text.strip_suffix(" optional").map_or((text, false), |text| (text, true));
    let (strategy, text) = text.split_once(": ").unwrap_or(("", text));
    let mut parts = text.split(" ! ");
    let (from, to) = parts.next().unwrap().split_once(" -> ").unwrap();
    let exclude = parts.map(str::to_owned).collect();
    CopyOperation { from: from.to_owned(), to: to.to_owned(), exclude, strategy: strategy.parse().unwrap(), optional }
}

fn show(tree: &Tree) -> String {
    let show = |Entry { path, node }: &Entry| match node {
        Node::Directory => format!("{path}/"),
        Node::File(file) => {
            let origin = file.read().unwrap();
            let origin = std::str::from_utf8(&origin).unwrap();
            let plain = origin
                .strip_prefix("s:")
                .is_some_and(|from| from.rsplit('/').next() == path.to_string().rsplit('/').next());
            format!(
                "{path}{}{}",
                if file.executable { "*" } else { "" },
                if plain { String::new() } else { format!("={origin}") }
            )
        }
    };
    tree.entries().iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_row_holds() {
    let (sources, (maker, _folder)) = (sources(), maker());
    let mut failures = Vec::new();
    for Row(rule, name, operations, expected) in TABLES.into_iter().flat_map(|(_, rows)| rows) {
        let operations: Vec<CopyOperation> = operations.iter().map(|text| operation(text)).collect();
        let found = compose(&maker.until(&|| false), &sources, &operations)
            .map(|tree| show(&tree))
            .map_err(|error| error.cause.to_string());
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        if found != expected {
            failures.push(format!("{rule}: {name}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{} rows:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_rule_has_a_row_and_every_row_a_rule() {
    let mut names = BTreeSet::new();
    for (rules, rows) in TABLES {
        let missing: Vec<_> = rules.iter().filter(|rule| !rows.iter().any(|row| row.0 == **rule)).collect();
        assert!(missing.is_empty(), "rules without a row: {missing:#?}");
        let unknown: Vec<_> = rows.iter().map(|row| row.0).filter(|rule| !rules.contains(rule)).collect();
        assert!(unknown.is_empty(), "rows of unlisted rules: {unknown:#?}");
        let twice: Vec<_> = rows.iter().map(|row| (row.0, row.1)).filter(|row| !names.insert(*row)).collect();
        assert!(twice.is_empty(), "rows of one name: {twice:#?}");
    }
    assert!(names.len() >= 200, "{} rows", names.len());
}

#[test]
fn an_error_names_its_operation() {
    let operations = [operation("@s/config -> @artifact/"), operation("@s/none -> @artifact/x")];
    let error = composed(&sources(), &operations).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to apply copy operations: failed to apply copy operation from '@s/none' to '@artifact/x': source 'none' does not exist"
    );
}

#[test]
fn strategies_have_names() {
    for (text, expected) in [
        ("", Ok(Strategy::Overwrite)),
        ("Overwrite", Ok(Strategy::Overwrite)),
        ("Merge", Ok(Strategy::Merge)),
        ("Extract", Ok(Strategy::Extract)),
        ("merge", Err(UnknownStrategy("merge".to_owned()))),
    ] {
        assert_eq!(text.parse(), expected, "{text}");
    }
}

#[test]
fn contents_are_shared() {
    let sources = sources();
    let copied = composed(&sources, &[operation("@s/bin/run -> @artifact/run")]).unwrap();
    let content = |tree: &Tree, path: &[u8]| match tree.get(&TreePath::new(path).unwrap()) {
        Some(Node::File(File { content: Content::Inline(bytes), .. })) => bytes.as_ptr(),
        _ => panic!("no file"),
    };
    assert_eq!(content(&copied, b"run"), content(&sources["s"], b"bin/run"));
}

#[test]
fn an_artifact_can_not_grow_without_end() {
    let operations: Vec<_> = (0..4).map(|index| operation(&format!("@t/ -> @artifact/{index}"))).collect();
    let count = composed(&sources(), &operations).unwrap().entries().len();
    let within = |entries| composed_within(Bounds { entries, ..Bounds::default() }, &sources(), &operations);
    assert_eq!(within(count).unwrap().entries().len(), count);
    let error = within(count - 1).unwrap_err();
    assert_eq!(error.cause, CopyError::TooManyEntries(count - 1));
    assert_eq!(error.to, "@artifact/3");
}

// One file of 400 bytes under many names: the sources do not bound what is made of them.
#[test]
fn the_bytes_of_an_artifact_are_bounded() {
    let content = Content::Inline(Vec::new().into());
    let file = |size| Node::File(File { executable: false, size, sha256: [0; 32], content: content.clone() });
    let entry = |path: &str, size| Entry { path: TreePath::new(path.as_bytes()).unwrap(), node: file(size) };
    let tree = Tree::from_entries(vec![entry("big", 400), entry("huge", u64::MAX), entry("small", 1)]).unwrap();
    let sources = BTreeMap::from([("s".to_owned(), Arc::new(tree))]);
    let within = |bytes, operations: &[&str]| {
        let operations: Vec<_> = operations.iter().map(|text| operation(text)).collect();
        composed_within(Bounds { bytes, ..Bounds::default() }, &sources, &operations).map_err(|error| error.cause)
    };
    let (one, two) = ("@s/big -> @artifact/1", "@s/big -> @artifact/2");
    assert!(within(800, &[one, two]).is_ok());
    assert_eq!(within(799, &[one, two]), Err(CopyError::TooManyBytes(799)));
    assert!(within(400, &[one, one, one]).is_ok(), "a file that is replaced takes no more room");
    assert!(within(401, &[one, two, "@s/small -> @artifact/1"]).is_err(), "nor at any moment more than the limit");
    assert!(within(u64::MAX - 1, &[one, "@s/huge -> @artifact/3"]).is_err(), "no sum is too large to count");
    let text =
        "the files of the artifact would take more than 799 bytes; raise --artifact-max-size of the artifact server";
    assert_eq!(CopyError::TooManyBytes(799).to_string(), text);
}

#[test]
fn a_cancelled_composition_ends_where_it_is() {
    use std::cell::Cell;
    let many: Vec<String> = (0..100_000).map(|number| format!("d/{number}")).collect();
    let tree = tree("s", &many.iter().map(String::as_str).collect::<Vec<_>>());
    let sources = BTreeMap::from([("s".to_owned(), tree)]);
    // Row, operation, how often the composition may ask before it hears that it is cancelled.
    let rows = [
        ("before an operation", "@s/d/1 -> @artifact/", 0),
        ("in a directory", "@s/d -> @artifact/", 5),
        ("in a directory of which nothing is taken", "@s/d -> @artifact/ ! d/*", 5),
        ("among matches", "@s/d/* -> @artifact/", 5),
        ("among excluded matches", "@s/d/* -> @artifact/ ! *", 5),
    ];
    for (row, text, patience) in rows {
        let asked = Cell::new(0);
        let cancelled = || {
            asked.set(asked.get() + 1);
            asked.get() > patience
        };
        let bounds = Bounds { cancelled: &cancelled, ..Bounds::default() };
        let error = composed_within(bounds, &sources, &[operation(text), operation(text)]).unwrap_err();
        assert_eq!((error.cause, asked.get()), (CopyError::Cancelled, patience + 1), "row {row}");
    }
}
