//! The recorded answers of Go's libraries are still what the libraries answer, and what Weir writes is what they read.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use weir_artifact_server::tree::yaml;
use weir_e2e::oracle::{read_yaml, unquote, vectors};
use weir_e2e::progress::say;
use weir_e2e::scene::Scene;

/// Set to anything to write the vectors anew.
const REGENERATE: &str = "WEIR_REGENERATE";

/// Set to a number from an earlier run to merge the same random files again.
const SEED: &str = "WEIR_YAML_SEED";

/// How many pairs of files are merged by both.
const PAIRS: usize = 4000;

/// Kind, how many, seed, and where they are kept.
const VECTORS: [(&str, usize, u32, &str); 8] = [
    ("segment", 600, 1, "artifact-server/src/tree/glob/vectors/segment.txt"),
    ("doublestar", 900, 1, "artifact-server/src/tree/glob/vectors/doublestar.txt"),
    ("walk", 600, 1, "artifact-server/src/tree/glob/vectors/walk.txt"),
    ("find", 900, 1, "artifact-server/src/tree/glob/vectors/find.txt"),
    ("header", 250, 1, "artifact-server/src/archive/vectors/header.txt"),
    ("merge", 1000, 1, "artifact-server/src/tree/yaml/vectors/merge.txt"),
    ("capture", 400, 1, "artifact-server/src/tree/vectors/captures.txt"),
    ("label", 200, 1, "controller/src/plan/pattern/vectors/labels.txt"),
];

/// Go's libraries still answer as recorded.
pub(crate) async fn recorded_answers_are_still_given(scene: Scene) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (kind, count, seed, place) in VECTORS {
        let file = folder.join(place);
        let now = vectors(&scene.stage.tools, kind, count, seed).await?;
        if std::env::var_os(REGENERATE).is_some() {
            fs::write(&file, &now).with_context(|| file.display().to_string())?;
        }
        let recorded = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let differ = recorded.lines().zip(now.lines()).position(|(before, now)| before != now);
        ensure!(
            recorded == now,
            "{place} has {} lines, Go gives {}, first difference at line {:?}: run this test with {REGENERATE}=1 and look at what changed",
            recorded.lines().count(),
            now.lines().count(),
            differ.map(|line| line + 1)
        );
    }
    Ok(())
}

/// Files that Go and Weir merge: what Go reads in Weir's result is what it reads in its own, types and all.
pub(crate) async fn go_reads_what_weir_merges(scene: Scene) -> Result<()> {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().with_context(|| format!("{SEED} is not a number"))?,
        Err(_) => rand::random(),
    };
    say(format!("{PAIRS} pairs of YAML files against Go; {SEED}={seed}"));
    let tools = &scene.stage.tools;
    let (mut written, mut expected) = (Vec::new(), Vec::new());
    for line in vectors(tools, "merge", PAIRS, seed).await?.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(' ').collect();
        let (base, over) = (unquote(parts[0])?, unquote(parts[1])?);
        let show =
            || format!("{:?} into {:?}; {SEED}={seed}", String::from_utf8_lossy(&over), String::from_utf8_lossy(&base));
        match (yaml::merge(&base, &over), &parts[2..]) {
            (Ok(merged), [_, json]) => {
                written.push(merged);
                expected.push((String::from_utf8(unquote(json)?)?, show()));
            }
            (Err(_), [_]) => {}
            (found, answer) => {
                let found = found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                bail!("Go says {}, Weir {found:?}: {}", answer.join(" "), show());
            }
        }
    }
    ensure!(written.len() > PAIRS / 2, "only {} pairs could be merged; {SEED}={seed}", written.len());
    let read = read_yaml(tools, &written).await?;
    ensure!(read.len() == expected.len(), "{} answers to {} files", read.len(), expected.len());
    for (found, (expected, pair)) in read.iter().zip(&expected) {
        ensure!(found == expected, "Go reads {found}, and in its own result {expected}: {pair}");
    }
    Ok(())
}
