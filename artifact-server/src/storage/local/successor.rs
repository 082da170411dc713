//! The record of a file that is about to take the place of another. It lies beside the old one until the file has its name.

use std::{
    fs::File,
    io::{self, Read},
};

use super::{folder::Folder, record_name};
use crate::{hash::Hasher, storage::Record};

/// How much is read at once.
const BLOCK: usize = 128 * 1024;

/// Its name. No artifact's file and no record can have it.
pub(super) fn name(file: &str) -> String {
    format!(".{file}{SUFFIX}")
}

/// Shorter than that of records: what has a record can be replaced.
const SUFFIX: &str = ".next";

/// The file that a successor's record is about.
pub(super) fn file_of(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_suffix(SUFFIX)
}

/// Decides, after a crash, whose record counts, by the bytes under the name. True when the old one does, and the successor's is removed.
pub(super) fn settle(folder: &Folder, file: &str) -> io::Result<bool> {
    let successor = name(file);
    let record = folder.read_small(&successor)?.and_then(|json| Record::from_json(&json).ok());
    let came = match (record, folder.open_file(file)?) {
        (Some(record), Some((open, stat))) => u64::try_from(stat.st_size) == Ok(record.size) && holds(open, &record),
        _ => false,
    };
    if came {
        folder.rename(&successor, &record_name(file))?;
    } else {
        folder.unlink(&successor)?;
    }
    folder.sync()?;
    Ok(!came)
}

/// Bytes that can not be read are not those of the record: whoever asks for the file next finds that out.
fn holds(mut open: File, record: &Record) -> bool {
    let mut hasher = Hasher::new(record.digest.algorithm());
    let mut buffer = vec![0; BLOCK];
    loop {
        match open.read(&mut buffer) {
            Ok(0) => return hasher.finish().is_ok_and(|digest| digest == record.digest),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}
