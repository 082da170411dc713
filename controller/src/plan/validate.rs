//! What the CRD's schema can not check. A spec that fails here stalls: only a change of it helps.

use std::collections::HashSet;

use crate::api::artifact_generator::{ArtifactGeneratorSpec, OutputArtifact, SourceReference};

/// Longest name that Kubernetes gives an object, in bytes.
const NAME_LIMIT: usize = 253;

/// Why a spec can not be carried out. The texts are those that users of Flux know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Reason `AccessDenied`.
    #[error("cross-namespace reference to source {0} is not allowed")]
    CrossNamespace(String),
    /// Reason `ValidationFailed`, like all that follow.
    #[error("duplicate source alias '{0}' found")]
    DuplicateAlias(String),
    /// Two artifacts of one name.
    #[error("duplicate artifact name '{0}' found")]
    DuplicateName(String),
    /// A name that no object can have; the second part says why.
    #[error("artifact name {0:?} is not a valid Kubernetes object name: {1}")]
    Name(String, String),
    /// `revision` names a source that is not there.
    #[error("artifact {artifact} revision source alias '{alias}' not found")]
    RevisionAlias {
        /// Name of the artifact.
        artifact: String,
        /// The alias, without `@`.
        alias: String,
    },
    /// The generator waits for itself; the path says over whom. Reason `DependencyCycle`.
    #[error("dependency cycle in spec.dependsOn: {0}")]
    Cycle(String),
}

impl Invalid {
    /// Reason of the conditions Ready and Stalled, and of the event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CrossNamespace(_) => "AccessDenied",
            Self::Cycle(_) => "DependencyCycle",
            _ => "ValidationFailed",
        }
    }
}

/// Checks a spec: every source in order (alias, then namespace), then every artifact in order (name, name syntax, revision). With
/// a path pattern names are templates: their text must differ, their syntax is checked when they are filled in.
///
/// `namespace` is the generator's own; naming it explicitly is never a cross-namespace reference.
pub fn validate(spec: &ArtifactGeneratorSpec, namespace: &str, no_cross_namespace: bool) -> Result<(), Invalid> {
    let mut aliases = HashSet::new();
    for source in &spec.sources {
        check_source(source, &mut aliases, namespace, no_cross_namespace)?;
    }
    let mut names = HashSet::new();
    for artifact in &spec.artifacts {
        check_artifact(artifact, &mut names, &aliases, spec.path_pattern.is_empty())?;
    }
    Ok(())
}

fn check_source<'a>(
    source: &'a SourceReference,
    aliases: &mut HashSet<&'a str>,
    namespace: &str,
    no_cross_namespace: bool,
) -> Result<(), Invalid> {
    if !aliases.insert(&source.alias) {
        return Err(Invalid::DuplicateAlias(source.alias.clone()));
    }
    if no_cross_namespace && !source.namespace.is_empty() && source.namespace != namespace {
        let SourceReference { kind, namespace, name, .. } = source;
        return Err(Invalid::CrossNamespace(format!("{kind}/{namespace}/{name}")));
    }
    Ok(())
}

fn check_artifact<'a>(
    artifact: &'a OutputArtifact,
    names: &mut HashSet<&'a str>,
    aliases: &HashSet<&str>,
    names_are_final: bool,
) -> Result<(), Invalid> {
    if !names.insert(&artifact.name) {
        return Err(Invalid::DuplicateName(artifact.name.clone()));
    }
    if names_are_final {
        name_is_valid(&artifact.name).map_err(|why| Invalid::Name(artifact.name.clone(), why))?;
    }
    let alias = artifact.revision.trim_start_matches('@');
    if !alias.is_empty() && !aliases.contains(alias) {
        return Err(Invalid::RevisionAlias { artifact: artifact.name.clone(), alias: alias.to_owned() });
    }
    Ok(())
}

/// Whether an object can have this name (RFC 1123 subdomain); else what is wrong, in the words of kube-apiserver.
pub(super) fn name_is_valid(name: &str) -> Result<(), String> {
    let mut wrong = Vec::new();
    if name.len() > NAME_LIMIT {
        wrong.push("must be no more than 253 bytes");
    }
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part_is_valid = |part: &str| {
        let bytes = part.as_bytes();
        bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
            && bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
    };
    if !name.split('.').all(part_is_valid) {
        wrong.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
             and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        );
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn source(alias: &str, namespace: &str) -> SourceReference {
        let kind = "GitRepository".into();
        SourceReference { alias: alias.into(), name: "repo".into(), namespace: namespace.into(), kind }
    }

    fn artifact(name: &str, revision: &str) -> OutputArtifact {
        OutputArtifact { name: name.into(), revision: revision.into(), ..Default::default() }
    }

    fn spec(sources: &[SourceReference], artifacts: &[OutputArtifact]) -> ArtifactGeneratorSpec {
        ArtifactGeneratorSpec { sources: sources.into(), artifacts: artifacts.into(), ..Default::default() }
    }

    fn with_pattern(mut spec: ArtifactGeneratorSpec) -> ArtifactGeneratorSpec {
        spec.path_pattern = "@a/apps/{app}".into();
        spec
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn refuses_in_this_order() {
        let long = "n".repeat(254);
        let [a, b, foreign] = [source("a", ""), source("b", "own"), source("b", "other")];
        // (row, spec, --no-cross-namespace-refs, reason and start of the message)
        let rows = [
            ("§6 nothing wrong", spec(&[a.clone(), b], &[artifact("x.y", "@a"), artifact("z", "")]), true, None),
            ("§2 empty spec", spec(&[], &[]), true, None),
            (
                "§6.1 alias twice",
                spec(&[a.clone(), a.clone()], &[]),
                false,
                Some(("ValidationFailed", "duplicate source alias 'a' found")),
            ),
            (
                "§6.2 other namespace",
                spec(&[a.clone(), foreign.clone()], &[]),
                true,
                Some(("AccessDenied", "cross-namespace reference to source GitRepository/other/repo is not allowed")),
            ),
            ("§6.2 other namespace, allowed", spec(&[a.clone(), foreign.clone()], &[]), false, None),
            (
                "§6 alias comes before namespace",
                spec(&[source("b", ""), foreign.clone()], &[]),
                true,
                Some(("ValidationFailed", "duplicate source alias 'b' found")),
            ),
            (
                "§6 sources come before artifacts",
                spec(from_ref(&foreign), &[artifact("x", ""), artifact("x", "")]),
                true,
                Some(("AccessDenied", "cross-namespace reference")),
            ),
            (
                "§6.3 name twice",
                spec(from_ref(&a), &[artifact("x", ""), artifact("x", "")]),
                false,
                Some(("ValidationFailed", "duplicate artifact name 'x' found")),
            ),
            (
                "§6.4 name syntax",
                spec(from_ref(&a), &[artifact("X_y", "")]),
                false,
                Some((
                    "ValidationFailed",
                    "artifact name \"X_y\" is not a valid Kubernetes object name: a lowercase RFC 1123 subdomain must",
                )),
            ),
            (
                "§6.4 name length, both errors joined",
                spec(from_ref(&a), &[artifact(&format!("{long}-"), "")]),
                false,
                Some(("ValidationFailed", "")),
            ),
            (
                "§6.5 revision alias",
                spec(from_ref(&a), &[artifact("x", "@b")]),
                false,
                Some(("ValidationFailed", "artifact x revision source alias 'b' not found")),
            ),
            (
                "§6.4 no name syntax with pathPattern: templates, even broken ones",
                with_pattern(spec(from_ref(&a), &[artifact("{app}", "@a"), artifact("X_{", "")])),
                false,
                None,
            ),
            (
                "§6.3 template twice",
                with_pattern(spec(from_ref(&a), &[artifact("{app}", ""), artifact("{app}", "")])),
                false,
                Some(("ValidationFailed", "duplicate artifact name '{app}' found")),
            ),
            (
                "§6.3 templates that will make one name differ",
                with_pattern(spec(from_ref(&a), &[artifact("{app}", ""), artifact("{env}", "")])),
                false,
                None,
            ),
            (
                "§6.5 revision alias with pathPattern",
                with_pattern(spec(from_ref(&a), &[artifact("{app}", "@b")])),
                false,
                Some(("ValidationFailed", "artifact {app} revision source alias 'b' not found")),
            ),
            (
                "§6 pathPattern itself is not looked at",
                ArtifactGeneratorSpec { path_pattern: "@nobody/{".into(), ..spec(from_ref(&a), &[]) },
                false,
                None,
            ),
        ];
        for (row, spec, no_cross_namespace, wanted) in rows {
            let found = validate(&spec, "own", no_cross_namespace).err();
            let found = found.as_ref().map(|invalid| (invalid.reason(), invalid.to_string()));
            match (&found, wanted) {
                (None, None) => {}
                (Some((reason, message)), Some((wanted, start))) => {
                    assert_eq!((*reason, message.starts_with(start)), (wanted, true), "row {row}: {message}");
                }
                _ => panic!("row {row}: {found:?}"),
            }
        }
    }

    #[test]
    fn names_follow_rfc_1123() {
        let longest = "n".repeat(253);
        for good in ["a", "0", "a-b", "a.b", "a--b", "1.2.3", &longest] {
            assert_eq!(name_is_valid(good), Ok(()), "{good}");
        }
        let too_long = "n".repeat(254);
        for bad in ["", "-a", "a-", ".a", "a.", "a..b", "A", "a_b", "a/b", "ä", "a b", "a\n", &too_long] {
            assert!(name_is_valid(bad).is_err(), "{bad:?}");
        }
        let both = name_is_valid(&format!("{too_long}-")).unwrap_err();
        assert!(both.starts_with("must be no more than 253 bytes; a lowercase"), "{both}");
    }
}
