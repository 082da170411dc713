//! The socket that controllers connect to.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

use super::{
    connection::{Connection, secured},
    tls,
};
use crate::{
    args::{GrpcAddress, ListenAddress},
    http,
    live::Live,
};

/// The folder of the socket: its group may enter, and what is made in it belongs to that group.
const FOLDER_MODE: u32 = 0o2770;
/// The socket: owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// An open socket.
#[derive(Debug)]
pub enum Listener {
    /// On a path. The file goes when the guard does.
    Unix(UnixListener, SocketFile),
    /// On a port.
    Tcp(TcpListener),
    /// On a port, for clients with a certificate.
    Tls(TcpListener, Live<ServerConfig>),
}

/// Removes the file of a socket when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody could mend a failure here, and the next start replaces a dead socket.
        let _ = fs::remove_file(&self.0);
    }
}

/// Why the socket can not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// Somebody answers there.
    #[error("can not open the gRPC socket {}: another server answers there; end it, or choose another --grpc-addr", .0.display())]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("can not open the gRPC socket {}: {} lies there; remove it, or choose another --grpc-addr", .0.display(), .1)]
    Occupied(PathBuf, &'static str),
    /// Certificates or key can not be used.
    #[error("{0}")]
    Tls(String),
    /// The system says no.
    #[error("can not open the gRPC port {address}: {cause}; free the port, or choose another --grpc-addr")]
    Port {
        /// The address.
        address: ListenAddress,
        /// What the system said.
        cause: io::Error,
    },
    /// The system says no.
    #[error(
        "can not open the gRPC socket {place}: {cause}; make its folder writable for uid {uid}, or choose another --grpc-addr"
    )]
    Io {
        /// Its path.
        place: String,
        /// Who this process is.
        uid: u32,
        /// What the system said.
        cause: io::Error,
    },
}

impl ListenerError {
    fn port(address: &ListenAddress) -> impl FnOnce(io::Error) -> Self {
        let address = address.clone();
        move |cause| Self::Port { address, cause }
    }

    fn io(place: impl ToString) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { place: place.to_string(), uid: rustix::process::geteuid().as_raw(), cause }
    }
}

impl Listener {
    /// Opens the socket. A socket file that nobody answers on is replaced, anything else is left alone.
    pub async fn open(address: &GrpcAddress) -> Result<Self, ListenerError> {
        match address {
            GrpcAddress::Tls(address, files) => {
                let config = tls::open(files).await.map_err(ListenerError::Tls)?;
                let listener = http::listen(address).await.map_err(ListenerError::port(address))?;
                Ok(Self::Tls(listener, config))
            }
            GrpcAddress::Tcp(address) => {
                http::listen(address).await.map(Self::Tcp).map_err(ListenerError::port(address))
            }
            GrpcAddress::Unix(path) => {
                make_folder(path).map_err(ListenerError::io(path.display()))?;
                clear(path).await?;
                let bind = || {
                    let listener = UnixListener::bind(path)?;
                    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
                    Ok(listener)
                };
                let listener = bind().map_err(ListenerError::io(path.display()))?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
        }
    }

    /// Where it listens, for the log.
    pub fn place(&self) -> String {
        match self {
            Self::Unix(_, file) => format!("unix://{}", file.0.display()),
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |address| format!("http://{address}"))
            }
            Self::Tls(listener, _) => {
                listener.local_addr().map_or_else(|_| String::new(), |address| format!("https://{address}"))
            }
        }
    }

    /// What connects, and the file of the socket if there is one. It goes before the connections do, so that nobody finds a dead one.
    pub(super) fn connections(self) -> (BoxStream<'static, io::Result<Connection>>, Option<SocketFile>) {
        match self {
            Self::Unix(listener, file) => (each(UnixListenerStream::new(listener), Connection::unix), Some(file)),
            Self::Tcp(listener) => (each(TcpListenerStream::new(listener), Connection::plain), None),
            Self::Tls(listener, config) => (secured(listener, config).boxed(), None),
        }
    }
}

fn each<T>(
    streams: impl Stream<Item = io::Result<T>> + Send + 'static,
    connect: fn(T) -> Connection,
) -> BoxStream<'static, io::Result<Connection>>
where
    T: Send + 'static,
{
    streams.map(move |stream| stream.map(connect)).boxed()
}

/// Makes the inner folder unless it is there. One that is there keeps its mode: it may be somebody's /tmp.
fn make_folder(socket: &Path) -> io::Result<()> {
    let Some(folder) = socket.parent().filter(|folder| !folder.exists()) else { return Ok(()) };
    if let Some(outer) = folder.parent() {
        fs::create_dir_all(outer)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        // Set apart from creation, where the umask would take bits away.
        Ok(()) => fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE)),
    }
}

/// Removes a dead socket.
async fn clear(path: &Path) -> Result<(), ListenerError> {
    let met = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        met => met.map_err(ListenerError::io(path.display()))?,
    };
    if !met.file_type().is_socket() {
        return Err(ListenerError::Occupied(path.to_owned(), "something that is not a socket"));
    }
    let me = rustix::process::geteuid().as_raw();
    if met.uid() != me && me != 0 {
        return Err(ListenerError::Occupied(path.to_owned(), "a socket of another user"));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(ListenerError::io(path.display()))
        }
        Ok(_) => Err(ListenerError::InUse(path.to_owned())),
        Err(error) => Err(ListenerError::io(path.display())(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn makes_its_folder_and_replaces_only_a_dead_socket() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s/artifact.sock");
        let address = GrpcAddress::Unix(path.clone());
        let first = Listener::open(&address).await.unwrap();
        assert_eq!((mode(&root.path().join("s")), mode(&path)), (0o2770, 0o660));
        assert!(matches!(Listener::open(&address).await, Err(ListenerError::InUse(_))), "a live one stays");
        drop(first);
        assert!(!path.exists(), "the file goes with the server");
        // A killed server leaves its file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listener::open(&address).await.unwrap());
        fs::write(&path, "mine").unwrap();
        assert!(matches!(Listener::open(&address).await, Err(ListenerError::Occupied(..))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn leaves_the_mode_of_a_folder_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        let before = mode(root.path());
        let _open = Listener::open(&GrpcAddress::Unix(root.path().join("artifact.sock"))).await.unwrap();
        assert_eq!(mode(root.path()), before);
    }

    #[tokio::test]
    async fn says_what_to_do_when_the_folder_can_not_be_made() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("s"), "a file").unwrap();
        let error = Listener::open(&GrpcAddress::Unix(root.path().join("s/artifact.sock"))).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("s/artifact.sock") && text.contains("--grpc-addr") && !text.contains('\n'), "{text}");
    }
}
