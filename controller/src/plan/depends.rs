//! What a generator waits for besides its sources: other objects of its namespace that must be Ready.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::find;
use crate::api::{
    ObjectKey,
    artifact_generator::{API_VERSION, ArtifactGenerator, Dependency, KIND},
};

/// Whether a dependency is another generator.
pub fn is_generator(dependency: &Dependency) -> bool {
    api_version(dependency) == API_VERSION && kind(dependency) == KIND
}

/// `apiVersion` of a dependency; an empty one is that of generators.
pub fn api_version(dependency: &Dependency) -> &str {
    Some(dependency.api_version.as_str()).filter(|text| !text.is_empty()).unwrap_or(API_VERSION)
}

/// Kind of a dependency; an empty one is that of generators.
pub fn kind(dependency: &Dependency) -> &str {
    Some(dependency.kind.as_str()).filter(|text| !text.is_empty()).unwrap_or(KIND)
}

/// The generators that a generator waits for.
pub fn generators(generator: &ArtifactGenerator) -> BTreeSet<ObjectKey> {
    let namespace = generator.metadata.namespace.as_deref().unwrap_or_default();
    let names = generator.spec.depends_on.iter().filter(|one| is_generator(one)).map(|one| &one.name);
    names.map(|name| ObjectKey::new(namespace, name)).collect()
}

/// Whether an object of this generation is Ready. Where its status says which generation it speaks of, it must be this one.
/// `observed` is that of the whole status.
pub fn is_ready(generation: Option<i64>, observed: Option<i64>, conditions: &[Condition]) -> bool {
    let is_current = |observed: Option<i64>| observed.is_none() || generation.is_none() || observed == generation;
    let ready = find(conditions, "Ready").filter(|ready| ready.status == "True");
    ready.is_some_and(|ready| is_current(observed) && is_current(ready.observed_generation))
}

/// Whether a generator is Ready.
pub fn generator_is_ready(generator: &ArtifactGenerator) -> bool {
    let conditions = generator.status.as_ref().map_or(&[][..], |status| &status.conditions);
    is_ready(generator.metadata.generation, None, conditions)
}

/// Whether those that wait for a generator are to look again: it has become Ready, its spec is another one, or it is stalled, or not
/// any more.
pub fn is_news(before: &ArtifactGenerator, after: &ArtifactGenerator) -> bool {
    let stalled = |generator: &ArtifactGenerator| {
        let conditions = generator.status.as_ref().map_or(&[][..], |status| &status.conditions);
        find(conditions, "Stalled").is_some()
    };
    before.metadata.generation != after.metadata.generation
        || !generator_is_ready(before) && generator_is_ready(after)
        || stalled(before) != stalled(after)
}

/// The shortest way from an object over what it waits for back to itself, if there is one: `a -> b -> a`.
pub fn cycle(start: &ObjectKey, waits_for: impl Fn(&ObjectKey) -> BTreeSet<ObjectKey>) -> Option<String> {
    // Each found one, with whom it was found through.
    let mut through = BTreeMap::new();
    let mut open = VecDeque::from([start.clone()]);
    while let Some(key) = open.pop_front() {
        for next in waits_for(&key) {
            if next == *start {
                let mut path = vec![next.name, key.name.clone()];
                let mut last = &key;
                while let Some(earlier) = through.get(last) {
                    last = earlier;
                    path.push(last.name.clone());
                }
                path.reverse();
                return Some(path.join(" -> "));
            }
            if !through.contains_key(&next) {
                through.insert(next.clone(), key.clone());
                open.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("n", name)
    }

    /// What it shows, who waits for whom, and the cycle through `a`.
    type Row = (&'static str, &'static [(&'static str, &'static str)], Option<&'static str>);

    #[test]
    fn cycles_are_found_with_their_path() {
        let rows: &[Row] = &[
            ("nothing", &[], None),
            ("a chain", &[("a", "b"), ("b", "c")], None),
            ("itself", &[("a", "a")], Some("a -> a")),
            ("two", &[("a", "b"), ("b", "a")], Some("a -> b -> a")),
            ("three", &[("a", "b"), ("b", "c"), ("c", "a")], Some("a -> b -> c -> a")),
            ("the shortest", &[("a", "b"), ("b", "c"), ("c", "a"), ("a", "d"), ("d", "a")], Some("a -> d -> a")),
            ("a diamond", &[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")], None),
            ("one that it only leads to", &[("a", "b"), ("b", "c"), ("c", "b")], None),
            ("one behind a detour", &[("a", "b"), ("b", "b"), ("b", "c"), ("c", "a")], Some("a -> b -> c -> a")),
        ];
        for (row, edges, wanted) in rows {
            let next = |from: &ObjectKey| {
                edges.iter().filter(|(one, _)| *one == from.name).map(|(_, to)| key(to)).collect::<BTreeSet<_>>()
            };
            assert_eq!(cycle(&key("a"), next).as_deref(), *wanted, "row {row}");
        }
    }

    fn ready(status: &str, observed_generation: Option<i64>) -> Vec<Condition> {
        vec![Condition {
            type_: "Ready".into(),
            status: status.into(),
            observed_generation,
            reason: "x".into(),
            message: "x".into(),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        }]
    }

    #[test]
    fn ready_is_said_of_the_generation_that_is_there() {
        let rows = [
            ("no conditions", Some(2), None, vec![], false),
            ("Ready", Some(2), None, ready("True", None), true),
            ("not Ready", Some(2), None, ready("False", None), false),
            ("not known", Some(2), None, ready("Unknown", None), false),
            ("of this generation", Some(2), None, ready("True", Some(2)), true),
            ("of an older one", Some(2), None, ready("True", Some(1)), false),
            ("a status of this generation", Some(2), Some(2), ready("True", None), true),
            ("a status of an older one", Some(2), Some(1), ready("True", None), false),
            ("a kind without generations", None, None, ready("True", None), true),
        ];
        for (row, generation, observed, conditions, wanted) in rows {
            assert_eq!(is_ready(generation, observed, &conditions), wanted, "row {row}");
        }
    }

    #[test]
    fn those_who_wait_look_again_when_it_may_help() {
        let generator = |generation: i64, conditions: Vec<Condition>| {
            let mut generator = ArtifactGenerator::default();
            generator.metadata.generation = Some(generation);
            generator.status =
                Some(crate::api::artifact_generator::ArtifactGeneratorStatus { conditions, ..Default::default() });
            generator
        };
        let stalled = |mut conditions: Vec<Condition>| {
            conditions[0].type_ = "Stalled".into();
            conditions
        };
        let good = generator(1, ready("True", Some(1)));
        let bad = generator(1, ready("False", Some(1)));
        let stuck = generator(1, stalled(ready("True", Some(1))));
        let rows = [
            ("nothing happened", &good, &good, false),
            ("it became Ready", &bad, &good, true),
            ("it is not Ready any more", &good, &bad, false),
            ("another spec", &bad, &generator(2, ready("False", Some(1))), true),
            ("it is stalled", &bad, &stuck, true),
            ("it is stalled no more", &stuck, &bad, true),
        ];
        for (row, before, after, wanted) in rows {
            assert_eq!(is_news(before, after), wanted, "row {row}");
        }
    }

    #[test]
    fn a_dependency_without_kind_is_a_generator() {
        let rows = [("", "", true), (API_VERSION, KIND, true), ("", KIND, true), ("v1", "ConfigMap", false)];
        for (api_version, kind, wanted) in rows {
            let one = Dependency { api_version: api_version.into(), kind: kind.into(), name: "x".into() };
            assert_eq!(is_generator(&one), wanted, "{api_version} {kind}");
        }
    }
}
