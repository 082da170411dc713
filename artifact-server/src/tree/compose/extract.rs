//! Extract: what is in a tarball goes into the artifact.

use weir_proto::{Failure, Reason};

use super::{CopyError, copy::Copy};
use crate::tree::{Node, TreePath};

/// What the names of tarballs end in, in any case.
const TARBALLS: [&[u8]; 2] = [b".tar.gz", b".tgz"];

impl Copy<'_, '_> {
    /// Unpacks a tarball that was named, not found.
    pub(super) fn extract_named(&mut self, path: &TreePath) -> Result<(), CopyError> {
        if is_tarball(path) { self.extract(path) } else { Err(CopyError::NoTarball(path.to_string())) }
    }

    /// Unpacks all tarballs among what was found. Later ones are written over earlier ones.
    pub(super) fn extract_matches(&mut self, matches: &[TreePath]) -> Result<(), CopyError> {
        for path in matches.iter().filter(|path| is_tarball(path)) {
            self.extract(path).map_err(|cause| CopyError::ExtractMatch {
                path: path.to_string(),
                to: self.to.text().to_owned(),
                cause: Box::new(cause),
            })?;
        }
        Ok(())
    }

    /// Unpacks one tarball. The destination is a directory, also without a slash. Excludes are about tarballs, not about what is in them.
    fn extract(&mut self, tarball: &TreePath) -> Result<(), CopyError> {
        self.stage.wanted()?;
        let to = self.to.text().to_owned();
        let directory = self.to.join(b"").and_then(|directory| {
            directory.as_ref().map_or(Ok(()), |directory| self.stage.make_directory(directory))?;
            Ok(directory)
        });
        let directory =
            directory.map_err(|cause| CopyError::ExtractDestination { to: to.clone(), cause: Box::new(cause) })?;
        self.unpack(tarball, directory.as_ref()).map_err(|cause| CopyError::Extract {
            path: tarball.to_string(),
            to,
            cause: Box::new(cause),
        })
    }

    fn unpack(&mut self, tarball: &TreePath, to: Option<&TreePath>) -> Result<(), CopyError> {
        let Some(Node::File(file)) = self.source.get(tarball) else {
            let message = format!("requires gzip-compressed body: read {tarball}: is a directory");
            return Err(CopyError::Content(Failure::new(Reason::BuildFailed, message)));
        };
        let tree = self.contents.unpack(file).map_err(CopyError::Content)?;
        for entry in tree.entries() {
            self.stage.step()?;
            let path = TreePath::beneath(to, entry.path.as_bytes());
            match &entry.node {
                Node::Directory => self.stage.make_directory(&path)?,
                Node::File(file) => self.stage.write(path, file.clone())?,
            }
        }
        Ok(())
    }
}

fn is_tarball(path: &TreePath) -> bool {
    let name = path.base();
    TARBALLS.iter().any(|end| name.len().checked_sub(end.len()).is_some_and(|at| name[at..].eq_ignore_ascii_case(end)))
}
