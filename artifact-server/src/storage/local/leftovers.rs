//! What source-watcher leaves beside its files: for each a lock file, which it never removes, and what it was writing when it was killed.
//! When Weir has the volume nobody needs them any more.

use jiff::Timestamp;
use rustix::fs::Stat;
use weir_proto::ArtifactDir;

use super::{file, record_name, root::Root};
use crate::storage::StorageError;

/// The only kind that source-watcher stores.
const KIND: &str = "externalartifact";

/// Removes them from the folder of an artifact if they are older than `start`. Returns how many there were.
pub(super) fn sweep(root: &Root, dir: &ArtifactDir, start: Timestamp) -> Result<usize, StorageError> {
    let failed = |cause: std::io::Error| StorageError::io("remove", format!("{}/{dir}", root.path().display()), cause);
    if dir.parts().0 != KIND {
        return Ok(0);
    }
    // One that may not be read is counted by whoever lists it.
    let Ok(Some(folder)) = root.folder(dir.as_str()) else { return Ok(0) };
    let mut swept = 0;
    for (name, _) in folder.names().map_err(|cause| failed(cause.into()))? {
        let Some(kind) = leftover(&name) else { continue };
        let Some(stat) = folder.stat(&name).map_err(failed)? else { continue };
        // Somebody may have stored a file under such a name through this server.
        let has_record = folder.stat(&record_name(&name)).map_err(failed)?.is_some();
        if !has_record && is_theirs(kind, &stat, start) {
            folder.unlink(&name).map_err(|cause| failed(cause.into()))?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// What a name says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftover {
    /// `<checksum>.tar.gz.lock`.
    Lock,
    /// `<checksum>.tar.gz<random number>`.
    Temporary,
}

/// Reads a name. The checksum is an Adler-32 and the random number has 32 bits too; both are decimal.
fn leftover(name: &str) -> Option<Leftover> {
    let (checksum, rest) = name.split_once(".tar.gz")?;
    let is_number = |text: &str| text.parse::<u32>().is_ok_and(|number| number.to_string() == text);
    match rest {
        _ if !is_number(checksum) => None,
        ".lock" => Some(Leftover::Lock),
        rest => is_number(rest).then_some(Leftover::Temporary),
    }
}

/// A lock is empty. What is newer than this server's start is somebody's who still works here.
fn is_theirs(kind: Leftover, stat: &Stat, start: Timestamp) -> bool {
    let head = file::head(stat);
    head.modified < start && (kind == Leftover::Temporary || head.size == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_source_watcher_are_its_leftovers() {
        let rows = [
            ("storage.md §2 lock", "2936578364.tar.gz.lock", Some(Leftover::Lock)),
            ("of an empty artifact", "1.tar.gz.lock", Some(Leftover::Lock)),
            ("storage.md §2 temporary", "2936578364.tar.gz1804289383", Some(Leftover::Temporary)),
            ("the smallest random number", "1.tar.gz0", Some(Leftover::Temporary)),
            ("the largest", "4294967295.tar.gz4294967295", Some(Leftover::Temporary)),
            ("an artifact", "2936578364.tar.gz", None),
            ("an artifact of ours", &format!("{}.tar.gz", "0".repeat(64)), None),
            ("a lock of another file", "web.tar.gz.lock", None),
            ("a lock of another kind of file", "2936578364.yaml.lock", None),
            ("a checksum of more bits", "4294967296.tar.gz.lock", None),
            ("a checksum with zeros in front", "017.tar.gz.lock", None),
            ("a checksum with a sign", "+17.tar.gz.lock", None),
            ("a random number of more bits", "1.tar.gz4294967296", None),
            ("a random number with zeros in front", "1.tar.gz007", None),
            ("something else behind it", "1.tar.gz17.bak", None),
            ("a lock of a temporary", "1.tar.gz17.lock", None),
            ("hidden", ".1.tar.gz.lock", None),
            ("a record of ours", ".1.tar.gz.record", None),
            ("nothing", "", None),
        ];
        for (row, name, expected) in rows {
            assert_eq!(leftover(name), expected, "row {row}");
        }
    }
}
