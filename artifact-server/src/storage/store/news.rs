//! What is heard of files while they are hashed.

use std::collections::HashMap;

use parking_lot::Mutex;
use weir_proto::ArtifactPath;

/// The files that are hashed now, and whether something was heard of each since. A file whose bytes change twice within one tick of the
/// kernel's clock has the same stamp both times: then only this tells.
#[derive(Default)]
pub(super) struct News(Mutex<HashMap<ArtifactPath, bool>>);

/// One run over a file. One at a time for each file: the artifact's stripe sees to it.
pub(super) struct Listening<'a> {
    news: &'a News,
    path: &'a ArtifactPath,
}

impl News {
    /// Listens until the result is dropped.
    pub(super) fn listen<'a>(&'a self, path: &'a ArtifactPath) -> Listening<'a> {
        self.0.lock().insert(path.clone(), false);
        Listening { news: self, path }
    }

    /// Something happened to a file; to any when it is `None`.
    pub(super) fn tell(&self, path: Option<&ArtifactPath>) {
        let mut hashed = self.0.lock();
        match path {
            Some(path) => hashed.get_mut(path).into_iter().for_each(|heard| *heard = true),
            None => hashed.values_mut().for_each(|heard| *heard = true),
        }
    }
}

impl Listening<'_> {
    /// Whether something was heard since the beginning.
    pub(super) fn heard(&self) -> bool {
        self.news.0.lock().get(self.path) == Some(&true)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.news.0.lock().remove(self.path);
    }
}
