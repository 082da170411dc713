//! Questions: they change nothing, so that asking twice is always safe.

use super::{Client, Error};
use crate::v1;

impl Client {
    /// What the server is and how it is configured.
    ///
    /// ```no_run
    /// # async fn ask(client: weir_proto::client::Client) -> Result<(), weir_proto::client::Error> {
    /// println!("weir-artifact-server {}", client.info().await?.version);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn info(&self) -> Result<v1::GetInfoResponse, Error> {
        self.again(|| async { self.answer(self.storage().get_info(self.timed(v1::GetInfoRequest {})).await) }).await
    }

    /// What is recorded of a file; `None` when it is not there.
    pub async fn stat(&self, path: &str) -> Result<Option<v1::StoredFile>, Error> {
        let request = v1::StatRequest { path: path.to_owned() };
        let call = || async { self.answer(self.storage().stat(self.timed(request.clone())).await) };
        Ok(self.again(call).await?.file)
    }

    /// Checks that files are there with the digest that they should have: one verdict for each pair of path and digest, in order.
    ///
    /// ```no_run
    /// # async fn check(client: weir_proto::client::Client) -> Result<(), weir_proto::client::Error> {
    /// use weir_proto::v1::{Verdict, VerifyRequest};
    ///
    /// let path = "externalartifact/apps/docs/values.yaml".to_owned();
    /// let digest = "sha256:e3e28ba0ad9ff6f4205af6251eb1639148ee162e2552b6819b251d59235d92dd".to_owned();
    /// for answer in client.verify(vec![VerifyRequest { path, digest }]).await? {
    ///     if answer.verdict() != Verdict::Ok {
    ///         println!("{} has to be made again: {}", answer.path, answer.message);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn verify(&self, files: Vec<v1::VerifyRequest>) -> Result<Vec<v1::VerifyResponse>, Error> {
        self.again(|| async {
            let request = self.timed(tokio_stream::iter(files.clone()));
            let mut answers = self.answer(self.storage().verify_many(request).await)?;
            let mut verdicts = Vec::with_capacity(files.len());
            while let Some(verdict) = answers.message().await.map_err(|status| self.error(&status))? {
                verdicts.push(verdict);
            }
            let short = verdicts.len() < files.len();
            if short {
                Err(self.cut(&format!("after {} of {} verdicts", verdicts.len(), files.len())))
            } else {
                Ok(verdicts)
            }
        })
        .await
    }
}
