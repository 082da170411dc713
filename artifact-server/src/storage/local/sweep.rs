//! Walking the whole folder: listing what is stored, sweeping what a crash left.

use std::collections::HashSet;

use jiff::Timestamp;
use rustix::{
    fs::{FileType, Stat},
    io::Errno,
};
use weir_proto::{ArtifactDir, ArtifactPath};

use super::{STATE, TEMPORARY, folder::Folder, leftovers, record_name, root::Root, successor};
use crate::storage::{Prefix, StorageError, Swept};

/// The folders of artifacts, and how many other things lie beside them.
pub(super) struct Artifacts {
    pub(super) dirs: Vec<ArtifactDir>,
    pub(super) foreign: usize,
}

/// Finds the folders of artifacts below a prefix. What is not a folder of ours, or may not be read, is counted and left alone.
pub(super) fn artifacts(root: &Root, prefix: &Prefix) -> Result<Artifacts, StorageError> {
    let mut foreign = 0;
    let mut level: Vec<Vec<String>> = vec![prefix.parts().to_vec()];
    for depth in prefix.parts().len()..3 {
        let mut next = Vec::new();
        for parts in level {
            for name in folders(root, &parts, &mut foreign)? {
                let mut longer = parts.clone();
                longer.push(name);
                let names: Vec<&str> = longer.iter().map(String::as_str).collect();
                match Prefix::from_parts(&names) {
                    Some(_) => next.push(longer),
                    None if depth == 0 && longer[0] == STATE => {}
                    None => foreign += 1,
                }
            }
        }
        level = next;
    }
    let dirs = level.iter().filter_map(|parts| ArtifactDir::new(&parts[0], &parts[1], &parts[2]).ok()).collect();
    Ok(Artifacts { dirs, foreign })
}

fn folders(root: &Root, parts: &[String], foreign: &mut usize) -> Result<Vec<String>, StorageError> {
    let relative = parts.join("/");
    let opened = if parts.is_empty() {
        root.handle().and_then(|handle| Ok(Some(Folder::new(handle.try_clone().map_err(|_| Errno::MFILE)?))))
    } else {
        root.folder(&relative)
    };
    let names = match opened.and_then(|folder| folder.map_or(Ok(Vec::new()), |folder| folder.names())) {
        Ok(names) => names,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(Errno::ACCESS | Errno::PERM) if !parts.is_empty() => {
            *foreign += 1;
            return Ok(Vec::new());
        }
        Err(cause) => return Err(StorageError::io("read", place(root, &relative), cause)),
    };
    let (folders, others): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|(_, kind)| matches!(kind, FileType::Directory | FileType::Unknown));
    *foreign += others.len();
    Ok(folders.into_iter().map(|(name, _)| name).collect())
}

/// Calls `found` for each stored file of an artifact. Returns how many other things lie beside them, records excepted.
pub(super) fn files(
    root: &Root,
    dir: &ArtifactDir,
    mut found: impl FnMut(ArtifactPath, Stat),
) -> Result<usize, StorageError> {
    let failed = |cause: std::io::Error| StorageError::io("read", place(root, dir), cause);
    let folder = match root.folder(dir.as_str()) {
        Ok(Some(folder)) => folder,
        Ok(None) | Err(Errno::ACCESS | Errno::PERM) => return Ok(1),
        Err(cause) => return Err(failed(cause.into())),
    };
    let mut foreign = 0;
    for (name, _) in folder.names().map_err(|cause| failed(cause.into()))? {
        let ours = name.starts_with(TEMPORARY)
            || successor::file_of(&name).is_some()
            || (name.starts_with('.') && name.ends_with(".record"));
        match dir.file(&name) {
            Ok(path) => match folder.stat(&name).map_err(failed)? {
                Some(stat) => found(path, stat),
                None => foreign += 1,
            },
            Err(_) if ours => {}
            Err(_) => foreign += 1,
        }
    }
    Ok(foreign)
}

/// Removes temporary files, records without a file, and what source-watcher left behind.
pub(super) fn sweep(root: &Root) -> Result<Swept, StorageError> {
    let Artifacts { dirs, foreign } = artifacts(root, &Prefix::all())?;
    let mut swept = Swept { foreign, ..Swept::default() };
    let start = Timestamp::now();
    for dir in dirs {
        let inherited = leftovers::sweep(root, &dir, start)?;
        swept.inherited += inherited;
        let mut records = HashSet::new();
        swept.foreign += files(root, &dir, |path, _| {
            records.insert(record_name(path.file()));
        })?;
        if sweep_folder(root, dir.as_str(), |name| records.contains(name), &mut swept)? || inherited > 0 {
            root.remove_if_empty(&dir);
        }
    }
    sweep_folder(root, STATE, |_| true, &mut swept)?;
    Ok(swept)
}

/// True when something was removed.
fn sweep_folder(
    root: &Root,
    relative: &str,
    wanted: impl Fn(&str) -> bool,
    swept: &mut Swept,
) -> Result<bool, StorageError> {
    let failed = |cause: Errno| StorageError::io("remove", place(root, relative), cause);
    let folder = match root.folder(relative) {
        Ok(Some(folder)) => folder,
        Ok(None) | Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
        Err(cause) => return Err(failed(cause)),
    };
    let before = (swept.temporary, swept.records);
    for (name, _) in folder.names().map_err(failed)? {
        if name.starts_with(TEMPORARY) {
            folder.remove_obstacle(&name).map_err(failed)?;
            swept.temporary += 1;
        } else if let Some(file) = successor::file_of(&name) {
            let superseded = successor::settle(&folder, file)
                .map_err(|cause| StorageError::io("write", place(root, format!("{relative}/{file}")), cause))?;
            swept.records += usize::from(superseded);
        } else if name.starts_with('.') && name.ends_with(".record") && !wanted(&name) {
            folder.unlink(&name).map_err(failed)?;
            swept.records += 1;
        }
    }
    Ok(before != (swept.temporary, swept.records))
}

fn place(root: &Root, relative: impl std::fmt::Display) -> String {
    format!("{}/{relative}", root.path().display())
}
