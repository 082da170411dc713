//! Every command in docs/grpc.md and docs/build-your-controller.md does on a real server what the document shows.
//!
//! With `WEIR_REGENERATE=1` the tests write what they saw into the documents instead.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::json;
use tokio::process::Command;
use warp::Filter;
use weir_e2e::manifest;
use weir_e2e::port;
use weir_e2e::resources::Kind;
use weir_e2e::scene::Scene;
use weir_e2e::tools::Part;
use weir_e2e::weir::ArtifactServer;
use weir_proto::v1::{ArchiveHeader, ArtifactRef};

use weir_e2e::certificates::{Authority, of_server, words};

/// What the document names, and the test has elsewhere.
const SOCKET: &str = "/tmp/weir/artifact.sock";
const SOURCES: &str = "http://127.0.0.1:8000/";
const SECURED: &str = "127.0.0.1:9443";
const STORAGE: &str = "/tmp/data";
const SERVED: &str = "127.0.0.1:9090";
const ADVERTISED: &str = "--storage-adv-addr=source-watcher.flux-system.svc.cluster.local.";

/// The page about controllers of one's own.
const STEPS: &str = "build-your-controller.md";

/// Ends the output of a command.
const MARK: &str = "--- end of the output of command";

/// A command and what follows it in the document.
struct Shown {
    command: String,
    output: String,
}

/// A part of the document: text as it is, or a block of commands.
enum Block {
    Text(String),
    Console(Vec<Shown>),
}

pub(crate) async fn documented_commands_answer_as_shown(scene: Scene) -> Result<()> {
    let server = ArtifactServer::start(&scene.stage.run, "grpcurl", &[ADVERTISED]).await?;
    let folder = scene.stage.run.folder("grpcurl")?;
    let (_secured, address) = secured(&scene, &folder.join("tls")).await?;
    let places = [(SOCKET, server.endpoint().replace("unix://", "")), (SECURED, address)];
    compare(&scene, "grpc.md", &places, &folder).await
}

/// The way to a controller of one's own: its commands by hand, and the objects that it shows as consumers take them.
pub(crate) async fn the_steps_to_a_controller_lead_to_a_consumer(scene: Scene) -> Result<()> {
    let server = ArtifactServer::start(&scene.stage.run, "steps", &[]).await?;
    let folder = scene.stage.run.folder("steps")?;
    let places = [
        (SOCKET, server.endpoint().replace("unix://", "")),
        (STORAGE, server.storage().display().to_string()),
        (SERVED, server.address().to_string()),
    ];
    compare(&scene, STEPS, &places, &folder).await?;

    // The commands end with the removal of what they stored. What they sent is sent again, for this test's namespace.
    let client = weir_proto::client::Client::connect(&server.endpoint())?;
    let client = client.acting_as(&weir_proto::Owner::new("my-controller", "5f9c1c4e-0b0e-4b7e-9d3c-2f1a6c0d8e11")?);
    let artifact =
        ArtifactRef { kind: "ExternalArtifact".into(), namespace: scene.namespace.clone(), name: "my-app".into() };
    let header = ArchiveHeader { artifact: Some(artifact), ..ArchiveHeader::default() };
    let stored = client.archive_dir(header, folder.join("site")).await?.artifact.context("no artifact")?;
    let filled = [
        ("PATH", stored.path),
        ("URL", stored.url),
        ("REVISION", stored.revision),
        ("DIGEST", stored.digest),
        ("SIZE", stored.size.to_string()),
    ];
    let objects = objects(&scene.namespace, &filled)?;
    ensure!(objects.len() == 3, "an ExternalArtifact and two consumers: {objects:?}");
    manifest::apply_all(&scene.client(), &scene.namespace, &objects).await?;
    let status = json!({"status": objects[0].data["status"]});
    scene.patch_status(Kind::ExternalArtifact, "my-app", status).await?;
    scene.config_map("greeting", "text", "hello").await
}

/// The objects that the page shows for the namespace `apps`, with what the server answered in their places.
fn objects(namespace: &str, filled: &[(&str, String)]) -> Result<Vec<DynamicObject>> {
    let text = std::fs::read_to_string(page(STEPS))?;
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut yaml = blocks.collect::<Vec<_>>().join("---\n").replace(": apps\n", &format!(": {namespace}\n"));
    for (shown, real) in filled {
        ensure!(yaml.contains(&format!(" {shown}\n")), "the page has no place for {shown}");
        yaml = yaml.replace(&format!(" {shown}\n"), &format!(" {real}\n"));
    }
    manifest::parse(&yaml)
}

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// Runs the commands of a page, and compares their outputs. The first of each place is what the page says, the second what it is here.
async fn compare(scene: &Scene, name: &str, places: &[(&str, String)], folder: &Path) -> Result<()> {
    let path = page(name);
    let document = read(&std::fs::read_to_string(&path)?);
    let commands: Vec<&Shown> = document.iter().flat_map(Block::commands).collect();
    ensure!(commands.len() > 10, "only {} commands found", commands.len());
    let mut seen = run(scene, places, folder, &commands).await?;
    for (shown, real) in places {
        seen.iter_mut().for_each(|output| *output = output.replace(real, shown));
    }
    if std::env::var_os("WEIR_REGENERATE").is_some() {
        return Ok(std::fs::write(&path, write(&document, &seen))?);
    }
    for (shown, seen) in commands.iter().zip(&seen) {
        let (expected, got) = (normal(&shown.output), normal(seen));
        ensure!(expected == got, "$ {}\nshould say\n{expected}\nbut says\n{got}", shown.command);
    }
    Ok(())
}

/// A server behind mutual TLS, whose policy allows one namespace, and where it is. The folder gets what a client needs.
async fn secured(scene: &Scene, folder: &Path) -> Result<(ArtifactServer, String)> {
    std::fs::create_dir(folder)?;
    let authority = Authority::in_folder("grpcurl", folder)?;
    authority.issue(folder, "server", "127.0.0.1")?;
    authority.issue(folder, "tls", "by-hand.test")?;
    let policy = "rules:\n  - {identities: [{dns: by-hand.test}], kinds: ['*'], namespaces: [apps]}\n";
    std::fs::write(folder.join("policy.yaml"), policy)?;
    let port = port::free()?.port();
    let flags = of_server(folder, port);
    let server = ArtifactServer::start(&scene.stage.run, "grpcurl-tls", &words(&flags)).await?;
    Ok((server, format!("127.0.0.1:{port}")))
}

/// Runs the commands one after the other in one shell; the output of each.
async fn run(scene: &Scene, places: &[(&str, String)], folder: &Path, commands: &[&Shown]) -> Result<Vec<String>> {
    let sources = serve(folder.to_owned()).await?;
    let mut script = String::from("exec 2>&1\n");
    for Shown { command, .. } in commands {
        writeln!(script, "{command}\necho '{MARK}'")?;
    }
    script = script.replace(SOURCES, &sources);
    for (shown, real) in places {
        script = script.replace(shown, real);
    }
    let grpcurl = scene.stage.tools.program(Part::Grpcurl)?;
    let tools = grpcurl.parent().context("grpcurl lies in a folder")?;
    let path = format!("{}:{}", tools.display(), std::env::var("PATH")?);
    let output = Command::new("bash").arg("-c").arg(&script).env("PATH", path).current_dir(folder).output().await?;
    let text = String::from_utf8(output.stdout)?;
    let mut outputs: Vec<String> = text.split(&format!("{MARK}\n")).map(str::to_owned).collect();
    ensure!(outputs.pop().is_some_and(|rest| rest.is_empty()), "the shell stopped: {text}");
    ensure!(outputs.len() == commands.len(), "{} outputs: {text}", outputs.len());
    Ok(outputs)
}

/// Serves the files of a folder; the URL in front of them.
async fn serve(folder: PathBuf) -> Result<String> {
    let files = warp::path::param().and_then(move |name: String| {
        let file = folder.join(name);
        async move { std::fs::read(file).map_err(|_| warp::reject::not_found()) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(warp::serve(files).incoming(listener).run());
    Ok(format!("http://{address}/"))
}

impl Block {
    fn commands(&self) -> &[Shown] {
        match self {
            Self::Text(_) => &[],
            Self::Console(commands) => commands,
        }
    }
}

/// Takes the document apart at its ```console blocks.
fn read(text: &str) -> Vec<Block> {
    let mut parts = Vec::new();
    for (at, piece) in text.split("```console\n").enumerate() {
        let (block, rest) = if at == 0 { ("", piece) } else { piece.split_once("```\n").unwrap_or((piece, "")) };
        if at > 0 {
            parts.push(Block::Console(commands(block)));
        }
        parts.push(Block::Text(rest.to_owned()));
    }
    parts
}

/// A command starts with `$ ` and goes on while a quote or a here-document is open.
fn commands(block: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push(Shown { command: command.to_owned(), output: String::new() }),
            (None, Some(last)) if last.output.is_empty() && is_open(&last.command) => {
                last.command.push('\n');
                last.command.push_str(line);
            }
            (None, Some(last)) => {
                last.output.push_str(line);
                last.output.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

fn is_open(command: &str) -> bool {
    let here = command.contains("<<END") && !command.ends_with("\nEND");
    here || (!command.contains("<<END") && command.matches('\'').count() % 2 == 1)
}

/// The document with other outputs.
fn write(document: &[Block], outputs: &[String]) -> String {
    let mut outputs = outputs.iter();
    let mut text = String::new();
    for part in document {
        match part {
            Block::Text(part) => text.push_str(part),
            Block::Console(commands) => {
                text.push_str("```console\n");
                for Shown { command, .. } in commands {
                    text.push_str(&format!("$ {command}\n{}", outputs.next().map_or("", String::as_str)));
                }
                text.push_str("```\n");
            }
        }
    }
    text
}

/// Takes out what differs from run to run: times and the instance of the server.
fn normal(output: &str) -> String {
    let lines = output.lines().map(|line| {
        let key = line.trim_start();
        let volatile = ["\"lastUpdateTime\"", "\"instance\""].into_iter().find(|name| key.starts_with(name));
        volatile.map_or_else(|| line.to_owned(), |name| format!("{name}: …"))
    });
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}
