//! Which changes of an object are worth a reconcile.

use crate::api::{artifact_generator::ArtifactGenerator, source::SourceArtifact};

/// Whether a change of a generator asks for a reconcile: it is new, its spec changed, it was paused or resumed, or a new token was
/// put in the request annotation or in the one that confirms a deletion.
pub fn generator_changed(old: Option<&ArtifactGenerator>, new: &ArtifactGenerator) -> bool {
    let Some(old) = old else { return true };
    old.metadata.generation != new.metadata.generation
        || old.is_paused() != new.is_paused()
        || new.requested_at().is_some_and(|token| old.requested_at() != Some(token))
        || new.confirmed().is_some_and(|token| old.confirmed() != Some(token))
}

/// What happened to a source.
#[derive(Clone, Copy, Debug)]
pub enum SourceChange<'a> {
    /// It is new to this process, with this artifact.
    Appeared(Option<&'a SourceArtifact>),
    /// It had the first artifact and has the second.
    Changed(Option<&'a SourceArtifact>, Option<&'a SourceArtifact>),
    /// It is gone; the artifact is the last one.
    Deleted(Option<&'a SourceArtifact>),
}

/// Whether the generators that use a source are to be looked at: an artifact appeared, its revision changed, or the source is
/// gone. A change of URL, digest or conditions alone waits for the next pass.
pub fn source_changed(change: SourceChange<'_>) -> bool {
    match change {
        SourceChange::Appeared(artifact) | SourceChange::Deleted(artifact) => artifact.is_some(),
        SourceChange::Changed(_, None) => false,
        SourceChange::Changed(None, Some(_)) => true,
        SourceChange::Changed(Some(old), Some(new)) => old.revision != new.revision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CONFIRM_ANNOTATION, PAUSE_ANNOTATION, REQUEST_ANNOTATION};

    fn generator(generation: i64, annotations: &[(&str, &str)]) -> ArtifactGenerator {
        let mut generator = ArtifactGenerator::default();
        generator.metadata.generation = Some(generation);
        let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        generator.metadata.annotations = Some(pairs.collect());
        generator
    }

    #[test]
    fn generators() {
        let plain = generator(1, &[]);
        let asked = generator(1, &[(REQUEST_ANNOTATION, "a")]);
        let confirmed = generator(1, &[(CONFIRM_ANNOTATION, "a")]);
        let paused = generator(1, &[(PAUSE_ANNOTATION, "disabled")]);
        // (row, old, new, triggers)
        let rows = [
            ("§4 created", None, &plain, true),
            ("§4 nothing changed", Some(&plain), &plain, false),
            ("§4 spec changed, also deletion", Some(&plain), &generator(2, &[]), true),
            ("§4 asked for", Some(&plain), &asked, true),
            ("§4 asked again", Some(&asked), &generator(1, &[(REQUEST_ANNOTATION, "b")]), true),
            ("§4 same token", Some(&asked), &asked, false),
            ("§4 token removed", Some(&asked), &plain, false),
            ("a deletion is confirmed", Some(&plain), &confirmed, true),
            ("another one is", Some(&confirmed), &generator(1, &[(CONFIRM_ANNOTATION, "b")]), true),
            ("it was confirmed before", Some(&confirmed), &confirmed, false),
            ("the confirmation is used up", Some(&confirmed), &plain, false),
            ("paused", Some(&plain), &paused, true),
            ("resumed", Some(&paused), &plain, true),
            ("resumed in words", Some(&paused), &generator(1, &[(PAUSE_ANNOTATION, "enabled")]), true),
            ("still paused", Some(&paused), &generator(1, &[(PAUSE_ANNOTATION, "Disabled")]), false),
        ];
        for (row, old, new, triggers) in rows {
            assert_eq!(generator_changed(old, new), triggers, "row {row}");
        }
    }

    #[test]
    fn sources() {
        let artifact = |revision: &str, url: &str| SourceArtifact {
            revision: revision.into(),
            url: url.into(),
            digest: format!("sha256:{url}"),
            ..Default::default()
        };
        let [one, moved, two] = [artifact("1", "x"), artifact("1", "y"), artifact("2", "x")];
        use SourceChange::{Appeared, Changed, Deleted};
        let rows = [
            ("§4 created with artifact", Appeared(Some(&one)), true),
            ("§4 created without", Appeared(None), false),
            ("§4 artifact appears", Changed(None, Some(&one)), true),
            ("§4 revision changes", Changed(Some(&one), Some(&two)), true),
            ("§4 digest and URL change", Changed(Some(&one), Some(&moved)), false),
            ("§4 nothing changes", Changed(Some(&one), Some(&one)), false),
            ("§4 artifact disappears", Changed(Some(&one), None), false),
            ("§4 deleted", Deleted(Some(&one)), true),
            ("§4 deleted without artifact", Deleted(None), false),
        ];
        for (row, change, triggers) in rows {
            assert_eq!(source_changed(change), triggers, "row {row}");
        }
    }
}
