//! How large a source may be.

use super::SourceError;

/// Directories that an entry may lie in, one inside the other. Deeper trees are refused.
pub const MAX_DEPTH: usize = 256;

/// Most bytes that the entries of a tarball inside of a source may have together, as Flux has it.
pub const MAX_ARCHIVE: u64 = 100 * 1024 * 1024;

/// Upper bounds for one source. They keep a hostile tarball from filling memory or disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the tarball as downloaded, in bytes.
    pub compressed_bytes: u64,
    /// Size of the tar stream after gunzip, in bytes, headers and skipped entries included.
    pub uncompressed_bytes: u64,
    /// Entries of every kind in the tarball, and files and directories in its tree.
    pub entries: u64,
    /// Directories one inside the other, see [`MAX_DEPTH`].
    pub depth: usize,
    /// Length of a path in bytes. 4095 is what Linux takes.
    pub path_bytes: usize,
    /// Length of one component of a path in bytes. 255 is what Linux takes.
    pub name_bytes: usize,
}

/// By what rules a tarball is unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) limits: Limits,
    /// Whether symbolic links are left out. Else they are refused.
    pub(super) skips_links: bool,
    /// Most bytes that the sizes of all entries may add up to.
    pub(super) sizes: u64,
    /// Most bytes that all files may take together, hard links included.
    pub(super) files: u64,
    /// Whether the tar may come as it is. Else it has to be compressed.
    pub(super) plain: bool,
    /// The flag that bounds its bytes.
    pub(super) size_flag: &'static str,
}

impl Rules {
    /// For sources.
    pub(super) fn source(limits: Limits) -> Self {
        Self {
            limits,
            skips_links: true,
            sizes: u64::MAX,
            files: limits.uncompressed_bytes,
            plain: false,
            size_flag: "--source-max-size",
        }
    }

    /// For tarballs that lie in a source.
    pub(super) fn archive(limits: Limits) -> Self {
        Self { skips_links: false, sizes: MAX_ARCHIVE, ..Self::source(limits) }
    }

    /// For tars that a caller sends, whose files may take so many bytes together.
    pub(super) fn sent(limits: Limits, max_bytes: u64) -> Self {
        // The headers of the entries come on top: 2 KiB for each, which is more than they take but for the longest names.
        let uncompressed_bytes = max_bytes.saturating_add(limits.entries.saturating_mul(2048));
        let limits = Limits { uncompressed_bytes, ..limits };
        let size_flag = "--artifact-max-size";
        Self { plain: true, sizes: max_bytes, files: max_bytes, size_flag, ..Self::source(limits) }
    }
}

impl Limits {
    /// The limits that go with a cache of this many bytes and entries: a source may fill it, but no more.
    pub fn for_cache(max_bytes: u64, max_entries: u64) -> Self {
        Self {
            compressed_bytes: max_bytes,
            uncompressed_bytes: max_bytes,
            entries: max_entries,
            depth: MAX_DEPTH,
            path_bytes: 4095,
            name_bytes: 255,
        }
    }

    /// Checks a number of entries. The error continues a text that names the entry.
    pub(super) fn check_entries(&self, entries: u64) -> Result<(), SourceError> {
        let max = self.entries;
        if entries <= max {
            return Ok(());
        }
        let text =
            format!("is over the {max} files and directories that a source may have; raise --source-max-entries");
        Err(SourceError::TooLarge(text))
    }
}
