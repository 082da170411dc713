//! Files where no call may put one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Walks all that a server and those who called it could write to, and fails when anything is there that has no business there.
pub(super) fn none(folder: &Path) -> Result<()> {
    let (mut strays, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(within) = folders.pop() {
        let absolute = folder.join(&within);
        for entry in absolute.read_dir().with_context(|| format!("cannot read {}", absolute.display()))? {
            let entry = entry?;
            let path = within.join(entry.file_name());
            let is_folder = entry.file_type()?.is_dir();
            if !may_be(&path, is_folder) {
                strays.push(path.display().to_string());
            }
            if is_folder {
                folders.push(path);
            }
        }
    }
    strays.sort();
    ensure!(strays.is_empty(), "in {}, nothing may be at {strays:?}", folder.display());
    Ok(())
}

/// Whether this may be in the folder of a server, which has the volume, a socket and the folder of its source cache. Sources have no names there.
fn may_be(path: &Path, is_folder: bool) -> bool {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    match *parts.as_slice() {
        ["data" | "tmp" | "s"] | ["data", ".weir"] => is_folder,
        ["s", "artifact.sock"] | ["data", "broken"] | ["data", ".weir", _] => !is_folder,
        ["tmp", cache] => is_folder && cache.starts_with("weir-sources-"),
        ["data", "externalartifact" | "bucket"] => is_folder,
        ["data", "externalartifact" | "bucket", namespace] | ["data", "externalartifact" | "bucket", namespace, _] => {
            is_folder && runners(namespace)
        }
        ["data", "externalartifact" | "bucket", namespace, _, _] => !is_folder && runners(namespace),
        _ => false,
    }
}

/// Whether the namespace is one that the policy names.
fn runners(namespace: &str) -> bool {
    namespace.starts_with("conformance-") || namespace.starts_with("elsewhere-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        // (path, as a file, as a folder)
        let rows = [
            ("data", false, true),
            ("evil", false, false),
            ("s/artifact.sock", true, false),
            ("s/evil", false, false),
            ("tmp/weir-sources-0123abcd", false, true),
            ("tmp/weir-sources-0123abcd/evil", false, false),
            ("tmp/evil", false, false),
            ("data/broken", true, false),
            ("data/broken/a", false, false),
            ("data/evil", false, false),
            ("data/.weir/instance", true, false),
            ("data/externalartifact/conformance-go/a/b.txt", true, false),
            ("data/externalartifact/elsewhere-go/a/b.txt", true, false),
            ("data/externalartifact/conformance-go/a", false, true),
            ("data/externalartifact/conformance-go/a/b/c", false, false),
            ("data/externalartifact/other/a/b.txt", false, false),
            ("data/secret/conformance-go/a/b.txt", false, false),
        ];
        for (path, file, folder) in rows {
            let path = Path::new(path);
            assert_eq!((may_be(path, false), may_be(path, true)), (file, folder), "{}", path.display());
        }
    }

    #[test]
    fn a_stray_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data/externalartifact/conformance-go/a")).unwrap();
        none(folder.path()).unwrap();
        std::fs::write(folder.path().join("data/evil"), "").unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("data/.weir")).unwrap();
        let error = none(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with(r#"nothing may be at ["data/.weir", "data/evil"]"#), "{error}");
    }
}
