//! What goes on beside the work of a run: says that the generator is being worked on, and checks what it has published, unless
//! the work is over before anybody could read it.

use std::{sync::atomic::Ordering, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Run;
use crate::{error::ReconcileError, plan::conditions};

/// How long a run that only follows its sources may stay silent. Most end within it; for a generator with a thousand
/// artifacts one status is hundreds of kilobytes, which cost kube-apiserver more than the whole run costs Weir.
const SILENCE: Duration = Duration::from_secs(1);

/// How often files are checked while the work goes on, e.g. while a source is fetched again and again.
const CHECK: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// Does `work` and reports that it is going on. A generator that has not reported on its generation yet says so before
    /// anything is done: whoever waits for it must not take the conditions of the old one for an answer.
    pub(super) async fn working<T>(
        &self,
        work: impl Future<Output = Result<T, ReconcileError>>,
    ) -> Result<T, ReconcileError> {
        self.has_worked.store(true, Ordering::Relaxed);
        let mut work = std::pin::pin!(work);
        let status = self.generator.status.as_ref();
        let current = status.map_or(&[][..], |status| &status.conditions);
        if conditions::are_of(current, self.generator.metadata.generation) {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(SILENCE) => {}
            }
        }
        let over = CancellationToken::new();
        let work = async {
            let done = work.await;
            over.cancel();
            done
        };
        let (progress, (), done) = tokio::join!(self.report_progress(), self.check_until(&over), work);
        progress.and(done)
    }

    /// Drift was found before files were looked at, and its repair takes time: lost ones are told of meanwhile.
    async fn check_until(&self, over: &CancellationToken) {
        while !over.is_cancelled() {
            // What fails here is logged, and done again right away.
            _ = self.mark_lost().await;
            tokio::select! {
                () = over.cancelled() => {}
                () = tokio::time::sleep(CHECK) => {}
            }
        }
    }
}
