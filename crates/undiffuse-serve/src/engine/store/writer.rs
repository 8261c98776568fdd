//! The thread that writes. It takes whatever waits, writes it in one durable transaction, and only then says so.
//!
//! A file that failed is closed and reopened, at once and then ever more rarely, until something can be written again.
//! What was refused is seen to then: jobs that nobody was told of are taken out should they have got in after all, and jobs
//! that ended in the meantime also end in the store.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::Database;

use super::age::Age;
use super::file::{Opener, with};
use super::rows::{Surplus, apply, note, prepare, prune};
use super::{Change, Keep, Message, Results, Shared, Written};
use crate::budget::Client;
use crate::job::JobState;

/// Most changes in one transaction.
const TOGETHER: usize = 256;
/// How often old jobs are looked for.
const PRUNE: Duration = Duration::from_secs(60);
/// How long a file that failed is left alone, the first time and at most.
const PAUSE: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

pub struct Writer {
    pub shared: Arc<Shared>,
    pub path: PathBuf,
    pub opener: Box<Opener>,
    pub keep: Keep,
    pub age: Age,
    /// The job of each client that ended last.
    newest: HashMap<Client, String>,
    /// What to write first when the file can be written again.
    owed: Vec<Change>,
    pause: Duration,
    /// When to open the file again.
    due: Option<Instant>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, path: PathBuf, opener: Box<Opener>, keep: Keep, age: Age) -> Self {
        let (newest, owed) = (HashMap::new(), Vec::new());
        Self { shared, path, opener, keep, age, newest, owed, pause: PAUSE[0], due: None }
    }

    /// Writes what comes until nobody can send any more.
    pub fn run(mut self, waiting: &Receiver<Message>) {
        loop {
            let patience = self.due.map_or(PRUNE, |due| due.saturating_duration_since(Instant::now()));
            let first = match waiting.recv_timeout(patience) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.reopen();
            }
            let idle = first.is_none();
            let messages = first.into_iter().chain(waiting.try_iter().take(TOGETHER - 1));
            let (mut changes, mut replies) = (Vec::new(), Vec::new());
            for message in messages {
                match message {
                    Message::Change(change, reply) => {
                        changes.push(change);
                        replies.push(reply);
                    }
                    Message::Failed(why) => self.let_go(&why),
                }
            }
            if idle {
                changes.push(Change::Prune);
            }
            if changes.is_empty() {
                continue;
            }
            let results = self.commit(&changes);
            if results.is_err() {
                self.owed.extend(changes.into_iter().filter_map(owed));
            }
            for (k, reply) in replies.into_iter().enumerate() {
                // Nobody may be waiting any more.
                let _ = reply.try_send(results.as_ref().map(|all| all[k].clone()).map_err(Clone::clone));
            }
        }
        if self.due.is_some() {
            self.reopen();
        }
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Written>, String> {
        for change in changes {
            match change {
                Change::Save(record, _) if record.job.state.is_final() => {
                    self.newest.insert(record.client.clone(), record.job.id.clone());
                }
                Change::Delete(gone) => self.newest.retain(|_, id| id != gone),
                _ => {}
            }
        }
        let shared = Arc::clone(&self.shared);
        let written = {
            let database = shared.database();
            let Some(database) = database.as_ref() else { return Err(shared.trouble()) };
            self.write(database, changes)
        };
        written.map_err(|e| {
            self.let_go(&e);
            shared.trouble()
        })
    }

    fn write(&mut self, database: &Database, changes: &[Change]) -> Result<Vec<Written>, String> {
        let mut total = self.shared.bytes.load(Ordering::Relaxed);
        let (keep, age) = (self.keep, &self.age);
        let newest: HashSet<&str> = self.newest.values().map(String::as_str).collect();
        let (written, gone) = with(database, |tx| {
            let now = age.now();
            let each = changes.iter().map(|change| apply(tx, change, now, &mut total));
            let (written, mut gone) = (each.collect::<Result<Vec<_>, _>>()?, Vec::new());
            if total > keep.bytes || changes.iter().any(|change| matches!(change, Change::Prune)) {
                let surplus = Surplus { total, most: keep.bytes, oldest: age.before(keep.age), newest: &newest };
                (total, gone) = prune(tx, &surplus)?;
            }
            note(tx, &age.clocks())?;
            Ok((written, gone))
        })?;
        drop(newest);
        if !gone.is_empty() {
            let gone: HashSet<String> = gone.into_iter().collect();
            self.newest.retain(|_, id| !gone.contains(id));
        }
        self.shared.bytes.store(total, Ordering::Relaxed);
        Ok(written)
    }

    /// Closes a file that failed: after an error of the disk nothing more can be had of it until it is reopened.
    fn let_go(&mut self, why: &str) {
        if self.due.is_none() {
            crate::remark(&format!("the store cannot be used: {why}; it is tried again until it can be"));
            self.pause = PAUSE[0];
        }
        self.due = Some(Instant::now() + self.pause);
        self.shared.fail(why);
        let database = self.shared.database_mut().take();
        // One that panicked before may do so again.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }

    /// Opens the file again, and believes in it once something has been written.
    fn reopen(&mut self) {
        let tried = (self.opener)(&self.path).and_then(|database| {
            let (total, _) = with(&database, prepare)?;
            self.shared.bytes.store(total, Ordering::Relaxed);
            let owed = std::mem::take(&mut self.owed);
            // The time is noted, so this always writes.
            self.write(&database, &owed).inspect_err(|_| self.owed = owed)?;
            Ok(database)
        });
        match tried {
            Ok(database) => {
                *self.shared.database_mut() = Some(database);
                self.due = None;
                self.shared.recover();
                crate::remark("the store can be used again");
            }
            Err(_) => {
                self.pause = (2 * self.pause).min(PAUSE[1]);
                self.due = Some(Instant::now() + self.pause);
            }
        }
    }
}

/// What a change that could not be written leaves to do.
fn owed(change: Change) -> Option<Change> {
    match change {
        // Its client was told that it is not there.
        Change::Submit(record, ..) => Some(Change::Delete(record.job.id)),
        // Its client was told that it has ended; its pictures are not missed.
        Change::Save(record, _) if matches!(record.job.state, JobState::Failed | JobState::Cancelled) => {
            Some(Change::Save(record, Results::none()))
        }
        Change::Save(..) | Change::Delete(_) | Change::Prune => None,
    }
}
