//! From a kernel event to a place to look at.

use std::path::{Component, Path};

use notify::{
    ErrorKind, Event, EventKind,
    event::{ModifyKind, RenameMode},
};
use weir_proto::{ArtifactDir, ArtifactPath};

use super::{Broken, Pending};
use crate::storage::Prefix;

/// Told at once which file an event speaks of; `None` when it may be any.
type Tell<'a> = &'a dyn Fn(Option<&ArtifactPath>);

/// Adds the places that an event speaks of. False when there is nothing to look at: reads, hidden names, somebody else's.
pub(super) fn note(pending: &mut Pending, root: &Path, event: notify::Result<Event>, tell: Tell<'_>) -> bool {
    match event {
        Ok(event) if event.need_rescan() => {
            pending.overflow = true;
            tell(None);
            true
        }
        Ok(event) if matters(event.kind) => {
            let paths = event.paths.iter().filter_map(|path| path.strip_prefix(root).ok());
            paths.filter(|path| place(pending, path, event.kind, tell)).count() > 0
        }
        Ok(_) => false,
        Err(error) => {
            tell(None);
            match error.kind {
                ErrorKind::MaxFilesWatch => pending.broken = Some(Broken::Limit),
                _ => pending.overflow = true,
            }
            true
        }
    }
}

fn matters(kind: EventKind) -> bool {
    // The same rename was reported by its two halves already.
    let both = matches!(kind, EventKind::Modify(ModifyKind::Name(RenameMode::Both)));
    !both && !matches!(kind, EventKind::Access(_) | EventKind::Other)
}

fn place(pending: &mut Pending, path: &Path, kind: EventKind, tell: Tell<'_>) -> bool {
    let name = |part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    };
    let parts: Option<Vec<&str>> = path.components().map(name).collect();
    let appears = matches!(kind, EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)));
    let written = matches!(kind, EventKind::Modify(ModifyKind::Data(_)));
    let in_place = matches!(kind, EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)));
    match parts.as_deref() {
        Some([]) if !appears && !in_place => {
            pending.broken = Some(Broken::Root);
            true
        }
        Some(folder @ ([_] | [_, _] | [_, _, _])) if !in_place => match Prefix::from_parts(folder) {
            Some(prefix) => {
                // The server makes many folders itself: a new one is looked at once, when its own events are on.
                if appears {
                    pending.fresh.insert(prefix.clone());
                }
                if !matches!(kind, EventKind::Create(_)) {
                    pending.folders.insert(prefix);
                }
                true
            }
            None => false,
        },
        Some(&[kind, namespace, name, file]) => {
            let Ok(path) = ArtifactDir::new(kind, namespace, name).and_then(|dir| dir.file(file)) else { return false };
            tell(Some(&path));
            *pending.files.entry(path).or_default() |= written;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        path::PathBuf,
    };

    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, Flag, MetadataKind, RemoveKind};

    use super::*;

    #[test]
    fn only_what_can_concern_stored_files_is_looked_at() {
        let create = EventKind::Create(CreateKind::File);
        let folder = EventKind::Create(CreateKind::Folder);
        let remove = EventKind::Remove(RemoveKind::Any);
        let write = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let mode = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        let gone = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        let came = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let both = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Write));
        // Row, event, path below the root, what is looked at.
        let rows = [
            ("file written", write, "e/apps/front/a.tar.gz", "written e/apps/front/a.tar.gz"),
            ("file removed", remove, "e/apps/front/a.tar.gz", "file e/apps/front/a.tar.gz"),
            ("file renamed away", gone, "e/apps/front/a.tar.gz", "file e/apps/front/a.tar.gz"),
            ("mode changed", mode, "e/apps/front/a.tar.gz", "file e/apps/front/a.tar.gz"),
            ("file came", came, "e/apps/front/a.tar.gz", "file e/apps/front/a.tar.gz"),
            ("read", read, "e/apps/front/a.tar.gz", ""),
            ("own temporary", create, "e/apps/front/.tmp-0123", ""),
            ("own record", came, "e/apps/front/.a.tar.gz.record", ""),
            ("both halves of a rename", both, "e/apps/front/a.tar.gz", ""),
            ("a lock", create, "e/apps/front/a.tar.gz.lock", ""),
            ("artifact made", folder, "e/apps/front", "fresh"),
            ("namespace made", folder, "e/apps", "fresh"),
            ("namespace renamed here", came, "e/apps", "folder e/apps fresh"),
            ("kind removed", remove, "e", "folder e"),
            ("namespace renamed away", gone, "e/apps", "folder e/apps"),
            ("mode of a folder", mode, "e/apps", ""),
            ("lost+found", folder, "lost+found", ""),
            ("own documents", folder, ".weir", ""),
            ("too deep", create, "e/apps/front/x/y", ""),
            ("root removed", remove, "", "root"),
            ("root renamed", gone, "", "root"),
            ("mode of the root", mode, "", ""),
            ("outside", create, "/elsewhere/e/apps/front/a", ""),
        ];
        for (row, kind, path, expected) in rows {
            let root = PathBuf::from("/data");
            let path = if path.is_empty() { root.clone() } else { root.join(path) };
            let mut pending = Pending::default();
            let told = RefCell::new(Vec::new());
            let tell = |path: Option<&ArtifactPath>| told.borrow_mut().push(path.cloned());
            let noted = note(&mut pending, &root, Ok(Event::new(kind).add_path(path)), &tell);
            let files: Vec<_> = pending.files.keys().cloned().map(Some).collect();
            assert_eq!(told.into_inner(), files, "row {row}: told at once");
            let mut found = Vec::new();
            let what = |written: bool| if written { "written" } else { "file" };
            found.extend(pending.files.iter().map(|(path, &written)| format!("{} {path}", what(written))));
            found.extend(pending.folders.iter().map(|folder| format!("folder {folder}")));
            found.extend(pending.fresh.iter().map(|_| "fresh".to_owned()));
            found.extend(pending.broken.iter().map(|_| "root".to_owned()));
            assert_eq!(found.join(" "), expected, "row {row}");
            assert_eq!(noted, !expected.is_empty(), "row {row}");
        }
        let mut pending = Pending::default();
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        let told = Cell::new(0);
        let tell = |path: Option<&ArtifactPath>| told.set(told.get() + usize::from(path.is_none()));
        assert!(note(&mut pending, Path::new("/data"), Ok(overflow), &tell) && pending.overflow);
        let limit = notify::Error::new(ErrorKind::MaxFilesWatch);
        assert!(note(&mut pending, Path::new("/data"), Err(limit), &tell) && pending.broken == Some(Broken::Limit));
        assert_eq!(told.get(), 2, "it may be any file");
    }
}
