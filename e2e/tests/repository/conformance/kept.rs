//! Which promises the cases keep.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};
use serde_json::Value;
use weir_e2e::conformance::case::{Case, Step};

use super::promises::{About, Promise};

/// An error that a step expects, or the value of an enum in an answer.
struct Seen {
    rpc: String,
    /// A reason or, without one, a status code; or the value.
    what: String,
    how: How,
}

enum How {
    /// It ends the call, and names a field or none.
    Ends(String),
    /// It is in an answer, and names a field or none.
    Within(String),
    /// It is no error.
    Value,
}

/// The promises that no case keeps, and fields that cases expect and no request has.
pub(super) fn broken(cases: &[Case], methods: &[MethodDescriptor], promises: &BTreeSet<Promise>) -> Vec<String> {
    let seen: Vec<Seen> = cases.iter().flat_map(seen).collect();
    let input = |rpc: &str| methods.iter().find(|method| method.name() == rpc).map(MethodDescriptor::input);
    let mut unknown = BTreeSet::new();
    let mut kept = BTreeSet::new();
    for one in &seen {
        let Some(request) = input(&one.rpc) else { continue };
        let Some(names) = names(&request, one) else {
            unknown.insert(format!("{}: the request has no {}", one.rpc, one.field()));
            continue;
        };
        kept.extend(promises.iter().filter(|promise| keeps(one, &names, promise)));
    }
    let missing =
        promises.iter().filter(|promise| !kept.contains(promise)).map(|promise| format!("no case: {promise}"));
    unknown.into_iter().chain(missing).collect()
}

impl Seen {
    fn field(&self) -> &str {
        match &self.how {
            How::Ends(field) | How::Within(field) => field,
            How::Value => "",
        }
    }
}

/// What of the contract an error is about, as promises name it. `None`: its field is none of the request's.
fn names(request: &MessageDescriptor, seen: &Seen) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut message = Some(request.clone());
    let parts: Vec<&str> = seen.field().split('.').filter(|part| !part.is_empty()).collect();
    for (at, part) in parts.iter().enumerate() {
        let part = part.split('[').next().unwrap_or_default();
        let within = message.take()?;
        let last = at + 1 == parts.len();
        let field = within.get_field_by_name(part);
        let oneof = field.as_ref().and_then(|field| field.containing_oneof()).map(|oneof| oneof.name().to_owned());
        if field.is_none() && !(last && within.oneofs().any(|oneof| oneof.name() == part)) {
            return None;
        }
        message = field.and_then(|field| match field.kind() {
            Kind::Message(inner) => Some(inner),
            _ => None,
        });
        if last {
            found.insert(format!("{}.{part}", within.name()));
            found.extend(oneof.map(|oneof| format!("{}.{oneof}", within.name())));
            found.extend(message.as_ref().map(|inner| inner.name().to_owned()));
            found.extend((at == 0).then(|| within.name().to_owned()));
        }
    }
    Some(found)
}

fn keeps(seen: &Seen, names: &BTreeSet<String>, promise: &Promise) -> bool {
    let rpc = promise.rpc.as_ref().is_none_or(|rpc| *rpc == seen.rpc);
    // A status code comes without details.
    let named = |name: &String| names.contains(name) || seen.what == "DEADLINE_EXCEEDED";
    let place = match (&promise.about, &seen.how) {
        (About::Call, How::Ends(_)) | (About::Result, How::Within(_)) | (About::Answer, How::Value) => true,
        (About::Field(name) | About::Message(name), How::Ends(_) | How::Within(_)) => named(name),
        _ => false,
    };
    rpc && place && seen.what == promise.what
}

fn seen(case: &Case) -> Vec<Seen> {
    let mut open: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for step in &case.steps {
        let stream = step.on.as_ref().or(step.close.as_ref());
        let Some(rpc) = step.call.as_deref().or_else(|| open.get(stream?.as_str()).copied()) else { continue };
        open.extend(step.open.as_deref().map(|name| (name, rpc)));
        found.extend(ending(step).map(|(what, field)| Seen { rpc: rpc.to_owned(), what, how: How::Ends(field) }));
        for answer in step.expected().iter().flatten() {
            let error = &answer["result"]["error"];
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            let within = error.is_object().then(|| (text("reason"), How::Within(text("field"))));
            let values = answer.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
            let values = values.map(|value| (value.to_owned(), How::Value));
            found.extend(within.into_iter().chain(values).map(|(what, how)| Seen { rpc: rpc.to_owned(), what, how }));
        }
    }
    found
}

/// How a call ends, when not well: by which error, and the field that it names.
fn ending(step: &Step) -> Option<(String, String)> {
    let error = step.error.as_ref()?;
    let reason = error.reason.clone().filter(|reason| !reason.is_empty());
    Some((reason.or_else(|| error.code.clone()).unwrap_or_default(), error.field.clone().unwrap_or_default()))
}

/// The reasons that a step expects: of the call, and in its answers.
pub(super) fn reasons(step: &Step) -> Vec<String> {
    let mut found: Vec<String> = step.error.iter().filter_map(|error| error.reason.clone()).collect();
    let results = step.answers.iter().flatten().map(|answer| &answer["result"]["error"]["reason"]);
    found.extend(results.filter_map(Value::as_str).map(str::to_owned));
    found
}
