//! The artifact port, as consumers and attackers see it.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Method, Response, header::HeaderMap};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use weir_proto::v1::{Artifact, Caller, GetInfoRequest, RemoveRequest, SetServingRequest};

use crate::{
    builds::{artifact, build_new},
    process::{Place, Server, caller, client, get},
    sources::{Sources, noise},
};

/// A server with one stored artifact of about a megabyte that does not compress.
async fn with_artifact(place: &Place) -> (Server, SocketAddr, Artifact, Vec<u8>) {
    let (server, sources) = (place.start(&[]).await, Sources::start().await);
    let noise = noise(1 << 20);
    let source = sources.tarball("/1.tgz", &[("noise", &noise)]);
    let artifact = build_new(&server, &source, artifact(0, "web", "noise")).await;
    let address = server.serving().await;
    let bytes = get(format!("http://{address}/{}", artifact.path)).await.unwrap().bytes().await.unwrap();
    (server, address, artifact, bytes.to_vec())
}

/// A file of twenty megabytes, more than the kernel buffers, and a client that has read only its beginning.
pub(crate) async fn slow_download(server: &Server, sources: &Sources) -> (TcpStream, Artifact) {
    let noise = noise(20 << 20);
    let source = sources.tarball("/noise.tgz", &[("noise", &noise)]);
    let stored = build_new(server, &source, artifact(0, "noise", "noise")).await;
    let address = server.serving().await;
    // A small window, so that the kernel can not take the whole file at once.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", stored.path);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    (stream, stored)
}

/// Lets a slow download be one no more: a busy machine takes long over a small window.
pub(crate) fn hurry(download: &TcpStream) {
    rustix::net::sockopt::set_socket_recv_buffer_size(download, 1 << 20).unwrap();
}

async fn send(method: Method, url: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = client().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn files_are_served_with_conditions_and_ranges() {
    let place = Place::new();
    let (_server, address, artifact, whole) = with_artifact(&place).await;
    let url = format!("http://{address}/{}", artifact.path);
    let (size, tag) = (whole.len(), format!("\"{}\"", artifact.digest));
    assert!(size > 512 * 1024, "more than one piece: {size}");
    let plain = send(Method::GET, &url, &[]).await;
    let modified = header(plain.headers(), "last-modified").to_owned();
    assert_eq!(header(plain.headers(), "etag"), tag);
    assert_eq!(header(plain.headers(), "content-type"), "application/gzip");
    assert_eq!(header(plain.headers(), "accept-ranges"), "bytes");
    assert_eq!(header(plain.headers(), "content-length"), size.to_string());
    assert_eq!(header(plain.headers(), "content-encoding"), "");

    let some = "bytes=1000-299999";
    // Row, method, headers, status, body.
    type Row<'a> = (&'a str, Method, Vec<(&'a str, &'a str)>, u16, &'a [u8]);
    let rows: Vec<Row<'_>> = vec![
        ("whole", Method::GET, vec![], 200, &whole),
        ("head", Method::HEAD, vec![], 200, &[]),
        ("range over two pieces", Method::GET, vec![("range", some)], 206, &whole[1000..300_000]),
        ("suffix", Method::GET, vec![("range", "bytes=-5")], 206, &whole[size - 5..]),
        ("open end", Method::GET, vec![("range", "bytes=500000-")], 206, &whole[500_000..]),
        ("several ranges are the whole", Method::GET, vec![("range", "bytes=0-1,5-6")], 200, &whole),
        ("a thousand ranges too", Method::GET, vec![("range", "bytes=0-,0-,0-,0-,0-,0-,0-,0-,0-,0-")], 200, &whole),
        ("beyond the end", Method::GET, vec![("range", "bytes=99999999-")], 416, &[]),
        ("head has no ranges", Method::HEAD, vec![("range", some)], 200, &[]),
        ("if-range, same", Method::GET, vec![("range", some), ("if-range", &tag)], 206, &whole[1000..300_000]),
        ("if-range, other", Method::GET, vec![("range", some), ("if-range", "\"x\"")], 200, &whole),
        ("not changed", Method::GET, vec![("if-none-match", &tag)], 304, &[]),
        ("changed", Method::GET, vec![("if-none-match", "\"x\"")], 200, &whole),
        ("not changed since", Method::GET, vec![("if-modified-since", &modified)], 304, &[]),
        ("if-match, other", Method::GET, vec![("if-match", "\"x\"")], 412, &[]),
        ("query is ignored", Method::GET, vec![], 200, &whole),
        ("post", Method::POST, vec![], 405, b"only GET and HEAD are allowed\n"),
        ("delete", Method::DELETE, vec![], 405, b"only GET and HEAD are allowed\n"),
        ("options", Method::OPTIONS, vec![], 405, b"only GET and HEAD are allowed\n"),
    ];
    for (row, method, headers, status, body) in rows {
        let url = if row.starts_with("query") { format!("{url}?x=1") } else { url.clone() };
        let response = send(method.clone(), &url, &headers).await;
        assert_eq!(response.status(), status, "row {row}");
        let got = response.headers().clone();
        match status {
            200 if method == Method::HEAD => assert_eq!(header(&got, "content-length"), size.to_string(), "row {row}"),
            206 => assert_eq!(header(&got, "content-length"), body.len().to_string(), "row {row}"),
            416 => assert_eq!(header(&got, "content-range"), format!("bytes */{size}"), "row {row}"),
            405 => assert_eq!(header(&got, "allow"), "GET, HEAD", "row {row}"),
            304 => assert_eq!(header(&got, "etag"), tag, "row {row}"),
            _ => {}
        }
        let bytes = response.bytes().await.unwrap();
        assert!(bytes == body, "row {row}: {} bytes, not {}", bytes.len(), body.len());
    }
}

/// Sends bytes as they are and gives the status of the answer, 0 when the connection is closed without one.
async fn raw(address: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(crate::process::DEADLINE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the server closes");
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default(), text)
}

#[tokio::test]
async fn no_path_leads_anywhere_else() {
    let place = Place::new();
    let (_server, address, artifact, _) = with_artifact(&place).await;
    std::fs::write(place.path().join("secret"), "outside").unwrap();
    let folder = artifact.path.rsplit_once('/').unwrap().0;
    let file = artifact.path.rsplit_once('/').unwrap().1;
    std::fs::write(place.volume().join(folder).join("x.lock"), "lock").unwrap();
    std::fs::write(place.volume().join(folder).join(".tmp-1"), "temporary").unwrap();
    std::os::unix::fs::symlink(place.path().join("secret"), place.volume().join(folder).join("link.tar.gz")).unwrap();
    let long = "a/".repeat(10_000);
    let paths = [
        "/../secret",
        "/../../etc/passwd",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/%c0%ae%c0%ae/secret",
        "//secret",
        "/\\..\\secret",
        "/.weir/serving.json",
        "/.weir/lock",
        "/externalartifact",
        "/externalartifact/",
        &format!("/{folder}"),
        &format!("/{folder}/"),
        &format!("/{folder}/x.lock"),
        &format!("/{folder}/.tmp-1"),
        &format!("/{folder}/.{file}.record"),
        &format!("/{folder}/link.tar.gz"),
        &format!("/{folder}/./{file}"),
        &format!("/{folder}/../web/{file}"),
        &format!("//{}", artifact.path),
        &format!("/{}/", artifact.path),
        &format!("/{}%00", artifact.path),
        &format!("/{}", artifact.path.replace("apps", "%61pps")),
        &format!("/{}", artifact.path.to_uppercase()),
        &format!("/{}", artifact.path.replacen("externalartifact", "ExternalArtifact", 1)),
        &format!("/{long}"),
        "/externalartifact/apps/web/0000.tar.gz",
        "/favicon.ico",
    ];
    for path in paths {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (status, text) = raw(address, request.as_bytes()).await;
        assert!(matches!(status, 400 | 404 | 414 | 431), "row {path:.80}: {text:.300}");
        assert!(!text.contains("outside") && !text.contains("root:"), "row {path:.80}");
    }
    let nul = b"GET /a\0b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(address, nul).await.0, 400);
    let good = format!("GET http://elsewhere/{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", artifact.path);
    assert_eq!(raw(address, good.as_bytes()).await.0, 200, "absolute form names the same file");
    assert_eq!(raw(address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.0, 200);
}

#[tokio::test]
async fn hostile_requests_are_refused_and_bounded() {
    let place = Place::new();
    let (_server, address, artifact, whole) = with_artifact(&place).await;
    let path = &artifact.path;
    let many: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
    let huge = "x".repeat(1 << 20);
    let rows = [
        (
            "length and chunks",
            format!(
                "GET /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            &[200, 400][..],
        ),
        (
            "two lengths",
            format!("GET /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            &[400],
        ),
        ("chunk nonsense", format!("GET /{path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunk\r\n\r\n"), &[400]),
        ("folded header", format!("GET /{path} HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n"), &[400]),
        ("too many headers", format!("GET /{path} HTTP/1.1\r\nHost: x\r\n{many}\r\n"), &[431]),
        ("a huge header", format!("GET /{path} HTTP/1.1\r\nHost: x\r\nX: {huge}\r\n\r\n"), &[431, 0]),
        ("options for all", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), &[405]),
        ("connect", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), &[405]),
        ("unknown method", "BREW / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), &[405]),
        ("not HTTP", "hello\r\n\r\n".to_owned(), &[400]),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[400, 505, 0]),
    ];
    for (row, request, allowed) in rows {
        let request = request.replace("Host: x\r\n", "Host: x\r\nConnection: close\r\n");
        let (status, text) = raw(address, request.as_bytes()).await;
        assert!(allowed.contains(&status), "row {row}: {status} {text:.200}");
    }
    let after = get(format!("http://{address}/{path}")).await.unwrap().bytes().await.unwrap();
    assert!(after == whole, "others are served as before");
}

#[tokio::test]
async fn a_touched_file_is_hashed_before_it_is_served_again() {
    let place = Place::new();
    let (server, address, artifact, whole) = with_artifact(&place).await;
    let (url, path) = (format!("http://{address}/{}", artifact.path), place.volume().join(&artifact.path));
    // The same bytes, another stat.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let again = get(&url).await.unwrap();
    assert_eq!(again.status(), 200);
    assert!(again.bytes().await.unwrap() == whole);
    // Other bytes of the same length.
    let mut wrong = whole.clone();
    wrong[whole.len() / 2] ^= 1;
    std::fs::write(&path, &wrong).unwrap();
    assert_eq!(get(&url).await.unwrap().status(), 404, "never served");
    // The watch on the volume may have found it first: then it is out of service a moment before it is gone.
    let gone = async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), gone).await.is_ok(), "and gone");
    assert!(server.figure("weir_http_requests_total{code=\"404\"}").await >= 1.0);
}

#[tokio::test]
async fn the_port_is_open_when_its_leader_says_so_and_stays_so() {
    let (place, other) = (Place::new(), Some(Caller { owner: "other/1".into(), epoch: 0, ..Caller::default() }));
    // One port for all runs: the first one free when asked.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let flag = format!("--storage-addr={free}");
    let server = place.start(&[&flag]).await;
    let connects = || async { TcpStream::connect(free).await.is_ok() };
    let set = |server: &Server, caller, on| {
        let mut storage = server.storage();
        async move { storage.set_serving(SetServingRequest { caller, on }).await.unwrap().into_inner().serving }
    };
    assert!(!connects().await, "closed at first");
    assert!(set(&server, caller(), true).await && connects().await);
    assert_eq!(get(format!("http://{free}/")).await.unwrap().status(), 200);
    server.stop().await;
    assert!(!connects().await);

    let server = place.start(&[&flag]).await;
    assert!(connects().await, "remembered over a restart");
    assert!(set(&server, other.clone(), true).await);
    assert!(set(&server, caller(), false).await, "another controller still wants it");
    assert!(connects().await);
    assert!(!set(&server, other, false).await);
    assert!(!connects().await, "closed when the answer is there");
    assert!(!server.storage().get_info(GetInfoRequest {}).await.unwrap().into_inner().serving);
    server.stop().await;

    let server = place.start(&[&flag, "--serve=always"]).await;
    assert!(connects().await);
    assert!(set(&server, caller(), false).await, "nobody closes it");
}

/// Reads a slow download to its end; the bytes of its body.
async fn rest_of(mut download: TcpStream) -> std::io::Result<Vec<u8>> {
    hurry(&download);
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).await?;
    let head = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    Ok(rest.split_off(head))
}

#[tokio::test]
async fn a_download_that_runs_survives_the_removal_of_its_file() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let (download, stored) = slow_download(&server, &sources).await;
    let remove = RemoveRequest { caller: caller(), path: stored.path.clone() };
    server.storage().remove(remove).await.unwrap();
    assert!(!place.volume().join(&stored.path).exists());
    let url = format!("http://{}/{}", server.port("artifacts"), stored.path);
    assert_eq!(get(&url).await.unwrap().status(), 404, "new clients do not get it");
    let bytes = rest_of(download).await.unwrap();
    assert_eq!(format!("sha256:{}", hex::encode(Sha256::digest(&bytes))), stored.digest);
}

#[tokio::test]
async fn a_download_breaks_off_when_its_file_is_changed() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let (download, stored) = slow_download(&server, &sources).await;
    let path = place.volume().join(&stored.path);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"other", 10 << 20).unwrap();
    // Also when it is removed at once: that must not hide the change.
    std::fs::remove_file(&path).unwrap();
    let bytes = rest_of(download).await.unwrap_or_default();
    assert!(bytes.len() < usize::try_from(stored.size).unwrap(), "{} bytes", bytes.len());
}
