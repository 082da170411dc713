//! Fencing: a controller that has lost its lease can not write any more.
//!
//! Each call carries the transition count of the caller's Lease. The highest one seen for each controller is on the volume, so that
//! a restart of this server does not let an old leader in. Where that can not be read, nobody is let in: whoever calls first could
//! be a former leader.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use weir_proto::{Failure, Owner, Reason};

use crate::storage::{Storage, StorageError};

const DOCUMENT: &str = "epochs.json";

/// The highest epoch of each controller.
pub struct Epochs {
    storage: Arc<dyn Storage>,
    /// `None` while the document can not be read.
    highest: Mutex<Option<BTreeMap<String, u64>>>,
}

impl Epochs {
    /// Reads what is on the volume. When that can not be read, every change is refused until it can: see [`Epochs::admit`].
    pub fn open(storage: Arc<dyn Storage>) -> Self {
        let highest = match super::state::read(&*storage, DOCUMENT) {
            Ok(document) => Some(document.unwrap_or_default()),
            Err(error) => {
                tracing::error!("{}", unreadable(&error).message);
                None
            }
        };
        Self { storage, highest: Mutex::new(highest) }
    }

    /// Whether the epoch is the highest seen, so that [`Epochs::admit`] would neither fail nor write.
    pub fn is_current(&self, owner: &Owner, epoch: u64) -> bool {
        self.highest.lock().as_ref().is_some_and(|highest| highest.get(owner.controller()) == Some(&epoch))
    }

    /// Lets a caller in, or refuses one whose epoch is over. A higher epoch is on the volume before this returns. Blocks.
    ///
    /// While the document can not be read, it is tried again here. A document that is gone by then was deleted by somebody who knows
    /// that no former leader is left.
    pub fn admit(&self, owner: &Owner, epoch: u64) -> Result<(), Failure> {
        let mut known = self.highest.lock();
        if known.is_none() {
            let document = super::state::read(&*self.storage, DOCUMENT).map_err(|error| unreadable(&error))?;
            tracing::info!(document = DOCUMENT, "the epochs can be read again");
            *known = Some(document.unwrap_or_default());
        }
        let highest = known.get_or_insert_default();
        match highest.get(owner.controller()) {
            Some(&seen) if epoch < seen => Err(stale(owner.controller(), epoch, seen)),
            Some(&seen) if epoch == seen => Ok(()),
            _ => {
                let mut risen = highest.clone();
                risen.insert(owner.controller().to_owned(), epoch);
                super::state::write(&*self.storage, DOCUMENT, &risen)?;
                *highest = risen;
                Ok(())
            }
        }
    }
}

fn stale(controller: &str, epoch: u64, seen: u64) -> Failure {
    let advice = "another instance leads; if its Lease was deleted or leader election was switched off on purpose, stop the server, \
                  delete .weir/epochs.json on its volume and start it again";
    let message = format!("epoch {epoch} of controller {controller} is over, epoch {seen} has been seen: {advice}");
    Failure::field(Reason::StaleEpoch, "caller.epoch", message)
}

/// The text of the error names the file.
fn unreadable(error: &StorageError) -> Failure {
    let advice = "nothing is stored or removed, as a former leader could not be told from the leader; files are served. \
                  Restore the file, or delete it once no former leader runs; no restart is needed";
    Failure::new(Reason::StorageFailed, format!("{error}: {advice}"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::storage::{LocalFolder, Memory};

    fn owner(text: &str) -> Owner {
        text.parse().unwrap()
    }

    #[test]
    fn epochs_only_rise_and_survive_a_restart() {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        let (ours, other) = (owner("source-watcher/1"), owner("other/1"));
        let epochs = Epochs::open(Arc::clone(&storage));
        epochs.admit(&ours, 3).unwrap();
        epochs.admit(&ours, 3).unwrap();
        epochs.admit(&other, 0).unwrap();
        assert!(epochs.is_current(&ours, 3) && !epochs.is_current(&ours, 4));
        let epochs = Epochs::open(Arc::clone(&storage));
        let failure = epochs.admit(&ours, 2).unwrap_err();
        assert_eq!((failure.reason, failure.field.as_deref()), (Reason::StaleEpoch, Some("caller.epoch")));
        epochs.admit(&ours, 4).unwrap();
        assert!(Epochs::open(storage).admit(&ours, 3).is_err());
    }

    #[test]
    fn nobody_is_let_in_while_the_document_can_not_be_read() {
        type Damage = fn(&Path);
        let rows: [(&str, Damage); 7] = [
            ("empty", |file| fs::write(file, "").unwrap()),
            ("cut off", |file| fs::write(file, "{\"source-watcher\":").unwrap()),
            ("garbage", |file| fs::write(file, [0, 159, 146, 150]).unwrap()),
            ("another type", |file| fs::write(file, "[]").unwrap()),
            ("another type within", |file| fs::write(file, "{\"source-watcher\":-1}").unwrap()),
            ("a folder", |file| {
                fs::remove_file(file).unwrap();
                fs::create_dir(file).unwrap();
            }),
            ("a link", |file| {
                fs::remove_file(file).unwrap();
                std::os::unix::fs::symlink("/dev/null", file).unwrap();
            }),
        ];
        for (row, damage) in rows {
            let folder = tempfile::tempdir().unwrap();
            let storage: Arc<dyn Storage> = Arc::new(LocalFolder::open(folder.path()).unwrap());
            let (leader, file) = (owner("source-watcher/1"), folder.path().join(".weir/epochs.json"));
            Epochs::open(Arc::clone(&storage)).admit(&leader, 3).unwrap();
            let kept = fs::read(&file).unwrap();
            damage(&file);
            let epochs = Epochs::open(Arc::clone(&storage));
            for (owner, epoch) in [(&leader, 2), (&leader, 3), (&leader, 4), (&owner("other/1"), 0)] {
                assert!(!epochs.is_current(owner, epoch), "row {row}");
                let failure = epochs.admit(owner, epoch).unwrap_err();
                assert_eq!(failure.reason, Reason::StorageFailed, "row {row}: {failure}");
                let text = failure.message;
                assert!(text.starts_with(&format!("can not read {}: ", file.display())), "row {row}: {text}");
                assert!(
                    text.contains("delete it once no former leader runs") && !text.contains('\n'),
                    "row {row}: {text}"
                );
            }
            // Restored, the fence is what it was.
            if file.is_dir() { fs::remove_dir(&file) } else { fs::remove_file(&file) }.unwrap();
            fs::write(&file, kept).unwrap();
            assert_eq!(epochs.admit(&leader, 2).unwrap_err().reason, Reason::StaleEpoch, "row {row}");
            epochs.admit(&leader, 3).unwrap();
            // Deleted on purpose, it begins anew.
            damage(&file);
            let epochs = Epochs::open(storage);
            assert!(epochs.admit(&leader, 1).is_err(), "row {row}");
            if file.is_dir() { fs::remove_dir(&file) } else { fs::remove_file(&file) }.unwrap();
            epochs.admit(&leader, 1).unwrap();
        }
    }

    #[test]
    fn a_damaged_document_does_not_matter_while_the_epochs_are_known() {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        let (ours, epochs) = (owner("source-watcher/1"), Epochs::open(Arc::clone(&storage)));
        epochs.admit(&ours, 3).unwrap();
        storage.put_state(DOCUMENT, b"{").unwrap();
        assert_eq!(epochs.admit(&ours, 2).unwrap_err().reason, Reason::StaleEpoch);
        epochs.admit(&ours, 4).unwrap();
        assert!(Epochs::open(storage).is_current(&ours, 4), "written anew");
    }

    #[test]
    fn more_controllers_than_the_document_takes_are_refused_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(LocalFolder::open(folder.path()).unwrap());
        let many: BTreeMap<String, u64> = (0..8000).map(|number| (format!("{number:0>200}"), 7)).collect();
        let error = crate::state::write(&*storage, DOCUMENT, &many).unwrap_err().to_string();
        assert!(error.contains("epochs.json") && error.contains("larger than 1048576 bytes"), "{error}");
        let few: BTreeMap<String, u64> = many.into_iter().take(4000).collect();
        crate::state::write(&*storage, DOCUMENT, &few).unwrap();
        let epochs = Epochs::open(storage);
        assert!(few.keys().all(|controller| epochs.is_current(&owner(&format!("{controller}/1")), 7)));
    }
}
