//! Features of dependencies: what is built for tests is what is built for the programs that the tests start.

use std::process::Command;

use serde_json::Value;

use crate::root;

/// The features that a crate of the workspace asks for, by dependency.
fn features<'a>(package: &'a Value, kind: Option<&str>) -> Vec<(&'a str, &'a str)> {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let of_kind = dependencies.filter(|dependency| dependency["kind"].as_str() == kind);
    of_kind
        .flat_map(|dependency| {
            let name = dependency["name"].as_str().unwrap();
            dependency["features"].as_array().unwrap().iter().map(move |feature| (name, feature.as_str().unwrap()))
        })
        .collect()
}

/// The tests are built with the features of all dev-dependencies. The programs that they start are built together with weir-e2e,
/// which therefore must ask for the same ones: else `cargo test --workspace` builds half of the dependencies twice.
#[test]
fn dev_dependencies_add_no_features() {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version=1"]).current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let built: Vec<_> = packages.iter().flat_map(|package| features(package, None)).collect();
    assert!(built.contains(&("tokio", "rt-multi-thread")), "{built:?}");
    let tested = packages.iter().flat_map(|package| features(package, Some("dev")));
    let missing: Vec<_> = tested.filter(|feature| !built.contains(feature)).collect();
    assert!(missing.is_empty(), "add to the dependencies in e2e/Cargo.toml: {missing:?}");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(
        manifest.contains("\n[profile.dev.build-override]\ndebug = "),
        "else derive macros differ, and what uses them"
    );
}

/// rustls with ring. A second provider would come in by a feature of some dependency, unseen, and double what has to be trusted and built.
#[test]
fn there_is_one_tls_stack() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let packages: Vec<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(["rustls", "ring"].iter().all(|name| packages.contains(name)), "the lock file reads otherwise");
    let others = ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "boring", "graviola"];
    let found: Vec<_> = others.iter().filter(|name| packages.contains(name)).collect();
    assert!(found.is_empty(), "{found:?} came in: see which dependency asks for it with `cargo tree --invert`");
}
