//! What a generator answers for. An output enters the inventory when its file is stored, also in a run that fails later, and
//! leaves it when it is gone: so nothing can be forgotten between two runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{
    ObjectKey,
    artifact_generator::InventoryEntry,
    external_artifact::{Artifact, KIND},
};

/// The entry of a stored artifact.
pub fn entry(namespace: &str, name: &str, artifact: &Artifact) -> InventoryEntry {
    InventoryEntry {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        digest: artifact.digest.clone(),
        filename: artifact.filename().to_owned(),
    }
}

/// Path of the file of an entry, as in `status.artifact`.
pub fn path(entry: &InventoryEntry) -> String {
    format!("{}/{}/{}/{}", KIND.to_lowercase(), entry.namespace, entry.name, entry.filename)
}

/// The inventory after a run that failed: everything of before, with what this run stored put in place or added. Nothing was
/// pruned, so nothing leaves.
pub fn after_failure(before: &[InventoryEntry], stored: &[InventoryEntry]) -> Vec<InventoryEntry> {
    let mut fresh: BTreeMap<_, _> = stored.iter().map(|entry| (entry.key(), entry)).collect();
    let mut after: Vec<_> = before.iter().map(|old| fresh.remove(&old.key()).unwrap_or(old).clone()).collect();
    after.extend(stored.iter().filter(|entry| fresh.contains_key(&entry.key())).cloned());
    after
}

/// Of what a run published, what is other than `before`, or what an earlier run still `owes` the news of.
pub fn changed(
    before: &[InventoryEntry],
    published: &[InventoryEntry],
    owes: impl Fn(&ObjectKey) -> bool,
) -> Vec<InventoryEntry> {
    let known: BTreeMap<_, _> = before.iter().map(|entry| (entry.key(), &entry.digest)).collect();
    let is_changed = |entry: &&InventoryEntry| {
        let key = entry.key();
        known.get(&key) != Some(&&entry.digest) || owes(&key)
    };
    published.iter().filter(is_changed).cloned().collect()
}

/// The inventory after a run that published everything: what it published, in order, and those orphans that could not be
/// deleted, so that they are tried again.
pub fn after_success(
    before: &[InventoryEntry],
    published: Vec<InventoryEntry>,
    undeleted: &BTreeSet<ObjectKey>,
) -> Vec<InventoryEntry> {
    let mut after = published;
    after.extend(before.iter().filter(|old| undeleted.contains(&old.key())).cloned());
    after
}

/// The inventory with what carries the generator's label besides: published by a run that died before it could write it down.
pub fn with_seen(inventory: &[InventoryEntry], seen: impl IntoIterator<Item = InventoryEntry>) -> Vec<InventoryEntry> {
    let known: BTreeSet<_> = inventory.iter().map(InventoryEntry::key).collect();
    let mut all = inventory.to_vec();
    all.extend(seen.into_iter().filter(|entry| !known.contains(&entry.key())));
    all
}

/// What is to be deleted: everything in the inventory or seen in the cluster with the generator's label that is not wanted any
/// more. The second covers what a run published that died before it could write its status.
pub fn orphans(
    inventory: &[InventoryEntry],
    seen: impl IntoIterator<Item = ObjectKey>,
    wanted: &[InventoryEntry],
) -> BTreeSet<ObjectKey> {
    let mut known: BTreeSet<_> = inventory.iter().map(InventoryEntry::key).chain(seen).collect();
    for entry in wanted {
        known.remove(&entry.key());
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name:digest`, all in one namespace.
    fn read(text: &str) -> Vec<InventoryEntry> {
        let one = |part: &str| {
            let (name, digest) = part.split_once(':').unwrap();
            let path = format!("externalartifact/n/{name}/{digest}.tar.gz");
            entry("n", name, &Artifact { digest: digest.into(), path, ..Default::default() })
        };
        text.split_whitespace().map(one).collect()
    }

    fn show(entries: &[InventoryEntry]) -> String {
        let one = |entry: &InventoryEntry| {
            assert_eq!(entry.filename, format!("{}.tar.gz", entry.digest));
            format!("{}:{}", entry.name, entry.digest)
        };
        entries.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn keys(text: &str) -> BTreeSet<ObjectKey> {
        text.split_whitespace().map(|name| ObjectKey { namespace: "n".into(), name: name.into() }).collect()
    }

    #[test]
    fn a_failed_run_forgets_nothing() {
        // (row, before, stored by the run, after)
        let rows = [
            ("§12 first run fails", "", "a:1 b:1", "a:1 b:1"),
            ("§12 nothing stored", "a:1", "", "a:1"),
            ("§12 stored ones are put in place", "a:1 b:1 c:1", "b:2", "a:1 b:2 c:1"),
            ("§12 new ones come last, in order", "b:1", "z:2 a:2 b:2", "b:2 z:2 a:2"),
            ("§12 dropped ones stay until a success", "old:1 a:1", "a:2", "old:1 a:2"),
        ];
        for (row, before, stored, after) in rows {
            assert_eq!(show(&after_failure(&read(before), &read(stored))), after, "row {row}");
        }
    }

    #[test]
    fn only_what_is_new_is_news() {
        // (row, before, published, owed by an earlier run, changed)
        let rows = [
            ("§14 first run", "", "a:1 b:1", "", "a:1 b:1"),
            ("§14 up to date", "a:1 b:1", "a:1 b:1", "", ""),
            ("§14 other content", "a:1 b:1", "a:1 b:2", "", "b:2"),
            ("stored by a run that could not publish it", "a:1 b:2", "a:1 b:2", "b", "b:2"),
            ("not published by this run either", "a:1 b:2", "a:1", "b", ""),
        ];
        for (row, before, published, owed, expected) in rows {
            let owed = keys(owed);
            let found = changed(&read(before), &read(published), |key| owed.contains(key));
            assert_eq!(show(&found), expected, "row {row}");
        }
    }

    #[test]
    fn a_success_replaces_all_but_what_could_not_be_deleted() {
        let rows = [
            ("§3 replaced wholesale", "a:1 b:1", "b:2 c:2", "", "b:2 c:2"),
            ("an orphan that could not be deleted stays", "a:1 b:1", "b:2", "a", "b:2 a:1"),
            ("§10 no artifacts at all", "a:1", "", "", ""),
        ];
        for (row, before, published, undeleted, after) in rows {
            assert_eq!(show(&after_success(&read(before), read(published), &keys(undeleted))), after, "row {row}");
        }
    }

    #[test]
    fn orphans_are_what_nobody_wants() {
        // (row, inventory, seen in the cluster, wanted, orphans)
        let rows = [
            ("§12 renamed", "a:1", "a", "b:1", "a"),
            ("§12 nothing to do", "a:1", "a", "a:2", ""),
            ("§12 already gone from the cluster, the file may not be", "a:1", "", "", "a"),
            ("§12 published by a run that died", "", "a b", "b:1", "a"),
        ];
        for (row, inventory, seen, wanted, expected) in rows {
            let got = orphans(&read(inventory), keys(seen), &read(wanted));
            assert_eq!(got, keys(expected), "row {row}");
        }
    }

    #[test]
    fn an_orphan_is_remembered_until_object_and_files_are_gone() {
        // (row, inventory, seen in the cluster, undeleted, after a success that published a:2)
        let rows = [
            ("only the files are left of it", "a:1 b:1", "a:1", "b", "a:2 b:1"),
            ("published by a run that died", "a:1", "a:1 b:1", "b", "a:2 b:1"),
            ("the inventory knows better", "a:1 b:2", "a:1 b:1", "b", "a:2 b:2"),
            ("gone", "a:1 b:1", "a:1 b:1", "", "a:2"),
        ];
        for (row, inventory, seen, undeleted, after) in rows {
            let known = with_seen(&read(inventory), read(seen));
            assert_eq!(show(&after_success(&known, read("a:2"), &keys(undeleted))), after, "row {row}");
        }
    }
}
