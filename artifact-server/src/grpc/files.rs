//! `Read`: the bytes of a stored file.

use std::{ops::Range, sync::Arc};

use futures::{StreamExt, stream};
use tonic::{Request, Status};
use weir_proto::{ArtifactPath, Failure, Reason, v1};

use super::{
    call::{Answers, Server, blocking},
    convert, deadline,
};
use crate::storage::{Opened, Store};

/// Most bytes of one message.
const PIECE: u64 = 256 * 1024;

/// What is read, and then its bytes.
pub(super) async fn read(
    server: &Server,
    request: Request<v1::ReadRequest>,
) -> Result<Answers<v1::ReadResponse>, Status> {
    let over = deadline::over(deadline::timeout(request.metadata()));
    let access = server.access(&request);
    let v1::ReadRequest { path, offset, length } = request.into_inner();
    let path = convert::path("path", &path)?;
    access.see(path.dir())?;
    let store = Arc::clone(&server.store);
    let target = server.store.target(&path);
    let file = target.clone();
    let opened = blocking(move || store.open_verified(&file)).await?;
    let opened = opened.ok_or_else(|| Failure::new(Reason::NotFound, format!("there is no file {target}")))?;
    let range = range(offset, length, opened.size)?;
    server.metrics.read(range.end - range.start);
    let start = v1::ReadStart {
        digest: opened.digest.to_string(),
        size: opened.size,
        offset: range.start,
        length: range.end - range.start,
    };
    let start = v1::ReadResponse { message: Some(v1::read_response::Message::Start(start)) };
    let pieces = pieces(Arc::clone(&server.store), target, opened, range);
    let late = stream::once(over).map(Err);
    // Whichever comes first: the end of the bytes, or the deadline.
    let answers = stream::iter([Ok(start)]).chain(pieces).map(Some).chain(stream::iter([None]));
    let answers = stream::select(answers, late.map(Some));
    let answers = answers.take_while(|answer| std::future::ready(answer.is_some())).filter_map(std::future::ready);
    Ok(server.until_stop(answers))
}

/// Which bytes are asked for.
fn range(offset: u64, length: u64, size: u64) -> Result<Range<u64>, Failure> {
    if offset > size {
        return Err(convert::invalid(
            "offset",
            format!("offset {offset} is beyond the end: the file has {size} bytes"),
        ));
    }
    let end = if length == 0 { size } else { offset.saturating_add(length).min(size) };
    Ok(offset..end)
}

fn pieces(
    store: Arc<Store>,
    path: ArtifactPath,
    opened: Opened,
    range: Range<u64>,
) -> impl futures::Stream<Item = Result<v1::ReadResponse, Status>> + Send {
    stream::try_unfold(range.start, move |at| {
        let (store, path, opened, end) = (Arc::clone(&store), path.clone(), opened.clone(), range.end);
        async move {
            if at >= end {
                return Ok(None);
            }
            let changed = move |error: std::io::Error| {
                store.doubt(&path);
                Failure::new(Reason::FileChanged, format!("{path} can not be read on: {error}; read it again"))
            };
            let bytes = blocking(move || opened.piece(at..end, PIECE).map_err(changed)).await?;
            let next = at + bytes.len() as u64;
            let message = Some(v1::read_response::Message::Chunk(bytes.to_vec()));
            Ok(Some((v1::ReadResponse { message }, next)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let rows = [
            ("all", 0, 0, 10, Some(0..10)),
            ("from the middle", 4, 0, 10, Some(4..10)),
            ("a part", 4, 2, 10, Some(4..6)),
            ("more than there is", 4, 99, 10, Some(4..10)),
            ("more than there are numbers", 4, u64::MAX, 10, Some(4..10)),
            ("from the end", 10, 0, 10, Some(10..10)),
            ("beyond the end", 11, 0, 10, None),
            ("of nothing", 0, 0, 0, Some(0..0)),
        ];
        for (row, offset, length, size, expected) in rows {
            assert_eq!(range(offset, length, size).ok(), expected, "row {row}");
        }
    }
}
