//! What the status that ended a call means, sorted by what the caller can do next. Each client says it in its own words.

use std::error::Error as _;

use tonic::{Code, Status, TimeoutExpired};

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
            // A connection that closes cancels the calls that wait on it. So does our own timer, but it signs its name.
            Code::Cancelled if status.source().is_some() && !timer_ended(status) => {
                Self::Unreachable(innermost(status))
            }
            Code::DeadlineExceeded | Code::Cancelled => Self::Late(innermost(status)),
            // What a connection that breaks in the middle of a stream looks like.
            Code::Unknown | Code::Internal if status.source().is_some() => Self::Unreachable(innermost(status)),
            code => Self::Unexpected(code, status.message().to_owned()),
        }
    }
}

fn timer_ended(status: &Status) -> bool {
    causes(status).any(|error| error.is::<TimeoutExpired>())
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(status.source(), |&error| error.source())
}

/// The deepest cause says most: the layers above it say "transport error".
fn innermost(status: &Status) -> String {
    causes(status).last().map_or_else(|| status.message().to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the transport makes of a cause it gave a status to: the status, with what led to it.
    #[derive(Debug, thiserror::Error)]
    #[error("transport error")]
    struct Transport(#[source] Status);

    #[test]
    fn a_closed_connection_is_not_a_late_answer() {
        let closed = Status::from_error(Box::new(Transport(Status::cancelled("operation was canceled"))));
        assert_eq!(closed.code(), Code::Cancelled, "what this is about");
        assert!(matches!(Trouble::of(&closed), Trouble::Unreachable(_)), "{closed:?}");

        let ours = Status::from_error(Box::new(TimeoutExpired(())));
        assert_eq!(ours.code(), Code::Cancelled, "what this is about");
        let said_by_the_server = Status::cancelled("Timeout expired");
        for late in [ours, said_by_the_server, Status::deadline_exceeded("30s")] {
            assert!(matches!(Trouble::of(&late), Trouble::Late(_)), "{late:?}");
        }
    }
}
