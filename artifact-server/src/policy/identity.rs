//! Who is at the other end of a connection, as far as the transport knows.

use std::fmt;

/// Who calls. What it says of itself in a request is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A process on this machine, as the kernel knows it.
    Process {
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its number, where the kernel says it: 0 is of another PID namespace.
        pid: Option<i32>,
    },
    /// Whoever has the key of a certificate that one of the client authorities signed.
    Certificate {
        /// DNS names in it.
        dns: Vec<String>,
        /// URIs in it, e.g. `spiffe://…`.
        uris: Vec<String>,
    },
    /// Plain TCP says nothing.
    Unknown,
}

impl Identity {
    /// The names in a certificate (DER) that was verified already.
    pub fn of_certificate(der: &[u8]) -> Self {
        let der = der.into();
        let Ok(certificate) = webpki::EndEntityCert::try_from(&der) else { return Self::Unknown };
        Self::Certificate {
            dns: certificate.valid_dns_names().map(str::to_owned).collect(),
            uris: certificate.valid_uri_names().map(str::to_owned).collect(),
        }
    }

    /// The same text for the same identity, however often it connects: what others fetched is not its own.
    pub fn tenant(&self) -> String {
        match self {
            Self::Process { uid, .. } => format!("uid {uid}"),
            Self::Certificate { dns, uris } if dns.is_empty() && uris.is_empty() => {
                "a certificate without DNS names and URIs".to_owned()
            }
            Self::Certificate { dns, uris } => {
                let dns = dns.iter().map(|name| format!("dns {name}"));
                let names: Vec<_> = dns.chain(uris.iter().map(|uri| format!("uri {uri}"))).collect();
                format!("a certificate of {}", names.join(", "))
            }
            Self::Unknown => "a client without identity".to_owned(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tenant())?;
        match self {
            Self::Process { gid, pid: Some(pid), .. } => write!(f, " (gid {gid}, pid {pid})"),
            Self::Process { gid, pid: None, .. } => write!(f, " (gid {gid})"),
            Self::Certificate { .. } | Self::Unknown => Ok(()),
        }
    }
}
