//! Jobs and their results on disk: one file that survives anything.
//!
//! Everything that changes goes through one thread, which takes whatever waits, writes it in one durable transaction, and
//! only then says so to those who wait: many small jobs share the time that a disk needs to be sure.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::id::{is_id, now};
use super::lock;
use crate::job::{Frame, Job, State};

/// Id → [`Record`] as JSON.
const JOBS: TableDefinition<&str, &[u8]> = TableDefinition::new("jobs");
/// Id → state, milliseconds since 1970 at its end (0 before), bytes of all that is stored for it.
const INDEX: TableDefinition<&str, (u8, u64, u64)> = TableDefinition::new("index");
/// Id and 0 (picture to start from) or 1 (mask) → PNG.
const INPUTS: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("inputs");
/// Id and number of the picture → PNG.
const IMAGES: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("images");
/// Id and number of the step → [`Frame`] as JSON.
const FRAMES: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("frames");
/// Client and key → id of the job, hash of the request.
const KEYS: TableDefinition<(&str, &str), (&str, &str)> = TableDefinition::new("keys");

/// Memory for pages of the file.
const CACHE: usize = 64 << 20;
/// Most changes in one transaction.
const TOGETHER: usize = 256;
/// How often old jobs are looked for.
const PRUNE: Duration = Duration::from_secs(60);
/// A file below this is never worth rewriting.
const SMALL: u64 = 16 << 20;

/// A job with what only the service knows of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What clients see.
    pub job: Job,
    /// Whose it is.
    pub client: String,
    /// The key that makes it idempotent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Places in a batch that one of its pictures takes.
    pub weight: usize,
}

/// A change.
pub enum Change {
    /// A new job: hash of its request, its pictures.
    Submit(Box<Record>, String, [Option<Vec<u8>>; 2]),
    /// A job's new state with pictures and steps that were finished.
    Save(Box<Record>, Results),
    /// A job is forgotten.
    Delete(String),
    /// Old jobs are forgotten.
    Prune,
}

/// What a chunk made.
#[derive(Clone, Default)]
pub struct Results {
    /// Pictures by their number in the job, as PNG.
    pub images: Vec<(usize, Vec<u8>)>,
    /// Steps.
    pub frames: Vec<Arc<Frame>>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is on disk.
    Done,
    /// The key was used before: for this job, by a request of this hash.
    Known(String, String),
}

type Reply = SyncSender<Result<Written, String>>;

/// How long and how much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Age of a finished job.
    pub age: Duration,
    /// Bytes of all jobs together.
    pub bytes: u64,
}

/// The store.
pub struct Store {
    database: Arc<RwLock<Option<Database>>>,
    changes: Mutex<Option<Sender<(Change, Reply)>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    bytes: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
}

impl Store {
    /// Opens the store in a folder, which is made where there is none, and forgets what is old.
    ///
    /// # Errors
    /// A folder that cannot be used, a file that is damaged or in use, in words for whoever starts the service.
    pub fn open(folder: &Path, keep: Keep) -> Result<Self, String> {
        let shown = folder.display();
        make_folder(folder)
            .map_err(|e| format!("cannot make the store's folder `{shown}`: {e}; choose one that you may write to"))?;
        let path = folder.join("jobs.redb");
        make_file(&path).map_err(|e| format!("cannot write the store `{}`: {e}", path.display()))?;
        let mut database = open(&path)?;
        let failed = |e: redb::Error| format!("the store `{}` cannot be used: {e}", path.display());
        let mut total = with(&database, |tx| {
            // Reading wants every table to be there.
            tx.open_table(JOBS)?;
            tx.open_table(INPUTS)?;
            tx.open_table(IMAGES)?;
            tx.open_table(FRAMES)?;
            tx.open_table(KEYS)?;
            let index = tx.open_table(INDEX)?;
            index.iter()?.try_fold(0, |sum, row| Ok::<u64, redb::Error>(sum + row?.1.value().2))
        })
        .map_err(failed)?;
        total = with(&database, |tx| prune(tx, total, keep)).map_err(failed)?;
        let length = fs::metadata(&path).map_or(0, |m| m.len());
        if length > SMALL && total < length / 2 {
            // Space is not worth a refusal to start.
            let _ = database.compact();
        }
        let bytes = Arc::new(AtomicU64::new(total));
        let database = Arc::new(RwLock::new(Some(database)));
        let (changes, waiting) = channel();
        let failed = Arc::new(AtomicBool::new(false));
        let (own, counted, broken) = (Arc::clone(&database), Arc::clone(&bytes), Arc::clone(&failed));
        let writer = Writer { database: own, bytes: counted, failed: broken, keep };
        let writer = std::thread::Builder::new().name("store".into()).spawn(move || writer.run(&waiting));
        let writer = writer.map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok(Self { database, changes: Mutex::new(Some(changes)), writer: Mutex::new(Some(writer)), bytes, failed })
    }

    /// Writes a change and waits until it is safe.
    ///
    /// # Errors
    /// What the disk says, or that the store is closed.
    pub fn write(&self, change: Change) -> Result<Written, String> {
        let closed = || "the store is closed".to_string();
        let (reply, written) = sync_channel(1);
        lock(&self.changes).as_ref().ok_or_else(closed)?.send((change, reply)).map_err(|_| closed())?;
        written.recv().map_err(|_| closed())?
    }

    /// Whether the last change could be written.
    pub fn is_sound(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }

    /// Bytes of all jobs together.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Writes what waits and closes the file.
    pub fn close(&self) {
        drop(lock(&self.changes).take());
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn read<T>(&self, of: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Option<T> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let tx = database.as_ref()?.begin_read().ok()?;
        of(&tx).inspect_err(|e| eprintln!("the store cannot be read: {e}")).ok()
    }

    /// A job.
    pub fn record(&self, id: &str) -> Option<Record> {
        self.read(|tx| Ok(tx.open_table(JOBS)?.get(id)?.and_then(|bytes| serde_json::from_slice(bytes.value()).ok())))?
    }

    /// Jobs that have not ended, the oldest first.
    pub fn unfinished(&self) -> Vec<Record> {
        self.read(|tx| {
            let (index, jobs) = (tx.open_table(INDEX)?, tx.open_table(JOBS)?);
            let mut found = Vec::new();
            for row in index.iter()? {
                let (id, row) = row?;
                if !is_final(row.value().0)
                    && let Some(bytes) = jobs.get(id.value())?
                    && let Ok(record) = serde_json::from_slice(bytes.value())
                {
                    found.push(record);
                }
            }
            Ok(found)
        })
        .unwrap_or_default()
    }

    /// At most `limit` jobs older than `before`, the newest first, whose state is wanted; `state` knows better than the
    /// store of jobs that have not ended.
    pub fn list(
        &self,
        before: Option<&str>,
        limit: usize,
        wanted: Option<State>,
        state: impl Fn(&str) -> Option<State>,
    ) -> Vec<Record> {
        self.read(|tx| {
            let (index, jobs) = (tx.open_table(INDEX)?, tx.open_table(JOBS)?);
            let rows = match before {
                Some(before) => index.range::<&str>(..before)?,
                None => index.iter()?,
            };
            let mut found = Vec::new();
            for row in rows.rev() {
                if found.len() >= limit {
                    break;
                }
                let (id, row) = row?;
                let now = state(id.value()).map_or(row.value().0, |state| state as u8);
                if wanted.is_none_or(|wanted| wanted as u8 == now)
                    && let Some(bytes) = jobs.get(id.value())?
                    && let Ok(record) = serde_json::from_slice(bytes.value())
                {
                    found.push(record);
                }
            }
            Ok(found)
        })
        .unwrap_or_default()
    }

    /// The PNG of a finished picture.
    pub fn image(&self, id: &str, index: usize) -> Option<Vec<u8>> {
        let index = u32::try_from(index).ok()?;
        self.read(|tx| bytes(&tx.open_table(IMAGES)?, id, index))?
    }

    /// The pictures that a job starts from: the picture, the mask.
    pub fn inputs(&self, id: &str) -> Option<[Option<Vec<u8>>; 2]> {
        self.read(|tx| {
            let table = tx.open_table(INPUTS)?;
            Ok([bytes(&table, id, 0)?, bytes(&table, id, 1)?])
        })
    }

    /// The steps of a job.
    pub fn frames(&self, id: &str) -> Option<Vec<Frame>> {
        self.read(|tx| {
            let mut frames = Vec::new();
            for row in tx.open_table(FRAMES)?.range((id, 0)..=(id, u32::MAX))? {
                frames.extend(serde_json::from_slice::<Frame>(row?.1.value()).ok());
            }
            Ok(frames)
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

fn bytes(
    table: &ReadOnlyTable<(&'static str, u32), &'static [u8]>,
    id: &str,
    number: u32,
) -> Result<Option<Vec<u8>>, redb::Error> {
    Ok(table.get((id, number))?.map(|bytes| bytes.value().to_vec()))
}

fn is_final(state: u8) -> bool {
    [State::Done, State::Failed, State::Cancelled].iter().any(|s| *s as u8 == state)
}

/// What only the service's own user may see.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn make_file(path: &Path) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn open(path: &Path) -> Result<Database, String> {
    let shown = path.display();
    let damaged =
        |why: String| format!("the store `{shown}` is damaged ({why}); move it away to begin with an empty one");
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.create(path)));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => {
            Err(format!("the store `{shown}` is in use by another service: end it, or give this one another --store"))
        }
        Ok(Err(e)) => Err(damaged(e.to_string())),
        Err(panic) => Err(damaged(super::pool::message(panic))),
    }
}

/// Runs `change` in one durable transaction.
fn with<T>(
    database: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let tx = database.begin_write()?;
    let result = change(&tx)?;
    tx.commit()?;
    Ok(result)
}

/// The thread that writes.
struct Writer {
    database: Arc<RwLock<Option<Database>>>,
    bytes: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
    keep: Keep,
}

impl Writer {
    fn run(&self, waiting: &Receiver<(Change, Reply)>) {
        loop {
            let first = match waiting.recv_timeout(PRUNE) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => (Change::Prune, sync_channel(1).0),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (changes, replies): (Vec<_>, Vec<_>) =
                std::iter::once(first).chain(waiting.try_iter().take(TOGETHER - 1)).unzip();
            let results = self.commit(&changes);
            self.failed.store(results.is_err(), Ordering::Relaxed);
            for (k, reply) in replies.into_iter().enumerate() {
                // Nobody may be waiting any more.
                let _ = reply.try_send(results.as_ref().map(|all| all[k].clone()).map_err(Clone::clone));
            }
        }
    }

    fn commit(&self, changes: &[Change]) -> Result<Vec<Written>, String> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or("the store is closed")?;
        let mut total = self.bytes.load(Ordering::Relaxed);
        let written = with(database, |tx| {
            let written = changes.iter().map(|change| apply(tx, change, &mut total)).collect::<Result<Vec<_>, _>>()?;
            if total > self.keep.bytes || changes.iter().any(|change| matches!(change, Change::Prune)) {
                total = prune(tx, total, self.keep)?;
            }
            Ok(written)
        });
        let written = written.map_err(|e| format!("the store cannot be written: {e}"))?;
        self.bytes.store(total, Ordering::Relaxed);
        Ok(written)
    }
}

/// Writes one change and counts its bytes.
fn apply(tx: &WriteTransaction, change: &Change, total: &mut u64) -> Result<Written, redb::Error> {
    match change {
        Change::Submit(record, hash, inputs) => {
            if let Some(key) = &record.key {
                let mut keys = tx.open_table(KEYS)?;
                if let Some(known) = keys.get((record.client.as_str(), key.as_str()))? {
                    let (id, hash) = known.value();
                    return Ok(Written::Known(id.into(), hash.into()));
                }
                keys.insert((record.client.as_str(), key.as_str()), (record.job.id.as_str(), hash.as_str()))?;
            }
            let mut table = tx.open_table(INPUTS)?;
            let mut more = 0;
            for (number, png) in inputs.iter().enumerate().filter_map(|(k, png)| Some((k as u32, png.as_ref()?))) {
                table.insert((record.job.id.as_str(), number), png.as_slice())?;
                more += png.len();
            }
            save(tx, record, more as u64, total)?;
        }
        Change::Save(record, Results { images, frames }) => {
            let id = record.job.id.as_str();
            // Forgotten in the meantime.
            if tx.open_table(INDEX)?.get(id)?.is_none() {
                return Ok(Written::Done);
            }
            let (mut table, mut more) = (tx.open_table(IMAGES)?, 0);
            for (number, png) in images {
                table.insert((id, *number as u32), png.as_slice())?;
                more += png.len();
            }
            let mut table = tx.open_table(FRAMES)?;
            for frame in frames {
                let json = serde_json::to_vec(&**frame).unwrap_or_default();
                table.insert((id, frame.row as u32), json.as_slice())?;
                more += json.len();
            }
            save(tx, record, more as u64, total)?;
        }
        Change::Delete(id) => *total -= forget(tx, id)?.min(*total),
        Change::Prune => {}
    }
    Ok(Written::Done)
}

/// Writes a record and its row of the index; `more` bytes were stored beside it.
fn save(tx: &WriteTransaction, record: &Record, more: u64, total: &mut u64) -> Result<(), redb::Error> {
    let id = record.job.id.as_str();
    let json = serde_json::to_vec(record).unwrap_or_default();
    let old = tx.open_table(JOBS)?.insert(id, json.as_slice())?.map_or(0, |old| old.value().len() as u64);
    let mut index = tx.open_table(INDEX)?;
    let before = index.get(id)?.map_or(0, |row| row.value().2);
    let bytes = (before + more + json.len() as u64).saturating_sub(old);
    let end = record.job.finished.map_or(0, |at| (at * 1e3) as u64);
    index.insert(id, (record.job.state as u8, end, bytes))?;
    *total = (*total + bytes).saturating_sub(before);
    Ok(())
}

/// Forgets a job and says how many bytes it was.
fn forget(tx: &WriteTransaction, id: &str) -> Result<u64, redb::Error> {
    let Some(bytes) = tx.open_table(INDEX)?.remove(id)?.map(|row| row.value().2) else { return Ok(0) };
    let record = tx.open_table(JOBS)?.remove(id)?.and_then(|b| serde_json::from_slice::<Record>(b.value()).ok());
    if let Some(Record { client, key: Some(key), .. }) = record {
        tx.open_table(KEYS)?.remove((client.as_str(), key.as_str()))?;
    }
    for table in [INPUTS, IMAGES, FRAMES] {
        tx.open_table(table)?.retain_in((id, 0)..=(id, u32::MAX), |_, _| false)?;
    }
    Ok(bytes)
}

/// Forgets jobs that ended too long ago, and of the others the oldest until the rest is small enough; says what is left.
fn prune(tx: &WriteTransaction, total: u64, keep: Keep) -> Result<u64, redb::Error> {
    let oldest = ((now() - keep.age.as_secs_f64()).max(0.0) * 1e3) as u64;
    let mut ended = Vec::new();
    for row in tx.open_table(INDEX)?.iter()? {
        let (id, row) = row?;
        let (state, end, bytes) = row.value();
        if is_final(state) {
            ended.push((end, id.value().to_owned(), bytes));
        }
    }
    ended.sort_unstable();
    let mut left = total;
    for (end, id, bytes) in ended {
        if end >= oldest && left <= keep.bytes {
            break;
        }
        forget(tx, &id)?;
        left = left.saturating_sub(bytes);
    }
    Ok(left)
}

/// An id that a client gave, where it can be one.
pub fn checked(id: &str) -> Option<&str> {
    is_id(id).then_some(id)
}
