//! What the comments of the contract promise to who calls: errors by their reasons, and the values of an enum as answers.

use std::collections::BTreeSet;
use std::fmt;

use prost_reflect::{DescriptorPool, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use weir_proto::Reason;

/// The only error without a reason that comments name: the status code of a deadline.
const LATE: &str = "DEADLINE_EXCEEDED";

/// One error or answer that somebody who reads the contract counts on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Promise {
    /// The only RPC that can keep it; `None`: any whose request has the field.
    pub(super) rpc: Option<String>,
    pub(super) about: About,
    /// A reason, a status code, or the value of an enum.
    pub(super) what: String,
}

/// Where a promise is made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// At the package or the RPC: no field need be named.
    Call,
    /// At a message of a request: the error names a field that has this type, or any field of the request where it is the request.
    Message(String),
    /// At a field of a request or at a oneof, `Message.field`: the error names it, or a member of the oneof.
    Field(String),
    /// At a field of an answer: the error is in an answer.
    Result,
    /// At a value of an enum of an answer.
    Answer,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rpc, about, what } = self;
        match rpc.as_deref() {
            Some(rpc) => write!(f, "{rpc}")?,
            None => f.write_str("any")?,
        }
        match about {
            About::Call => write!(f, ": {what}"),
            About::Message(name) | About::Field(name) => write!(f, ", {name}: {what}"),
            About::Result => write!(f, ", in an answer: {what}"),
            About::Answer => write!(f, " answers {what}"),
        }
    }
}

/// Every promise of the contract.
pub(super) fn all() -> BTreeSet<Promise> {
    let pool = DescriptorPool::decode(weir_proto::DESCRIPTOR).unwrap();
    let methods: Vec<_> = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    let mut found = of_package(&pool, &methods);
    for method in &methods {
        let rpc = method.name();
        let (file, input) = (method.parent_service().parent_file(), method.input());
        found.extend(promises(&pool, Some(rpc), &About::Call, &comment(&file, method.path())));
        for message in messages(&input) {
            found.extend(of_request(&pool, rpc, &message, message == input));
        }
        for message in messages(&method.output()) {
            found.extend(of_answer(rpc, &message));
        }
    }
    found
}

/// What any call can fail with: one case will do. What a policy refuses, each RPC does but those that are named.
fn of_package(pool: &DescriptorPool, methods: &[MethodDescriptor]) -> BTreeSet<Promise> {
    let file = pool.get_file_by_name("weir/artifact/v1/artifact.proto").unwrap();
    // The number of `package` in a file's descriptor.
    let text = comment(&file, &[2]);
    let free =
        text.split("any but ").nth(1).and_then(|rest| rest.split(" with NOT_ALLOWED").next()).unwrap_or_default();
    let free: Vec<&str> = free.split(" and ").collect();
    assert!(free.iter().all(|name| methods.iter().any(|rpc| rpc.name() == *name)), "no RPCs: {free:?}");
    let refuses = methods.iter().filter(|rpc| !free.contains(&rpc.name()));
    let each = refuses.map(|rpc| promise(Some(rpc.name()), About::Call, Reason::NotAllowed.name()));
    let any = promises(pool, None, &About::Call, &text).into_iter().filter(|found| found.what != LATE);
    each.chain(any).collect()
}

/// What comes with a message of a request. Where it is not the request itself, what its fields promise is kept by whoever has them.
fn of_request(pool: &DescriptorPool, rpc: &str, message: &MessageDescriptor, whole: bool) -> Vec<Promise> {
    let (file, name) = (message.parent_file(), message.name());
    let about = About::Message(name.to_owned());
    let mut found = promises(pool, Some(rpc), &about, &comment(&file, message.path()));
    let fields = message.fields().map(|field| (field.name().to_owned(), field.path().to_vec()));
    let oneofs = message.oneofs().map(|oneof| (oneof.name().to_owned(), oneof.path().to_vec()));
    for (field, path) in fields.chain(oneofs) {
        let about = About::Field(format!("{name}.{field}"));
        found.extend(promises(pool, whole.then_some(rpc), &about, &comment(&file, &path)));
    }
    found
}

/// Errors that come in an answer, and what else one can say.
fn of_answer(rpc: &str, message: &MessageDescriptor) -> Vec<Promise> {
    let file = message.parent_file();
    let mut found = Vec::new();
    for field in message.fields() {
        let text = comment(&file, field.path());
        found.extend(named(&text).iter().map(|error| promise(Some(rpc), About::Result, error)));
        if let Kind::Enum(kind) = field.kind() {
            let sent = kind.values().filter(|value| comment(&kind.parent_file(), value.path()) != "Never sent.");
            found.extend(sent.map(|value| promise(Some(rpc), About::Answer, value.name())));
        }
    }
    found
}

fn promise(rpc: Option<&str>, about: About, what: &str) -> Promise {
    Promise { rpc: rpc.map(str::to_owned), about, what: what.to_owned() }
}

fn promises(pool: &DescriptorPool, rpc: Option<&str>, about: &About, comment: &str) -> Vec<Promise> {
    errors(pool, comment).iter().map(|error| promise(rpc, about.clone(), error)).collect()
}

/// The messages of the contract that a message is made of, itself first.
fn messages(first: &MessageDescriptor) -> Vec<MessageDescriptor> {
    let mut found = vec![first.clone()];
    let mut at = 0;
    while let Some(message) = found.get(at).cloned() {
        for field in message.fields() {
            if let Kind::Message(inner) = field.kind()
                && inner.package_name() == first.package_name()
                && !inner.is_map_entry()
                && !found.contains(&inner)
            {
                found.push(inner);
            }
        }
        at += 1;
    }
    found
}

/// The text above a thing, in one line.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref().unwrap();
    let location = info.location.iter().find(|location| location.path == path);
    let text = location.map_or("", |location| location.leading_comments());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The errors that a comment names: by their whole name, or by what several names begin with (`SOURCE_`).
fn named(comment: &str) -> BTreeSet<String> {
    let words = comment.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let mut found = BTreeSet::new();
    for word in words.filter(|word| word.len() > 1) {
        let named = |reason: &&Reason| reason.name() == word || word.ends_with('_') && reason.name().starts_with(word);
        found.extend(Reason::ALL.iter().filter(named).map(|reason| reason.name().to_owned()));
        found.extend((word == LATE).then(|| LATE.to_owned()));
    }
    found
}

/// The errors that a comment names, those of other fields included (`as in NewArtifactRequest.file`).
fn errors(pool: &DescriptorPool, comment: &str) -> BTreeSet<String> {
    let mut found = named(comment);
    for reference in comment.split("as in ").skip(1) {
        let name = reference.split_whitespace().next().unwrap_or_default();
        let name = name.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let Some((message, field)) = name.split_once('.').filter(|_| name.starts_with(char::is_uppercase)) else {
            continue;
        };
        let message = pool.get_message_by_name(&format!("weir.artifact.v1.{message}"));
        let field = message.and_then(|message| message.get_field_by_name(field));
        let field = field.unwrap_or_else(|| panic!("there is no {name}: {comment}"));
        found.extend(errors(pool, &self::comment(&field.parent_message().parent_file(), field.path())));
    }
    found
}

#[test]
fn what_a_comment_promises() {
    let pool = DescriptorPool::decode(weir_proto::DESCRIPTOR).unwrap();
    let rows: [(&str, &[&str]); 6] = [
        ("A path. Not one: INVALID_REQUEST; absent: NOT_FOUND.", &["INVALID_REQUEST", "NOT_FOUND"]),
        ("One of the SOURCE_NOT reasons.", &[]),
        ("One of the SOURCE_N reasons, or of those of STORAGE_.", &["STORAGE_FAILED", "STORAGE_FULL"]),
        ("The deadline (DEADLINE_EXCEEDED), 9 for FAILED_PRECONDITION, EVENT_TYPE_GAP.", &["DEADLINE_EXCEEDED"]),
        ("As in .gitignore, as in NewArtifactRequest.file. Else: NAME_TAKEN.", &["INVALID_REQUEST", "NAME_TAKEN"]),
        ("As in WriteHeader.file: as in NewArtifactRequest.file", &["INVALID_REQUEST"]),
    ];
    for (comment, expected) in rows {
        assert_eq!(errors(&pool, comment).into_iter().collect::<Vec<_>>(), expected, "{comment}");
    }
}
