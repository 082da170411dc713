//! Who asks for a reconcile ends up here: one queue of names. The scheduler behind it drops repeats and never runs one
//! generator twice at a time.

use std::time::Duration;

use rand::{Rng as _, seq::SliceRandom as _};
use tokio::sync::mpsc;

use super::{Cluster, Effect};
use crate::api::ObjectKey;

/// All generators are spread over one more of this for each of them, so that a restarted server is not stormed.
const SPREAD_EACH: Duration = Duration::from_millis(5);
/// The longest spread: artifacts without bytes must lose their Ready soon.
const SPREAD_MOST: Duration = Duration::from_secs(2);

/// One request for a reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger(pub ObjectKey);

/// The sending end. Clones are cheap.
#[derive(Clone)]
pub struct Triggers {
    queue: mpsc::UnboundedSender<Trigger>,
}

impl Triggers {
    /// A queue and its receiving end.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Trigger>) {
        let (queue, requests) = mpsc::unbounded_channel();
        (Self { queue }, requests)
    }

    /// Asks for these generators.
    pub fn generators(&self, keys: Vec<ObjectKey>) {
        for key in keys {
            // Nobody listens any more only on the way out.
            self.queue.send(Trigger(key)).ok();
        }
    }

    /// Asks for the generators that the effects are about.
    pub fn effects(&self, cluster: &Cluster, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Touched(uid) => self.generators(cluster.generators.with_uid(&uid).into_iter().collect()),
                Effect::Fought { uid, wait } => self.later(cluster.generators.with_uid(&uid), wait),
                Effect::Source(key) => self.generators(cluster.generators.users(&key)),
            }
        }
    }

    /// Asks for a generator after a while.
    fn later(&self, key: Option<ObjectKey>, wait: Duration) {
        let (Some(key), triggers) = (key, self.clone()) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            triggers.generators(vec![key]);
        });
    }

    /// Asks for every generator, in random order over a short time.
    pub async fn all(&self, cluster: &Cluster) {
        let mut keys = cluster.generators.keys();
        let spread = SPREAD_EACH.saturating_mul(u32::try_from(keys.len()).unwrap_or(u32::MAX)).min(SPREAD_MOST);
        let step = spread.checked_div(u32::try_from(keys.len()).unwrap_or(u32::MAX)).unwrap_or_default();
        keys.shuffle(&mut rand::rng());
        for key in keys {
            self.generators(vec![key]);
            let wait = step.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::time::sleep(wait).await;
        }
    }
}
