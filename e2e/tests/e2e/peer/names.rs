//! What both call an artifact: paths, URLs, places on the volume.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use weir_e2e::peer::{Name, NameAnswer, Questions, compare};
use weir_e2e::scene::Scene;
use weir_proto::client::Client;
use weir_proto::v1::resolve_path_request::Known;
use weir_proto::v1::{ArtifactFile, ArtifactRef, NewArtifactRequest, ResolvePathRequest, Settings};

use super::{documented, one_of, random, repeat, seeds, start};

/// How many names are compared.
const NAMES: u64 = 300;

/// Addresses as a server may be told to advertise.
const ADDRESSES: &[&str] = &[
    "localhost:9090",
    "source-watcher.flux-system.svc.cluster.local.",
    "10.0.0.1",
    "[::1]:9090",
    "[fe80::1]",
    "UPPER.example",
    "http://plain.example",
    "https://cdn.example",
    "https://cdn.example:8443/some/prefix",
    "http://cdn.example/",
    "https://cdn.example/x/",
    "xn--bcher-kva.example",
    "host:0",
    "a",
    "httpx://odd",
    "HTTP://loud.example",
    "host/prefix",
];

const KINDS: &[&str] = &["ExternalArtifact", "GitRepository", "OCIRepository", "Bucket", "helmchart", "A", "My-Kind2"];

/// Random names have the same paths, URLs, revisions and places as in the SDK; and URLs get the same other host.
pub(crate) async fn random_names_are_the_same(scene: Scene) -> Result<()> {
    let (mut server, client) = start(&scene).await?;
    let seeds = seeds(NAMES)?;
    let names = seeds.clone().map(|seed| invent(server.storage(), seed)).collect();
    let questions = Questions { names, ..Questions::default() };
    let answers = compare(&scene.stage.tools, &questions).await?.names;
    for ((seed, name), mut theirs) in seeds.zip(&questions.names).zip(answers) {
        if name.other.is_empty() {
            theirs.other.clear();
        }
        let ours = ask(&client, name).await.with_context(|| repeat(seed))?;
        ensure!(ours == theirs, "{name:?}: Weir says {ours:?}, the SDK {theirs:?}; {}", repeat(seed));
    }
    server.stop().await.map(drop)
}

fn invent(root: &Path, seed: u64) -> Name {
    let mut random = random(seed);
    let label = |random: &mut StdRng, most: usize| word(random, most, "abcxyz0189", "-");
    let name = match random.random_range(0..4) {
        0 => format!("{}.{}", label(&mut random, 20), label(&mut random, 20)),
        1 => label(&mut random, 253),
        _ => label(&mut random, 30),
    };
    let file = match random.random_range(0..4) {
        0 => format!("{}.tar.gz", hex::encode(random.random::<[u8; 32]>())),
        1 => format!("{}.tar.gz", random.random::<u32>()),
        2 => word(&mut random, 255, "aZ09", "._-"),
        _ => "index.yaml".to_owned(),
    };
    let address = one_of(&mut random, ADDRESSES);
    Name {
        root: root.to_owned(),
        address: address.to_owned(),
        kind: (one_of(&mut random, KINDS)).to_owned(),
        namespace: label(&mut random, 63),
        name,
        file,
        revision: (one_of(&mut random, &["", "main@sha1:0a1b", "v1.2.3", "latest@sha256:00", "é 日本"])).to_owned(),
        other: url(&mut random, address),
    }
}

/// Letters, with others only between them.
fn word(random: &mut StdRng, most: usize, letters: &str, between: &str) -> String {
    let (letters, all): (Vec<char>, Vec<char>) =
        (letters.chars().collect(), letters.chars().chain(between.chars()).collect());
    let length = random.random_range(1..=most);
    (0..length).map(|at| one_of(random, if at == 0 || at + 1 == length { &letters } else { &all })).collect()
}

/// A URL of some source. With an address that names a scheme, the SDK makes none that works: see docs/differences.md.
fn url(random: &mut StdRng, address: &str) -> String {
    if address.contains('/') {
        return String::new();
    }
    let scheme = one_of(random, &["http", "https", "oci", "s3+x"]);
    let user = one_of(random, &["", "", "me@", "me:secret@"]);
    let host = one_of(random, &["old.example", "old:8080", "127.0.0.1", "[::1]:80", "OLD.example."]);
    let path = one_of(random, &["", "/", "/a/b.tar.gz", "/a//b/../c", "/%41%2F/%20", "/a+b,c;d=e:f@g!$&'()*~"]);
    let query = one_of(random, &["", "", "?", "?x=1&y=%20", "?a/b?c"]);
    let fragment = one_of(random, &["", "", "#part", "#a/b?c"]);
    format!("{scheme}://{user}{host}{path}{query}{fragment}")
}

/// What Weir says.
async fn ask(client: &Client, name: &Name) -> Result<NameAnswer> {
    let settings = Some(Settings { advertised_address: name.address.clone(), ..Settings::default() });
    let artifact =
        Some(ArtifactRef { kind: name.kind.clone(), namespace: name.namespace.clone(), name: name.name.clone() });
    let mut storage = client.storage();
    let named = NewArtifactRequest {
        artifact: artifact.clone(),
        file: name.file.clone(),
        revision: name.revision.clone(),
        settings: settings.clone(),
    };
    let named = storage.new_artifact(named).await?.into_inner().artifact.context("it has a name")?;
    let known = Known::File(ArtifactFile { artifact, file: name.file.clone() });
    let resolve = |known| ResolvePathRequest { known: Some(known), settings: settings.clone() };
    let by_file = storage.resolve_path(resolve(known)).await?.into_inner();
    let by_path = storage.resolve_path(resolve(Known::Path(named.path.clone()))).await?.into_inner();
    ensure!(by_file == by_path, "by its parts it is {by_file:?}, by its path {by_path:?}");
    ensure!((&by_file.path, &by_file.url) == (&named.path, &named.url), "{by_file:?} and {named:?}");
    let other = match name.other.as_str() {
        "" => String::new(),
        url => storage.resolve_path(resolve(Known::Url(url.to_owned()))).await?.into_inner().url,
    };
    let (path, url, revision) = (named.path, named.url, named.revision);
    Ok(NameAnswer { dir: by_file.dir, path, url, revision, local: by_file.local_path, other })
}

/// Where the two differ on purpose, each row of docs/differences.md by an example.
pub(crate) async fn where_names_differ(scene: Scene) -> Result<()> {
    let (mut server, client) = start(&scene).await?;
    let good = Name {
        root: PathBuf::from(server.storage()),
        address: "host".into(),
        kind: "Bucket".into(),
        namespace: "apps".into(),
        name: "web".into(),
        file: "1.tar.gz".into(),
        revision: String::new(),
        other: "http://old/a".into(),
    };
    let with = |change: fn(&mut Name)| {
        let mut name = good.clone();
        change(&mut name);
        name
    };
    let rows = [
        ("artifact.kind", with(|name| name.kind = "..".into())),
        ("artifact.kind", with(|name| name.kind = "a/b".into())),
        ("artifact.namespace", with(|name| name.namespace = "../../etc".into())),
        ("artifact.name", with(|name| name.name = "Web".into())),
        ("artifact.name", with(|name| name.name = String::new())),
        ("file", with(|name| name.file = "../x".into())),
        ("file", with(|name| name.file = "*".into())),
        ("file", with(|name| name.file = ".hidden".into())),
        ("file", with(|name| name.file = "1.tar.gz.lock".into())),
        ("url", with(|name| name.other = "/a/b".into())),
        ("url", with(|name| name.other = "mailto:a@b".into())),
        ("url", with(|name| name.other = "http://old/with space".into())),
    ];
    let questions = Questions { names: rows.iter().map(|(_, name)| name.clone()).collect(), ..Questions::default() };
    let theirs = compare(&scene.stage.tools, &questions).await?.names;
    documented("`NewArtifactFor` takes what is no name of an object or of a file")?;
    for ((field, name), theirs) in rows.iter().zip(theirs) {
        let refused = ask(&client, name).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(refused.contains("not valid") || refused.contains("is not a URL"), "{field}, {name:?}: {refused:?}");
        ensure!(theirs.local.starts_with(&*good.root.to_string_lossy()), "the SDK leaves its folder: {theirs:?}");
    }
    documented("`SetHostname` with an address that names a scheme gives a broken URL")?;
    let loud = with(|name| name.address = "https://cdn.example/x".into());
    let questions = Questions { names: vec![loud.clone()], ..Questions::default() };
    let theirs = compare(&scene.stage.tools, &questions).await?.names;
    let ours = ask(&client, &loud).await?;
    ensure!(ours.other == "https://cdn.example/x/a", "{ours:?}");
    ensure!(theirs[0].other != ours.other, "the SDK mends the scheme: take back the row");
    server.stop().await.map(drop)
}
