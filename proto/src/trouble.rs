//! What the status that ended a call means, sorted by what the caller can do next. Each client says it in its own words.

use std::error::Error as _;

use tonic::{Code, Status};

use crate::{Failure, Reason};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers, the connection broke, or the server is ending. The innermost cause, e.g. `No such file or directory (os error 2)`.
    Unreachable(String),
    /// The call took longer than it may. What the transport says.
    Late(String),
    /// The server says no, and why.
    Refused(Failure),
    /// An answer that is not of the contract, e.g. of a proxy or of an older server: its code and message.
    Unexpected(Code, String),
}

impl Trouble {
    /// Sorts a status.
    pub fn of(status: &Status) -> Self {
        if let Some(failure) = Failure::from_status(status) {
            return if failure.reason == Reason::ShuttingDown {
                Self::Unreachable(failure.message)
            } else {
                Self::Refused(failure)
            };
        }
        match status.code() {
            Code::Unavailable => Self::Unreachable(innermost(status)),
            Code::DeadlineExceeded | Code::Cancelled => Self::Late(innermost(status)),
            // What a connection that breaks in the middle of a stream looks like.
            Code::Unknown | Code::Internal if status.source().is_some() => Self::Unreachable(innermost(status)),
            code => Self::Unexpected(code, status.message().to_owned()),
        }
    }
}

/// The deepest cause says most: the layers above it say "transport error".
fn innermost(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut next = status.source();
    while let Some(error) = next {
        text = error.to_string();
        next = error.source();
    }
    text
}
