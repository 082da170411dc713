//! Whoever writes a client reads the `.proto` files, by hand or by reflection. Nothing in them is without a comment.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::{fs, path::Path};

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, ServiceDescriptorProto};

/// Numbers of fields in descriptor.proto: what a path in the source information is made of.
mod at {
    pub(crate) const MESSAGES: i32 = 4;
    pub(crate) const ENUMS: i32 = 5;
    pub(crate) const SERVICES: i32 = 6;
    pub(crate) const FIELDS: i32 = 2;
    pub(crate) const NESTED: i32 = 3;
    pub(crate) const NESTED_ENUMS: i32 = 4;
    pub(crate) const ONEOFS: i32 = 8;
    pub(crate) const VALUES: i32 = 2;
    pub(crate) const METHODS: i32 = 2;
}

/// A file, and what was found in it so far.
struct Reader<'a> {
    file: &'a FileDescriptorProto,
    seen: usize,
    missing: Vec<String>,
}

impl Reader<'_> {
    /// Notes a thing, and that it has no comment which ends as a sentence does.
    fn look(&mut self, path: &[i32], name: &str) {
        self.seen += 1;
        let locations = &self.file.source_code_info.as_ref().unwrap().location;
        let location = locations.iter().find(|location| location.path == path);
        let comment = location.map_or("", |location| location.leading_comments()).trim();
        if !comment.ends_with('.') {
            self.missing.push(name.to_owned());
        }
    }

    fn message(&mut self, path: &[i32], outer: &str, message: &DescriptorProto) {
        // What the compiler makes of a map is not in the source.
        if message.options.as_ref().is_some_and(|options| options.map_entry()) {
            return;
        }
        let name = format!("{outer}{}", message.name());
        self.look(path, &name);
        let below = |part: i32, index: usize| [path, &[part, i32::try_from(index).unwrap()]].concat();
        for (index, field) in message.field.iter().enumerate() {
            self.look(&below(at::FIELDS, index), &format!("{name}.{}", field.name()));
        }
        // `optional` is a oneof of its own to the compiler.
        let synthetic = message.field.iter().filter(|field| field.proto3_optional()).map(|field| field.oneof_index());
        let synthetic: Vec<i32> = synthetic.collect();
        for (index, oneof) in message.oneof_decl.iter().enumerate() {
            if !synthetic.contains(&i32::try_from(index).unwrap()) {
                self.look(&below(at::ONEOFS, index), &format!("{name}.{}", oneof.name()));
            }
        }
        let outer = format!("{name}.");
        for (index, nested) in message.nested_type.iter().enumerate() {
            self.message(&below(at::NESTED, index), &outer, nested);
        }
        for (index, nested) in message.enum_type.iter().enumerate() {
            self.enumeration(&below(at::NESTED_ENUMS, index), &outer, nested);
        }
    }

    fn enumeration(&mut self, path: &[i32], outer: &str, enumeration: &EnumDescriptorProto) {
        let name = format!("{outer}{}", enumeration.name());
        self.look(path, &name);
        for (index, value) in enumeration.value.iter().enumerate() {
            let path = [path, &[at::VALUES, i32::try_from(index).unwrap()]].concat();
            self.look(&path, &format!("{name}.{}", value.name()));
        }
    }

    fn service(&mut self, path: &[i32], service: &ServiceDescriptorProto) {
        self.look(path, service.name());
        for (index, method) in service.method.iter().enumerate() {
            let path = [path, &[at::METHODS, i32::try_from(index).unwrap()]].concat();
            self.look(&path, &format!("{}.{}", service.name(), method.name()));
        }
    }
}

/// How many things a file declares, and which of them have no comment.
fn read(root: &Path, file: &str) -> (usize, Vec<String>) {
    let mut compiler = protox::Compiler::new([root]).unwrap();
    compiler.include_source_info(true).open_file(file).unwrap();
    let files = compiler.file_descriptor_set().file;
    let file = files.iter().find(|found| found.name() == file).unwrap();
    let mut reader = Reader { file, seen: 0, missing: Vec::new() };
    let number = |index: usize| i32::try_from(index).unwrap();
    for (index, message) in file.message_type.iter().enumerate() {
        reader.message(&[at::MESSAGES, number(index)], "", message);
    }
    for (index, enumeration) in file.enum_type.iter().enumerate() {
        reader.enumeration(&[at::ENUMS, number(index)], "", enumeration);
    }
    for (index, service) in file.service.iter().enumerate() {
        reader.service(&[at::SERVICES, number(index)], service);
    }
    (reader.seen, reader.missing)
}

#[test]
fn everything_in_the_contract_has_a_comment() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(root.join("weir/artifact/v1")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut seen = 0;
    for file in files {
        let file = format!("weir/artifact/v1/{}", file.to_str().unwrap());
        let (found, missing) = read(root, &file);
        assert_eq!(missing, [""; 0], "{file}: say what it is, in which unit and format, and which errors it can cause");
        seen += found;
    }
    assert!(seen > 150, "only {seen} things were found");
}

#[test]
fn what_has_no_comment_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = "syntax = \"proto3\";\npackage x;\n\
        // Yes.\nmessage A {\n  // Yes.\n  string b = 1;\n  string c = 2; // Behind it is not above it.\n  optional string d = 3;\n  map<string, string> e = 4;\n\
        \n  // Not a sentence\n  oneof f {\n    string g = 5;\n  }\n  message H {}\n  enum I {\n    // Yes.\n    J = 0;\n  }\n}\n\
        enum K {\n  L = 0;\n}\nmessage M {}\nservice N {\n  rpc O(A) returns (A);\n}\n";
    fs::write(folder.path().join("x.proto"), text).unwrap();
    let (seen, missing) = read(folder.path(), "x.proto");
    let expected = ["A.c", "A.d", "A.e", "A.g", "A.f", "A.H", "A.I", "M", "K", "K.L", "N", "N.O"];
    assert_eq!((seen, missing), (expected.len() + 3, expected.map(str::to_owned).to_vec()));
}
