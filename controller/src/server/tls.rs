//! Mutual TLS to the artifact server: the files that flags name.

use std::path::PathBuf;

use weir_proto::tls::{self, Called};

/// What mutual TLS takes: files of PEM. They are read for each connection, so that renewed certificates need no restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// Authorities that vouch for the artifact server.
    pub authorities: PathBuf,
    /// What this client shows.
    pub certificate: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
}

impl Certificates {
    /// Whether all files are named.
    pub fn are_complete(&self) -> bool {
        [&self.authorities, &self.certificate, &self.key].iter().all(|file| !file.as_os_str().is_empty())
    }

    /// The same for a connection. Its errors are one line that names flag and file.
    pub(super) fn by_flags(&self) -> tls::Certificates {
        let called = Called {
            authorities: "--artifact-server-ca",
            certificate: "--artifact-server-cert",
            key: "--artifact-server-key",
        };
        tls::Certificates::files(&self.authorities, &self.certificate, &self.key).called(called)
    }
}
