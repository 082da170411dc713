//! Who may do what: an address, the authority to trust and a bearer token.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

/// How long a service account's token lives, in seconds: longer than any run.
const TOKEN_SECONDS: i64 = 12 * 60 * 60;

/// Access to the API server for one identity.
#[derive(Clone, Debug)]
pub struct Access {
    address: SocketAddr,
    authority: String,
    token: String,
}

impl Access {
    pub(super) fn new(address: SocketAddr, authority: String, token: String) -> Self {
        Self { address, authority, token }
    }

    /// `https://` and the API server's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The API server's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same identity at another loopback address, which must lead to the API server.
    #[must_use]
    pub fn through(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    /// The bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A client with this identity.
    ///
    /// # Errors
    /// Never in practice: the kubeconfig is our own.
    pub fn client(&self) -> Result<Client> {
        let kubeconfig: Kubeconfig = serde_json::from_value(self.kubeconfig())?;
        // Reading it touches no file, so it can run to its end in place.
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options);
        let config = futures::executor::block_on(config)?;
        Ok(Client::try_from(config)?)
    }

    /// Writes a kubeconfig for other programs, which inlines everything.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<PathBuf> {
        // JSON is YAML.
        std::fs::write(path, serde_json::to_vec_pretty(&self.kubeconfig())?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.to_owned())
    }

    fn kubeconfig(&self) -> serde_json::Value {
        let authority = base64(self.authority.as_bytes());
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "weir",
                "cluster": {"server": self.url(), "certificate-authority-data": authority},
            }],
            "users": [{"name": "weir", "user": {"token": self.token}}],
            "contexts": [{"name": "weir", "context": {"cluster": "weir", "user": "weir"}}],
            "current-context": "weir",
        })
    }

    pub(super) async fn service_account(&self, client: &Client, namespace: &str, name: &str) -> Result<Self> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..Default::default() },
            ..Default::default()
        };
        let answer = accounts
            .create_token_request(name, &kube::api::PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for the service account {namespace}/{name}"))?;
        let token = answer.status.context("the token request has no status")?.token;
        Ok(Self { token, ..self.clone() })
    }
}

/// Standard base64, through the one type of the API that already does it.
fn base64(bytes: &[u8]) -> serde_json::Value {
    json!(k8s_openapi::ByteString(bytes.to_vec()))
}
