use super::*;
use crate::tree::{Content, Entry, File};

fn tree(paths: &[&str]) -> Arc<Tree> {
    let entry = |path: &&str| {
        let clean = path.trim_end_matches('/');
        let content = Content::Inline(path.as_bytes().to_vec().into());
        let file = File { executable: false, size: path.len() as u64, sha256: [0; 32], content };
        let node = if path.ends_with('/') { Node::Directory } else { Node::File(file) };
        Entry { path: TreePath::new(clean.as_bytes()).unwrap(), node }
    };
    Arc::new(Tree::from_entries(paths.iter().map(entry).collect()).unwrap())
}

#[test]
fn a_directory_lands_below_its_own_name() {
    let sources = BTreeMap::from([("s".to_owned(), tree(&["apps/a/x.yaml", "apps/b/"]))]);
    let copy = CopyOperation { from: "@s/apps".into(), to: "@artifact/to".into(), ..Default::default() };
    let tree = compose(&sources, &[copy]).unwrap();
    let paths: Vec<String> = tree.entries().iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["to", "to/apps", "to/apps/a", "to/apps/a/x.yaml", "to/apps/b"]);
}
