//! Fencing: a controller that has lost its lease can not write any more.
//!
//! Each call carries the transition count of the caller's Lease. The highest one seen for each controller is on the volume, so that
//! a restart of this server does not let an old leader in.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use weir_proto::{Failure, Owner, Reason};

use crate::storage::{Storage, StorageError};

const DOCUMENT: &str = "epochs.json";

/// The highest epoch of each controller.
pub struct Epochs {
    storage: Arc<dyn Storage>,
    highest: Mutex<BTreeMap<String, u64>>,
}

impl Epochs {
    /// Reads what is on the volume.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self, StorageError> {
        let highest = super::state::read(&*storage, DOCUMENT)?.unwrap_or_default();
        Ok(Self { storage, highest: Mutex::new(highest) })
    }

    /// Whether the epoch is the highest seen, so that [`Epochs::admit`] would neither fail nor write.
    pub fn is_current(&self, owner: &Owner, epoch: u64) -> bool {
        self.highest.lock().get(owner.controller()) == Some(&epoch)
    }

    /// Lets a caller in, or refuses one whose epoch is over. A higher epoch is on the volume before this returns. Blocks.
    pub fn admit(&self, owner: &Owner, epoch: u64) -> Result<(), Failure> {
        let mut highest = self.highest.lock();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Memory;

    #[test]
    fn epochs_only_rise_and_survive_a_restart() {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        let (ours, other): (Owner, Owner) = ("source-watcher/1".parse().unwrap(), "other/1".parse().unwrap());
        let epochs = Epochs::open(Arc::clone(&storage)).unwrap();
        epochs.admit(&ours, 3).unwrap();
        epochs.admit(&ours, 3).unwrap();
        epochs.admit(&other, 0).unwrap();
        assert!(epochs.is_current(&ours, 3) && !epochs.is_current(&ours, 4));
        let epochs = Epochs::open(Arc::clone(&storage)).unwrap();
        let failure = epochs.admit(&ours, 2).unwrap_err();
        assert_eq!((failure.reason, failure.field.as_deref()), (Reason::StaleEpoch, Some("caller.epoch")));
        epochs.admit(&ours, 4).unwrap();
        assert!(Epochs::open(storage).unwrap().admit(&ours, 3).is_err());
    }

    #[test]
    fn a_damaged_document_is_an_error_that_says_what_to_do() {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        storage.put_state(DOCUMENT, b"{").unwrap();
        let text = Epochs::open(storage).err().unwrap().to_string();
        assert!(text.contains("epochs.json") && text.contains("delete it"), "{text}");
    }
}
