//! Waits for what several servers have to agree on.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Controlled;
use crate::Failure;

/// How long the members of a group need to find each other, and to agree on another master.
pub(super) const AGREEMENT: Duration = Duration::from_secs(60);

/// The time limit of one query, after which it is repeated or another member is asked.
pub(super) const ASK: Duration = Duration::from_secs(1);

/// Waits until a check holds. It fails with the last error of the check.
pub(super) async fn until<F: Future<Output = Result<bool, Failure>>>(
    what: &str,
    is_so: impl Fn() -> F,
) -> Result<(), Failure> {
    let mut last = None;
    let waited = timeout(AGREEMENT, async {
        loop {
            match is_so().await {
                Ok(true) => return,
                Ok(false) => last = None,
                Err(error) => last = Some(error),
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    if waited.await.is_err() {
        return Err(format!("waited in vain for {what}: {last:?}").into());
    }
    Ok(())
}

/// Tells whether a server is a master with so many replicas in step, by its own word.
pub(super) async fn has_replicas(server: &Controlled, count: usize) -> Result<bool, Failure> {
    let info = async {
        let mut raw = server.raw().await?;
        let mut command = redis::cmd("INFO");
        let info: String = command.arg("replication").query_async(&mut raw).await?;
        Ok::<_, Failure>(info)
    };
    let info = timeout(ASK, info).await??;
    Ok(info.contains("role:master") && info.matches("state=online").count() >= count)
}
