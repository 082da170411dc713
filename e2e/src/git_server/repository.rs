//! A repository on the server, with a work tree to commit from.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// A served repository with the branch `main`.
#[derive(Debug)]
pub struct Repository {
    url: String,
    work: PathBuf,
}

impl Repository {
    pub(super) async fn create(root: &Path, name: &str, url: String) -> Result<Self> {
        let bare = root.join(format!("{name}.git"));
        let work = root.join(format!("{name}.work"));
        std::fs::create_dir(&work).with_context(|| format!("the repository {name} exists"))?;
        git(root, ["init", "--quiet", "--bare", "--initial-branch=main"], [&bare]).await?;
        git(root, ["init", "--quiet", "--initial-branch=main"], [&work]).await?;
        git(&work, ["remote", "add", "origin", &url], []).await?;
        Ok(Self { url, work })
    }

    /// The URL that a `GitRepository` uses.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The work tree: what is here is in the next commit.
    #[must_use]
    pub fn work_tree(&self) -> &Path {
        &self.work
    }

    /// Writes files (path, content), commits everything in the work tree and
    /// pushes it. Returns the commit's id.
    ///
    /// # Errors
    /// When git fails; an unchanged work tree is a failure too.
    pub async fn commit(&self, message: &str, files: &[(&str, &str)]) -> Result<String> {
        for (path, content) in files {
            let path = self.work.join(path);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        self.commit_work_tree(message).await
    }

    /// Copies a folder from elsewhere into the work tree, commits and pushes.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_folder(&self, message: &str, folder: &Path) -> Result<String> {
        copy_tree(folder, &self.work).with_context(|| format!("cannot copy {}", folder.display()))?;
        self.commit_work_tree(message).await
    }

    async fn commit_work_tree(&self, message: &str) -> Result<String> {
        git(&self.work, ["add", "--all"], []).await?;
        git(&self.work, ["commit", "--quiet", "-m", message], []).await?;
        git(&self.work, ["push", "--quiet", "origin", "main"], []).await?;
        git(&self.work, ["rev-parse", "HEAD"], []).await
    }
}

/// Copies files and folders, not links.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Runs git apart from the user's own configuration; returns what it prints.
/// Says at once when there is no git, before anything is built or started.
///
/// # Errors
/// When it can not be run.
pub async fn ensure_git() -> Result<()> {
    git(&std::env::temp_dir(), ["--version"], []).await.map(drop)
}

async fn git<const A: usize, const P: usize>(folder: &Path, args: [&str; A], paths: [&Path; P]) -> Result<String> {
    let mut command = Command::new("git");
    command
        .args(args)
        .args(paths.map(OsStr::new))
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Weir").env(format!("GIT_{who}_EMAIL"), "weir@localhost");
    }
    // Set by git hooks around a test run; they would point it elsewhere.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    let output = command.output().await.context("cannot run git: please install it")?;
    ensure!(
        output.status.success(),
        "git {}: {}: {}{}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout),
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
