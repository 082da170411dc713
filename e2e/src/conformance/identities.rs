//! Who clients are: certificates, and the policy that says who may do what.

use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::case::Transport;

/// Nobody else may do anything. `TENANT` is who runs the runners: their user, or their certificate.
const POLICY: &str = "rules:
  - identities: [TENANT]
    kinds: [ExternalArtifact, Bucket, Broken]
    namespaces: ['conformance-*']
    controllers: ['conformance-*']
  - identities: [{dns: stranger.test}]
    kinds: ['*']
    namespaces: ['elsewhere-*']
";

/// Writes `policy.yaml`, and for each name a certificate and its key: of the authority in `ca.crt`, but for one.
pub(super) fn write(folder: &Path, transport: Transport) -> Result<()> {
    let tenant = match transport {
        Transport::Unix => format!("{{uid: {}}}", rustix::process::geteuid().as_raw()),
        Transport::Mtls => "{dns: tenant.test}".to_owned(),
    };
    std::fs::write(folder.join("policy.yaml"), POLICY.replace("TENANT", &tenant))?;
    let authority = |name: &str| {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, name);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        anyhow::Ok(CertifiedIssuer::self_signed(root, KeyPair::generate()?)?)
    };
    let (ours, theirs) = (authority("conformance")?, authority("another")?);
    std::fs::write(folder.join("ca.crt"), ours.pem())?;
    for name in ["server", "tenant", "stranger", "nobody", "forged"] {
        let host = if name == "server" { "127.0.0.1".to_owned() } else { format!("{name}.test") };
        let (key, issuer) = (KeyPair::generate()?, if name == "forged" { &theirs } else { &ours });
        let certificate = CertificateParams::new([host])?.signed_by(&key, issuer)?;
        std::fs::write(folder.join(format!("{name}.crt")), certificate.pem())?;
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
