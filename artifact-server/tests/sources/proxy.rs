//! The environment's proxy, which a process reads once: so the download is in a process of its own.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
};

use weir_artifact_server::source::SourceRequest;

use crate::setup::{cache, digest, small};

/// Set in the process that downloads.
const DOWNLOADS: &str = "WEIR_TEST_DOWNLOADS";
/// No name server knows it: only a proxy can be asked for it.
const URL: &str = "http://source.invalid/x.tar.gz";

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_asked() {
    if std::env::var_os(DOWNLOADS).is_some() {
        return download().await;
    }
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let body = small();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "proxy::the_proxy_of_the_environment_is_asked"]).env(DOWNLOADS, "1");
    test.env("HTTP_PROXY", format!("http://{address}")).env("http_proxy", format!("http://{address}"));
    let output = test.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let asked = asked.join().unwrap();
    assert!(asked.starts_with(&format!("GET {URL} HTTP/1.1\r\n")), "{asked}");
}

async fn download() {
    let folder = tempfile::tempdir().unwrap();
    let request = SourceRequest {
        url: URL.into(),
        digest: digest(&small()),
        http_retry: Some(0),
        source_host: None,
        tenant: None,
    };
    cache(folder.path(), |_| {}).get(&request).await.unwrap();
}
