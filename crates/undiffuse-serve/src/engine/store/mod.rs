//! Jobs and their results on disk: one file that survives anything.
//!
//! Everything that changes goes through one thread ([`writer`]), which takes whatever waits, writes it in one durable
//! transaction, and only then says so to those who wait: many small jobs share the time that a disk needs to be sure.

mod age;
mod file;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};
use serde::{Deserialize, Serialize};

use self::age::Age;
use self::file::{Opener, with};
use self::rows::{FRAMES, IMAGES, INDEX, INPUTS, JOBS, KEYS, Surplus, is_final, prepare, prune};
use self::writer::Writer;
use super::id::is_id;
use super::lock;
use crate::job::{Frame, Job, JobState};
use crate::remark;

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
    /// Seconds of the device that it has had.
    #[serde(default)]
    pub spent: f64,
    /// How far this start of it has come.
    #[serde(default)]
    pub start: JobStart,
    /// What starts that ended with the service's death count, since its last picture.
    #[serde(default)]
    pub deaths: u32,
}

/// How far a start of a job has come, so that another life knows what it was at when the service died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStart {
    /// Nothing of it is being made.
    #[default]
    Waiting,
    /// Begun; no evaluation of the network has come back.
    Begun,
    /// Evaluations have come back.
    Evaluated,
}

/// A change.
pub enum Change {
    /// A new job: hash of its request, its pictures.
    Submit(Box<Record>, String, [Option<Vec<u8>>; 2]),
    /// A job's new state with pictures and steps that were finished.
    Save(Box<Record>, Arc<Results>),
    /// A job is forgotten.
    Delete(String),
    /// Old jobs are forgotten.
    Prune,
}

/// What a chunk made.
#[derive(Default)]
pub struct Results {
    /// Pictures by their number in the job, as PNG.
    pub images: Vec<(usize, Vec<u8>)>,
    /// Steps.
    pub frames: Vec<Arc<Frame>>,
}

impl Results {
    /// Nothing.
    pub fn none() -> Arc<Self> {
        Arc::default()
    }
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

/// What readers and the writer share.
struct Shared {
    /// Nothing while the file cannot be used.
    database: RwLock<Option<Database>>,
    bytes: AtomicU64,
    /// Why the file cannot be used.
    trouble: Mutex<Option<String>>,
    /// Rings when it can be again.
    recovered: Condvar,
}

impl Shared {
    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn database_mut(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: &str) {
        lock(&self.trouble).get_or_insert_with(|| why.to_owned());
    }

    fn recover(&self) {
        lock(&self.trouble).take();
        self.recovered.notify_all();
    }

    fn trouble(&self) -> String {
        match &*lock(&self.trouble) {
            Some(why) => format!("the store of jobs cannot be used ({why}); it is tried again until it can be"),
            None => "the store of jobs is closed".into(),
        }
    }
}

/// What the writer is told.
enum Message {
    /// A change, and who waits for it.
    Change(Change, Reply),
    /// A reader's disk failed.
    Failed(String),
}

/// The store.
pub struct Store {
    shared: Arc<Shared>,
    messages: Mutex<Option<Sender<Message>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in a folder, which is made where there is none, and forgets what is old.
    ///
    /// # Errors
    /// A folder that cannot be used, a file that is damaged or in use, in words for whoever starts the service.
    pub fn open(folder: &Path, keep: Keep) -> Result<Self, String> {
        Self::open_with(folder, keep, Box::new(file::open))
    }

    /// As [`open`](Self::open), with something else that opens the file.
    fn open_with(folder: &Path, keep: Keep, opener: Box<Opener>) -> Result<Self, String> {
        let shown = folder.display();
        file::make_folder(folder)
            .map_err(|e| format!("cannot make the store's folder `{shown}`: {e}; choose one that you may write to"))?;
        let path = folder.join("jobs.redb");
        file::make_file(&path).map_err(|e| format!("cannot write the store `{}`: {e}", path.display()))?;
        let mut database = opener(&path)?;
        let failed = |e: String| format!("the store `{}` cannot be used: {e}", path.display());
        let (mut total, clocks) = with(&database, prepare).map_err(failed)?;
        let age = Age::resume(clocks.as_ref());
        let surplus = Surplus { total, most: keep.bytes, oldest: age.before(keep.age), newest: &Default::default() };
        (total, _) = with(&database, |tx| prune(tx, &surplus)).map_err(failed)?;
        file::compact(&mut database, &path, total);
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(database)),
            bytes: AtomicU64::new(total),
            trouble: Mutex::default(),
            recovered: Condvar::new(),
        });
        let (messages, waiting) = channel();
        let writer = Writer::new(Arc::clone(&shared), path, opener, keep, age);
        let writer = std::thread::Builder::new().name("store".into()).spawn(move || writer.run(&waiting));
        let writer = writer.map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok(Self { shared, messages: Mutex::new(Some(messages)), writer: Mutex::new(Some(writer)) })
    }

    /// Writes a change and waits until it is safe.
    ///
    /// # Errors
    /// What the disk says, or that the store is closed.
    pub fn write(&self, change: Change) -> Result<Written, String> {
        let (reply, written) = sync_channel(1);
        let closed = || self.shared.trouble();
        self.send(Message::Change(change, reply)).ok_or_else(closed)?;
        written.recv().map_err(|_| closed())?
    }

    /// Writes a change some time soon.
    pub fn write_later(&self, change: Change) {
        self.send(Message::Change(change, sync_channel(1).0));
    }

    fn send(&self, message: Message) -> Option<()> {
        lock(&self.messages).as_ref()?.send(message).ok()
    }

    /// Whether what is written now would be kept.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn sound(&self) -> Result<(), String> {
        let troubled = lock(&self.shared.trouble).is_some();
        let writes = lock(&self.writer).as_ref().is_some_and(|writer| !writer.is_finished());
        if writes && !troubled { Ok(()) } else { Err(self.shared.trouble()) }
    }

    /// Waits until the file can be used again, at most so long.
    pub fn recovery(&self, patience: Duration) {
        let trouble = lock(&self.shared.trouble);
        let waited = self.shared.recovered.wait_timeout_while(trouble, patience, |trouble| trouble.is_some());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Bytes of all jobs together.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Writes what waits and closes the file.
    pub fn close(&self) {
        drop(lock(&self.messages).take());
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
        drop(self.shared.database_mut().take());
    }

    fn read<T>(&self, of: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, String> {
        let read = || {
            let database = self.shared.database();
            let Some(database) = database.as_ref() else { return Err(None) };
            let tx = database.begin_read().map_err(|e| Some(e.into()))?;
            of(&tx).map_err(Some)
        };
        read().map_err(|e| match e {
            None => self.shared.trouble(),
            Some(e) => {
                if matches!(e, redb::Error::Io(_) | redb::Error::PreviousIo) {
                    self.send(Message::Failed(e.to_string()));
                }
                format!("the store of jobs cannot be read ({e})")
            }
        })
    }

    /// A job.
    ///
    /// # Errors
    /// As all that reads: a file that cannot be read, in words. What is absent is no error.
    pub fn record(&self, id: &str) -> Result<Option<Record>, String> {
        self.read(|tx| tx.open_table(JOBS)?.get(id)?.map(|bytes| parse(id, bytes.value())).transpose())
    }

    /// The job of a key, and the hash of its request.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn keyed(&self, client: &str, key: &str) -> Result<Option<(String, String)>, String> {
        self.read(|tx| {
            let known = tx.open_table(KEYS)?.get((client, key))?;
            Ok(known.map(|known| (known.value().0.to_owned(), known.value().1.to_owned())))
        })
    }

    /// Jobs that have not ended, the oldest first.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn unfinished(&self) -> Result<Vec<Record>, String> {
        self.read(|tx| {
            let (index, jobs) = (tx.open_table(INDEX)?, tx.open_table(JOBS)?);
            let mut found = Vec::new();
            for row in index.iter()? {
                let (id, row) = row?;
                if !is_final(row.value().0)
                    && let Some(bytes) = jobs.get(id.value())?
                {
                    // One that cannot be read is no reason to keep the others from anybody.
                    found.extend(parse(id.value(), bytes.value()).inspect_err(|e| remark(&e.to_string())).ok());
                }
            }
            Ok(found)
        })
    }

    /// At most `limit` jobs older than `before`, the newest first, whose state is wanted; `state` knows better than the
    /// store of jobs that have not ended.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn list(
        &self,
        before: Option<&str>,
        limit: usize,
        wanted: Option<JobState>,
        state: impl Fn(&str) -> Option<JobState>,
    ) -> Result<Vec<Record>, String> {
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
                {
                    // One that cannot be read is no reason to keep the others from anybody.
                    found.extend(parse(id.value(), bytes.value()).inspect_err(|e| remark(&e.to_string())).ok());
                }
            }
            Ok(found)
        })
    }

    /// The PNG of a finished picture.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn image(&self, id: &str, index: usize) -> Result<Option<Vec<u8>>, String> {
        let Ok(index) = u32::try_from(index) else { return Ok(None) };
        self.read(|tx| bytes(&tx.open_table(IMAGES)?, id, index))
    }

    /// The pictures that a job starts from: the picture, the mask.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn inputs(&self, id: &str) -> Result<[Option<Vec<u8>>; 2], String> {
        self.read(|tx| {
            let table = tx.open_table(INPUTS)?;
            Ok([bytes(&table, id, 0)?, bytes(&table, id, 1)?])
        })
    }

    /// The step of a job after so many evaluations.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn frame(&self, id: &str, row: usize) -> Result<Option<Frame>, String> {
        let Ok(row) = u32::try_from(row) else { return Ok(None) };
        let json = self.read(|tx| bytes(&tx.open_table(FRAMES)?, id, row))?;
        Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// The steps of a job.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn frames(&self, id: &str) -> Result<Vec<Frame>, String> {
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

/// A record as it stands in the table.
fn parse(id: &str, json: &[u8]) -> Result<Record, redb::Error> {
    serde_json::from_slice(json).map_err(|e| redb::Error::Corrupted(format!("job {id} in the store: {e}")))
}

fn bytes(
    table: &ReadOnlyTable<(&'static str, u32), &'static [u8]>,
    id: &str,
    number: u32,
) -> Result<Option<Vec<u8>>, redb::Error> {
    Ok(table.get((id, number))?.map(|bytes| bytes.value().to_vec()))
}

/// An id that a client gave, where it can be one.
pub fn checked(id: &str) -> Option<&str> {
    is_id(id).then_some(id)
}
