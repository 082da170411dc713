//! A request that ends is not always whole: its client may have taken it back. The gRPC library lets both end alike, so what was cut off
//! would pass for all that was sent. Here, below the library, the two are still told apart.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};

/// Makes the messages of a request end with an error, unless its client said that they are all.
pub(super) fn or_error(request: Request<Body>) -> Request<Body> {
    request.map(|body| Body::new(Whole(body)))
}

/// The bytes of a request.
struct Whole(Body);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        Poll::Ready(match frame {
            // The library takes this code, and no other, for an end.
            Some(Err(status)) if status.code() == Code::Cancelled => Some(Err(cut_off())),
            // The client reset the stream and gave no error as its reason.
            None if !self.0.is_end_stream() => Some(Err(cut_off())),
            frame => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Its client does not wait for it any more.
fn cut_off() -> Status {
    Status::aborted("the client took the call back before it had sent everything")
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    /// What came, then an end that nobody announced, or an error.
    fn broken_off(last: Option<Status>) -> Body {
        let data = Ok(Frame::data(Bytes::from_static(b"half")));
        Body::new(StreamBody::new(stream::iter([Some(data), last.map(Err)].into_iter().flatten())))
    }

    #[tokio::test]
    async fn only_an_end_that_the_client_announced_is_one() {
        let rows = [
            ("whole", Body::new(Full::new(Bytes::from_static(b"whole"))), Ok(5)),
            ("empty", Body::empty(), Ok(0)),
            ("cancelled", broken_off(Some(Status::cancelled("x"))), Err(Code::Aborted)),
            ("reset without an error", broken_off(None), Err(Code::Aborted)),
            ("another error", broken_off(Some(Status::unavailable("x"))), Err(Code::Unavailable)),
        ];
        for (row, body, expected) in rows {
            let got = or_error(Request::new(body)).into_body().collect().await;
            assert_eq!(got.map(|all| all.to_bytes().len()).map_err(|status| status.code()), expected, "row {row}");
        }
    }
}
