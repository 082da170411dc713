//! The temporary folder of one run: data, sockets, kubeconfigs and logs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};

/// Set to keep the folder after the run, for looking at logs.
const KEEP: &str = "WEIR_E2E_KEEP";

/// How much of the end of a log is read for a tail.
const TAIL_BYTES: u64 = 64 * 1024;

/// A folder that is removed when the value is dropped, unless the environment
/// variable `WEIR_E2E_KEEP` is set.
#[derive(Debug)]
pub struct RunDir {
    folder: tempfile::TempDir,
    next: AtomicUsize,
}

impl RunDir {
    /// Creates the folder below the system's temporary folder.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn new() -> Result<Self> {
        let mut folder = tempfile::Builder::new()
            .prefix("weir-e2e-")
            .tempdir()
            .context("cannot create a folder for this run in the temporary folder (TMPDIR)")?;
        folder.disable_cleanup(std::env::var_os(KEEP).is_some());
        std::fs::create_dir(folder.path().join("logs"))?;
        Ok(Self { folder, next: AtomicUsize::new(0) })
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A new empty folder whose name starts with `name`. Short, because a unix
    /// socket below it may have 107 bytes at most.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.path().join(format!("{name}-{number}"));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    /// Where the log of the part `name` goes. A restarted part appends to its log.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.path().join("logs").join(format!("{name}.log"))
    }

    /// The last `lines` lines of each log whose name passes, for a failure report.
    #[must_use]
    pub fn tails(&self, lines: usize, passes: impl Fn(&str) -> bool) -> String {
        let mut logs: Vec<_> = std::fs::read_dir(self.path().join("logs"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_stem().and_then(|stem| stem.to_str()).is_some_and(&passes))
            .collect();
        logs.sort();
        let mut text = String::new();
        for path in logs {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Writing to a String cannot fail.
            let _ = write!(text, "--- end of {name}\n{}", tail(&path, lines));
        }
        text
    }
}

/// The last `lines` lines of a file, or why it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<_> = text.lines().collect();
            let mut shown = all[all.len().saturating_sub(lines)..].join("\n");
            shown.push('\n');
            shown
        }
        Err(error) => format!("(cannot be read: {error})\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_show_the_end_of_the_wanted_logs_only() {
        let run = RunDir::new().unwrap();
        std::fs::write(run.log("weir-a"), "1\n2\n3\n").unwrap();
        std::fs::write(run.log("etcd"), "noise\n").unwrap();
        let text = run.tails(2, |name| name.starts_with("weir"));
        assert_eq!(text, "--- end of weir-a.log\n2\n3\n");
    }

    #[test]
    fn folders_of_one_name_differ() {
        let run = RunDir::new().unwrap();
        assert_ne!(run.folder("x").unwrap(), run.folder("x").unwrap());
    }
}
