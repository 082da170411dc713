//! `Read`.

use backon::BackoffBuilder as _;
use tonic::Streaming;

use super::{Client, Error};
use crate::{
    Failure, Reason,
    v1::{ReadRequest, ReadResponse, ReadStart, read_response::Message},
};

/// The bytes of a file, or of a range of it, as they come. A connection that breaks is made again, and reading goes on where it stood, as
/// long as the file is the same.
#[derive(Debug)]
pub struct Download {
    client: Client,
    path: String,
    start: ReadStart,
    at: u64,
    answers: Streaming<ReadResponse>,
}

impl Client {
    /// Reads a file, or the range of it that the request names.
    ///
    /// ```no_run
    /// # use weir_proto::{client::{Client, Error}, v1::ReadRequest};
    /// # async fn read(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let path = "externalartifact/apps/docs/values.yaml".to_owned();
    /// let mut download = client.read(ReadRequest { path, ..ReadRequest::default() }).await?;
    /// println!("{} bytes of {}", download.start().length, download.start().digest);
    /// while let Some(chunk) = download.chunk().await? {
    ///     std::io::Write::write_all(&mut std::io::stdout(), &chunk)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, request: ReadRequest) -> Result<Download, Error> {
        let (start, answers) = self.again(|| self.open(request.clone())).await?;
        let at = start.offset;
        Ok(Download { client: self.clone(), path: request.path, start, at, answers })
    }

    async fn open(&self, request: ReadRequest) -> Result<(ReadStart, Streaming<ReadResponse>), Error> {
        let mut answers = self.answer(self.storage().read(self.timed(request)).await)?;
        match answers.message().await.map_err(|status| self.error(&status))?.and_then(|answer| answer.message) {
            Some(Message::Start(start)) => Ok((start, answers)),
            _ => Err(self.cut("before it started")),
        }
    }
}

impl Download {
    /// Digest and size of the whole file, and which bytes of it come.
    pub fn start(&self) -> &ReadStart {
        &self.start
    }

    /// The next bytes, 256 KiB at most; `None` when all are there. A file that is another one by now: `FILE_CHANGED`.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let end = self.start.offset + self.start.length;
        if self.at >= end {
            return Ok(None);
        }
        let mut waits = self.client.retries.waits().build();
        let mut next = self.next().await;
        let bytes = loop {
            match next {
                Err(error) if error.is_transient() => match waits.next() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                },
                result => break result?,
            }
            next = match self.resume(end).await {
                // The bytes so far are of another file; asking once more can not mend that.
                Ok(Some(changed)) => return Err(changed.into()),
                Ok(None) => self.next().await,
                Err(error) => Err(error),
            };
        };
        self.at += bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// All that is left.
    pub async fn bytes(mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(mut chunk) = self.chunk().await? {
            bytes.append(&mut chunk);
        }
        Ok(bytes)
    }

    async fn next(&mut self) -> Result<Vec<u8>, Error> {
        let answer = self.answers.message().await.map_err(|status| self.client.error(&status))?;
        match answer.and_then(|answer| answer.message) {
            Some(Message::Chunk(bytes)) if !bytes.is_empty() => Ok(bytes),
            _ => Err(self.client.cut(&format!("at byte {}", self.at))),
        }
    }

    /// Asks for the rest. An error of the contract when it is the rest of another file.
    async fn resume(&mut self, end: u64) -> Result<Option<Failure>, Error> {
        let request = ReadRequest { path: self.path.clone(), offset: self.at, length: end - self.at };
        let (start, answers) = self.client.open(request).await?;
        if (&start.digest, start.size) == (&self.start.digest, self.start.size) {
            self.answers = answers;
            return Ok(None);
        }
        let text = format!("{} became another file while it was read; read it again", self.path);
        Ok(Some(Failure::new(Reason::FileChanged, text)))
    }
}
