//! The cases, as they are committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// What a client must see, step by step. The format is in `e2e/conformance/README.md`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A DNS label, unique among all cases.
    pub name: String,
    /// The only transport that it is for; none: all.
    pub transport: Option<Transport>,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// How a client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// The Unix socket.
    Unix,
    /// Mutual TLS.
    Mtls,
}

impl Transport {
    /// As cases and setups name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Mtls => "mtls",
        }
    }
}

/// One thing that a client does. Exactly one of `call`, `on`, `close` and `tell` is there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// An RPC.
    pub call: Option<String>,
    /// Who calls; `tenant` when not said.
    #[serde(rename = "as")]
    pub peer: Option<String>,
    /// The request, or a list of them where the RPC takes a stream.
    #[serde(default)]
    pub send: Value,
    /// The client keeps its side of the stream open.
    #[serde(default)]
    pub hold: bool,
    /// How long the call may take.
    pub deadline_ms: Option<u64>,
    /// The stream stays open under this name after the answers.
    pub open: Option<String>,
    /// More answers of an open stream.
    pub on: Option<String>,
    /// Ends the client's side of an open stream, and reads it to its end.
    pub close: Option<String>,
    /// Asks who started the server for something that no client can do.
    pub tell: Option<String>,
    /// The only answer.
    pub answer: Option<Value>,
    /// All answers, in order.
    pub answers: Option<Vec<Value>>,
    /// The answers come in any order.
    #[serde(default)]
    pub unordered: bool,
    /// How the call ends, when not well.
    pub error: Option<Expected>,
}

/// An error of a call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The gRPC code, e.g. `NOT_FOUND`; any when not said.
    pub code: Option<String>,
    /// `ErrorInfo.reason`; empty: there is none.
    pub reason: Option<String>,
    /// The field that is at fault.
    pub field: Option<String>,
    /// A part of the message.
    pub message: Option<String>,
}

impl Step {
    /// What must be answered, if that is said.
    #[must_use]
    pub fn expected(&self) -> Option<Vec<Value>> {
        self.answers.clone().or_else(|| self.answer.clone().map(|answer| vec![answer]))
    }
}

/// Where the cases lie.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases")
}

/// Every case, by file.
///
/// # Errors
/// When a file can not be read: names it.
pub fn load() -> Result<BTreeMap<String, Vec<Case>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cases = serde_json::from_slice(&std::fs::read(&path)?).with_context(|| format!("cases of {name}"))?;
        files.insert(name, cases);
    }
    ensure!(!files.is_empty(), "there is no case in {}", folder().display());
    Ok(files)
}

/// The cases for a transport, in the order in which runners run them.
///
/// # Errors
/// As [`load`].
pub fn of(transport: Transport) -> Result<Vec<Case>> {
    let all = load()?.into_values().flatten();
    Ok(all.filter(|case| case.transport.is_none_or(|only| only == transport)).collect())
}
