//! Which tar entries become part of a source.

use super::{Limits, SourceError, member::Member, name};
use crate::{quote::quoted, tree::TreePath};

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// The root itself: there is nothing to add.
    Nothing,
    /// A symbolic link. Flux leaves them out of sources, and refuses them in tarballs inside of sources.
    Link,
    /// A directory.
    Directory(TreePath),
    /// A regular file; its content follows.
    File {
        /// Where it goes.
        path: TreePath,
        /// Any execute bit was set. All other bits are dropped.
        executable: bool,
    },
    /// A second name for a file that came earlier.
    HardLink {
        /// Where it goes.
        path: TreePath,
        /// The file it names.
        target: TreePath,
    },
}

/// File type bits that some writers put into the mode. Go heeds them beside the type flag, so they count here too.
const TYPE_BITS: u32 = !0o7777;
const MODE_DIRECTORY: u32 = 0o040_000;
const MODE_SYMLINK: u32 = 0o120_000;
const MODE_SPECIAL: [(u32, &str); 4] =
    [(0o010_000, "named pipe"), (0o020_000, "character device"), (0o060_000, "block device"), (0o140_000, "socket")];

/// Decides about one entry. The name is checked first, whatever the entry is.
pub(super) fn admit(member: &Member, limits: &Limits) -> Result<Admitted, SourceError> {
    let path = name::clean(&member.name, limits)?;
    if member.sparse {
        return Err(unsupported(member, "sparse file"));
    }
    // The cast keeps the low bits: the type and permissions are all in there.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only the low bits mean something")]
    let mode = member.mode as u32;
    let kind = match (member.flag, mode & TYPE_BITS) {
        (b'5', _) | (_, MODE_DIRECTORY) => b'5',
        (b'2', _) | (_, MODE_SYMLINK) => b'2',
        (flag, bits) => match MODE_SPECIAL.iter().find(|(special, _)| *special == bits) {
            Some((_, what)) => return Err(unsupported(member, what)),
            None => flag,
        },
    };
    let file = |path: Option<TreePath>| path.ok_or_else(|| name::invalid(&member.name));
    Ok(match kind {
        b'0' | b'7' => Admitted::File { path: file(path)?, executable: mode & 0o111 != 0 },
        b'1' => {
            let target = name::clean(&member.link, limits)?;
            let target = target.ok_or_else(|| name::invalid(&member.link))?;
            Admitted::HardLink { path: file(path)?, target }
        }
        b'2' => Admitted::Link,
        b'5' => path.map_or(Admitted::Nothing, Admitted::Directory),
        b'3' => return Err(unsupported(member, "character device")),
        b'4' => return Err(unsupported(member, "block device")),
        b'6' => return Err(unsupported(member, "named pipe")),
        flag => return Err(unsupported(member, &format!("type flag {}", quoted(&[flag])))),
    })
}

fn unsupported(member: &Member, what: &str) -> SourceError {
    SourceError::Refused(format!("tar file entry {} contained unsupported file type {what}", quoted(&member.name)))
}
