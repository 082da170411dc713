//! The messages of `Build` to checked values. Pure.

use std::collections::HashSet;

use weir_proto::{ArtifactPath, Failure, Reason, v1};

use super::convert::{self, Defaults, Settings};
use crate::{build::Order, policy::Place, source::SourceRequest, tree::compose::CopyOperation};

/// Largest message of one artifact, in bytes. A whole `ArtifactGenerator` may take 1.5 MiB, so nearly every artifact that one can name fits.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// The header of a `Build`.
pub(super) struct Header {
    kind: String,
    namespace: String,
    /// By alias, in the caller's order.
    pub(super) sources: Vec<(String, SourceRequest)>,
    pub(super) settings: Settings,
}

impl Header {
    /// Where all artifacts of the call lie.
    pub(super) fn place(&self) -> Place<'_> {
        Place { kind: &self.kind, namespace: &self.namespace }
    }
}

/// Reads a header. Errors name its fields. The sources are for `tenant` alone, if that is one.
pub(super) fn header(header: v1::BuildHeader, defaults: &Defaults, tenant: Option<String>) -> Result<Header, Failure> {
    let v1::BuildHeader { caller: _, kind, namespace, sources, settings } = header;
    let settings = convert::settings(settings, defaults)?;
    // Any valid name will do: kind and namespace are checked here, the names with each artifact.
    convert::artifact_dir("", &kind, &namespace, "x")?;
    let mut aliases = HashSet::new();
    let read = |(at, one): (usize, v1::Source)| {
        let alias = one.alias.clone();
        let read = source(one, &settings, tenant.clone()).and_then(|source| {
            let twice = || convert::invalid("alias", format!("alias {alias:?} is there twice"));
            if aliases.insert(alias.clone()) { Ok(source) } else { Err(twice()) }
        });
        read.map_err(|failure| failure.within(&format!("sources[{at}]")))
    };
    let sources = sources.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    Ok(Header { kind: kind.to_lowercase(), namespace, sources, settings })
}

/// Reads a source. URL and digest are checked when it is fetched.
pub(super) fn source(
    source: v1::Source,
    settings: &Settings,
    tenant: Option<String>,
) -> Result<(String, SourceRequest), Failure> {
    let v1::Source { alias, url, digest } = source;
    if alias.is_empty() || alias.contains('/') {
        return Err(convert::invalid("alias", format!("alias {alias:?} must be a name without slashes")));
    }
    let Settings { http_retry, source_host, .. } = settings.clone();
    Ok((alias, SourceRequest { url, digest, http_retry, source_host, tenant }))
}

/// Reads an artifact. Errors name its fields.
pub(super) fn artifact(artifact: v1::BuildArtifact, header: &Header) -> Result<Order, Failure> {
    let v1::BuildArtifact { index, name, copy, current_path, current_digest, take_over } = artifact;
    let dir = convert::artifact_dir("", &header.kind, &header.namespace, &name)?;
    let read = |(at, one)| operation(one).map_err(|failure: Failure| failure.within(&format!("copy[{at}]")));
    let copy = copy.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    // What is published elsewhere, or under a name that is none, can not be the file of this artifact: it counts as nothing.
    let current = current_path.parse::<ArtifactPath>().ok().filter(|path| *path.dir() == dir);
    let digest = match current_digest.as_str() {
        "" => None,
        text => Some(convert::digest("current_digest", text)?),
    };
    Ok(Order { index, dir, copy, current: current.map(|path| (path, digest)), take_over })
}

fn operation(operation: v1::CopyOperation) -> Result<CopyOperation, Failure> {
    let v1::CopyOperation { from, to, exclude, strategy, optional } = operation;
    let strategy =
        strategy.parse().map_err(|error| Failure::field(Reason::BuildFailed, "strategy", format!("{error}")))?;
    Ok(CopyOperation { from, to, exclude, strategy, optional })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_proto::Algorithm;

    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            advertised_address: "a".into(),
            algorithm: Algorithm::Sha256,
            retention_ttl: Duration::from_secs(60),
            retention_records: 2,
        }
    }

    fn message() -> v1::BuildHeader {
        let source = |alias: &str| v1::Source { alias: alias.into(), url: "http://h/s".into(), digest: "d".into() };
        v1::BuildHeader {
            kind: "ExternalArtifact".into(),
            namespace: "apps".into(),
            sources: vec![source("b"), source("a")],
            ..v1::BuildHeader::default()
        }
    }

    #[test]
    fn headers_are_checked() {
        let good = header(message(), &defaults(), None).unwrap();
        assert_eq!(good.sources.iter().map(|(alias, _)| alias.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        type Row = (&'static str, fn(&mut v1::BuildHeader), &'static str);
        let rows: [Row; 5] = [
            ("kind", |header| header.kind = "a/b".into(), "kind"),
            ("namespace", |header| header.namespace = "..".into(), "namespace"),
            ("alias twice", |header| header.sources[1].alias = "b".into(), "sources[1].alias"),
            ("alias empty", |header| header.sources[1].alias = String::new(), "sources[1].alias"),
            ("alias with a slash", |header| header.sources[1].alias = "a/b".into(), "sources[1].alias"),
        ];
        for (row, change, field) in rows {
            let mut wrong = message();
            change(&mut wrong);
            let failure = header(wrong, &defaults(), None).err().unwrap();
            assert_eq!(failure.field.as_deref(), Some(field), "row {row}");
        }
    }

    #[test]
    fn only_a_file_of_the_artifact_is_its_current_one() {
        let header = header(message(), &defaults(), None).unwrap();
        let rows = [
            ("externalartifact/apps/web/1.tar.gz", true),
            ("externalartifact/apps/other/1.tar.gz", false),
            ("externalartifact/apps/web/../x", false),
            ("", false),
        ];
        for (path, counts) in rows {
            let message =
                v1::BuildArtifact { name: "web".into(), current_path: path.into(), ..v1::BuildArtifact::default() };
            assert_eq!(artifact(message, &header).unwrap().current.is_some(), counts, "row {path}");
        }
        let bad = |change: fn(&mut v1::BuildArtifact)| {
            let mut message = v1::BuildArtifact { name: "web".into(), ..v1::BuildArtifact::default() };
            change(&mut message);
            artifact(message, &header).unwrap_err()
        };
        assert_eq!(bad(|message| message.name = "../x".into()).field.as_deref(), Some("name"));
        assert_eq!(bad(|message| message.current_digest = "x".into()).field.as_deref(), Some("current_digest"));
        let strategy = |message: &mut v1::BuildArtifact| {
            message.copy = vec![v1::CopyOperation { strategy: "Mix".into(), ..v1::CopyOperation::default() }];
        };
        let failure = bad(strategy);
        assert_eq!((failure.reason, failure.field.as_deref()), (Reason::BuildFailed, Some("copy[0].strategy")));
    }
}
