//! What both store, and say of a file that may not be what it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use weir_artifact_server::hash::Hasher;
use weir_e2e::peer::{Questions, Verdict, WriteAnswer, WriteOf, compare};
use weir_e2e::scene::Scene;
use weir_proto::client::Client;
use weir_proto::v1::{self, ArtifactRef, Settings, VerifyRequest, WriteHeader};
use weir_proto::{Algorithm, Reason};

use super::{documented, one_of, random, repeat, seeds, start};

/// How many files are compared.
const FILES: u64 = 300;

/// What happens to a file behind the back of who keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Intact,
    Flipped,
    Truncated,
    Longer,
    Removed,
}

impl Fate {
    fn befall(self, path: &Path) -> Result<()> {
        let mut bytes = fs::read(path).with_context(|| path.display().to_string())?;
        match self {
            Self::Intact => return Ok(()),
            Self::Removed => return Ok(fs::remove_file(path)?),
            Self::Flipped => bytes[0] ^= 1,
            Self::Truncated => bytes.truncate(bytes.len() - 1),
            Self::Longer => bytes.push(b'x'),
        }
        Ok(fs::write(path, bytes)?)
    }
}

#[derive(Clone, Debug)]
struct Stored {
    name: String,
    text: String,
    algorithm: Algorithm,
    mode: u32,
    fate: Fate,
    /// What is asked for.
    digest: String,
}

impl Stored {
    fn invent(seed: u64) -> Self {
        let mut random = random(seed);
        let length = one_of(&mut random, &[1, 2, 63, 64, 65, 1000, 5000]);
        let text: String = (0..length).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect();
        let fates =
            [Fate::Intact, Fate::Intact, Fate::Intact, Fate::Flipped, Fate::Truncated, Fate::Longer, Fate::Removed];
        let fate = one_of(&mut random, &fates);
        let digest = asked(&text, &mut random);
        let algorithm = one_of(&mut random, &Algorithm::ALL);
        let mode = one_of(&mut random, &[0o600, 0o644, 0o640, 0o664, 0o755, 0o777]);
        Self { name: format!("v{seed}"), text, algorithm, mode, fate, digest }
    }

    fn path(&self) -> String {
        format!("externalartifact/apps/{}/file", self.name)
    }

    fn write(&self, root: &Path) -> WriteOf {
        let (root, algorithm, text) = (root.to_owned(), self.algorithm.name().to_owned(), self.text.clone());
        WriteOf { root, path: self.path(), algorithm, mode: self.mode, text }
    }

    async fn store(&self, client: &Client, root: &Path) -> Result<WriteAnswer> {
        let kind = "ExternalArtifact".to_owned();
        let settings = Settings { digest_algorithm: self.algorithm.name().into(), ..Settings::default() };
        let header = WriteHeader {
            artifact: Some(ArtifactRef { kind, namespace: "apps".into(), name: self.name.clone() }),
            file: "file".into(),
            mode: Some(self.mode),
            settings: Some(settings),
            ..WriteHeader::default()
        };
        let artifact = client.write(header, self.text.clone()).await?.artifact.context("an artifact is there")?;
        ensure!(artifact.path == self.path(), "{artifact:?}");
        let mode = fs::metadata(root.join(&artifact.path))?.permissions().mode() & 0o7777;
        Ok(WriteAnswer { digest: artifact.digest, size: u64::try_from(artifact.size)?, mode })
    }
}

/// The digest to ask for: mostly the right one, in any algorithm; else that of other bytes, or something that is none.
fn asked(text: &str, random: &mut StdRng) -> String {
    let algorithm = one_of(random, &Algorithm::ALL);
    let right = digest(algorithm, text);
    match random.random_range(0..12) {
        0..6 => right,
        6 | 7 => digest(algorithm, "something else"),
        8 => right.to_uppercase().replacen(&algorithm.name().to_uppercase(), algorithm.name(), 1),
        9 => right[..right.len() - 1].to_owned(),
        10 => right.replacen(algorithm.name(), one_of(random, &["md5", "sha224", "sha3-256", "x"]), 1),
        _ => (one_of(
            random,
            &["", ":", "sha256", "sha256:", ":abc", "sha256:zz", "md5:", "a b:c", "sha256::", "SHA256:ab", "md5:a:b"],
        ))
        .to_owned(),
    }
}

fn digest(algorithm: Algorithm, text: &str) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(text.as_bytes());
    hasher.finish().map(|digest| digest.to_string()).unwrap_or_default()
}

/// Random files have the same digest, size and mode as from the SDK, in each algorithm; and once they are changed, cut or gone, both say the same
/// of them, also to who asks for what is no digest.
pub(crate) async fn random_files_get_the_same_verdict(scene: Scene) -> Result<()> {
    let theirs = scene.stage.run.folder("peer")?;
    let (mut server, client) = start(&scene).await?;
    let seeds = seeds(FILES)?;
    let files: Vec<_> = seeds.clone().map(Stored::invent).collect();
    let writes = files.iter().map(|file| file.write(&theirs)).collect();
    let answers = compare(&scene.stage.tools, &Questions { writes, ..Questions::default() }).await?.writes;
    for ((seed, file), answer) in seeds.clone().zip(&files).zip(answers) {
        let ours = file.store(&client, server.storage()).await.with_context(|| repeat(seed))?;
        ensure!(ours == answer, "{file:?}: Weir {ours:?}, the SDK {answer:?}; {}", repeat(seed));
    }
    // What is done to files that are watched is found at once; this is about what is found when somebody asks.
    server.stop().await?;
    for file in &files {
        for root in [server.storage(), &theirs] {
            file.fate.befall(&root.join(file.path()))?;
        }
    }
    let ask = |file: &Stored| Verdict { root: theirs.clone(), path: file.path(), digest: file.digest.clone() };
    let verdicts = files.iter().map(ask).collect();
    let answers = compare(&scene.stage.tools, &Questions { verdicts, ..Questions::default() }).await?.verdicts;
    server.restart().await?;
    for ((seed, file), answer) in seeds.zip(&files).zip(answers) {
        let ours = verdict(&client, file).await.with_context(|| repeat(seed))?;
        let taken_out = (ours, class(&answer)) == ("missing", "differs")
            && !matches!(file.fate, Fate::Intact | Fate::Removed)
            && !server.storage().join(file.path()).exists();
        if taken_out {
            documented("A file whose bytes changed stays, and is served")?;
        }
        let same = ours == class(&answer) || taken_out;
        ensure!(same, "{file:?}: Weir says {ours}, the SDK {answer}; {}", repeat(seed));
    }
    server.stop().await.map(drop)
}

/// What the SDK says, in the same words.
fn class(answer: &str) -> &str {
    match answer {
        text if text.ends_with("unsupported digest algorithm") => "unknown algorithm",
        text if text.starts_with("refused: failed to parse") || text == "refused: artifact has no digest" => {
            "no digest"
        }
        other => other,
    }
}

async fn verdict(client: &Client, file: &Stored) -> Result<&'static str> {
    let request = VerifyRequest { path: file.path(), digest: file.digest.clone() };
    let answers = match client.verify(vec![request]).await {
        Ok(answers) => answers,
        Err(error) => {
            return match error.failure().map(|failure| failure.reason) {
                Some(Reason::InvalidRequest) => Ok("no digest"),
                Some(Reason::UnknownDigestAlgorithm) => Ok("unknown algorithm"),
                _ => Err(error.into()),
            };
        }
    };
    let [answer] = &answers[..] else { anyhow::bail!("{} answers", answers.len()) };
    Ok(match answer.verdict() {
        v1::Verdict::Ok => "ok",
        v1::Verdict::Missing => "missing",
        // The SDK knows no digest but the one it is asked for.
        v1::Verdict::Corrupted | v1::Verdict::Mismatch => "differs",
        v1::Verdict::Unspecified => anyhow::bail!("no verdict"),
    })
}

/// Where the two differ on purpose, each row of docs/differences.md by an example.
pub(crate) async fn where_verdicts_differ(scene: Scene) -> Result<()> {
    let theirs = scene.stage.run.folder("peer")?;
    let (mut server, client) = start(&scene).await?;
    let file = |name: &str, digest: String| Stored {
        name: name.into(),
        text: "text".into(),
        algorithm: Algorithm::Sha256,
        mode: 0o600,
        fate: Fate::Intact,
        digest,
    };
    let right = digest(Algorithm::Sha256, "text");
    let files = [
        file("replaced", digest(Algorithm::Sha256, "other text")),
        file("linked", right.clone()),
        file("folder", right.clone()),
    ];
    let writes = files.iter().map(|file| file.write(&theirs)).collect();
    compare(&scene.stage.tools, &Questions { writes, ..Questions::default() }).await?;
    for file in &files {
        file.store(&client, server.storage()).await?;
    }
    server.stop().await?;
    for root in [server.storage(), &theirs] {
        let [replaced, linked, folder] = [&files[0], &files[1], &files[2]].map(|file| root.join(file.path()));
        fs::write(replaced, "other text")?;
        fs::write(linked.with_file_name("target"), "text")?;
        fs::remove_file(&linked)?;
        symlink("target", linked)?;
        fs::remove_file(&folder)?;
        fs::create_dir(folder)?;
    }
    let ask = |file: &Stored| Verdict { root: theirs.clone(), path: file.path(), digest: file.digest.clone() };
    let verdicts = files.iter().map(ask).collect();
    let answers = compare(&scene.stage.tools, &Questions { verdicts, ..Questions::default() }).await?.verdicts;
    server.restart().await?;
    documented("A file whose bytes changed stays, and is served")?;
    let ours = verdict(&client, &files[0]).await?;
    ensure!(answers[0] == "ok" && ["differs", "missing"].contains(&ours), "{ours}, {answers:?}");
    ensure!(!server.storage().join(files[0].path()).exists(), "it is still there");
    documented("`LocalPath` turns what would leave the folder into something within it, and follows links")?;
    ensure!((answers[1].as_str(), verdict(&client, &files[1]).await?) == ("ok", "missing"), "{answers:?}");
    // Not a file: the SDK finds out when it reads.
    ensure!(answers[2].ends_with("is a directory"), "{answers:?}");
    ensure!(verdict(&client, &files[2]).await? == "missing", "a folder is no file");
    server.stop().await.map(drop)
}
