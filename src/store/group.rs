//! Group commit: writes that wait for the disk together.
//!
//! Owns one thread for each store, started with its first grouped write and ended with the last
//! clone of the store. It takes what waits, runs all of it in one transaction, each in a savepoint
//! of its own, and commits once: what a commit costs is shared by everybody who waits for one.
//! Refuses to answer before the commit: what is answered is on the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use rusqlite::Transaction;
use tokio::sync::{mpsc, oneshot};

use super::{Result, Shared, Store, StoreError, reserve};
use crate::domain::Failure;

/// How many writes may wait; whoever comes then waits to wait.
const QUEUE: usize = 1024;
/// How many writes one commit takes: a bound on how long the first of them waits for the last.
const BATCH: usize = 256;

/// The way to the thread, which is started when it is first needed.
#[derive(Default)]
pub(super) struct Group {
    /// `None` where the system has no thread to give.
    writer: OnceLock<Option<Writer>>,
}

struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    thread: JoinHandle<()>,
}

impl Group {
    fn queue(&self, shared: &Arc<Shared>) -> Option<&mpsc::Sender<Box<dyn Job>>> {
        let start = || {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let shared = shared.clone();
            let thread = thread::Builder::new().name("store-writer".into());
            let thread = thread.spawn(move || drain(&shared, waiting)).ok()?;
            Some(Writer { queue, thread })
        };
        self.writer.get_or_init(start).as_ref().map(|writer| &writer.queue)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(Writer { queue, thread }) = self.writer.take().flatten() else { return };
        drop(queue);
        // What waits is still written, and whoever dropped the store finds its files at rest. The
        // last clone may have been in a write: a thread does not wait for itself.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}

/// A write that waits.
trait Job: Send {
    /// Runs it; whether what it wrote is to be kept. A failure is that of the whole transaction.
    fn run(&mut self, tx: &Transaction<'_>) -> Result<bool>;

    /// Says how it ended, now that the transaction has.
    fn answer(self: Box<Self>, failed: Option<&Failure>);
}

struct Write<T, F> {
    work: F,
    /// `None` until it has run, and when it panicked.
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: Fn(&Transaction<'_>) -> Result<T> + Send,
{
    fn run(&mut self, tx: &Transaction<'_>) -> Result<bool> {
        // What one request's write trips over is not the end of the others'.
        match catch_unwind(AssertUnwindSafe(|| (self.work)(tx))) {
            Ok(Err(StoreError::Sqlite(error))) if reserve::may_be_full(&error) => {
                Err(StoreError::Sqlite(error))
            }
            ended => {
                self.outcome = ended.ok();
                Ok(matches!(self.outcome, Some(Ok(_))))
            }
        }
    }

    fn answer(self: Box<Self>, failed: Option<&Failure>) {
        let answer = match failed {
            Some(failure) => Some(Err(StoreError::Refused(failure.clone()))),
            None => self.outcome,
        };
        if let Some(answer) = answer {
            // Nobody may be waiting any more; it is written all the same.
            let _ = self.reply.send(answer);
        }
    }
}

/// Commits what waits until nobody can wait any more.
fn drain(shared: &Shared, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut jobs = vec![first];
        let mut connection = shared.lock();
        // Whoever came while the connection was waited for comes along.
        while jobs.len() < BATCH
            && let Ok(job) = waiting.try_recv()
        {
            jobs.push(job);
        }
        let ended = shared.write_on(&mut connection, |tx| run_all(tx, &mut jobs));
        drop(connection);
        let failed = ended.err().map(Failure::from);
        for job in jobs {
            job.answer(failed.as_ref());
        }
    }
}

fn run_all(tx: &Transaction<'_>, jobs: &mut [Box<dyn Job>]) -> Result<()> {
    for job in jobs {
        tx.prepare_cached("SAVEPOINT job")?.execute([])?;
        if !job.run(tx)? {
            tx.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        tx.prepare_cached("RELEASE job")?.execute([])?;
    }
    Ok(())
}

impl Store {
    /// Runs `work` as [`Store::write`] does, in a commit that it shares with whoever else waits for
    /// one. It may be run more than once, after what it wrote before was rolled back. Once it is
    /// handed over, it is written, whether or not its answer is still waited for.
    pub(super) async fn write_grouped<T: Send + 'static>(
        &self,
        work: impl Fn(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(queue) = self.group.queue(&self.shared) else { return self.write(work) };
        let (reply, answer) = oneshot::channel();
        let given_up = || Failure::failed("the state could not be recorded: its writer gave up");
        let job = Box::new(Write { work, outcome: None, reply });
        queue.send(job).await.map_err(|_| given_up())?;
        answer.await.map_err(|_| given_up())?
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Weak;
    use std::task::{Context, Waker};

    use super::super::NewEvent;
    use super::*;
    use crate::domain::{DeploymentName, EventType};

    fn open() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("opens");
        (dir, store)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread();
        { runtime }.build().expect("a runtime").block_on(future)
    }

    fn event(message: &str) -> NewEvent {
        NewEvent::new(EventType::HealthCheck, message)
    }

    fn messages(store: &Store) -> Vec<String> {
        let events = store.events(None, 0, 1000).expect("reads");
        events.into_iter().map(|event| event.message).collect()
    }

    /// A write that says how many events others see while it runs.
    fn seen_by_others(store: &Store) -> impl Future<Output = Result<i64>> + 'static {
        let (store, path) = (store.clone(), store.path().to_owned());
        async move {
            let work = move |tx: &Transaction<'_>| {
                super::super::events::append(tx, &DeploymentName::main(), None, &event("x"))?;
                let others = rusqlite::Connection::open(&path)?;
                Ok(others.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?)
            };
            store.write_grouped(work).await
        }
    }

    type Waiting<T> = Pin<Box<dyn Future<Output = Result<T>>>>;

    /// Hands a write over, and does not wait for it.
    fn hand_over<T>(write: impl Future<Output = Result<T>> + 'static) -> Waiting<T> {
        let mut write: Waiting<T> = Box::pin(write);
        assert!(write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        write
    }

    /// Waits until the thread has taken one of so many, which is when it waits for the connection.
    fn until_one_is_taken(store: &Store, count: usize) {
        let queue = store.group.queue(&store.shared).expect("a thread");
        while queue.max_capacity() - queue.capacity() >= count {
            thread::yield_now();
        }
    }

    #[test]
    fn whoever_waits_shares_one_commit() {
        let (_dir, store) = open();
        let busy = store.shared.lock();
        let waiting: Vec<_> = (0..20).map(|_| hand_over(seen_by_others(&store))).collect();
        until_one_is_taken(&store, waiting.len());
        drop(busy);
        for one in waiting {
            let seen = block_on(one).expect("commits");
            assert_eq!(seen, 0, "there was a commit before its own");
        }
        assert_eq!(messages(&store).len(), 20);
    }

    #[tokio::test]
    async fn what_is_refused_takes_nothing_else_with_it() {
        let (_dir, store) = open();
        let name = DeploymentName::main();
        let write = |message: &'static str, ends: fn() -> Result<()>| {
            let (store, name) = (store.clone(), name.clone());
            async move {
                let work = move |tx: &Transaction<'_>| {
                    super::super::events::append(tx, &name, None, &event(message))?;
                    ends()
                };
                store.write_grouped(work).await
            }
        };
        let refuses = || Err(Failure::conflict("no").into());
        let ended = tokio::join!(
            write("first", || Ok(())),
            write("refused", refuses),
            write("broken", || Err(StoreError::LeaseLost)),
            write("panics", || panic!("on purpose")),
            write("last", || Ok(())),
        );
        assert!(ended.0.is_ok() && ended.4.is_ok());
        assert!(matches!(ended.1, Err(StoreError::Refused(it)) if it.message == "no"));
        assert!(matches!(ended.2, Err(StoreError::LeaseLost)));
        assert!(matches!(ended.3, Err(StoreError::Refused(it)) if it.message.contains("gave up")));
        assert_eq!(messages(&store), ["first", "last"]);
        write("after all of it", || Ok(())).await.expect("the thread lives");
    }

    #[test]
    fn a_commit_that_fails_fails_all_of_them() {
        let (_dir, store) = open();
        let side = rusqlite::Connection::open(store.path()).expect("opens");
        // Checked at the commit, so that each write by itself is well.
        side.execute_batch(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (parent INTEGER \
             REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
        )
        .expect("makes tables");
        let write = |sql: &'static str| {
            let store = store.clone();
            async move { store.write_grouped(|tx| Ok(tx.execute(sql, [])?)).await }
        };
        let busy = store.shared.lock();
        let sound = hand_over(write("INSERT INTO parent (id) VALUES (7)"));
        let orphan = hand_over(write("INSERT INTO child (parent) VALUES (1)"));
        until_one_is_taken(&store, 2);
        drop(busy);
        for one in [sound, orphan] {
            let ended = block_on(one);
            assert!(matches!(ended, Err(StoreError::Refused(_))), "{ended:?}");
        }
        let parents = "SELECT count(*) FROM parent";
        let parents: i64 = side.query_row(parents, [], |row| row.get(0)).expect("reads");
        assert_eq!(parents, 0);
        block_on(write("INSERT INTO parent (id) VALUES (7)")).expect("goes on");
    }

    #[test]
    fn what_was_handed_over_is_written_though_nobody_waits() {
        let (_dir, store) = open();
        let append = |message| {
            let store = store.clone();
            async move { store.append_event_async(DeploymentName::main(), event(message)).await }
        };
        let busy = store.shared.lock();
        drop(hand_over(append("left")));
        drop(busy);
        assert_eq!(block_on(append("after")).expect("commits").sequence, 2);
        assert_eq!(messages(&store), ["left", "after"]);
    }

    #[tokio::test]
    async fn the_thread_ends_with_the_last_clone() {
        let (_dir, store) = open();
        let shared: Weak<Shared> = Arc::downgrade(&store.shared);
        let clone = store.clone();
        drop(store);
        clone.append_event_async(DeploymentName::main(), event("x")).await.expect("commits");
        drop(clone);
        assert_eq!(shared.strong_count(), 0, "the connection is closed");
    }
}
