//! How long composing takes: 1000 artifacts of one source with 5000 files, as `cargo run --release -p weir-artifact-server --example compose`.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use weir_artifact_server::{
    archive::{ignore, pack},
    build::ContentMaker,
    source::{CacheSettings, SourceCache},
    tree::{Content, CopyOperation, Entry, File, Node, Tree, TreePath, compose, content_digest},
};

const APPS: usize = 1000;
const ROUNDS: usize = 10;

fn source() -> Result<Tree, Box<dyn std::error::Error>> {
    let mut entries = Vec::new();
    for app in 0..APPS {
        for name in ["deployment.yaml", "service.yaml", "config/app.yaml", "config/env.yaml", "kustomization.yaml"] {
            let text = format!("# {app}/{name}\n").repeat(20);
            let content = Content::Inline(text.into_bytes().into());
            let Content::Inline(bytes) = &content else { continue };
            let file = File { executable: false, size: bytes.len() as u64, sha256: [app as u8; 32], content };
            let path = TreePath::new(format!("apps/app-{app:04}/{name}").as_bytes())?;
            entries.push(Entry { path, node: Node::File(file) });
        }
    }
    Ok(Tree::from_entries(entries)?)
}

#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sources = BTreeMap::from([("repo".to_owned(), Arc::new(source()?))]);
    let folder = tempfile::tempdir()?;
    let maker = ContentMaker::new(SourceCache::new(CacheSettings::new(folder.path(), 1 << 20))?);
    let contents = maker.until(&|| false);
    let (mut composed, mut digested, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = SystemTime::now();
        let mut trees = Vec::new();
        for app in 0..APPS {
            let from = format!("@repo/apps/app-{app:04}/**");
            let copy = CopyOperation { from, to: "@artifact/".to_owned(), ..CopyOperation::default() };
            trees.push(ignore::apply_default(&compose(&contents, &sources, &[copy])?).kept);
        }
        composed.push(start.elapsed()?);
        let start = SystemTime::now();
        assert!(trees.iter().map(content_digest).all(|digest| digest.as_bytes() != &[0; 32]));
        digested.push(start.elapsed()?);
        let start = SystemTime::now();
        for tree in &trees {
            pack(tree, &mut std::io::sink())?;
        }
        packed.push(start.elapsed()?);
    }
    println!(
        "{APPS} artifacts of {} entries, best of {ROUNDS}: compose and ignore {:?}, content digest {:?}, pack {:?}",
        sources["repo"].entries().len(),
        composed.iter().min(),
        digested.iter().min(),
        packed.iter().min()
    );
    Ok(())
}
