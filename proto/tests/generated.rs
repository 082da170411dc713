//! The generated code is committed, so that a build needs no protoc. This test writes it anew and compares.
//!
//! After a change to a `.proto` file: `WEIR_REGENERATE=1 cargo test -p weir-proto --test generated`.

use std::{fs, path::Path};

const FILES: [&str; 4] = [
    "weir/artifact/v1/artifact.proto",
    "weir/artifact/v1/files.proto",
    "weir/artifact/v1/storage.proto",
    "weir/artifact/v1/builder.proto",
];

#[test]
fn committed_code_is_what_the_proto_files_give() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir().unwrap();
    let mut compiler = protox::Compiler::new([root]).unwrap();
    compiler.include_source_info(true).include_imports(true).open_files(FILES).unwrap();
    let code_descriptor = compiler.file_descriptor_set();

    tonic_prost_build::configure().out_dir(scratch.path()).btree_map(".").compile_fds(code_descriptor.clone()).unwrap();
    let code = fs::read(scratch.path().join("weir.artifact.v1.rs")).unwrap();
    // Reflection serves the same descriptor, comments included.
    let descriptor = compiler.encode_file_descriptor_set();

    let generated = root.join("src/gen");
    if std::env::var_os("WEIR_REGENERATE").is_some() {
        fs::write(generated.join("weir.artifact.v1.rs"), &code).unwrap();
        fs::write(generated.join("descriptor.bin"), &descriptor).unwrap();
    }
    let hint = "run WEIR_REGENERATE=1 cargo test -p weir-proto --test generated";
    assert!(fs::read(generated.join("weir.artifact.v1.rs")).unwrap() == code, "generated code is stale: {hint}");
    assert!(fs::read(generated.join("descriptor.bin")).unwrap() == descriptor, "descriptor is stale: {hint}");
}
