//! File systems whose changes can come from another machine, which the kernel's events do not tell.

use std::path::Path;

use rustix::fs::statfs;

/// NFS, SMB (three numbers), FUSE, Ceph and 9P, by the numbers of statfs(2).
const REMOTE: [u64; 7] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x00c3_6400, 0x0102_1997];

/// Whether the path lies on such a file system.
pub(super) fn is_remote(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| REMOTE.contains(&(kind & 0xffff_ffff))))
}
