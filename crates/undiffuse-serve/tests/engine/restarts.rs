//! What is left of an engine that ends, and how the next one goes on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use undiffuse::Model;
use undiffuse_serve::engine::{Engine, JobQuery};
use undiffuse_serve::job::{Generate, JobState, Update};

use crate::models::{cpu, grey, me, options};
use crate::{all, alone, ended, pixels, slow};

/// Closed in the middle and opened again: finished pictures stay, the others are made, no evaluation is wasted on the former.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let (engine, _) = slow(&options, 4);
    let asked = Generate { seed: Some(7), ..grey(20, 5) };
    let job = engine.submit(asked.clone(), me(), None).await.unwrap();
    let waits = engine.submit(grey(2, 5), me(), None).await.unwrap();
    let mut watcher = engine.watch(&job.id).await.unwrap();
    while !matches!(watcher.recv().await.unwrap(), Update::Image(_)) {}
    engine.close(Duration::ZERO).await;
    assert!(!matches!(all(watcher).await.last(), Some(Update::State(job)) if job.state.is_final()));
    assert_eq!(engine.submit(grey(1, 1), me(), None).await.unwrap_err().code, "closing");

    let (engine, pictures) = slow(&options, 0);
    let now = engine.job(&job.id).await.unwrap();
    assert_eq!((now.done, now.images.len()), (8, 8));
    let done = ended(&engine, &job.id).await;
    assert_eq!((done.state, done.done), (JobState::Done, 20));
    assert_eq!(done.images.iter().map(|made| made.index).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert_eq!(ended(&engine, &waits.id).await.state, JobState::Done);
    assert_eq!(pictures.load(Ordering::Relaxed), (12 + 2) * 5);
    let model = Model::load(options.paths[0].join("grey"), &cpu()).unwrap();
    for (index, expected) in alone(&model, &asked, None, None).into_iter().enumerate() {
        assert_eq!(pixels(&engine.image(&job.id, index).await.unwrap()), expected, "{index}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_lets_running_pictures_end() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let (engine, _) = slow(&options, 5);
    let job = engine.submit(grey(8, 10), me(), None).await.unwrap();
    engine.close(Duration::from_secs(30)).await;
    let engine = Engine::open(&options).unwrap();
    assert_eq!(engine.job(&job.id).await.unwrap().state, JobState::Done);
    let second = Engine::open(&options).err().unwrap();
    assert!(second.contains("in use by another service"), "{second}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_large_results_are_pruned_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    let engine = Engine::open(&options).unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let job = engine.submit(grey(4, 1), me(), None).await.unwrap();
        ids.push(ended(&engine, &job.id).await.id);
    }
    let bytes = engine.gauges().stored_bytes;
    engine.close(Duration::ZERO).await;
    options.keep_bytes = bytes - 1;
    let engine = Engine::open(&options).unwrap();
    assert!(engine.job(&ids[0]).await.is_err() && engine.image(&ids[0], 0).await.is_err());
    assert!(engine.image(&ids[1], 0).await.is_ok() && engine.gauges().stored_bytes < bytes);
    engine.close(Duration::ZERO).await;
    options.keep = Duration::ZERO;
    let engine = Engine::open(&options).unwrap();
    assert!(engine.jobs(JobQuery { limit: 10, ..JobQuery::default() }).await.unwrap().is_empty());
    assert_eq!(engine.gauges().stored_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    std::fs::create_dir_all(&options.store).unwrap();
    std::fs::write(options.store.join("jobs.redb"), vec![7; 100_000]).unwrap();
    let refused = Engine::open(&options).err().unwrap();
    assert!(refused.contains("damaged") && refused.contains("move it away"), "{refused}");
}
