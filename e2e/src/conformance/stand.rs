//! What runners run on: servers over one transport, and what is behind them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use tokio::sync::Mutex;

use super::case::{Transport, folder};
use super::control::{self, Servers};
use super::matching::Variables;
use super::setup::{Peer, Setup};
use super::{fixtures, identities, strays};
use crate::certificates::{of_server, words};
use crate::port;
use crate::run_dir::RunDir;
use crate::weir::ArtifactServer;

/// Servers and sources that the runners of one transport share.
pub struct Stand {
    transport: Transport,
    folder: PathBuf,
    main: ArtifactServer,
    /// Has room for little, and its artifact port is taken.
    narrow: ArtifactServer,
    /// Over a Unix socket: its policy names nobody.
    closed: Option<ArtifactServer>,
    /// One for each runner, with room for little: what holds it up disturbs no other runner.
    own: Servers,
    /// One for each runner, to be ended.
    ending: Servers,
    endpoints: BTreeMap<String, String>,
    /// What all runners can put in. Making it takes long.
    fixtures: Variables,
    control: SocketAddr,
    _taken: TcpListener,
}

impl Stand {
    /// Starts it for runners of these names.
    ///
    /// # Errors
    /// When a server does not start.
    pub async fn start(run: &Arc<RunDir>, label: &str, transport: Transport, runners: &[&str]) -> Result<Self> {
        let folder = run.folder("conformance")?;
        identities::write(&folder, transport)?;
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let mut endpoints = BTreeMap::new();
        let mut start = async |name: String, more: &[String]| {
            let (server, endpoint) = server(run, (label, &name), &folder, transport, more).await?;
            endpoints.insert(name, endpoint);
            anyhow::Ok(server)
        };
        let limits =
            ["--artifact-max-size=32Mi", "--source-max-size=8Mi", "--source-max-entries=1000"].map(str::to_owned);
        let main = start("tenant".to_owned(), &limits).await?;
        let small = ["--source-max-size=64Ki", "--source-cache-size=100Ki"].map(str::to_owned);
        let narrow = [format!("--storage-addr={}", taken.local_addr()?), "--grpc-upload-silence=1s".to_owned()];
        let narrow = start("narrow".to_owned(), &[&narrow[..], &small[..]].concat()).await?;
        let closed = [format!("--grpc-policy={}", folder.join(identities::CLOSED).display())];
        let closed = match transport {
            Transport::Unix => Some(start("nobody".to_owned(), &closed).await?),
            Transport::Mtls => None,
        };
        let (mut own, mut ending) = (BTreeMap::new(), BTreeMap::new());
        for runner in runners {
            own.insert((*runner).to_owned(), start(format!("own-{runner}"), &small).await?);
            ending.insert((*runner).to_owned(), start(format!("ending-{runner}"), &[]).await?);
        }
        // Where the artifacts of this kind should have their folder, a file lies.
        std::fs::write(main.storage().join("broken"), "in the way")?;
        let (own, ending) = (Arc::new(Mutex::new(own)), Arc::new(Mutex::new(ending)));
        let control = control::serve(main.storage().to_owned(), Arc::clone(&own), Arc::clone(&ending)).await?;
        let fixtures = fixtures::variables()?;
        Ok(Self { transport, folder, main, narrow, closed, own, ending, endpoints, fixtures, control, _taken: taken })
    }

    /// What a runner is told, and the file that says so.
    ///
    /// # Errors
    /// When the file can not be written.
    pub fn setup(&self, runner: &str) -> Result<(Setup, PathBuf)> {
        let mut variables = self.fixtures.clone();
        let own = [
            ("namespace", format!("conformance-{runner}")),
            ("elsewhere", format!("elsewhere-{runner}")),
            ("sources", format!("http://{}/sources", self.control)),
            ("advertised", self.main.address().to_string()),
            ("storage", self.main.storage().display().to_string()),
        ];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value.into())));
        let setup = Setup {
            cases: folder(),
            transport: self.transport.name(),
            peers: self.peers(runner),
            control: format!("http://{}/{runner}", self.control),
            variables,
        };
        let file = self.folder.join(format!("{runner}.json"));
        std::fs::write(&file, serde_json::to_vec(&setup)?)?;
        Ok((setup, file))
    }

    fn peers(&self, runner: &str) -> BTreeMap<String, Peer> {
        let to = |server: &str, shows: Option<&str>| {
            let secured = self.transport == Transport::Mtls;
            let shows = shows.filter(|_| secured);
            let file = |name: &str| self.folder.join(name);
            Peer {
                endpoint: self.endpoints.get(server).cloned().unwrap_or_default(),
                authority: secured.then(|| file("ca.crt")),
                certificate: shows.map(|name| file(&format!("{name}.crt"))),
                key: shows.map(|name| file(&format!("{name}.key"))),
            }
        };
        let mut peers = BTreeMap::from([
            ("tenant".to_owned(), to("tenant", Some("tenant"))),
            ("narrow".to_owned(), to("narrow", Some("tenant"))),
            ("own".to_owned(), to(&format!("own-{runner}"), Some("tenant"))),
            ("ending".to_owned(), to(&format!("ending-{runner}"), Some("tenant"))),
        ]);
        if self.transport == Transport::Mtls {
            for name in ["stranger", "nobody"].into_iter().chain(identities::UNFIT) {
                peers.insert(name.to_owned(), to("tenant", Some(name)));
            }
            peers.insert("uncertified".to_owned(), to("tenant", None));
        } else {
            peers.insert("nobody".to_owned(), to("nobody", None));
        }
        peers
    }

    /// Ends everything.
    ///
    /// # Errors
    /// When a server does not end, or a file is where no call may put one.
    pub async fn stop(mut self) -> Result<()> {
        let (mut own, mut ending) = (self.own.lock().await, self.ending.lock().await);
        let single = [&mut self.main, &mut self.narrow].into_iter().chain(&mut self.closed);
        for server in single.chain(own.values_mut()).chain(ending.values_mut()) {
            if server.process().is_ok() {
                server.stop().await?;
            }
            strays::none(server.folder())?;
        }
        Ok(())
    }
}

/// One server, and where it listens.
async fn server(
    run: &Arc<RunDir>,
    (label, name): (&str, &str),
    folder: &Path,
    transport: Transport,
    more: &[String],
) -> Result<(ArtifactServer, String)> {
    let (mut arguments, secured) = match transport {
        Transport::Unix => (vec![format!("--grpc-policy={}", folder.join("policy.yaml").display())], None),
        Transport::Mtls => {
            let address = port::free()?;
            (of_server(folder, address.port()), Some(format!("https://{address}")))
        }
    };
    arguments.push("--http-retry=0".to_owned());
    arguments.extend_from_slice(more);
    let server = ArtifactServer::start(run, &format!("{name}@{label}"), &words(&arguments)).await?;
    let endpoint = secured.unwrap_or_else(|| server.endpoint());
    Ok((server, endpoint))
}
