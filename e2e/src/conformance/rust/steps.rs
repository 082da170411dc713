//! Carries out the steps of a case.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::stream::{self, BoxStream, StreamExt as _};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::Value;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Code, Status};
use weir_proto::Failure;

use super::{Way, client, connect, methods, stubs};
use crate::conformance::case::{Case, Expected, Step};
use crate::conformance::matching::{self, Variables};
use crate::conformance::setup::Setup;
use crate::fetch;

/// How long a call may take that says nothing else.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs cases.
pub(super) struct Run {
    pub(super) setup: Arc<Setup>,
    way: Way,
    methods: BTreeMap<String, MethodDescriptor>,
    channels: BTreeMap<String, Channel>,
    used: Mutex<BTreeSet<&'static str>>,
    /// The sides of calls that have failed. Were one dropped, its stream could still end, and well, before the server hears that nobody waits.
    failed: Mutex<Vec<oneshot::Sender<()>>>,
}

/// A call whose answers are being read.
struct Open {
    answers: BoxStream<'static, Result<Value, Status>>,
    /// While this is there the client's side has no end.
    _side: Option<oneshot::Sender<()>>,
}

/// What a case has by now.
struct State {
    variables: Variables,
    open: BTreeMap<String, Open>,
}

impl Run {
    pub(super) fn new(setup: Arc<Setup>, way: Way) -> Result<Self> {
        let methods = methods()?.into_iter().map(|method| (method.name().to_owned(), method)).collect();
        let channels = setup.peers.iter().map(|(name, peer)| Ok((name.clone(), connect::channel(peer)?)));
        let channels = channels.collect::<Result<_>>()?;
        Ok(Self { setup, way, methods, channels, used: Mutex::default(), failed: Mutex::default() })
    }

    /// The methods of the client that were called.
    pub(super) fn used(self) -> BTreeSet<&'static str> {
        self.used.into_inner().unwrap_or_default()
    }

    /// Carries out one case. What is open at its end is cancelled.
    pub(super) async fn case(&self, case: &Case) -> Result<()> {
        let mut state = State { variables: self.setup.of_case(&case.name), open: BTreeMap::new() };
        for (number, step) in case.steps.iter().enumerate() {
            let name = [&step.call, &step.on, &step.close, &step.tell].into_iter().flatten().next();
            let step = self.step(step, &mut state);
            step.await.with_context(|| format!("step {number} ({})", name.map_or("nothing", String::as_str)))?;
        }
        Ok(())
    }

    async fn step(&self, step: &Step, state: &mut State) -> Result<()> {
        let send = matching::filled(&step.send, &state.variables).map_err(anyhow::Error::msg)?;
        if let Some(call) = &step.call {
            let started = self.call(call, step, send).await;
            return self.answers(started, step, step.open.as_ref(), state).await;
        }
        if let Some(name) = &step.on {
            let open = state.open.remove(name).with_context(|| format!("nothing is open as {name}"))?;
            return self.answers(Ok(open), step, Some(name), state).await;
        }
        if let Some(name) = &step.close {
            let Open { answers, .. } = state.open.remove(name).with_context(|| format!("nothing is open as {name}"))?;
            return self.answers(Ok(Open { answers, _side: None }), step, None, state).await;
        }
        let word = step.tell.as_ref().context("the step says neither call, on, close nor tell")?;
        let request = fetch::client()?.post(format!("{}/{word}", self.setup.control)).body(send.to_string());
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Starts a call. What is wrong with the case itself is in the message of an error without a code of its own.
    async fn call(&self, name: &str, step: &Step, send: Value) -> Result<Open, Status> {
        let wrong = |error: anyhow::Error| Status::unknown(format!("the case is wrong: {error:#}"));
        let method = self.methods.get(name).ok_or_else(|| wrong(anyhow!("there is no RPC {name}")))?;
        let messages = requests(&method.input(), method.is_client_streaming(), &send).map_err(wrong)?;
        let peer = step.peer.as_deref().unwrap_or("tenant");
        let channel = self.channels.get(peer).ok_or_else(|| wrong(anyhow!("there is no peer {peer}")))?;
        let timeout = step.deadline_ms.map_or(DEADLINE, Duration::from_millis);
        let output = method.output();
        let (side, mut end) = oneshot::channel::<()>();
        // Dropped at once, the client's side ends behind the messages.
        let side = (step.hold || step.open.is_some()).then_some(side);
        if self.way == Way::Client {
            match client::call(&self.setup.peers[peer], name, step, &messages, end).await {
                Ok((used, answers)) => {
                    self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(used);
                    return answers.map(|answers| Open { answers: json(answers, output), _side: side });
                }
                Err(unused) => end = unused,
            }
        }
        let rest = stream::once(end).filter_map(|_| async { None::<Vec<u8>> });
        let messages = stream::iter(messages).flat_map(|(times, bytes)| stream::repeat(bytes).take(times));
        match stubs::call(channel, name, messages.chain(rest).boxed(), timeout).await {
            Ok(answers) => Ok(Open { answers: json(answers, output), _side: side }),
            Err(status) => {
                self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(side);
                Err(status)
            }
        }
    }

    /// Reads and compares answers: all of them, or those that are expected of a stream that stays open as `name`.
    async fn answers(
        &self,
        started: Result<Open, Status>,
        step: &Step,
        name: Option<&String>,
        state: &mut State,
    ) -> Result<()> {
        let expected = step.expected();
        let stays = name.is_some() && step.error.is_none();
        let mut found = Vec::new();
        let mut ended = Ok(());
        match started {
            Err(status) => ended = Err(status),
            Ok(mut open) => {
                let most = expected.as_ref().map_or(0, Vec::len);
                while !stays || found.len() < most {
                    match tokio::time::timeout(DEADLINE, open.answers.next()).await.context("no answer comes")? {
                        Some(Ok(answer)) => found.push(answer),
                        Some(Err(status)) => {
                            ended = Err(status);
                            break;
                        }
                        None => break,
                    }
                }
                if let Some(name) = name.filter(|_| stays) {
                    state.open.insert(name.clone(), open);
                }
            }
        }
        ends(step.error.as_ref(), ended, &state.variables)?;
        match expected {
            Some(expected) => compare(expected, found, step.unordered, &mut state.variables),
            None => Ok(()),
        }
    }
}

/// The encoded requests of a step, each with how often it is sent.
fn requests(kind: &MessageDescriptor, streams: bool, send: &Value) -> Result<Vec<(usize, Vec<u8>)>> {
    let read = |value: &Value| -> Result<Vec<u8>> {
        let message = DynamicMessage::deserialize(kind.clone(), value).with_context(|| kind.name().to_owned())?;
        Ok(message.encode_to_vec())
    };
    let empty = Value::Object(serde_json::Map::default());
    match send {
        Value::Null => Ok(if streams { Vec::new() } else { vec![(1, read(&empty)?)] }),
        Value::Array(messages) => messages
            .iter()
            .map(|message| match message["$times"].as_u64() {
                Some(times) => Ok((usize::try_from(times)?, read(&message["message"])?)),
                None => Ok((1, read(message)?)),
            })
            .collect(),
        message => Ok(vec![(1, read(message)?)]),
    }
}

fn json(answers: stubs::Answers, kind: MessageDescriptor) -> BoxStream<'static, Result<Value, Status>> {
    let read = move |answer: Result<Vec<u8>, Status>| {
        let message = DynamicMessage::decode(kind.clone(), answer?.as_slice());
        let value = message.map_err(|error| error.to_string());
        let value = value.and_then(|message| serde_json::to_value(&message).map_err(|error| error.to_string()));
        value.map_err(Status::unknown)
    };
    answers.map(read).boxed()
}

/// Checks how a call ended.
fn ends(expected: Option<&Expected>, ended: Result<(), Status>, variables: &Variables) -> Result<()> {
    let (expected, status) = match (expected, ended) {
        (None, Ok(())) => return Ok(()),
        (None, Err(status)) => bail!("it failed: {:?}: {}", status.code(), status.message()),
        (Some(expected), Ok(())) => bail!("it ended well, expected {expected:?}"),
        (Some(expected), Err(status)) => (expected, status),
    };
    let failure = Failure::from_status(&status);
    let reason = failure.as_ref().map_or("", |failure| failure.reason.name());
    let field = failure.as_ref().and_then(|failure| failure.field.as_deref()).unwrap_or_default();
    let shown = format!("{:?} {reason} {field}: {}", code(&status), status.message());
    let message = expected.message.as_deref().map(|text| matching::filled(&text.into(), variables)).transpose();
    let message = message.map_err(anyhow::Error::msg)?.unwrap_or_default();
    let fits =
        expected.code.as_ref().is_none_or(|code| code.replace('_', "").eq_ignore_ascii_case(&self::code(&status)))
            && expected.reason.as_deref().is_none_or(|expected| expected == reason)
            && expected.field.as_deref().is_none_or(|expected| expected == field)
            && status.message().contains(message.as_str().unwrap_or_default());
    ensure!(fits, "{expected:?}, found {shown}");
    Ok(())
}

/// The name of the code. tonic's own clock says that a call was cancelled, where other clients speak of the deadline.
fn code(status: &Status) -> String {
    let late = status.code() == Code::Cancelled && status.message() == "Timeout expired";
    format!("{:?}", if late { Code::DeadlineExceeded } else { status.code() })
}

fn compare(expected: Vec<Value>, mut found: Vec<Value>, unordered: bool, variables: &mut Variables) -> Result<()> {
    if unordered {
        for pattern in &expected {
            let fitting = |answer: &Value| matching::fits(pattern, answer, "answer", &mut variables.clone()).is_ok();
            let at = found.iter().position(fitting).with_context(|| format!("{pattern} is not among {found:?}"))?;
            matching::fits(pattern, &found.remove(at), "answer", variables).map_err(anyhow::Error::msg)?;
        }
        ensure!(found.is_empty(), "answers that are not expected: {found:?}");
        return Ok(());
    }
    matching::fits(&Value::Array(expected), &Value::Array(found), "answers", variables).map_err(anyhow::Error::msg)
}
