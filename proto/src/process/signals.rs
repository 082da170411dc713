//! SIGTERM and SIGINT.

use std::fmt;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// Is ready after the first signal.
pub type Shutdown = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Does `work` until it ends by itself. The first signal asks it to end, the second does not wait any longer.
///
/// # Errors
/// Those of `work`, as text. `unfinished` when a second signal came, or that no signal can be listened for.
pub async fn until_signalled<F, E>(work: impl FnOnce(Shutdown) -> F, unfinished: &str) -> Result<(), String>
where
    F: Future<Output = Result<(), E>>,
    E: fmt::Display,
{
    let listen = |kind| signal(kind).map_err(|error| format!("can not listen for signals: {error}"));
    let (mut term, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (first, asked) = oneshot::channel();
    let signals = async move {
        either(&mut term, &mut interrupt).await;
        let _ = first.send(());
        either(&mut term, &mut interrupt).await;
    };
    let shutdown = Box::pin(async move {
        let _ = asked.await;
    });
    tokio::select! {
        result = work(shutdown) => result.map_err(|error| error.to_string()),
        () = signals => Err(unfinished.to_owned()),
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
