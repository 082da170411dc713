//! Messages of the contract to checked values, and back. Pure. Every error names the field.

use std::{sync::Arc, time::Duration};

use weir_proto::{Algorithm, ArtifactDir, ArtifactPath, Digest, DigestError, Failure, Owner, Reason, v1};

use crate::{
    args::Config,
    source,
    storage::{Caller, Listed, Record, Verdict},
};

/// Longest revision, in bytes.
const MAX_REVISION: usize = 1024;

/// Permission bits of a stored file.
const DEFAULT_MODE: u32 = 0o600;

/// Most algorithms in a list: more than there are.
const MAX_ALGORITHMS: usize = 16;

/// What the server's own flags say; fills what a caller left out.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// What artifact URLs start with.
    pub advertised_address: String,
    /// Names artifact digests.
    pub algorithm: Algorithm,
    /// Files older than this are collected.
    pub retention_ttl: Duration,
    /// How many files of an artifact to keep.
    pub retention_records: u32,
}

impl From<&Config> for Defaults {
    fn from(config: &Config) -> Self {
        Self {
            advertised_address: config.advertised_address.clone(),
            algorithm: config.algorithm,
            retention_ttl: config.retention_ttl,
            retention_records: config.retention_records,
        }
    }
}

/// Settings of one call, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What artifact URLs start with.
    pub advertised_address: String,
    /// Names artifact digests.
    pub algorithm: Algorithm,
    /// How often a failed download is tried again; `None` is the server's own number.
    pub http_retry: Option<u32>,
    /// In place of the host of every source URL.
    pub source_host: Option<String>,
}

/// An error of one field.
pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Failure {
    Failure::field(Reason::InvalidRequest, field, message)
}

/// The error of a call that can ask to take files over: then that is the field to change.
pub fn claimed(failure: Failure) -> Failure {
    match failure.reason {
        Reason::OwnedByAnother => Failure { field: Some("take_over".to_owned()), ..failure },
        _ => failure,
    }
}

/// Reads `caller`, which every change needs.
pub fn caller(caller: Option<v1::Caller>) -> Result<Caller, Failure> {
    let caller = caller.ok_or_else(|| invalid("caller", "caller is missing: say who owns the files"))?;
    let owner = caller.owner.parse().map_err(|error| invalid("caller.owner", format!("{error}")))?;
    let lease = match caller.lease.as_str() {
        "" => None,
        name => {
            Some(name.parse().map_err(|error: weir_proto::LeaseNameError| invalid("caller.lease", error.to_string()))?)
        }
    };
    Ok(Caller { owner, lease, tenant: None, epoch: caller.epoch })
}

/// Checks an owner that may be left out.
pub fn optional_owner(field: &str, text: &str) -> Result<(), Failure> {
    match text {
        "" => Ok(()),
        text => text.parse().map(|_: Owner| ()).map_err(|error| invalid(field, format!("{error}"))),
    }
}

/// Reads the path of a file.
pub fn path(field: &str, text: &str) -> Result<ArtifactPath, Failure> {
    text.parse().map_err(|error: weir_proto::PathError| invalid(field, error.to_string()))
}

/// Reads the name of a file of an artifact.
pub fn file(field: &str, dir: &ArtifactDir, name: &str) -> Result<ArtifactPath, Failure> {
    dir.file(name).map_err(|error| invalid(field, error.to_string()))
}

/// Reads a revision that a caller chooses; `None` when empty.
pub fn chosen_revision(field: &str, text: String) -> Result<Option<String>, Failure> {
    if text.len() > MAX_REVISION || text.chars().any(char::is_control) {
        let message = format!("a revision has no control characters, and {MAX_REVISION} bytes at most");
        return Err(invalid(field, message));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Reads permission bits; `None` for those that a file has anyway.
pub fn mode(field: &str, mode: Option<u32>) -> Result<Option<u32>, Failure> {
    match mode {
        Some(bits) if bits > 0o777 => Err(invalid(field, format!("{bits:o} is more than 777: only permission bits"))),
        other => Ok(other.filter(|&bits| bits != DEFAULT_MODE)),
    }
}

/// Reads a list of algorithms.
pub fn algorithms(field: &str, names: &[String]) -> Result<Vec<Algorithm>, Failure> {
    let read = |name: &String| {
        name.parse().map_err(|error: DigestError| Failure::field(digest_reason(&error), field, error.to_string()))
    };
    if names.len() > MAX_ALGORITHMS {
        return Err(invalid(field, format!("{} algorithms are named, {MAX_ALGORITHMS} are allowed", names.len())));
    }
    names.iter().map(read).collect()
}

/// Reads a digest that may be left out.
pub fn optional_digest(field: &str, text: &str) -> Result<Option<Digest>, Failure> {
    if text.is_empty() { Ok(None) } else { digest(field, text).map(Some) }
}

/// Reads a digest.
pub fn digest(field: &str, text: &str) -> Result<Digest, Failure> {
    text.parse().map_err(|error| {
        let message = match text {
            "" => "artifact has no digest".to_owned(),
            _ => format!("failed to parse artifact digest '{text}': {error}"),
        };
        Failure::field(digest_reason(&error), field, message)
    })
}

fn digest_reason(error: &DigestError) -> Reason {
    match error {
        DigestError::UnsupportedAlgorithm(_) => Reason::UnknownDigestAlgorithm,
        DigestError::Format | DigestError::Length => Reason::InvalidRequest,
    }
}

/// Reads the name of an artifact.
pub fn dir(field: &str, reference: Option<v1::ArtifactRef>) -> Result<ArtifactDir, Failure> {
    let reference = reference.ok_or_else(|| invalid(field, format!("{field} is missing: name the artifact")))?;
    artifact_dir(field, &reference.kind, &reference.namespace, &reference.name)
}

/// Checks the three parts of an artifact's name.
pub fn artifact_dir(field: &str, kind: &str, namespace: &str, name: &str) -> Result<ArtifactDir, Failure> {
    ArtifactDir::new(kind, namespace, name).map_err(|error| {
        let field = if field.is_empty() { error.part.to_owned() } else { format!("{field}.{}", error.part) };
        invalid(field, error.to_string())
    })
}

/// Completes the caller's settings with the server's.
pub fn settings(settings: Option<v1::Settings>, defaults: &Defaults) -> Result<Settings, Failure> {
    let v1::Settings { advertised_address, digest_algorithm, http_retry, source_host } = settings.unwrap_or_default();
    if advertised_address.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        let message = format!("{advertised_address:?} must not contain spaces");
        return Err(invalid("settings.advertised_address", message));
    }
    if !source_host.is_empty() && !source::is_host(&source_host) {
        let message = format!("{source_host:?} is not a host: use host or host:port");
        return Err(invalid("settings.source_host", message));
    }
    let algorithm = match digest_algorithm.as_str() {
        "" => defaults.algorithm,
        name => name.parse().map_err(|error: DigestError| {
            Failure::field(digest_reason(&error), "settings.digest_algorithm", error.to_string())
        })?,
    };
    let filled = |text: String| if text.is_empty() { None } else { Some(text) };
    Ok(Settings {
        advertised_address: filled(advertised_address).unwrap_or_else(|| defaults.advertised_address.clone()),
        algorithm,
        http_retry,
        source_host: filled(source_host),
    })
}

/// Reads a length of time; `None` when unset.
pub fn duration(field: &str, duration: Option<prost_types::Duration>) -> Result<Option<Duration>, Failure> {
    let convert = |duration: prost_types::Duration| {
        Duration::try_from(duration).map_err(|_| invalid(field, format!("{field} must not be negative")))
    };
    duration.map(convert).transpose()
}

/// A length of time as a message.
pub fn to_duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default() }
}

/// A moment as a message.
pub fn to_timestamp(time: jiff::Timestamp) -> prost_types::Timestamp {
    // Negative times have a negative rest in jiff, but a positive one in the message.
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    let (seconds, nanos) = if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) };
    prost_types::Timestamp { seconds, nanos }
}

/// The revision that names a content, e.g. `latest@sha256:…`.
pub fn revision(content_digest: &str) -> String {
    format!("latest@{content_digest}")
}

/// The fields of an artifact as the caller's users will see them.
pub fn artifact(path: &ArtifactPath, record: &Record, advertised: &str) -> v1::Artifact {
    v1::Artifact {
        path: path.to_string(),
        url: path.url(advertised),
        revision: record
            .revision
            .clone()
            .or_else(|| record.content_digest.as_deref().map(revision))
            .unwrap_or_default(),
        digest: record.digest.to_string(),
        last_update_time: Some(to_timestamp(record.stored_at)),
        size: i64::try_from(record.size).unwrap_or(i64::MAX),
        metadata: std::collections::BTreeMap::new(),
    }
}

/// A stored file with what is recorded of it, its URL under the server's own address.
pub fn stored_file(listed: Listed, defaults: &Defaults) -> v1::StoredFile {
    let Listed { path, size, record, target } = listed;
    if let (Some((target, found)), Some(alias)) = (target, &record) {
        let named = |record: Arc<Record>| artifact(&path, &record, &defaults.advertised_address);
        let absent = || v1::Artifact {
            path: path.to_string(),
            url: path.url(&defaults.advertised_address),
            ..v1::Artifact::default()
        };
        return v1::StoredFile {
            artifact: Some(found.map_or_else(absent, named)),
            owner: alias.owner.clone(),
            content_digest: String::new(),
            sequence: alias.sequence,
            mode: DEFAULT_MODE,
            alias_of: target.to_string(),
        };
    }
    let Some(record) = record else {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let artifact = v1::Artifact { path: path.to_string(), size, ..v1::Artifact::default() };
        return v1::StoredFile { artifact: Some(artifact), ..v1::StoredFile::default() };
    };
    v1::StoredFile {
        artifact: Some(artifact(&path, &record, &defaults.advertised_address)),
        owner: record.owner.clone(),
        content_digest: record.content_digest.clone().unwrap_or_default(),
        sequence: record.sequence,
        mode: record.mode.unwrap_or(DEFAULT_MODE),
        alias_of: String::new(),
    }
}

/// A verdict with one sentence for people.
pub fn verdict(verdict: Verdict, path: &ArtifactPath, digest: &Digest) -> (v1::Verdict, String) {
    match verdict {
        Verdict::Ok => (v1::Verdict::Ok, String::new()),
        Verdict::Missing => (v1::Verdict::Missing, format!("there is no file {path}")),
        Verdict::Corrupted => (v1::Verdict::Corrupted, format!("the bytes of {path} had changed, it was removed")),
        Verdict::Mismatch => (v1::Verdict::Mismatch, format!("computed digest doesn't match '{digest}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            advertised_address: "localhost:9090".into(),
            algorithm: Algorithm::Sha256,
            retention_ttl: Duration::from_secs(60),
            retention_records: 2,
        }
    }

    #[test]
    fn errors_name_their_field() {
        let caller_of = |owner: &str| Some(v1::Caller { owner: owner.into(), epoch: 3, ..v1::Caller::default() });
        let leased = |lease: &str| Some(v1::Caller { lease: lease.into(), ..caller_of("source-watcher/1").unwrap() });
        let named = |name: &str| Some(v1::ArtifactRef { kind: "K".into(), namespace: "n".into(), name: name.into() });
        let with = |change: fn(&mut v1::Settings)| {
            let mut message = v1::Settings::default();
            change(&mut message);
            settings(Some(message), &defaults()).unwrap_err()
        };
        let minus = prost_types::Duration { seconds: -1, nanos: 0 };
        let rows = [
            ("caller", Reason::InvalidRequest, caller(None).unwrap_err()),
            ("caller.owner", Reason::InvalidRequest, caller(caller_of("x")).unwrap_err()),
            ("caller.lease", Reason::InvalidRequest, caller(leased("a/b/c")).unwrap_err()),
            ("path", Reason::InvalidRequest, path("path", "../x").unwrap_err()),
            ("digest", Reason::InvalidRequest, digest("digest", "").unwrap_err()),
            ("digest", Reason::InvalidRequest, digest("digest", "sha256:12").unwrap_err()),
            ("digest", Reason::UnknownDigestAlgorithm, digest("digest", "md5:12").unwrap_err()),
            ("artifact", Reason::InvalidRequest, dir("artifact", None).unwrap_err()),
            ("artifact.name", Reason::InvalidRequest, dir("artifact", named("../x")).unwrap_err()),
            ("kind", Reason::InvalidRequest, artifact_dir("", "k/k", "n", "a").unwrap_err()),
            (
                "settings.advertised_address",
                Reason::InvalidRequest,
                with(|message| message.advertised_address = "a b".into()),
            ),
            ("settings.source_host", Reason::InvalidRequest, with(|message| message.source_host = "a\nb".into())),
            ("settings.source_host", Reason::InvalidRequest, with(|message| message.source_host = "a/b".into())),
            ("settings.source_host", Reason::InvalidRequest, with(|message| message.source_host = "a:b".into())),
            ("settings.source_host", Reason::InvalidRequest, with(|message| message.source_host = "a:99999".into())),
            ("settings.source_host", Reason::InvalidRequest, with(|message| message.source_host = "a:".into())),
            (
                "settings.digest_algorithm",
                Reason::UnknownDigestAlgorithm,
                with(|message| message.digest_algorithm = "md5".into()),
            ),
            ("ttl", Reason::InvalidRequest, duration("ttl", Some(minus)).unwrap_err()),
        ];
        for (field, reason, failure) in rows {
            assert_eq!((failure.field.as_deref(), failure.reason), (Some(field), reason), "{}", failure.message);
        }
        assert_eq!(dir("artifact", named("web")).unwrap().as_str(), "k/n/web");
        let read = |message| caller(message).map(|caller| (caller.leadership(), caller.epoch));
        assert_eq!(read(caller_of("source-watcher/1")), Ok(("source-watcher".to_owned(), 3)));
        assert_eq!(read(leased("shard-1")), Ok(("source-watcher/shard-1".to_owned(), 3)));
        assert_eq!(read(leased("apps/shard-1")), Ok(("source-watcher/apps/shard-1".to_owned(), 3)));
    }

    #[test]
    fn the_callers_settings_win() {
        let own = settings(None, &defaults()).unwrap();
        assert_eq!(
            (own.advertised_address.as_str(), own.algorithm, own.http_retry),
            ("localhost:9090", Algorithm::Sha256, None)
        );
        let message = v1::Settings {
            advertised_address: "shard1.".into(),
            digest_algorithm: "sha512".into(),
            http_retry: Some(0),
            source_host: "localhost:1".into(),
        };
        let expected = Settings {
            advertised_address: "shard1.".into(),
            algorithm: Algorithm::Sha512,
            http_retry: Some(0),
            source_host: Some("localhost:1".into()),
        };
        assert_eq!(settings(Some(message), &defaults()).unwrap(), expected);
    }

    #[test]
    fn times_survive() {
        let rows =
            [("2025-10-08T10:00:00.5Z", 1_759_917_600, 500_000_000), ("1969-12-31T23:59:59.75Z", -1, 750_000_000)];
        for (text, seconds, nanos) in rows {
            assert_eq!(to_timestamp(text.parse().unwrap()), prost_types::Timestamp { seconds, nanos });
        }
        let time = Duration::from_millis(1500);
        assert_eq!(duration("ttl", Some(to_duration(time))).unwrap(), Some(time));
    }
}
