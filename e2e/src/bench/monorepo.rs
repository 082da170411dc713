//! The tree that the benchmark follows: one blob that does not compress, and many small applications.

use std::io::Write as _;

use anyhow::Result;
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};

/// Size of the blob: 20 MiB that no compressor makes smaller, so that a download costs what it does in a real repository.
const BLOB_BYTES: usize = 20 * 1024 * 1024;

/// The files of one application. Each is a few hundred bytes, as manifests are.
const FILES: [&str; 5] = ["configmap.yaml", "deployment.yaml", "kustomization.yaml", "service.yaml", "values.yaml"];

/// A monorepo whose applications change one by one.
pub(super) struct Monorepo {
    blob: Vec<u8>,
    /// The generation of each application; raising it changes every file of that application.
    generations: Vec<u32>,
}

/// One version of the monorepo, packed.
pub(super) struct Snapshot {
    /// The gzip-compressed tar.
    pub(super) bytes: Vec<u8>,
    /// `sha256:<hex>` of [`Snapshot::bytes`].
    pub(super) digest: String,
}

impl Monorepo {
    /// A monorepo with so many applications, the same on every machine.
    pub(super) fn new(apps: usize) -> Self {
        let mut blob = vec![0; BLOB_BYTES];
        StdRng::seed_from_u64(20).fill_bytes(&mut blob);
        Self { blob, generations: vec![1; apps] }
    }

    /// Number of applications.
    pub(super) fn apps(&self) -> usize {
        self.generations.len()
    }

    /// Name of an application, of its folder and of its artifact.
    pub(super) fn app(index: usize) -> String {
        format!("app-{index:05}")
    }

    /// Changes so many applications, spread evenly over all.
    pub(super) fn change(&mut self, count: usize) {
        let apps = self.apps();
        for step in 0..count {
            self.generations[step * apps / count] += 1;
        }
    }

    /// Packs the present state.
    pub(super) fn pack(&self) -> Result<Snapshot> {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        append(&mut tar, "assets/blob.bin", &self.blob)?;
        for (index, generation) in self.generations.iter().enumerate() {
            for file in FILES {
                append(
                    &mut tar,
                    &format!("apps/{}/{file}", Self::app(index)),
                    manifest(index, *generation, file).as_bytes(),
                )?;
            }
        }
        let mut gzip = tar.into_inner()?;
        gzip.flush()?;
        let bytes = gzip.finish()?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        Ok(Snapshot { bytes, digest })
    }
}

fn manifest(app: usize, generation: u32, file: &str) -> String {
    let name = Monorepo::app(app);
    format!(
        "# {file} of {name}\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  labels:\n    app: {name}\n\
         data:\n  generation: \"{generation}\"\n  file: {file}\n  token: \"{:016x}\"\n",
        (app as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(generation)
    )
}

fn append<W: std::io::Write>(tar: &mut tar::Builder<W>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    Ok(tar.append_data(&mut header, path, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_changes_the_digest_and_only_so_many_apps() {
        let mut monorepo = Monorepo::new(10);
        let before = monorepo.pack().unwrap().digest;
        assert_eq!(before, Monorepo::new(10).pack().unwrap().digest);
        monorepo.change(3);
        assert_ne!(before, monorepo.pack().unwrap().digest);
        assert_eq!(monorepo.generations.iter().filter(|&&generation| generation == 2).count(), 3);
    }
}
