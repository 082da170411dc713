//! Clients are built from a release and outlive it. What the contract was in the last release, it must still be: only additions are free.
//!
//! `released/weir.artifact.v1.binpb` is the descriptor of the last release, without comments. A release writes it anew:
//! `WEIR_RELEASE=1 cargo test -p weir-proto --test compatible`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod breaking;
mod rows;

use std::{fs, path::Path};

use prost::Message as _;
use prost_types::FileDescriptorSet;

use breaking::breaking_changes;

/// What the files give, with what they import.
fn compile(root: &Path, files: &[String]) -> FileDescriptorSet {
    let mut compiler = protox::Compiler::new([root]).unwrap();
    compiler.include_source_info(false).include_imports(true).open_files(files).unwrap();
    compiler.file_descriptor_set()
}

#[test]
fn the_contract_breaks_no_client_of_the_last_release() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(root.join("weir/artifact/v1")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<_> = entries.map(|name| format!("weir/artifact/v1/{}", name.to_str().unwrap())).collect();
    files.sort();
    let current = compile(root, &files);

    let released = root.join("released/weir.artifact.v1.binpb");
    if std::env::var_os("WEIR_RELEASE").is_some() {
        fs::write(&released, current.encode_to_vec()).unwrap();
    }
    let released = FileDescriptorSet::decode(fs::read(released).unwrap().as_slice()).unwrap();
    let methods = released.file.iter().flat_map(|file| &file.service).map(|service| service.method.len());
    assert!(methods.sum::<usize>() > 15, "that is not the contract");
    let changes = breaking_changes(&released, &current);
    assert_eq!(
        changes, [""; 0],
        "clients of the last release would break: take it back, or add something new beside it"
    );
}
