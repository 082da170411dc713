//! `Lock`: held for as long as its stream is open.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};
use weir_proto::v1;

use super::{
    access::Access,
    call::{Answers, Server, blocking},
    convert, deadline,
};

type Sender = mpsc::Sender<Result<v1::LockResponse, Status>>;

/// Answers with the token once the lock is granted; the lock goes when either side of the stream ends.
pub(super) fn lock(server: &Arc<Server>, request: Request<Streaming<v1::LockRequest>>) -> Answers<v1::LockResponse> {
    let deadline = deadline::over(deadline::timeout(request.metadata()));
    let (answers, receiver) = mpsc::channel(1);
    let access = server.access(&request);
    let (messages, called) = (request.into_inner(), Arc::clone(server));
    tokio::spawn(async move {
        let result = tokio::select! {
            // The client left, or the server ends.
            () = answers.closed() => Ok(()),
            status = deadline => Err(status),
            result = hold(&called, &access, messages, &answers) => result,
        };
        if let Err(status) = result {
            let _ = answers.send(Err(status)).await;
        }
    });
    server.until_stop(ReceiverStream::new(receiver))
}

/// Dropping this gives the lock, or the place among those who wait for it, free.
async fn hold(
    server: &Server,
    access: &Access,
    mut messages: Streaming<v1::LockRequest>,
    answers: &Sender,
) -> Result<(), Status> {
    let Some(v1::LockRequest { caller, artifact, take_over }) = messages.message().await? else {
        return Err(convert::invalid("artifact", "the stream has no message: name the artifact to lock").into());
    };
    if caller.as_ref().is_some_and(|caller| !caller.lock.is_empty()) {
        return Err(convert::invalid("caller.lock", "a lock is no way to another one: leave it out").into());
    }
    let dir = convert::dir("artifact", artifact)?;
    let caller = server.admit(access, caller, &[(&dir).into()]).await?;
    server.store.may_store(&caller, &dir, take_over).map_err(|error| convert::claimed(error.into()))?;
    let held = tokio::select! {
        held = server.store.hold(&dir) => held,
        // It gave up while it waited.
        status = ended(&mut messages) => return status,
    };
    // Waiting may have taken long.
    let (store, name) = (Arc::clone(&server.store), dir.clone());
    let check = move || {
        store.epochs().check(&caller)?;
        store.may_store(&caller, &name, take_over)
    };
    blocking(check).await.map_err(convert::claimed)?;
    // Fails when the client left, which ends the call anyway.
    let _ = answers.send(Ok(v1::LockResponse { token: held.token().to_owned() })).await;
    ended(&mut messages).await
}

/// Waits until the client ends its side.
async fn ended(messages: &mut Streaming<v1::LockRequest>) -> Result<(), Status> {
    match messages.message().await? {
        None => Ok(()),
        Some(_) => Err(convert::invalid("artifact", "one message is all: open a stream for each lock").into()),
    }
}
