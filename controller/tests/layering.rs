//! Decisions do no I/O: the modules under `plan/` and the event correlator import no client, no runtime and no file system.

use std::{fs, path::Path};

const FORBIDDEN: [&str; 8] = ["tokio", "tonic", "warp", "kube::", "hyper", "std::fs", "std::net", "Timestamp::now"];

#[test]
fn plan_is_pure() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<_> = fs::read_dir(src.join("plan")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(src.join("events/correlator.rs"));
    assert!(files.len() > 8, "the folder was found");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let found = FORBIDDEN.iter().find(|word| !line.trim_start().starts_with("//") && line.contains(*word));
            assert_eq!(found, None, "{}:{}", file.display(), number + 1);
        }
    }
}
