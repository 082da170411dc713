//! Notifications to the receiver at `--events-addr`, behind a bounded queue: a receiver that is away or slow makes no reconcile
//! wait. Flux's controllers send them within the reconcile.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Event;
use reqwest::{Client, Url, header::CONTENT_TYPE, redirect};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::sync::mpsc;

use super::{
    attempts::{self, Outcome},
    notification,
    waiting::{Entrance, NotificationMetrics, Waiting, waiting_room},
};
use crate::plan::commit::Commit;

/// Longest time for one try.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The near end: cheap to clone, never waits.
#[derive(Clone, Debug)]
pub struct Notifier(Entrance);

/// The far end: run it in one task.
pub struct Deliveries {
    client: Client,
    url: Url,
    queues: Vec<mpsc::Receiver<Waiting>>,
}

/// Why the notifications can not be sent at all.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client for notifications: {0:#}")]
pub struct ClientError(anyhow::Error);

/// Makes both ends. The certificate of a receiver behind https is checked against the authorities of the system; `SSL_CERT_FILE`
/// and `SSL_CERT_DIR` name others in their place. Proxies are taken from the environment.
pub fn notifier(url: Url, metrics: NotificationMetrics) -> Result<(Notifier, Deliveries), ClientError> {
    let roots = if url.scheme() == "https" { roots() } else { RootCertStore::empty() };
    let client = client(roots).map_err(ClientError)?;
    let (entrance, queues) = waiting_room(metrics);
    Ok((Notifier(entrance), Deliveries { client, url, queues }))
}

/// The authorities that the system trusts.
fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
        tracing::error!(
            "--events-addr: no certificate authority is trusted ({why}): name a file of PEM in SSL_CERT_FILE"
        );
    }
    roots
}

/// TLS 1.2 and 1.3 that trust these authorities and nobody else.
fn client(roots: RootCertStore) -> anyhow::Result<Client> {
    let provider = Arc::new(ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let client = Client::builder()
        .tls_backend_preconfigured(tls.with_root_certificates(roots).with_no_client_auth())
        // A notification names what runs in the cluster: it goes to whom the operator named, and to nobody else.
        .redirect(redirect::Policy::none())
        .timeout(ATTEMPT)
        .user_agent(concat!("weir-controller/", env!("CARGO_PKG_VERSION")));
    Ok(client.build()?)
}

impl Notifier {
    /// Sends an event some time later, unless too many wait already.
    pub(super) fn notify(&self, event: &Event, commit: Option<&Commit>) {
        match notification::body(event, commit) {
            Ok(body) => {
                let uid = event.involved_object.uid.as_deref().unwrap_or_default();
                // Not when, and of which version of the object: a receiver does not tell them apart by that.
                let says = (&event.type_, &event.reason, &event.message, &event.metadata.annotations, commit);
                self.0.enter(uid, &says, body);
            }
            Err(error) => tracing::error!(%error, "unable to record event"),
        }
    }
}

impl Deliveries {
    /// Sends until every [`Notifier`] is dropped and nothing waits. Drop the future to end at once; what waits then is lost.
    pub async fn run(self) {
        let Self { client, url, mut queues } = self;
        join_all(queues.iter_mut().map(|queue| empty(queue, &client, &url))).await;
    }
}

async fn empty(queue: &mut mpsc::Receiver<Waiting>, client: &Client, url: &Url) {
    while let Some(waiting) = queue.recv().await {
        let outcome = attempts::deliver(|| attempt(client, url, waiting.body.clone())).await;
        match &outcome {
            Outcome::Failed(cause) => tracing::error!(error = %cause, "unable to record event"),
            Outcome::Refused(status) => tracing::debug!(status, "the notification receiver refused an event"),
            Outcome::Sent | Outcome::Duplicate => {}
        }
        waiting.finish(&outcome);
    }
}

/// The status of the answer, or why there is none. The URL is left out: its query may be a secret.
async fn attempt(client: &Client, url: &Url, body: Vec<u8>) -> Result<u16, String> {
    let request = client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body);
    match request.send().await {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(format!("{:#}", anyhow::Error::new(error.without_url()))),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{ServerConfig, pki_types::PrivateKeyDer};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpSocket},
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A server behind TLS that answers 202 to whatever comes. Returns its URL and whom to trust for it.
    async fn secured() -> (Url, RootCertStore) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(connection).await else { continue };
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok_and(|read| request[..read].starts_with(b"POST / ")) {
                    let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    stream.write_all(answer).await.ok();
                }
            }
        });
        (url.parse().unwrap(), roots)
    }

    #[tokio::test]
    async fn behind_https_only_a_trusted_receiver_hears() {
        let (url, roots) = secured().await;
        assert_eq!(attempt(&client(roots).unwrap(), &url, b"{}".to_vec()).await, Ok(202));
        let (_, others) = secured().await;
        let refused = attempt(&client(others).unwrap(), &url, b"{}".to_vec()).await.unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
    }

    #[tokio::test]
    async fn errors_keep_the_url_to_themselves() {
        // Bound, so that nobody else gets the port, and refused, as nobody listens.
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url: Url = format!("http://{}/hook?token=secret", closed.local_addr().unwrap()).parse().unwrap();
        let error = attempt(&client(RootCertStore::empty()).unwrap(), &url, Vec::new()).await.unwrap_err();
        assert!(error.contains("refused") && !error.contains("secret"), "{error}");
    }

    /// The environment is read once for a process, so the event is sent from one of its own.
    #[tokio::test]
    async fn the_proxy_of_the_environment_is_asked() {
        let url: Url = "http://receiver.invalid/hook".parse().unwrap();
        if std::env::var_os("WEIR_TEST_SENDS").is_some() {
            assert_eq!(attempt(&client(RootCertStore::empty()).unwrap(), &url, b"{}".to_vec()).await, Ok(202));
            return;
        }
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = proxy.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "events::receiver::tests::the_proxy_of_the_environment_is_asked"]);
        test.env("WEIR_TEST_SENDS", "1").env("HTTP_PROXY", &address).env("http_proxy", &address);
        test.env_remove("NO_PROXY").env_remove("no_proxy");
        let output = tokio::task::spawn_blocking(move || test.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("POST http://receiver.invalid/hook HTTP/1.1\r\n"), "{asked}");
    }
}
