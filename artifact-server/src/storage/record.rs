//! What is kept about each stored file.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use weir_proto::Digest;

/// The format of records this server writes. Records of another version are not read.
const VERSION: u32 = 1;

/// What the storage says about an object without reading it. Equal stamps mean that the bytes are those that were hashed.
/// Opaque: only the backend that made it knows what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stamp(String);

impl Stamp {
    /// Wraps a backend's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of a stored file. Durable before the file is; never served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `<controller>/<object UID>`. Empty when unknown: whoever asks may use or remove the file.
    pub owner: String,
    /// Digest of the bytes as stored and served.
    pub digest: Digest,
    /// `sha256:<hex>` of the content before it was archived; `None` when the file was not composed here.
    pub content_digest: Option<String>,
    /// The revision that the file was stored under, or that another program had published it under before it was adopted; `None` when the
    /// content digest names it.
    pub revision: Option<String>,
    /// Permission bits that the file was stored with; `None` for 0600.
    pub mode: Option<u32>,
    /// Name of the file of this artifact that this one is an alias of; its own bytes are of no interest then.
    pub alias: Option<String>,
    /// Length of the bytes as stored.
    pub size: u64,
    /// When the bytes were stored, by the wall clock. For people; nothing is ordered by it alone.
    pub stored_at: Timestamp,
    /// Rises with each file stored on the volume. 0 for files that this server did not store: they are older than all others.
    pub sequence: u64,
    /// The stamp the bytes had when they were last hashed.
    pub stamp: Stamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    version: u32,
    owner: String,
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    size: u64,
    stored_at: String,
    sequence: u64,
    stamp: String,
}

/// A record that can not be read: damaged, or of another version.
#[derive(Debug, thiserror::Error)]
#[error("the record can not be read: {0}")]
pub struct RecordError(String);

impl Record {
    /// One JSON object, `version` first.
    pub fn to_json(&self) -> Result<Vec<u8>, RecordError> {
        let document = Document {
            version: VERSION,
            owner: self.owner.clone(),
            digest: self.digest.to_string(),
            content_digest: self.content_digest.clone(),
            revision: self.revision.clone(),
            mode: self.mode,
            alias: self.alias.clone(),
            size: self.size,
            stored_at: self.stored_at.to_string(),
            sequence: self.sequence,
            stamp: self.stamp.0.clone(),
        };
        serde_json::to_vec(&document).map_err(|error| RecordError(error.to_string()))
    }

    /// Reads what [`Record::to_json`] wrote.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RecordError> {
        let document: Document = serde_json::from_slice(bytes).map_err(|error| RecordError(error.to_string()))?;
        if document.version != VERSION {
            return Err(RecordError(format!("version {} is not {VERSION}", document.version)));
        }
        Ok(Self {
            owner: document.owner,
            digest: document.digest.parse().map_err(|error| RecordError(format!("digest: {error}")))?,
            content_digest: document.content_digest,
            revision: document.revision,
            mode: document.mode,
            alias: document.alias,
            size: document.size,
            stored_at: document.stored_at.parse().map_err(|error| RecordError(format!("storedAt: {error}")))?,
            sequence: document.sequence,
            stamp: Stamp(document.stamp),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_json_and_refuses_damage() {
        let record = Record {
            owner: "source-watcher/1".into(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
            content_digest: Some(format!("sha256:{}", "cd".repeat(32))),
            revision: Some("latest@sha256:ab".into()),
            mode: Some(0o644),
            alias: Some("1.tar.gz".into()),
            size: 7,
            stored_at: "2026-11-20T10:11:12.123456789Z".parse().unwrap(),
            sequence: 42,
            stamp: Stamp::new("7-1-2-3"),
        };
        let json = record.to_json().unwrap();
        assert_eq!(Record::from_json(&json).unwrap(), record);
        let text = String::from_utf8(json).unwrap();
        let rows = [
            ("cut", text[..text.len() - 2].to_owned()),
            ("empty", String::new()),
            ("other version", text.replace("\"version\":1", "\"version\":2")),
            ("not a digest", text.replace("sha256:abab", "sha256:zzab")),
            ("not a time", text.replace("2026-11-20", "2026-31-20")),
        ];
        for (row, damaged) in rows {
            assert_ne!(damaged, text, "row {row}");
            assert!(Record::from_json(damaged.as_bytes()).is_err(), "row {row}");
        }
    }
}
