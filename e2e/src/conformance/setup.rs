//! What a runner is told: one JSON file, whose path is its only argument. What it tells: one JSON line a case.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::case::Transport;
use super::matching::Variables;

/// What a runner is told.
#[derive(Clone, Debug, Serialize)]
pub struct Setup {
    /// Folder of the cases.
    pub cases: PathBuf,
    /// `unix` or `mtls`: cases for the other one are left out.
    pub transport: &'static str,
    /// Where to connect, and as whom, by the name that steps call it by.
    pub peers: BTreeMap<String, Peer>,
    /// Where `tell` steps are posted: this, a slash and the word.
    pub control: String,
    /// What all cases can put in; each has some of its own besides.
    pub variables: Variables,
}

/// Where to connect, and as whom.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// `unix:///<path>` or `https://<address>:<port>`.
    pub endpoint: String,
    /// Authority of the server's certificate, a file of PEM. For https, as are the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
    /// What the client shows; none: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The key of that certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Its name.
    pub case: String,
    /// Whether every step went as it should.
    pub ok: bool,
    /// Why not.
    #[serde(default)]
    pub why: String,
}

impl Setup {
    /// The variables of one case.
    pub(super) fn of_case(&self, name: &str) -> Variables {
        let namespace = self.variables.get("namespace").and_then(Value::as_str).unwrap_or_default();
        let controller = format!("{namespace}-{name}");
        let mut variables = self.variables.clone();
        let own = [
            ("name", json!(name)),
            ("dir", json!(format!("externalartifact/{namespace}/{name}"))),
            ("artifact", json!({"kind": "ExternalArtifact", "namespace": namespace, "name": name})),
            ("me", json!({"owner": format!("{controller}/1")})),
            ("controller", json!(controller)),
        ];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
        variables
    }

    /// Whether a case of this transport is for the runner.
    pub(super) fn is_for(&self, transport: Option<Transport>) -> bool {
        transport.is_none_or(|transport| transport.name() == self.transport)
    }
}
