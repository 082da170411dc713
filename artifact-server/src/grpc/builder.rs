//! The service `ArtifactBuilder`: reads orders, hands them to the [`Builder`], and streams back what became of each.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use prost::Message;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weir_proto::{
    Failure, Reason,
    v1::{self, artifact_builder_server::ArtifactBuilder, build_request, build_response},
};

use super::{
    access::Access,
    call::{self, Answers, Server, blocking},
    convert, deadline,
    order::{self, Header},
    worker::{Worker, job},
};
use crate::{
    build::{BATCH, Builder, Job, Order},
    source::Fetched,
    storage::Caller,
    tree::captures::Pattern,
};

/// The service.
pub struct BuilderService {
    /// What all services share.
    pub server: Arc<Server>,
    /// Makes the artifacts.
    pub builder: Arc<Builder>,
}

type Sender = mpsc::Sender<Result<v1::BuildResponse, Status>>;

#[tonic::async_trait]
impl ArtifactBuilder for BuilderService {
    type BuildStream = Answers<v1::BuildResponse>;

    async fn build(
        &self,
        request: Request<Streaming<v1::BuildRequest>>,
    ) -> Result<Response<Self::BuildStream>, Status> {
        let (server, builder) = (Arc::clone(&self.server), Arc::clone(&self.builder));
        let access = self.server.access(&request);
        let deadline = deadline::over(deadline::timeout(request.metadata()));
        // Room for the answers of every worker, so that a worker never waits for a slow client.
        let (answers, receiver) = mpsc::channel((builder.width() + 1) * BATCH);
        let (messages, gone) = (request.into_inner(), answers.clone());
        tokio::spawn(async move {
            let over = CancellationToken::new();
            // However this ends, what is not published by then never will be.
            let _end = over.clone().drop_guard();
            let call = Call { server, builder, access, answers: answers.clone(), over };
            let result = tokio::select! {
                // The client left.
                () = gone.closed() => Ok(()),
                status = deadline => Err(status),
                result = call.run(messages) => result,
            };
            call.over.cancel();
            if let Err(status) = result {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(self.server.until_stop(ReceiverStream::new(receiver))))
    }

    type FindDirectoriesStream = Answers<v1::FindDirectoriesResponse>;

    async fn find_directories(
        &self,
        request: Request<v1::FindDirectoriesRequest>,
    ) -> Result<Response<Self::FindDirectoriesStream>, Status> {
        let access = self.server.access(&request);
        let v1::FindDirectoriesRequest { caller, source, settings, pattern } = request.into_inner();
        let settings = convert::settings(settings, &self.server.defaults)?;
        let source = source.ok_or_else(|| convert::invalid("source", "source is missing: name the one to look at"))?;
        let of_source = |failure: Failure| failure.within("source");
        let source = order::source(source, &settings, access.tenant()).map_err(of_source)?;
        let pattern = Pattern::parse(&pattern).map_err(|error| convert::invalid("pattern", error.to_string()))?;
        self.server.admit(&access, caller, &[]).await?;
        let fetched = self.builder.fetch_one(&source).await.map_err(of_source)?;
        let find = move || Ok::<_, Failure>(pattern.find(&fetched.source.tree));
        let answers = blocking(find).await?.into_iter().map(|(path, captures)| {
            Ok(v1::FindDirectoriesResponse { path: path.to_string(), captures: captures.into_iter().collect() })
        });
        Ok(Response::new(self.server.until_stop(stream::iter(answers))))
    }
}

/// One `Build` call.
pub(super) struct Call {
    pub(super) server: Arc<Server>,
    pub(super) builder: Arc<Builder>,
    access: Access,
    pub(super) answers: Sender,
    /// Cancelled when the call has ended, whether or not workers still work for it.
    pub(super) over: CancellationToken,
}

impl Call {
    async fn run(&self, mut messages: Streaming<v1::BuildRequest>) -> Result<(), Status> {
        let silence = self.server.silence;
        let first = timeout(silence, messages.message()).await.map_err(|_| silent(silence))?;
        let mut header = match first?.and_then(|request| request.message) {
            Some(build_request::Message::Header(header)) => header,
            _ => return Err(convert::invalid("header", "the first message must be the header").into()),
        };
        let caller = header.caller.take();
        let token = call::token(caller.as_ref());
        let caller = self.access.caller(caller).map_err(of_header)?;
        let header = order::header(header, &self.server.defaults, self.access.tenant()).map_err(of_header)?;
        let caller = self.server.admit_caller(&self.access, caller, &[header.place()]).await.map_err(of_header)?;
        let fetched = self.builder.fetch(&header.sources).await.map_err(of_header)?;
        self.answer(build_response::Message::Sources(summaries(&header, &fetched))).await;
        let job = Arc::new(job(&caller, &header, &fetched));
        drop(fetched);
        let header = Arc::new(header);
        self.artifacts(messages, (&caller, token.as_deref()), &header, &job).await
    }

    /// Takes orders as they come and has them worked on in batches. Answers go out as workers finish.
    async fn artifacts(
        &self,
        messages: Streaming<v1::BuildRequest>,
        (caller, token): (&Caller, Option<&str>),
        header: &Arc<Header>,
        job: &Arc<Job>,
    ) -> Result<(), Status> {
        let mut seen = HashSet::new();
        let mut running = JoinSet::new();
        let mut batches = messages.ready_chunks(BATCH);
        while let Some(batch) = next(&mut batches, &mut running, self.server.silence).await? {
            self.server.admit_caller(&self.access, caller.clone(), &[header.place()]).await.map_err(of_header)?;
            let mut orders = Vec::with_capacity(batch.len());
            for request in batch {
                orders.push(read(request?, header, &mut seen)?);
            }
            let dirs = orders.iter().filter_map(|order| Some(order.as_ref().ok()?.dir.clone())).collect();
            // Waits while the client is slow to take answers, before anything is held. Asking for more room than there is at all would
            // be an error: a worker that has just ended may still be counted as running.
            let room = ((running.len() + 1) * BATCH).min(self.answers.max_capacity());
            if !self.has_room(room).await? {
                // The client left.
                return Ok(());
            }
            let turn = self.builder.turn(dirs, token).await.map_err(of_header)?;
            let worker = Worker { call: self.part(), header: Arc::clone(header), job: Arc::clone(job) };
            running.spawn_blocking(move || {
                orders.into_iter().for_each(|order| worker.work(order));
                drop(turn);
            });
            while let Some(ended) = running.try_join_next() {
                ended.map_err(bug)?;
            }
        }
        while let Some(ended) = running.join_next().await {
            ended.map_err(bug)?;
        }
        Ok(())
    }

    /// Waits until so many answers can be sent, as long as the client takes some now and then. `false`: it left.
    async fn has_room(&self, room: usize) -> Result<bool, Status> {
        let mut places = Vec::with_capacity(room);
        while places.len() < room {
            match timeout(self.server.silence, self.answers.reserve()).await {
                Ok(Ok(place)) => places.push(place),
                Ok(Err(_)) => return Ok(false),
                Err(_) => {
                    let silence = self.server.silence;
                    return Err(Status::deadline_exceeded(format!(
                        "no answer was taken for {silence:?}: read them as they come, or raise --grpc-upload-silence"
                    )));
                }
            }
        }
        Ok(true)
    }

    fn part(&self) -> Self {
        Self {
            server: Arc::clone(&self.server),
            builder: Arc::clone(&self.builder),
            access: self.access.clone(),
            answers: self.answers.clone(),
            over: self.over.clone(),
        }
    }

    async fn answer(&self, message: build_response::Message) {
        // Fails when the client left, which ends the call anyway.
        let _ = self.answers.send(Ok(v1::BuildResponse { message: Some(message) })).await;
    }
}

/// The next orders; `None` at the end. A client that sends none, and has none worked on, keeps sources from others who need the room: it is
/// given up after `silence`.
async fn next<T>(
    batches: &mut (impl Stream<Item = T> + Unpin),
    running: &mut JoinSet<()>,
    silence: Duration,
) -> Result<Option<T>, Status> {
    loop {
        tokio::select! {
            biased;
            batch = batches.next() => return Ok(batch),
            Some(ended) = running.join_next() => ended.map_err(bug)?,
            () = sleep(silence), if running.is_empty() => return Err(silent(silence)),
        }
    }
}

fn silent(silence: Duration) -> Status {
    Status::deadline_exceeded(format!(
        "nothing came for {silence:?}: end the stream after the last artifact, or raise --grpc-upload-silence"
    ))
}

/// The error of a field of the header.
pub(super) fn of_header(failure: Failure) -> Failure {
    failure.within("header")
}

/// The error of a field of an artifact.
pub(super) fn of_artifact(failure: Failure) -> Failure {
    failure.within("artifact")
}

/// An order, or an answer that can be given without work.
pub(super) type Read = Result<Order, (u32, Failure)>;

fn read(request: v1::BuildRequest, header: &Header, seen: &mut HashSet<Seen>) -> Result<Read, Failure> {
    let Some(build_request::Message::Artifact(artifact)) = request.message else {
        return Err(convert::invalid("artifact", "every message after the header must be an artifact"));
    };
    let index = artifact.index;
    if !seen.insert(Seen::Index(index)) {
        return Err(convert::invalid("artifact.index", format!("index {index} is there twice")));
    }
    if !seen.insert(Seen::Name(artifact.name.clone())) {
        let message = format!("artifact {:?} is there twice", artifact.name);
        return Ok(Err((index, convert::invalid("artifact.name", message))));
    }
    let size = artifact.encoded_len();
    if size > order::MAX_BYTES {
        let message = format!(
            "the copy operations of artifact {:?} take {size} bytes, {} are allowed: use patterns in place of long lists",
            artifact.name,
            order::MAX_BYTES
        );
        return Ok(Err((index, Failure::field(Reason::BuildFailed, "artifact", message))));
    }
    Ok(order::artifact(artifact, header).map_err(|failure| (index, of_artifact(failure))))
}

#[derive(PartialEq, Eq, Hash)]
enum Seen {
    Index(u32),
    Name(String),
}

fn summaries(header: &Header, fetched: &[Fetched]) -> v1::SourcesReady {
    let summary = |((alias, _), Fetched { source, downloaded }): (&(String, _), &Fetched)| v1::SourceSummary {
        alias: alias.clone(),
        downloaded: *downloaded,
        files: source.summary.files,
        directories: source.summary.directories,
        bytes: source.summary.bytes,
        skipped_links: source.summary.skipped_links,
    };
    v1::SourcesReady { sources: header.sources.iter().zip(fetched).map(summary).collect() }
}

fn bug(error: tokio::task::JoinError) -> Failure {
    tracing::error!(%error, "a build failed, this is a bug");
    Failure::new(Reason::Internal, "the server has a bug, see its log")
}
