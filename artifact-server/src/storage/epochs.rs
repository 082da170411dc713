//! Fencing: a controller that has lost its lease can not write any more.
//!
//! Each call carries the transition count of the caller's Lease. The highest one seen for each controller and Lease is on the volume,
//! so that a restart of this server does not let an old leader in. Where that can not be read, nobody is let in: whoever calls first
//! could be a former leader. Shards of one controller have a Lease each, so that none of them is a former leader to another.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::{RwLock, RwLockReadGuard};
use weir_proto::{LeaseName, Owner};

use super::{Storage, StorageError, state};

const DOCUMENT: &str = "epochs.json";

/// Most bytes that one tenant's controllers and Leases take in the document: a quarter of it, so that none can fill it by inventing names and
/// keep the next leader of another out. Enough for a thousand.
const TENANT: usize = 256 * 1024;

/// What an entry takes beside its name: quotes, colon, comma, and up to 20 digits.
const ENTRY: usize = 24;

/// Who changes files, and at which epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who answers for the files.
    pub owner: Owner,
    /// What `epoch` counts the transitions of; `None` without leader election.
    pub lease: Option<LeaseName>,
    /// As whom a policy knows who calls; `None` without one, when all who call are one.
    pub tenant: Option<String>,
    /// The fencing number.
    pub epoch: u64,
}

impl Caller {
    /// Names those of whom one leads at a time: `<controller>`, or `<controller>/<Lease>`, and with a policy ` of <tenant>` after it, so that
    /// no tenant leads in the place of another. Documents on the volume have it as a key; those of before there were Leases have the controller
    /// alone, which still means the same.
    pub fn leadership(&self) -> String {
        let mut name = self.owner.controller().to_owned();
        if let Some(lease) = &self.lease {
            name.extend(["/", lease.as_str()]);
        }
        if let Some(tenant) = &self.tenant {
            name.extend([OF, tenant]);
        }
        name
    }
}

/// What is before the tenant in the name of a leadership. Neither controllers nor Leases have a blank in theirs.
const OF: &str = " of ";

/// The highest epoch of each [leadership](Caller::leadership).
type Highest = BTreeMap<String, u64>;

/// Who may still change things.
pub struct Epochs {
    storage: Arc<dyn Storage>,
    /// `None` while the document can not be read.
    highest: RwLock<Option<Highest>>,
}

/// While this lives, no epoch rises: what its caller makes visible now comes before everything that a later leader does.
pub(super) struct Held<'a> {
    _highest: RwLockReadGuard<'a, Option<Highest>>,
}

impl Epochs {
    /// Reads what is on the volume. When that can not be read, every change is refused until it can: see [`Epochs::admit`].
    pub(super) fn open(storage: Arc<dyn Storage>) -> Self {
        let highest = match state::read(&*storage, DOCUMENT) {
            Ok(document) => Some(document.unwrap_or_default()),
            Err(cause) => {
                tracing::error!("{}", StorageError::Unfenced(Box::new(cause)));
                None
            }
        };
        Self { storage, highest: RwLock::new(highest) }
    }

    /// Whether the caller's epoch is known to be the highest seen, so that [`Epochs::admit`] would neither fail nor write. Never waits: while
    /// another epoch rises, which takes a durable write, nothing is known.
    pub fn is_current(&self, caller: &Caller) -> bool {
        self.highest.try_read().is_some_and(|highest| judge(highest.as_ref(), caller) == Verdict::Current)
    }

    /// Lets a caller in, or refuses one whose epoch is over. A higher epoch is on the volume before this returns, and all that callers of
    /// the lower one were about to make visible is done. Blocks.
    ///
    /// While the document can not be read, it is tried again here. A document that is gone by then was deleted by somebody who knows
    /// that no former leader is left.
    pub fn admit(&self, caller: &Caller) -> Result<(), StorageError> {
        let mut known = self.highest.write();
        if known.is_none() {
            let document = state::read(&*self.storage, DOCUMENT);
            let document = document.map_err(|cause| StorageError::Unfenced(Box::new(cause)))?;
            tracing::info!(document = DOCUMENT, "the epochs can be read again");
            *known = Some(document.unwrap_or_default());
        }
        match judge(known.as_ref(), caller) {
            Verdict::Current => Ok(()),
            Verdict::Over(seen) => Err(over(caller, seen)),
            Verdict::Unknown => {
                let mut risen = known.clone().unwrap_or_default();
                has_room(&risen, caller)?;
                risen.insert(caller.leadership(), caller.epoch);
                state::write(&*self.storage, DOCUMENT, &risen)?;
                *known = Some(risen);
                Ok(())
            }
        }
    }

    /// Refuses a caller whose epoch is over by now. Blocks when the epoch is new.
    pub fn check(&self, caller: &Caller) -> Result<(), StorageError> {
        self.hold(caller).map(drop)
    }

    /// Whether an epoch that rose now would have to wait.
    #[cfg(test)]
    pub(super) fn is_held(&self) -> bool {
        self.highest.try_write().is_none()
    }

    /// As [`Epochs::check`], for the last step of a change: no other epoch is let in until that is done. Never twice at a time in one thread.
    pub(super) fn hold(&self, caller: &Caller) -> Result<Held<'_>, StorageError> {
        loop {
            let highest = self.highest.read();
            match judge(highest.as_ref(), caller) {
                Verdict::Current => return Ok(Held { _highest: highest }),
                Verdict::Over(seen) => return Err(over(caller, seen)),
                Verdict::Unknown => {}
            }
            drop(highest);
            self.admit(caller)?;
        }
    }
}

/// What a caller's epoch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The highest seen.
    Current,
    /// Lower than this one.
    Over(u64),
    /// Higher than all seen, or nothing is known.
    Unknown,
}

fn judge(highest: Option<&Highest>, caller: &Caller) -> Verdict {
    match highest.and_then(|highest| highest.get(&caller.leadership())) {
        Some(&seen) if caller.epoch == seen => Verdict::Current,
        Some(&seen) if caller.epoch < seen => Verdict::Over(seen),
        _ => Verdict::Unknown,
    }
}

/// Refuses a tenant one leadership more than there is room for.
fn has_room(highest: &Highest, caller: &Caller) -> Result<(), StorageError> {
    let Some(tenant) = &caller.tenant else { return Ok(()) };
    let new = caller.leadership();
    let is_of_tenant = |key: &&String| key.split_once(OF).is_some_and(|(_, of)| of == tenant);
    let taken: usize = highest.keys().filter(is_of_tenant).chain([&new]).map(|key| key.len() + ENTRY).sum();
    if highest.contains_key(&new) || taken <= TENANT {
        return Ok(());
    }
    let has_lease = caller.lease.is_some();
    Err(StorageError::TooManyLeases { leadership: new, has_lease, most: TENANT })
}

fn over(caller: &Caller, seen: u64) -> StorageError {
    StorageError::StaleEpoch { leadership: caller.leadership(), epoch: caller.epoch, seen }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use weir_proto::{Failure, Reason};

    use super::*;
    use crate::storage::{LocalFolder, Memory};

    fn caller(owner: &str, epoch: u64) -> Caller {
        Caller { owner: owner.parse().unwrap(), lease: None, tenant: None, epoch }
    }

    fn ours(epoch: u64) -> Caller {
        caller("source-watcher/1", epoch)
    }

    fn refusal(epochs: &Epochs, caller: &Caller) -> Failure {
        epochs.admit(caller).unwrap_err().into()
    }

    #[test]
    fn epochs_only_rise_and_survive_a_restart() {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        let epochs = Epochs::open(Arc::clone(&storage));
        epochs.admit(&ours(3)).unwrap();
        epochs.admit(&ours(3)).unwrap();
        epochs.admit(&caller("other/1", 0)).unwrap();
        assert!(epochs.is_current(&ours(3)) && !epochs.is_current(&ours(4)));
        let epochs = Epochs::open(Arc::clone(&storage));
        let failure = refusal(&epochs, &ours(2));
        assert_eq!((failure.reason, failure.field.as_deref()), (Reason::StaleEpoch, Some("caller.epoch")));
        epochs.admit(&ours(4)).unwrap();
        assert!(Epochs::open(storage).admit(&ours(3)).is_err());
    }

    #[test]
    fn each_lease_of_a_controller_has_epochs_of_its_own() {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        // As a server wrote it that knew no Leases.
        storage.put_state(DOCUMENT, br#"{"source-watcher":7}"#).unwrap();
        let epochs = Epochs::open(Arc::clone(&storage));
        let under = |lease: &str, epoch| Caller { lease: Some(lease.parse().unwrap()), ..ours(epoch) };
        for shard in [under("shard-1", 5), under("shard-2", 0), under("shard-1", 6), ours(7)] {
            epochs.admit(&shard).unwrap();
        }
        let epochs = Epochs::open(Arc::clone(&storage));
        // (who, the epoch seen of it)
        let over = [(under("shard-1", 5), 6), (ours(6), 7)];
        for (caller, seen) in over {
            let error = epochs.admit(&caller).unwrap_err();
            assert!(matches!(&error, StorageError::StaleEpoch { seen: found, .. } if *found == seen), "{error}");
            assert!(error.to_string().contains(&format!("controller {} is over", caller.leadership())), "{error}");
        }
        for current in [under("shard-1", 6), under("shard-2", 0), ours(7)] {
            assert!(epochs.is_current(&current), "{current:?}");
        }
        let document = storage.state(DOCUMENT).unwrap().unwrap();
        let known: Highest = serde_json::from_slice(&document).unwrap();
        let keys: Vec<_> = known.keys().map(String::as_str).collect();
        assert_eq!(keys, ["source-watcher", "source-watcher/shard-1", "source-watcher/shard-2"]);
    }

    #[test]
    fn each_tenant_leads_for_itself() {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        let epochs = Epochs::open(Arc::clone(&storage));
        let of = |tenant: &str, lease: &str, epoch| Caller {
            lease: Some(lease.parse().unwrap()),
            tenant: Some(tenant.to_owned()),
            ..ours(epoch)
        };
        epochs.admit(&of("dns a.test", "apps/leader", 3)).unwrap();
        epochs.admit(&of("dns b.test", "apps/leader", u64::MAX)).unwrap();
        epochs.admit(&of("dns a.test", "other/leader", u64::MAX)).unwrap();
        let epochs = Epochs::open(storage);
        assert!(epochs.is_current(&of("dns a.test", "apps/leader", 3)));
        let refused = refusal(&epochs, &of("dns a.test", "apps/leader", 2)).message;
        assert!(refused.contains("source-watcher/apps/leader of dns a.test is over"), "{refused}");
    }

    #[test]
    fn no_tenant_fills_the_document() {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        let of = |tenant: Option<&str>, lease: usize, epoch| Caller {
            lease: Some(format!("apps/{lease:0>200}").parse().unwrap()),
            tenant: tenant.map(str::to_owned),
            ..ours(epoch)
        };
        let known = |tenant, leases| (0..leases).map(move |lease| (of(tenant, lease, 1).leadership(), 1)).collect();
        // Each takes 258 bytes, so 1016 fit.
        let mut document: Highest = known(Some("dns a.test"), 1015);
        document.extend::<Highest>(known(None, 1100));
        state::write(&*storage, DOCUMENT, &document).unwrap();
        let epochs = Epochs::open(storage);
        epochs.admit(&of(Some("dns a.test"), 1015, 1)).unwrap();
        let Failure { reason, message, field } = refusal(&epochs, &of(Some("dns a.test"), 1016, 1));
        assert_eq!((reason, field.as_deref()), (Reason::InvalidRequest, Some("caller.lease")));
        assert!(message.contains(" of dns a.test does not fit into the 262144 bytes"), "{message}");
        let invented = Caller { tenant: Some("dns a.test".to_owned()), ..caller(&format!("{}/1", "c".repeat(253)), 1) };
        assert_eq!(refusal(&epochs, &invented).field.as_deref(), Some("caller.owner"));
        // Those that are known go on, and so does everybody else, also one with a name that ends alike.
        epochs.admit(&of(Some("dns a.test"), 0, 2)).unwrap();
        epochs.admit(&of(Some("x of dns a.test"), 1016, 1)).unwrap();
        epochs.admit(&of(None, 1100, 1)).unwrap();
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
            let file = folder.path().join(".weir/epochs.json");
            Epochs::open(Arc::clone(&storage)).admit(&ours(3)).unwrap();
            let kept = fs::read(&file).unwrap();
            damage(&file);
            let epochs = Epochs::open(Arc::clone(&storage));
            for caller in [ours(2), ours(3), ours(4), caller("other/1", 0)] {
                assert!(!epochs.is_current(&caller) && epochs.hold(&caller).is_err(), "row {row}");
                let Failure { reason, message: text, .. } = refusal(&epochs, &caller);
                assert_eq!(reason, Reason::StorageFailed, "row {row}: {text}");
                assert!(text.starts_with(&format!("can not read {}: ", file.display())), "row {row}: {text}");
                assert!(
                    text.contains("delete it once no former leader runs") && !text.contains('\n'),
                    "row {row}: {text}"
                );
            }
            // Restored, the fence is what it was.
            if file.is_dir() { fs::remove_dir(&file) } else { fs::remove_file(&file) }.unwrap();
            fs::write(&file, kept).unwrap();
            assert_eq!(refusal(&epochs, &ours(2)).reason, Reason::StaleEpoch, "row {row}");
            epochs.admit(&ours(3)).unwrap();
            // Deleted on purpose, it begins anew.
            damage(&file);
            let epochs = Epochs::open(storage);
            assert!(epochs.admit(&ours(1)).is_err(), "row {row}");
            if file.is_dir() { fs::remove_dir(&file) } else { fs::remove_file(&file) }.unwrap();
            epochs.admit(&ours(1)).unwrap();
        }
    }

    #[test]
    fn a_damaged_document_does_not_matter_while_the_epochs_are_known() {
        let storage: Arc<dyn Storage> = Arc::new(Memory::default());
        let epochs = Epochs::open(Arc::clone(&storage));
        epochs.admit(&ours(3)).unwrap();
        storage.put_state(DOCUMENT, b"{").unwrap();
        assert_eq!(refusal(&epochs, &ours(2)).reason, Reason::StaleEpoch);
        epochs.admit(&ours(4)).unwrap();
        assert!(Epochs::open(storage).is_current(&ours(4)), "written anew");
    }

    #[test]
    fn more_controllers_than_the_document_takes_are_refused_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(LocalFolder::open(folder.path()).unwrap());
        let many: BTreeMap<String, u64> = (0..8000).map(|number| (format!("{number:0>200}"), 7)).collect();
        let error = state::write(&*storage, DOCUMENT, &many).unwrap_err().to_string();
        assert!(error.contains("epochs.json") && error.contains("larger than 1048576 bytes"), "{error}");
        let few: BTreeMap<String, u64> = many.into_iter().take(4000).collect();
        state::write(&*storage, DOCUMENT, &few).unwrap();
        let epochs = Epochs::open(storage);
        assert!(few.keys().all(|controller| epochs.is_current(&caller(&format!("{controller}/1"), 7))));
    }
}
