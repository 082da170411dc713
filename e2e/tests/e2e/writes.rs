//! How often the API server is written to, by its own count.

use anyhow::{Result, ensure};
use weir_e2e::bench;
use weir_e2e::scene::Scene;

/// Created outputs cost two writes, changed ones one, unchanged ones none; a generator costs a status for the end of each run. That
/// it has begun is written too when the run takes more than a second, which is up to the machine. The finalizers were there before.
pub(crate) async fn only_what_changes_is_written(_: Scene) -> Result<()> {
    let (apps, generators) = (12, 3);
    let phases = bench::writes(apps, generators).await?;
    let count = |phase: usize, resource: &str| phases[phase].get(resource).copied().unwrap_or(0);
    let (apps, generators) = (apps as u64, generators as u64);
    // (phase, writes of outputs, of their status)
    let rows = [("create", apps, apps), ("one changed", 0, 1), ("all changed", 0, apps)];
    for (phase, (name, objects, statuses)) in rows.into_iter().enumerate() {
        let found = (count(phase, "externalartifacts"), count(phase, "externalartifacts/status"));
        ensure!(found == (objects, statuses), "{name}: {:?}", phases[phase]);
        ensure!(count(phase, "artifactgenerators") == 0, "{name}: {:?}", phases[phase]);
        let ends = count(phase, "artifactgenerators/status");
        ensure!((generators..=2 * generators).contains(&ends), "{name}: {:?}", phases[phase]);
    }
    Ok(())
}

/// From its creation on, a generator costs three writes: its finalizer, the status that says that work has begun, and the one that
/// says how it ended. Of its events (one for each output, and two) as many are written as client-go would: 25 for one
/// object, of which 9 stand for themselves and the rest are combined into a tenth.
pub(crate) async fn a_new_generator_costs_three(_: Scene) -> Result<()> {
    let (apps, generators) = (60, 2);
    let fresh = bench::from_creation(apps, generators).await?;
    let (apps, generators) = (apps as u64, generators as u64);
    // Whoever creates a generator writes it once.
    let expected = [
        ("artifactgenerators", generators + generators),
        ("artifactgenerators/status", 2 * generators),
        ("events", 25 * generators),
        ("externalartifacts", apps),
        ("externalartifacts/status", apps),
    ];
    let expected: bench::Writes = expected.into_iter().map(|(resource, count)| (resource.to_owned(), count)).collect();
    ensure!(fresh.writes == expected, "{:?}, should be {expected:?}", fresh.writes);
    ensure!(fresh.events as u64 == 10 * generators, "{} events", fresh.events);
    Ok(())
}
