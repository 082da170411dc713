//! From an endpoint as users write it to a connection.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::Error;
use crate::{
    MAX_MESSAGE_BYTES,
    tls::{self, Certificates},
    v1::{artifact_builder_client::ArtifactBuilderClient, artifact_storage_client::ArtifactStorageClient},
};

/// How long a connection attempt may take. Sockets and loopback answer at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is probed this often, and given up when the probe is not answered in the same time. A lock is held no longer than
/// that by a machine that is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A connection that is made when first used; with certificates to `https`, else to anything but.
pub(super) fn channel(text: &str, certificates: Option<&Certificates>) -> Result<Channel, Error> {
    let wrong = |problem: String| Error::Endpoint { endpoint: text.to_owned(), problem };
    let (secure, plain) = (text.starts_with("https://"), text.starts_with("unix:///") || text.starts_with("http://"));
    if !secure && !plain {
        return Err(wrong("the scheme is none of unix, https and http".to_owned()));
    }
    let endpoint = Endpoint::from_shared(text.to_owned()).map_err(|error| wrong(error.to_string()))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    match certificates {
        Some(certificates) if secure => tls::connect_lazy(&endpoint, certificates)
            .map_err(|error| Error::Certificates { endpoint: text.to_owned(), problem: error }),
        None if plain => Ok(endpoint.connect_lazy()),
        Some(_) => Err(wrong("it has no TLS, so certificates are of no use".to_owned())),
        None => Err(wrong("it needs certificates: give them to Client::connect_with".to_owned())),
    }
}

/// What goes out has no limit here: the server says what is too large. The library would break the stream, which looks as if nobody were there.
pub(super) fn storage(channel: &Channel) -> ArtifactStorageClient<Channel> {
    ArtifactStorageClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

pub(super) fn builder(channel: &Channel) -> ArtifactBuilderClient<Channel> {
    ArtifactBuilderClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refuses_endpoints_it_can_not_call() {
        for good in ["unix:///run/weir/artifact.sock", "http://127.0.0.1:9092", "http://[::1]:1"] {
            assert!(channel(good, None).is_ok(), "{good}");
        }
        for bad in ["", "/run/x.sock", "unix:relative", "https://a", "tcp://a:1", "http://"] {
            let error = channel(bad, None).unwrap_err().to_string();
            let advice = "use unix:///path/to.sock, http://host:port or, with certificates, https://host:port";
            assert!(error.contains(advice), "{bad}: {error}");
        }
        let nothing = Certificates::files("", "", "");
        for (bad, problem) in [("https://a", "the CA bundle"), ("http://a", "of no use"), ("tcp://a", "the scheme")] {
            let error = channel(bad, Some(&nothing)).unwrap_err().to_string();
            assert!(error.contains(problem), "{bad}: {error}");
        }
    }
}
