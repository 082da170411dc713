//! Of two generators that want one name, only one builds and publishes.

use std::collections::BTreeSet;

use super::{Effect, Outputs};
use crate::api::ObjectKey;

impl Outputs {
    /// Keeps a name for the generator with this UID until it is released, so that of two that want it only one builds and
    /// publishes. The error is the UID of another generator that has it and `lives`: it is told when the name is free.
    pub fn claim(&self, key: &ObjectKey, uid: &str, lives: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut state = self.state.lock();
        let publisher = state.cache.get(key).and_then(|object| object.generator_uid());
        let holders = [state.claims.get(key).map(String::as_str), publisher];
        let other = holders.into_iter().flatten().find(|other| *other != uid && lives(other)).map(str::to_owned);
        if let Some(other) = other {
            state.refused.entry(key.clone()).or_default().insert(uid.to_owned());
            return Err(other);
        }
        state.claims.insert(key.clone(), uid.to_owned());
        Ok(())
    }

    /// The generator has published under the name, or given up.
    pub fn release(&self, key: &ObjectKey, uid: &str) -> Vec<Effect> {
        let mut state = self.state.lock();
        if state.claims.get(key).is_some_and(|holder| holder == uid) {
            state.claims.remove(key);
        }
        let is_published = state.cache.get(key).is_some_and(|object| object.generator_uid() == Some(uid));
        let mut effects = Vec::new();
        if !is_published {
            state.wake(key, &mut effects);
        }
        effects
    }

    /// A generator is gone: each name that was refused may be one that it had.
    pub fn generator_gone(&self) -> Vec<Effect> {
        let refused = std::mem::take(&mut self.state.lock().refused);
        let uids: BTreeSet<String> = refused.into_values().flatten().collect();
        uids.into_iter().map(Effect::Touched).collect()
    }
}
