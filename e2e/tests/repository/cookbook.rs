//! docs/grpc.md has a command for each call of the contract. What they answer is tested end to end.

use std::{collections::BTreeSet, fs};

use prost_types::FileDescriptorSet;
use weir_proto::DESCRIPTOR;

use crate::root;

#[test]
fn every_call_has_a_command() {
    let set: FileDescriptorSet = prost::Message::decode(DESCRIPTOR).unwrap();
    let mut calls = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            let name = |method: &str| format!("{}.{}/{method}", file.package(), service.name());
            calls.extend(service.method.iter().map(|method| name(method.name())));
        }
    }
    assert!(calls.len() > 20, "the descriptor reads otherwise: {calls:?}");
    let text = fs::read_to_string(root().join("docs/grpc.md")).unwrap();
    // Commands go over several lines; what they answer names no call.
    let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```\n").next());
    let words: BTreeSet<&str> = blocks.flat_map(str::split_whitespace).collect();
    let missing: Vec<_> = calls.iter().filter(|call| !words.contains(call.as_str())).collect();
    assert!(missing.is_empty(), "docs/grpc.md: add a command for {missing:?}");
}
