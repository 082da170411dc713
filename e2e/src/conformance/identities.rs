//! Who clients are: certificates, and the policy that says who may do what.

use std::path::Path;

use anyhow::Result;
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use super::case::Transport;
use crate::certificates::Authority;

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

/// A policy that names none of the clients. Over a Unix socket all are one user, so whoever is in no rule calls a server of its own.
pub(super) const CLOSED: &str = "closed.yaml";

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
    std::fs::write(folder.join(CLOSED), POLICY.replace("TENANT", "{dns: nowhere.test}"))?;
    let (ours, theirs) = (Authority::in_folder("conformance", folder)?, Authority::new("another")?);
    for name in ["server", "tenant", "stranger", "nobody"].into_iter().chain(UNFIT) {
        let host = match name {
            "server" => "127.0.0.1",
            name if UNFIT.contains(&name) => "tenant.test",
            name => &format!("{name}.test"),
        };
        let issuer = if name == "forged" { &theirs } else { &ours };
        issuer.sign(folder, name, &[host], |params| match name {
            "expired" => params.not_after = date_time_ymd(2001, 1, 1),
            "server-only" => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            _ => {}
        })?;
    }
    Ok(())
}
