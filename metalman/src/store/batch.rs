//! Commits of the operation journal, many in one transaction. A thousand machines that change at
//! once would otherwise queue for a thousand syncs of the disk.
//!
//! There is no task: whoever comes first writes what has gathered while the one before was writing.
//! Invariant: each commit succeeds or fails by itself; one that fails leaves nothing behind.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot::{self, error::TryRecvError};

use super::error::{StoreError, during};
use super::open::{Store, commit};
use super::targets::{CommitTarget, Committed, write};

/// Commits in one transaction at most, so that none waits long.
const MOST: usize = 128;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Batches {
    queue: Mutex<Vec<Pending>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Pending {
    targets: Vec<CommitTarget>,
    answer: oneshot::Sender<Result<Vec<Committed>, StoreError>>,
}

impl Store {
    /// Writes these targets, all or none, together with what others write now.
    pub(super) async fn commit_together(
        &self,
        targets: Vec<CommitTarget>,
    ) -> Result<Vec<Committed>, StoreError> {
        let (answer, mut result) = oneshot::channel();
        let batches = self.batches();
        lock(&batches.queue).push(Pending { targets, answer });
        loop {
            let turn = batches.turn.lock().await;
            match result.try_recv() {
                Ok(written) => return written,
                Err(TryRecvError::Empty) => {}
                // Taken by a writer that was dropped in its work; nobody knows how far it came.
                Err(TryRecvError::Closed) => {
                    return Err(StoreError::Interrupted {
                        operation: "targets.commit",
                    });
                }
            }
            let batch = {
                let mut queue = lock(&batches.queue);
                let most = MOST.min(queue.len());
                let rest = queue.split_off(most);
                mem::replace(&mut *queue, rest)
            };
            self.write_batch(batch).await;
            drop(turn);
        }
    }

    async fn write_batch(&self, batch: Vec<Pending>) {
        let mut tx = match self.begin("targets.commit").await {
            Ok(tx) => tx,
            Err(error) => return fail_all(batch, error),
        };
        let targets: Vec<&CommitTarget> = batch.iter().flat_map(|p| &p.targets).collect();
        let Ok(written) = write(&mut tx, &targets).await else {
            // One of them fails. Which, and what the others come to, is known after trying each.
            tx.rollback().await.ok();
            return self.write_each(batch).await;
        };
        if let Err(error) = commit(tx, "targets.commit").await {
            return fail_all(batch, error);
        }
        let mut written = written.into_iter();
        for pending in batch {
            let own = written.by_ref().take(pending.targets.len()).collect();
            // Nobody listens any more when the caller was dropped.
            pending.answer.send(Ok(own)).ok();
        }
    }

    async fn write_each(&self, batch: Vec<Pending>) {
        let mut tx = match self.begin("targets.commit").await {
            Ok(tx) => tx,
            Err(error) => return fail_all(batch, error),
        };
        let mut written = Vec::with_capacity(batch.len());
        for pending in batch {
            let one = async {
                save(&mut tx, "SAVEPOINT one").await?;
                let targets: Vec<&CommitTarget> = pending.targets.iter().collect();
                let done = write(&mut tx, &targets).await;
                let end = match &done {
                    Ok(_) => "RELEASE SAVEPOINT one",
                    Err(_) => "ROLLBACK TO SAVEPOINT one",
                };
                save(&mut tx, end).await?;
                Ok(done)
            };
            match one.await {
                Ok(outcome) => written.push((pending.answer, outcome)),
                // The transaction itself is broken: nothing of it is kept.
                Err(error) => written.push((pending.answer, Err(error))),
            }
        }
        let committed = commit(tx, "targets.commit").await.map_err(Arc::new);
        for (answer, outcome) in written {
            let outcome = match (&committed, outcome) {
                (Ok(()), outcome) => outcome,
                (Err(_), Err(error)) => Err(error),
                (Err(error), Ok(_)) => Err(together(error)),
            };
            answer.send(outcome).ok();
        }
    }
}

async fn save(tx: &mut super::open::Tx, statement: &'static str) -> Result<(), StoreError> {
    sqlx::query(statement)
        .execute(&mut **tx)
        .await
        .map(|_| ())
        .map_err(during("targets.commit"))
}

fn fail_all(batch: Vec<Pending>, error: StoreError) {
    let error = Arc::new(error);
    for pending in batch {
        pending.answer.send(Err(together(&error))).ok();
    }
}

fn together(error: &Arc<StoreError>) -> StoreError {
    StoreError::Together {
        source: Arc::clone(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
