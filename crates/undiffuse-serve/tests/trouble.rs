//! The engine when something goes wrong: disks that are full, jobs that kill it, requests that would hold it up.

mod service;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use undiffuse::burn::tensor::Tensor;
use undiffuse::data::{Image, encode_png};
use undiffuse::denoise::{Ask, At, Cond, Denoise};
use undiffuse::request::Asks;
use undiffuse::{Model, device};
use undiffuse_serve::ServeOptions;
use undiffuse_serve::engine::{Engine, JobQuery};
use undiffuse_serve::job::{Generate, Job, JobState, Update};
use undiffuse_serve::options::RequestLimits;

/// A folder with a model of 8x8 pixels, and options for a service of it.
fn options(folder: &Path) -> ServeOptions {
    let models = folder.join("models");
    if !models.exists() {
        service::save_model(&models.join("grey"), 1);
    }
    ServeOptions {
        limits: RequestLimits { batch: 8, ..RequestLimits::default() },
        memory: Some(1 << 30),
        ..ServeOptions::new(vec![models], folder, device::open("cpu").unwrap())
    }
}

/// An engine that does this before each evaluation of so many pictures of these classes.
fn engine(options: &ServeOptions, before: impl Fn(usize, &[Ask]) + Send + Sync + 'static) -> Engine {
    let evaluate = move |model: &Model, x: Tensor<4>, at: &[At], cond: &Cond| {
        before(at.len(), &cond.asks);
        model.reader().denoise(x, at, cond)
    };
    Engine::open_with(options, Box::new(evaluate)).unwrap()
}

/// One whose evaluations take so long for each picture.
fn slow(options: &ServeOptions, millis: u64) -> Engine {
    engine(options, move |pictures, _| std::thread::sleep(Duration::from_millis(millis * pictures as u64)))
}

fn grey(n: usize, steps: usize) -> Generate {
    Generate { n: Some(n), steps: Some(steps), ..Generate::default() }
}

fn me() -> String {
    "me".into()
}

async fn ended(engine: &Engine, id: &str) -> Job {
    let mut updates = engine.watch(id).await.unwrap();
    while updates.recv().await.is_some() {}
    engine.job(id).await.unwrap()
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !so().await {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The folder of a service that is to die, for this program as its own child.
const LIFE: &str = "UNDIFFUSE_TEST_LIFE";

/// Pictures of class 3 end the process.
#[tokio::main]
async fn life(folder: &Path) {
    let engine = engine(&options(folder), |_, asks| {
        if asks.contains(&Ask::Class(3)) {
            std::process::exit(7);
        }
        std::thread::sleep(Duration::from_millis(2));
    });
    let all = || async { engine.jobs(JobQuery { limit: 9, ..JobQuery::default() }).await.unwrap() };
    if all().await.is_empty() {
        for class in ["ant", "bee", "dog"] {
            let asked = Generate { asked: Asks::of("class", [class]), ..grey(4, 20) };
            engine.submit(asked, class.into(), None).await.unwrap();
        }
    }
    until("every job's end", async || all().await.iter().all(|job| job.state.is_final())).await;
    engine.close(Duration::ZERO).await;
}

#[test]
fn a_job_that_kills_the_service_is_begun_twice_and_others_live() {
    if let Some(folder) = std::env::var_os(LIFE) {
        return life(&PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let lives = (0..3).map(|_| {
        let name = "a_job_that_kills_the_service_is_begun_twice_and_others_live";
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", name]).env(LIFE, folder.path()).output().unwrap().status.code()
    });
    assert_eq!(lives.collect::<Vec<_>>(), [Some(7), Some(7), Some(0)]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let engine = Engine::open(&options).unwrap();
        let jobs = engine.jobs(JobQuery { limit: 9, ..JobQuery::default() }).await.unwrap();
        let dog = &jobs[0];
        let error = dog.error.as_ref().unwrap();
        assert_eq!((dog.state, error.code.as_str(), error.status), (JobState::Failed, "deadly", 500));
        assert!(error.detail.contains("died each time"), "{}", error.detail);
        assert!(jobs[1..].iter().all(|job| job.state == JobState::Done && job.done == 4), "{jobs:?}");
    });
}

/// A walk takes 1.2 seconds, of two that are allowed. The better part of one is done when the service ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_that_a_job_has_had_outlives_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.limits.seconds = 2;
    let first = slow(&options, 60);
    let job = first.submit(grey(1, 20), me(), None).await.unwrap();
    let mut watcher = first.watch(&job.id).await.unwrap();
    while !matches!(watcher.recv().await.unwrap(), Update::Progress(p) if p.row >= 15) {}
    first.close(Duration::ZERO).await;
    let second = slow(&options, 60);
    let job = ended(&second, &job.id).await;
    assert_eq!((job.state, job.error.unwrap().code.as_str()), (JobState::Failed, "too_long"));
}

/// Whoever leaves stops the work at the next picture, not at the end of the batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_evaluation_is_left_between_two_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let evaluated = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&evaluated);
    let engine = engine(&options(folder.path()), move |pictures, _| {
        counter.fetch_add(pictures, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(600 * pictures as u64));
    });
    let job = engine.submit(grey(8, 1), "gone".into(), None).await.unwrap();
    until("an evaluation", async || evaluated.load(Ordering::SeqCst) > 0).await;
    engine.cancel(&job.id).await.unwrap();
    let left = Instant::now();
    let next = engine.submit(grey(1, 1), "next".into(), None).await.unwrap();
    assert_eq!(ended(&engine, &next.id).await.state, JobState::Done);
    assert!(evaluated.load(Ordering::SeqCst) <= 3, "{} pictures were evaluated", evaluated.load(Ordering::SeqCst));
    println!("the next request waited {:?}", left.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_picture_may_cost_is_a_matter_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.limits.cost = 16;
    let engine = Engine::open(&options).unwrap();
    let max = engine.models()[0].max_side;
    // This model has no attention, so costs go with the pixels.
    assert_eq!(max, 32);
    let square = |side: usize| Generate { width: Some(side), height: Some(side), ..grey(1, 1) };
    for side in [max + 2, 1024] {
        let refused = engine.submit(square(side), me(), None).await.unwrap_err();
        assert_eq!((refused.status, refused.field.as_deref()), (422, Some("width")));
        assert!(refused.detail.contains("largest square is 32x32"), "{}", refused.detail);
    }
    let job = engine.submit(square(max), me(), None).await.unwrap();
    assert_eq!(ended(&engine, &job.id).await.state, JobState::Done);
    options.limits.cost = 1;
    options.store = folder.path().join("other");
    let strict = Engine::open(&options).unwrap();
    let own = strict.submit(square(8), me(), None).await.unwrap();
    assert_eq!(ended(&strict, &own.id).await.state, JobState::Done, "a model's own size is always allowed");
}

/// The answer to a request got lost; what would refuse it by now does not matter to who asks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_gets_its_job_whatever_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.limits.queue = 1;
    let first = slow(&options, 5);
    let again = || first.submit(grey(8, 200), me(), Some("once".into()));
    let job = again().await.unwrap();
    let full = loop {
        if let Err(problem) = first.submit(grey(1, 1), "others".into(), None).await {
            break problem;
        }
    };
    assert_eq!(full.code, "queue_full");
    assert_eq!(again().await.unwrap().id, job.id);
    std::fs::rename(options.paths[0].join("grey"), folder.path().join("gone")).unwrap();
    assert_eq!(again().await.unwrap().id, job.id);
    first.cancel(&job.id).await.unwrap();
    first.close(Duration::ZERO).await;
    options.limits = RequestLimits { n: 1, steps: 1, queue: 1, ..options.limits };
    let engine = Engine::open(&options).unwrap();
    let known = engine.submit(grey(8, 200), me(), Some("once".into())).await.unwrap();
    assert_eq!((known.id, known.state), (job.id, JobState::Cancelled));
    assert_eq!(engine.submit(grey(8, 201), me(), Some("once".into())).await.unwrap_err().code, "key_reused");
}

/// Their pictures wait on the disk; what they may come to hold counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_wait_hold_their_words_only() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let engine = slow(&options, 5);
    let photo = Image::new(40, 40, 1, (0..1600).map(|i| (i * 37 % 251) as u8).collect());
    let init_image = Some(STANDARD.encode(encode_png(&photo, &[]).unwrap()));
    let large = Generate { init_image, width: Some(40), height: Some(40), ..grey(1, 1000) };
    let mut jobs = Vec::new();
    for _ in 0..50 {
        jobs.push(engine.submit(large.clone(), me(), None).await.unwrap().id);
    }
    let held = engine.budget().held();
    assert!((1..=50 * 1500).contains(&held), "{held} bytes are held for {} jobs", engine.gauges().queued);
    let frames = Generate { frames: true, width: Some(40), height: Some(40), ..grey(8, 500) };
    let refused = loop {
        match engine.submit(frames.clone(), me(), None).await {
            Ok(job) => jobs.push(job.id),
            Err(problem) => break problem,
        }
    };
    assert_eq!((refused.status, refused.code.as_str()), (503, "busy"));
    assert!(engine.budget().held() <= engine.budget().bytes() / 2);
    jobs.push(engine.submit(frames, "another".into(), None).await.expect("another client has a share").id);
    for id in &jobs {
        engine.cancel(id).await.unwrap();
    }
    until("the shares' return", async || engine.budget().held() == 0).await;
}

/// A small disk of its own, where this program may have one.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(&at).output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(at))
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("ballast")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    let Some(disk) = Disk::mount(folder.path().join("disk")) else {
        println!("skipped: no disk can be mounted here");
        return;
    };
    options.store = disk.0.join("serve");
    let engine = slow(&options, 1);
    let long = engine.submit(grey(8, 200), "patient".into(), None).await.unwrap();
    disk.fill();
    let mut accepted = Vec::new();
    let refused = loop {
        match engine.submit(grey(64, 1), me(), None).await {
            Ok(job) => accepted.push(job.id),
            Err(problem) if problem.code == "queue_full" => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(problem) => break problem,
        }
    };
    assert_eq!((refused.status, refused.code.as_str()), (503, "store"), "{}", refused.detail);
    assert!(!refused.detail.contains(disk.0.to_str().unwrap()), "{}", refused.detail);
    // Never "there is no such job" for one that is there.
    for id in accepted.iter().chain([&long.id]) {
        assert!(engine.job(id).await.map_err(|problem| problem.code).err().is_none_or(|code| code == "store"));
    }
    disk.empty();
    until("the store's return", async || engine.ready().is_ok()).await;
    for id in accepted.iter().chain([&long.id]) {
        until("a job's end", async || engine.job(id).await.is_ok_and(|job| job.state.is_final())).await;
        let job = engine.job(id).await.unwrap();
        assert_eq!((job.state, job.done), (JobState::Done, job.n), "{:?}", job.error);
        engine.image(id, job.n - 1).await.unwrap();
    }
    engine.close(Duration::ZERO).await;
}
