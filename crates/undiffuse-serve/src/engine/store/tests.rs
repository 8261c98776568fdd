//! The store on a disk that fails on command.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::atomic::AtomicU8;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::*;
use crate::engine::id::Ids;
use crate::engine::revive::{is_suspect, revive};
use crate::job::Generate;

const FINE: u8 = 0;
/// Nothing more can be written.
const FULL: u8 = 1;
/// Nothing can be read.
const BROKEN: u8 = 2;
/// Whoever writes panics.
const CURSED: u8 = 3;

#[derive(Debug)]
struct Disk {
    file: FileBackend,
    mood: Arc<AtomicU8>,
}

impl Disk {
    fn writes(&self) -> io::Result<()> {
        match self.mood.load(Ordering::SeqCst) {
            FULL => Err(io::ErrorKind::StorageFull.into()),
            CURSED => panic!("a curse"),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.mood.load(Ordering::SeqCst) {
            BROKEN => Err(io::Error::other("the disk makes noises")),
            _ => self.file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writes()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writes()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

/// A store on a disk of this mood.
fn store(folder: &Path, keep_bytes: u64) -> (Store, Arc<AtomicU8>) {
    let mood = Arc::new(AtomicU8::new(FINE));
    let own = Arc::clone(&mood);
    let opener = move |path: &Path| {
        file::opened(path, || {
            let file = File::options().read(true).write(true).open(path).map_err(redb::StorageError::Io)?;
            let mut builder = file::builder();
            // So that what is read is read from the disk.
            builder.set_cache_size(1 << 16);
            builder.create_with_backend(Disk { file: FileBackend::new(file)?, mood: Arc::clone(&own) })
        })
    };
    let keep = Keep { age: Duration::from_secs(3600), bytes: keep_bytes };
    (Store::open_with(folder, keep, Box::new(opener)).unwrap(), mood)
}

fn record(client: &str) -> Record {
    let job = Job {
        id: Ids::default().next().unwrap(),
        state: JobState::Queued,
        model: "m".into(),
        request: Generate::default(),
        from_image: false,
        n: 1,
        done: 0,
        rows: 1,
        position: None,
        created: 0.0,
        started: None,
        finished: None,
        error: None,
        notes: Vec::new(),
        images: Vec::new(),
    };
    Record { job, client: client.into(), key: None, weight: 1, spent: 0.0, start: JobStart::Waiting, deaths: 0 }
}

fn submit(store: &Store, record: &Record) -> Result<Written, String> {
    store.write(Change::Submit(Box::new(record.clone()), String::new(), [None, None]))
}

fn save(store: &Store, record: &Record, images: Vec<(usize, Vec<u8>)>) -> Result<Written, String> {
    store.write(Change::Save(Box::new(record.clone()), Arc::new(Results { images, frames: Vec::new() })))
}

/// Waits until the store can be used.
fn recover(store: &Store) {
    store.recovery(Duration::from_secs(30));
    store.sound().unwrap();
}

#[test]
fn one_that_lost_its_disk_comes_back_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for mood in [FULL, CURSED] {
        let (store, disk) = store(folder.path(), 1 << 30);
        let (kept, refused, later) = (record("a"), record("a"), record("a"));
        let cancelled = record("a");
        submit(&store, &kept).unwrap();
        submit(&store, &cancelled).unwrap();
        disk.store(mood, Ordering::SeqCst);
        let why = submit(&store, &refused).unwrap_err();
        assert!(why.contains("cannot be used") && store.sound().is_err(), "{why}");
        // What is there is not called absent because it cannot be read.
        assert!(store.record(&kept.job.id).is_err() && store.unfinished().is_err() && store.keyed("a", "k").is_err());
        let ended = Record { job: Job { state: JobState::Cancelled, ..cancelled.job.clone() }, ..cancelled.clone() };
        save(&store, &ended, Vec::new()).unwrap_err();
        disk.store(FINE, Ordering::SeqCst);
        recover(&store);
        submit(&store, &later).unwrap();
        assert_eq!(store.record(&kept.job.id).unwrap().unwrap(), kept);
        assert_eq!(store.record(&refused.job.id).unwrap(), None, "its client was told that it is not there");
        assert_eq!(store.record(&cancelled.job.id).unwrap().unwrap(), ended, "its client was told that it has ended");
        drop(store);
        let (store, _) = super::tests::store(folder.path(), 1 << 30);
        let there = store.list(None, 9, Some(JobState::Queued), |_| None).unwrap();
        assert!(there.contains(&kept) && there.contains(&later));
    }
}

#[test]
fn a_picture_that_cannot_be_read_is_not_absent() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = record("a");
    let png: Vec<u8> = (0..1 << 20).map(|k| (k % 251) as u8).collect();
    {
        let (store, _) = store(folder.path(), 1 << 30);
        submit(&store, &job).unwrap();
        job.job.state = JobState::Done;
        save(&store, &job, vec![(0, png.clone())]).unwrap();
    }
    let (store, disk) = store(folder.path(), 1 << 30);
    disk.store(BROKEN, Ordering::SeqCst);
    let why = store.image(&job.job.id, 0).unwrap_err();
    assert!(why.contains("store of jobs cannot"), "{why}");
    disk.store(FINE, Ordering::SeqCst);
    // The writer hears of it after what it was told before.
    let _ = store.write(Change::Prune);
    recover(&store);
    assert_eq!(store.image(&job.job.id, 0).unwrap().unwrap(), png);
    assert_eq!(store.image(&job.job.id, 1).unwrap(), None);
}

#[test]
fn what_was_just_made_is_kept_whatever_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = store(folder.path(), 50_000);
    let make = |client: &str, bytes: usize| {
        let mut made = record(client);
        submit(&store, &made).unwrap();
        made.job.state = JobState::Done;
        save(&store, &made, vec![(0, vec![7; bytes])]).unwrap();
        made.job.id
    };
    let is_there = |id: &String| store.image(id, 0).unwrap().is_some();
    let small = make("patient", 1000);
    let first = make("busy", 20_000);
    let second = make("busy", 20_000);
    let third = make("busy", 20_000);
    // The patient client's only one is older than any, and stays.
    assert_eq!([&small, &first, &second, &third].map(is_there), [true, false, true, true]);
    let large = make("busy", 200_000);
    assert!(is_there(&large) && !is_there(&third), "one alone may be more than is kept");
    let last = make("patient", 1000);
    assert!(is_there(&last) && !is_there(&large) && store.bytes() < 50_000);
}

#[test]
fn a_job_that_the_service_dies_of_is_begun_twice() {
    let folder = tempfile::tempdir().unwrap();
    let [poison, innocent, waits] = ["a", "b", "c"].map(record);
    let begin = |store: &Store, record: &Record, start| {
        let record = store.record(&record.job.id).unwrap().unwrap();
        save(store, &Record { start, ..record }, Vec::new()).unwrap();
    };
    {
        let (store, _) = store(folder.path(), 1 << 30);
        [&poison, &innocent, &waits].iter().for_each(|record| drop(submit(&store, record).unwrap()));
        begin(&store, &poison, JobStart::Begun);
        begin(&store, &innocent, JobStart::Evaluated);
    }
    {
        let (store, _) = store(folder.path(), 1 << 30);
        let revived = revive(&store).unwrap();
        assert_eq!(
            revived.iter().map(|r| (is_suspect(r), r.start)).collect::<Vec<_>>(),
            [(true, JobStart::Waiting), (false, JobStart::Waiting), (false, JobStart::Waiting)]
        );
        // A life in which nothing was begun is nobody's fault.
        drop(store);
        let (store, _) = super::tests::store(folder.path(), 1 << 30);
        assert_eq!(revive(&store).unwrap(), revived);
        begin(&store, &poison, JobStart::Begun);
    }
    let (store, _) = store(folder.path(), 1 << 30);
    let revived = revive(&store).unwrap();
    assert_eq!(revived.iter().map(|r| &r.job.id).collect::<Vec<_>>(), [&innocent.job.id, &waits.job.id]);
    let failed = store.record(&poison.job.id).unwrap().unwrap().job;
    let error = failed.error.unwrap();
    assert_eq!((failed.state, error.code.as_str()), (JobState::Failed, "deadly"));
    assert!(error.detail.contains("died each time"), "{}", error.detail);
}
