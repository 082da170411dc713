//! When each competitor led and worked, as its log tells it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// From the first to the last moment at which somebody thought that it leads.
#[derive(Clone, Debug)]
pub(crate) struct Reign {
    who: String,
    begin: Timestamp,
    end: Timestamp,
    epoch: Option<u64>,
}

/// What a log of `weir-controller` tells: its reigns, over all of its starts. Each line about a reconcile must lie in one of them.
pub(crate) fn of_weir(log: &Path) -> Result<Vec<Reign>> {
    let who = log.display().to_string();
    let mut reigns: Vec<Reign> = Vec::new();
    let mut leads = false;
    // The last line of a killed process may be cut off.
    let text = std::fs::read_to_string(log)?;
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let at: Timestamp = line["ts"].as_str().with_context(|| format!("no time: {line}"))?.parse()?;
        match line["msg"].as_str() {
            Some("successfully acquired lease") => {
                let epoch = line["epoch"].as_u64();
                reigns.push(Reign { who: who.clone(), begin: at, end: at, epoch });
                leads = true;
            }
            Some("giving the leader lease back") => {
                extend(&mut reigns, leads, at);
                leads = false;
            }
            // The next start of one that was killed.
            Some("starting manager" | "attempting to acquire leader lease") => leads = false,
            _ => extend(&mut reigns, leads, at),
        }
        ensure!(leads || line["reconcileID"].is_null(), "{who}: reconciles without leading: {line}");
    }
    Ok(reigns)
}

fn extend(reigns: &mut [Reign], leads: bool, at: Timestamp) {
    if let Some(reign) = reigns.last_mut().filter(|_| leads) {
        reign.end = at;
    }
}

/// What the log of a leader elected by client-go tells. `now` ends one that still leads.
pub(crate) fn of_client_go(log: &Path, now: Timestamp) -> Result<Vec<Reign>> {
    let who = log.display().to_string();
    let mut reigns: Vec<Reign> = Vec::new();
    let lines = std::fs::read_to_string(log)?;
    for (at, what) in lines.lines().filter_map(|line| line.split_once(' ')) {
        let Ok(at) = at.parse::<Timestamp>() else { continue };
        match what {
            "leading" => reigns.push(Reign { who: who.clone(), begin: at, end: now, epoch: None }),
            "stopping" | "lost" => {
                if let Some(reign) = reigns.last_mut() {
                    reign.end = at;
                }
            }
            _ => {}
        }
    }
    Ok(reigns)
}

impl Reign {
    /// Ends it earlier: its process was killed then.
    pub(crate) fn killed(mut self, at: Timestamp) -> Self {
        self.end = self.end.min(at);
        self
    }
}

/// No two reigns share a moment, and epochs rise by one with each.
pub(crate) fn one_at_a_time(mut reigns: Vec<Reign>) -> Result<usize> {
    reigns.sort_by_key(|reign| reign.begin);
    for pair in reigns.windows(2) {
        let [before, after] = pair else { continue };
        ensure!(
            before.end <= after.begin,
            "two lead at once: {} until {}, {} since {}",
            before.who,
            before.end,
            after.who,
            after.begin
        );
        if let (Some(first), Some(second)) = (before.epoch, after.epoch) {
            ensure!(second == first + 1, "epoch {second} of {} follows {first} of {}", after.who, before.who);
        }
    }
    Ok(reigns.len())
}
