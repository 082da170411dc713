//! A path pattern that finds nothing any more does not take everything with it: a folder that was renamed, or a branch that was
//! emptied by mistake, looks the same as a wish to delete. Somebody has to confirm it.

use sha2::{Digest as _, Sha256};
use weir_proto::quoted;

use crate::api::{CONFIRM_ANNOTATION, ObjectKey, artifact_generator::ArtifactGenerator};

/// A deletion that waits for its confirmation. The text says how to give it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "pathPattern {} matches no directory any more: {count} artifact(s) would be deleted. They stay as they are until a directory \
     matches again. If they are to go, confirm it: kubectl annotate --overwrite --namespace {} artifactgenerator/{} {}={token}",
    quoted(.pattern),
    .generator.namespace,
    .generator.name,
    CONFIRM_ANNOTATION
)]
pub struct Blocked {
    pattern: String,
    count: usize,
    generator: ObjectKey,
    token: String,
}

/// Whether the `count` artifacts of a generator whose pattern matches nothing may be deleted: there are none, or this very deletion
/// was confirmed.
pub fn check(generator: &ArtifactGenerator, count: usize) -> Result<(), Blocked> {
    let token = token(generator);
    if count == 0 || generator.confirmed() == Some(&token) {
        return Ok(());
    }
    Err(Blocked { pattern: generator.spec.path_pattern.clone(), count, generator: ObjectKey::of(generator), token })
}

/// Names a deletion by what it deletes: the outputs of this generator, as this spec made them of the sources of the last success.
/// It stays the same while the deletion waits, whatever is committed meanwhile, and while it is tried again; after the next success
/// it is another one. That a success also takes the annotation away covers sources that come back as they were.
fn token(generator: &ArtifactGenerator) -> String {
    let uid = generator.metadata.uid.as_deref().unwrap_or_default();
    let generation = generator.metadata.generation.unwrap_or_default();
    let sources = generator.status.as_ref().map_or("", |status| &status.observed_sources_digest);
    let digest = Sha256::digest(format!("{uid}\n{generation}\n{sources}"));
    hex::encode(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::artifact_generator::{ArtifactGeneratorStatus, InventoryEntry};

    fn generator() -> ArtifactGenerator {
        let mut generator = ArtifactGenerator::default();
        generator.metadata.name = Some("gen".into());
        generator.metadata.namespace = Some("apps".into());
        generator.metadata.uid = Some("uid".into());
        generator.metadata.generation = Some(3);
        generator.spec.path_pattern = "@repo/apps/{app}".into();
        let status = ArtifactGeneratorStatus { observed_sources_digest: "sha256:1".into(), ..Default::default() };
        generator.status = Some(status);
        generator
    }

    fn confirm(generator: &mut ArtifactGenerator, token: &str) {
        generator.metadata.annotations = Some([(CONFIRM_ANNOTATION.to_owned(), token.to_owned())].into());
    }

    #[test]
    fn the_message_says_what_is_kept_and_how_to_let_it_go() {
        let blocked = check(&generator(), 3).unwrap_err();
        let token = blocked.token.clone();
        assert!(token.len() == 16 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        assert_eq!(
            blocked.to_string(),
            format!(
                "pathPattern \"@repo/apps/{{app}}\" matches no directory any more: 3 artifact(s) would be deleted. They stay as \
                 they are until a directory matches again. If they are to go, confirm it: kubectl annotate --overwrite \
                 --namespace apps artifactgenerator/gen source.extensions.fluxcd.io/confirm-prune={token}"
            )
        );
    }

    #[test]
    fn only_the_deletion_that_was_confirmed_goes_on() {
        type Edit = fn(&mut ArtifactGenerator);
        let token = check(&generator(), 1).unwrap_err().token;
        // (row, what happened after the confirmation, whether it still holds)
        let rows: [(&str, Edit, bool); 9] = [
            ("nothing", |_| {}, true),
            ("a status was written", |g| g.metadata.resource_version = Some("9".into()), true),
            ("a failed run added an entry", |g| status_of(g).inventory.push(InventoryEntry::default()), true),
            ("a label was set", |g| g.metadata.labels = Some([("a".into(), "b".into())].into()), true),
            ("the spec changed", |g| g.metadata.generation = Some(4), false),
            ("other sources were published", |g| status_of(g).observed_sources_digest = "sha256:2".into(), false),
            ("the status is lost", |g| g.status = None, false),
            ("it was made anew", |g| g.metadata.uid = Some("other".into()), false),
            ("it says something else", |g| confirm(g, "true"), false),
        ];
        for (row, edit, holds) in rows {
            let mut generator = generator();
            confirm(&mut generator, &token);
            edit(&mut generator);
            assert_eq!(check(&generator, 1).is_ok(), holds, "row {row}");
        }
    }

    #[test]
    fn nothing_is_asked_where_nothing_would_be_deleted() {
        assert_eq!(check(&generator(), 0), Ok(()));
    }

    fn status_of(generator: &mut ArtifactGenerator) -> &mut ArtifactGeneratorStatus {
        generator.status.as_mut().unwrap()
    }
}
