//! The same folder, archived by both: the same entries, names, modes, header fields, the same bytes of tar.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use weir_artifact_server::archive::{ignore, pack, pack_tar};
use weir_artifact_server::tree::{Content, Entry, File, Node, Tree, TreePath};
use weir_e2e::peer::{ArchiveOf, Filter, Questions, compare};
use weir_e2e::progress::say;
use weir_e2e::scene::Scene;
use weir_proto::client::Client;
use weir_proto::v1::{ArchiveHeader, ArtifactRef, BuiltinRules, IgnoreRules, ReadRequest};

use super::tars::{self, gunzip};
use super::{documented, one_of, random, repeat, seeds, start, trees};

/// How many folders are compared.
const FOLDERS: u64 = 200;

/// Random folders give the same tar as the SDK, under the rules of each of Flux's controllers, through the whole way that a client's folder
/// takes: read and sent by the Rust client, filtered and packed by the server, read back.
pub(crate) async fn random_folders_give_the_same_tar(scene: Scene) -> Result<()> {
    let run = scene.stage.run.folder("peer")?;
    let (mut server, client) = start(&scene).await?;
    let seeds = seeds(FOLDERS)?;
    let mut questions = Questions::default();
    for seed in seeds.clone() {
        questions.archives.push(plant(&run, seed).with_context(|| repeat(seed))?);
    }
    let answers = compare(&scene.stage.tools, &questions).await?.archives;
    let mut seen = Seen::default();
    for ((seed, question), answer) in seeds.zip(&questions.archives).zip(answers) {
        let compressed = fs::read(&question.target)?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&compressed)));
        ensure!((digest, compressed.len() as u64) == (answer.digest, answer.size), "the peer read another archive");
        let theirs = gunzip(&compressed)?;
        same(&client, question, &theirs, &mut seen).await.with_context(|| repeat(seed))?;
    }
    say(format!("compared: {seen:?}"));
    // A generator that made nothing of a kind would prove nothing about it.
    if std::env::var_os(super::SEED).is_none() {
        ensure!(seen.entries > 1000 && seen.ignored > 100 && seen.links > 20 && seen.lonely > 0, "only {seen:?}");
    }
    server.stop().await.map(drop)
}

/// What there was to compare.
#[derive(Debug, Default)]
struct Seen {
    entries: usize,
    ignored: u64,
    links: u64,
    /// Archives in which the SDK left out a folder of what it took.
    lonely: usize,
}

/// Makes a folder, and says how it is archived.
fn plant(run: &Path, seed: u64) -> Result<ArchiveOf> {
    let folder = run.join(seed.to_string());
    let mut random = random(seed);
    trees::grow(&folder, &mut random)?;
    let filter = one_of(&mut random, &[Filter::Watcher, Filter::Source, Filter::Source, Filter::None]);
    let ignore = (filter == Filter::Source && random.random_bool(0.6)).then(|| trees::rules(&mut random));
    Ok(ArchiveOf { folder, target: run.join(format!("{seed}.tar.gz")), filter, ignore })
}

/// As the filter of the SDK, in the words of the contract.
fn rules(question: &ArchiveOf) -> Option<IgnoreRules> {
    match question.filter {
        Filter::Watcher => None,
        Filter::None => Some(IgnoreRules { builtin: BuiltinRules::None.into(), ..IgnoreRules::default() }),
        Filter::Source => {
            let sourceignore = question.ignore.clone().unwrap_or_default();
            Some(IgnoreRules { sourceignore, from_tar: true, ..IgnoreRules::default() })
        }
    }
}

/// Archives the folder on the server and compares.
async fn same(client: &Client, question: &ArchiveOf, theirs: &[u8], seen: &mut Seen) -> Result<()> {
    let name = question.folder.file_name().context("it has a name")?.to_string_lossy().into_owned();
    let artifact = ArtifactRef { kind: "ExternalArtifact".into(), namespace: "apps".into(), name };
    let header = ArchiveHeader { artifact: Some(artifact), ignore: rules(question), ..ArchiveHeader::default() };
    let answer = client.archive_dir(header, &question.folder).await?;
    let path = answer.artifact.context("an artifact is there")?.path;
    let bytes = client.read(ReadRequest { path, ..ReadRequest::default() }).await?.bytes().await?;
    let ours = gunzip(&bytes)?;
    compare_tars(&ours, theirs, seen).with_context(|| format!("{:?}, {:?}", question.filter, question.ignore))?;
    seen.ignored += answer.ignored_files;
    seen.links += answer.skipped_links;
    if question.filter == Filter::Watcher {
        built(&question.folder, theirs)?;
    }
    Ok(())
}

/// The same bytes, but for folders that the SDK leaves out of the tar though something in them is there.
fn compare_tars(ours: &[u8], theirs: &[u8], seen: &mut Seen) -> Result<()> {
    let (mut mine, other) = (tars::entries(ours)?, tars::entries(theirs)?);
    let missing = tars::missing_parents(&other);
    seen.entries += other.len();
    if missing.is_empty() {
        let difference = tars::difference(&mine, &other);
        ensure!(ours == theirs, "{}", difference.unwrap_or_else(|| "the ends of the tars differ".into()));
        return Ok(());
    }
    documented("A file that a pattern takes back may be without its folder's entry")?;
    seen.lonely += 1;
    let before = mine.len();
    mine.retain(|entry| !missing.contains(&entry.name));
    ensure!(mine.len() + missing.len() == before, "Weir has not all the folders {missing:?}");
    match tars::difference(&mine, &other) {
        Some(difference) => Err(anyhow::anyhow!("besides folders that the SDK leaves out: {difference}")),
        None => Ok(()),
    }
}

/// What builds do with the same files: a tree and the default list.
fn built(folder: &Path, theirs: &[u8]) -> Result<()> {
    let mut entries = Vec::new();
    read(folder, folder, &mut entries)?;
    let kept = ignore::apply_default(&Tree::from_entries(entries)?).kept;
    let mut tar = Vec::new();
    pack_tar(&kept, &mut tar)?;
    ensure!(tar == theirs, "a build packs another tar");
    let mut packed = Vec::new();
    pack(&kept, &mut packed)?;
    ensure!(gunzip(&packed)? == theirs, "the tar.gz of a build holds another tar");
    Ok(())
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
        } else if metadata.is_file() {
            let bytes = fs::read(&path)?;
            let file = File {
                executable: metadata.permissions().mode() & 0o111 != 0,
                size: metadata.len(),
                sha256: Sha256::digest(&bytes).into(),
                content: Content::Inline(bytes.into()),
            };
            entries.push(Entry { path: name, node: Node::File(file) });
        }
    }
    Ok(())
}

/// Where the two differ on purpose, each row of docs/differences.md by an example.
pub(crate) async fn where_archives_differ(scene: Scene) -> Result<()> {
    let run = scene.stage.run.folder("peer")?;
    let (mut server, client) = start(&scene).await?;
    let question = |name: &str| ArchiveOf {
        folder: run.join(name),
        target: run.join(format!("{name}.tar.gz")),
        filter: Filter::Source,
        ignore: Some("*.md".into()),
    };
    let archives = ["linked", "without", "backslash", "dots"].map(question).to_vec();
    for ArchiveOf { folder, .. } in &archives {
        fs::create_dir(folder)?;
        for file in ["a.md", "a.txt", "a.yaml"] {
            fs::write(folder.join(file), file)?;
        }
    }
    let questions = Questions { archives, ..Questions::default() };
    let [linked, without, backslash, dots] = &questions.archives[..] else { anyhow::bail!("there are four") };
    fs::write(run.join("rules"), "*.txt\n")?;
    symlink("../rules", linked.folder.join(".sourceignore"))?;
    fs::write(backslash.folder.join("a\\b"), "")?;
    fs::create_dir(dots.folder.join("a.."))?;
    fs::write(dots.folder.join("a../b"), "")?;
    compare(&scene.stage.tools, &questions).await?;

    let theirs = |question: &ArchiveOf| -> Result<Vec<u8>> { gunzip(&fs::read(&question.target)?) };
    let names = |question: &ArchiveOf| -> Result<Vec<String>> {
        let tar = theirs(question)?;
        Ok(tars::entries(&tar)?.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect())
    };
    documented("A `.sourceignore` that is a link is followed")?;
    ensure!(names(linked)? == [".", "a.yaml"], "take back the row");
    same(&client, linked, &theirs(without)?, &mut Seen::default()).await?;
    documented("Files are archived under names that no consumer unpacks")?;
    for (question, name) in [(backslash, "a\\b"), (dots, "a../b")] {
        ensure!(names(question)?.iter().any(|found| found == name), "take back the row");
        let refused = same(&client, question, &theirs(question)?, &mut Seen::default()).await;
        let refused = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(
            refused.contains("invalid name") && refused.contains(&name.escape_default().to_string()),
            "{refused:?}"
        );
    }
    server.stop().await.map(drop)
}
