//! Who may do what: rules that map who calls to kinds, namespaces and controllers. Pure.

use std::{collections::BTreeSet, fmt};

mod file;
mod identity;
#[cfg(test)]
mod tests;

pub use identity::Identity;

/// The rules of a policy file. Whatever no rule allows is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// One rule: all of it must match.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    identities: Vec<Claim>,
    kinds: Vec<Pattern>,
    namespaces: Vec<Pattern>,
    controllers: Vec<Pattern>,
}

/// What makes a caller one of those that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Claim {
    /// The process at the other end of the Unix socket runs as this user.
    Uid(u32),
    /// The client's certificate has this DNS name, compared without case.
    Dns(String),
    /// The client's certificate has this URI.
    Uri(String),
}

/// A word, or the beginning of one when a `*` ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(String);

/// Where artifacts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Lower-case kind.
    pub kind: &'a str,
    /// Namespace.
    pub namespace: &'a str,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed<'a> {
    /// Look at artifacts: what is recorded of them, whether they are good, what happens to them.
    See(Place<'a>),
    /// Change artifacts on behalf of a controller, which is the first half of an owner.
    Change(Place<'a>, &'a str),
    /// Something that concerns no artifact, on behalf of a controller.
    Act(&'a str),
    /// Look at whatever the rules let one see; only who is in no rule may not.
    Ask,
}

impl Policy {
    /// Whether a rule allows it.
    pub fn allows(&self, who: &Identity, deed: Deed<'_>) -> bool {
        self.rules.iter().any(|rule| rule.is_for(who) && rule.allows(deed))
    }

    /// Names an identity as the rules do: with all that they say of it, and nothing else that a certificate holds. So it stays the same when
    /// that is renewed, and for replicas whose certificates differ in names that no rule has.
    pub fn name(&self, who: &Identity) -> String {
        let claims = self.rules.iter().flat_map(|rule| &rule.identities).filter(|claim| claim.is_of(who));
        let names: BTreeSet<_> = claims.map(ToString::to_string).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }
}

impl Rule {
    fn is_for(&self, who: &Identity) -> bool {
        self.identities.iter().any(|claim| claim.is_of(who))
    }

    fn allows(&self, deed: Deed<'_>) -> bool {
        let any = |patterns: &[Pattern], word: &str| patterns.iter().any(|pattern| pattern.matches(word));
        let place = |place: Place<'_>| any(&self.kinds, place.kind) && any(&self.namespaces, place.namespace);
        match deed {
            Deed::See(at) => place(at),
            Deed::Change(at, controller) => place(at) && any(&self.controllers, controller),
            Deed::Act(controller) => any(&self.controllers, controller),
            Deed::Ask => true,
        }
    }
}

impl Claim {
    fn is_of(&self, who: &Identity) -> bool {
        match (self, who) {
            (Self::Uid(expected), Identity::Process { uid, .. }) => expected == uid,
            (Self::Dns(expected), Identity::Certificate { dns, .. }) => {
                dns.iter().any(|name| name.eq_ignore_ascii_case(expected))
            }
            (Self::Uri(expected), Identity::Certificate { uris, .. }) => uris.contains(expected),
            _ => false,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Dns(name) => write!(f, "dns {}", name.to_ascii_lowercase()),
            Self::Uri(uri) => write!(f, "uri {uri}"),
        }
    }
}

impl Pattern {
    fn matches(&self, word: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => word.starts_with(start),
            None => self.0 == word,
        }
    }
}

impl<'a> From<&'a weir_proto::ArtifactDir> for Place<'a> {
    fn from(dir: &'a weir_proto::ArtifactDir) -> Self {
        let (kind, namespace, _) = dir.parts();
        Self { kind, namespace }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "artifacts of kind {:?} in namespace {:?}", self.kind, self.namespace)
    }
}

impl fmt::Display for Deed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::See(place) => write!(f, "see {place}"),
            Self::Change(place, controller) => write!(f, "change {place} as controller {controller:?}"),
            Self::Act(controller) => write!(f, "call as controller {controller:?}"),
            Self::Ask => write!(f, "see any artifact"),
        }
    }
}
