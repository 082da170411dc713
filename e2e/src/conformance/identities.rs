//! Who clients are: certificates, and the policy that says who may do what.

use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

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

/// Those who are not let in whatever the policy says, each for what is wrong with its certificate.
pub(super) const UNFIT: [&str; 3] = ["forged", "expired", "server-only"];

/// Writes `policy.yaml`, and for each name a certificate and its key: of the authority in `ca.crt`, but for `forged`. All who are
/// unfit have the tenant's name: only what is wrong with them keeps them out.
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
    for name in ["server", "tenant", "stranger", "nobody"].into_iter().chain(UNFIT) {
        let host = match name {
            "server" => "127.0.0.1".to_owned(),
            name if UNFIT.contains(&name) => "tenant.test".to_owned(),
            name => format!("{name}.test"),
        };
        let mut params = CertificateParams::new([host])?;
        match name {
            "expired" => params.not_after = date_time_ymd(2001, 1, 1),
            "server-only" => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            _ => {}
        }
        let (key, issuer) = (KeyPair::generate()?, if name == "forged" { &theirs } else { &ours });
        let certificate = params.signed_by(&key, issuer)?;
        std::fs::write(folder.join(format!("{name}.crt")), certificate.pem())?;
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
