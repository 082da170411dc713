//! Weir's archives next to those of Flux's Go SDK: the same folder, the same uncompressed tar.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use weir_artifact_server::archive::{ignore, pack, pack_tar};
use weir_artifact_server::tree::{Content, Entry, File, Node, Tree, TreePath};
use weir_e2e::progress::say;
use weir_e2e::scene::Scene;

/// How many random folders are compared.
const FOLDERS: u64 = 30;

/// Set to a number from an earlier run to compare the same folders again.
const SEED: &str = "WEIR_PEER_SEED";

/// Random folders give the same tar as the SDK: long, odd and ignored names, execute bits, empty directories.
pub(crate) async fn random_folders_give_the_same_tar(scene: Scene) -> Result<()> {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED} is not a number"))?,
        Err(_) => u64::from(rand::random::<u32>()),
    };
    say(format!("{FOLDERS} random folders against the Go SDK; {SEED}={seed}"));
    let run = scene.stage.run.folder("peer")?;
    let mut ignored = 0;
    for number in 0..FOLDERS {
        let folder = run.join(number.to_string());
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(number));
        fill(&folder, &mut random, 0)?;
        let archive = run.join(format!("{number}.out"));
        weir_e2e::peer::archive(&scene.stage.tools, &folder, &archive).await?;
        let expected = gunzip(&fs::read(&archive)?)?;

        let mut entries = Vec::new();
        read(&folder, &folder, &mut entries)?;
        let filtered = ignore::apply_default(&Tree::from_entries(entries)?);
        ignored += filtered.dropped.len();
        let mut tar = Vec::new();
        pack_tar(&filtered.kept, &mut tar)?;
        let differ = tar.iter().zip(&expected).position(|(ours, theirs)| ours != theirs);
        ensure!(
            tar == expected,
            "folder {number}: {} bytes, the SDK has {}, first difference at {differ:?}; {SEED}={seed} repeats it",
            tar.len(),
            expected.len()
        );
        let mut packed = Vec::new();
        pack(&filtered.kept, &mut packed)?;
        ensure!(gunzip(&packed)? == expected, "folder {number}: the tar.gz holds another tar; {SEED}={seed}");
    }
    ensure!(ignored > 0, "no folder had anything to ignore; {SEED}={seed}");
    Ok(())
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

/// Makes a folder with random content.
fn fill(folder: &Path, random: &mut StdRng, depth: usize) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for _ in 0..random.random_range(0..8) {
        let path = folder.join(OsStr::from_bytes(&name(random)));
        if path.exists() {
            continue;
        }
        if depth < 4 && random.random_bool(0.4) {
            fill(&path, random, depth + 1)?;
        } else {
            let length = [0, 1, 511, 512, 513, 70_000][random.random_range(0..6)];
            let mut content = vec![0; length];
            random.fill(&mut content[..]);
            fs::write(&path, content).with_context(|| path.display().to_string())?;
            let mode = [0o644, 0o600, 0o755, 0o611, 0o4750][random.random_range(0..5)];
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// A name: plain, long, not ASCII, not even UTF-8, or one that the ignore list knows.
fn name(random: &mut StdRng) -> Vec<u8> {
    const PLAIN: [&str; 6] = ["a", "a-b", "a.txt", "b", "app.yaml", "Z"];
    const KNOWN: [&str; 8] =
        [".git", ".gitignore", ".github", "logo.png", "x.tar.gz", ".sops.yaml", "cloudbuild.yaml", ".zip"];
    match random.random_range(0..10) {
        0..4 => PLAIN[random.random_range(0..PLAIN.len())].into(),
        4 => KNOWN[random.random_range(0..KNOWN.len())].into(),
        5 => format!("é-{}-日本", random.random_range(0..9)).into(),
        6 => [b"raw-\xff\xfe".as_slice(), &[b'0' + random.random_range(0..9)]].concat(),
        // Components may have 255 bytes; the limits of a tar lie at 100, 155 and 256.
        _ => {
            let length = [97, 98, 99, 100, 101, 153, 154, 155, 156, 200, 255][random.random_range(0..11)];
            vec![b'm' + random.random_range(0..9); length]
        }
    }
}

/// Reads a folder into entries.
fn read(root: &Path, folder: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    for item in fs::read_dir(folder)? {
        let path: PathBuf = item?.path();
        let name = TreePath::new(path.strip_prefix(root)?.as_os_str().as_bytes())?;
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            entries.push(Entry { path: name, node: Node::Directory });
            read(root, &path, entries)?;
            continue;
        }
        let bytes = fs::read(&path)?;
        let file = File {
            executable: metadata.permissions().mode() & 0o111 != 0,
            size: metadata.len(),
            sha256: Sha256::digest(&bytes).into(),
            content: Content::Inline(bytes.into()),
        };
        entries.push(Entry { path: name, node: Node::File(file) });
    }
    Ok(())
}
