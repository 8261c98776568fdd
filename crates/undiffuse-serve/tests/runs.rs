//! Runs as a client meets them: what folders say, and trainings by a fake trainer, a shell script.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use undiffuse::train::Config;
use undiffuse_serve::options::{RequestLimits, ServeOptions, Training, Waits};
use undiffuse_serve::runs::{Extend, RunInfo, RunState, Runs, Start};

/// A trainer that takes a step, then waits for its standard input to end; its run is where `--run` or `--resume` says.
const TRAINER: &str = r#"#!/bin/sh
for word in "$@"; do
  case "$before" in --run|--resume) run="$word";; --data) data="$word";; esac
  case "$word" in --set=train.lr=-1) echo "Error: train.lr = -1 must be a positive number" >&2; exit 2;; esac
  before="$word"
done
echo "trainer: $*"
[ -z "$data" ] || sed "s|@DATA@|$data|" "$0.toml" > "$run/config.toml"
echo '{"event":"step","step":1,"nimg":64,"loss":0.5,"seconds":1}' >> "$run/metrics.jsonl"
cat
sleep 0.3
echo "saved"
exit 130
"#;

struct Bench {
    root: tempfile::TempDir,
    runs: Runs,
}

impl Bench {
    fn new(allowed: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |part: &str| root.path().join(part);
        fs::create_dir_all(at("data/flowers")).unwrap();
        fs::create_dir_all(at("runs")).unwrap();
        fs::write(at("trainer"), TRAINER).unwrap();
        let mut config = Config::layered("quick", None, &[]).unwrap();
        config.data.path = "@DATA@".into();
        fs::write(at("trainer.toml"), config.to_toml()).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(at("trainer"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let training = Training { program: at("trainer"), datasets: at("data"), runs: at("runs") };
        let options = ServeOptions {
            paths: vec![at("runs")],
            loras: None,
            reports: at("reports"),
            store: at("store"),
            addr: "127.0.0.1:0".parse().unwrap(),
            token: None,
            insecure: false,
            hosts: Vec::new(),
            training: allowed.then_some(training),
            device: undiffuse::device::open("cpu").unwrap(),
            device_name: "cpu".into(),
            limits: RequestLimits::default(),
            memory: None,
            variant: None,
            keep: Duration::from_secs(60),
            keep_bytes: 1 << 20,
            waits: Waits::default(),
        };
        Self { runs: Runs::new(&options), root }
    }

    fn start(name: &str) -> Start {
        Start { name: name.into(), dataset: "flowers".into(), ..Start::default() }
    }

    fn run(&self, name: &str) -> PathBuf {
        self.root.path().join("runs").join(name)
    }

    async fn until(&self, id: &str, what: impl Fn(&RunInfo) -> bool) -> RunInfo {
        let begin = Instant::now();
        loop {
            let info = self.runs.info(id).unwrap();
            if what(&info) {
                return info;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{info:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_training_is_started_watched_stopped_and_resumed() {
    let bench = Bench::new(true);
    let info = bench.runs.start(Bench::start("cats")).await.unwrap();
    assert_eq!((info.id.as_str(), info.state, info.ours), ("cats", RunState::Training, true));
    bench.until("cats", |info| info.images == 64).await;
    // One at a time, and neither twice nor elsewhere.
    assert_eq!(bench.runs.start(Bench::start("dogs")).await.unwrap_err().code, "busy");
    assert!(!bench.run("dogs").exists());
    assert_eq!(bench.runs.resume("cats", Extend::default()).await.unwrap_err().code, "already_training");
    // Asking again is no matter.
    for _ in 0..3 {
        bench.runs.stop("cats").unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let info = bench.until("cats", |info| !info.ours).await;
    assert_eq!((info.state, info.images), (RunState::Stopped, 64));
    let log = bench.runs.log("cats", 100).unwrap();
    assert!(log.ends_with("saved\n"), "{log}");
    assert!(log.starts_with("trainer: train --tied --plain --device cpu --data "), "{log}");
    assert_eq!(bench.runs.stop("cats").unwrap_err().code, "not_training");
    assert_eq!(bench.runs.start(Bench::start("cats")).await.unwrap_err().code, "exists");
    // Resumed with a longer end; closing the service stops it, too.
    let more = Extend { images: Some(1000), ..Extend::default() };
    assert_eq!(bench.runs.resume("cats", more).await.unwrap().state, RunState::Training);
    bench.until("cats", |info| info.updated > 0.0 && bench.runs.curves("cats", 10).unwrap().steps.len() == 2).await;
    bench.runs.close(Duration::from_secs(30)).await;
    assert!(!bench.runs.info("cats").unwrap().ours);
    let log = bench.runs.log("cats", 2).unwrap();
    assert!(log.contains("--images=1000\n") && log.lines().count() == 2, "{log}");
}

#[tokio::test]
async fn a_finished_run_needs_more_to_go_on() {
    let bench = Bench::new(true);
    let run = bench.run("done");
    fs::create_dir_all(run.join("model/unet")).unwrap();
    let step = "{\"event\":\"step\",\"step\":1,\"nimg\":64,\"loss\":0.5,\"seconds\":1}\n";
    let length = r#"{"segments":[{"from":0,"until":64}],"images_per_second":1}"#;
    for (file, text) in
        [("config.toml", ""), ("metrics.jsonl", step), ("length.json", length), ("model/unet/config.json", "{}")]
    {
        fs::write(run.join(file), text).unwrap();
    }
    assert_eq!(bench.runs.info("done").unwrap().state, RunState::Finished);
    assert_eq!(bench.runs.resume("done", Extend::default()).await.unwrap_err().code, "finished");
}

#[cfg(unix)]
#[tokio::test]
async fn what_the_trainer_refuses_is_handed_on_and_leaves_nothing() {
    let bench = Bench::new(true);
    let set = [("train.lr".to_owned(), serde_json::json!(-1))].into();
    let problem = bench.runs.start(Start { set, ..Bench::start("cats") }).await.unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (422, "training_refused"));
    assert_eq!(problem.detail, "Error: train.lr = -1 must be a positive number");
    assert!(!bench.run("cats").exists());
    assert!(bench.runs.list().is_empty());
}

#[tokio::test]
async fn nothing_is_started_or_stopped_unless_allowed() {
    let bench = Bench::new(false);
    fs::create_dir_all(bench.run("old")).unwrap();
    fs::write(bench.run("old").join("config.toml"), "").unwrap();
    let refusals = [
        bench.runs.start(Bench::start("cats")).await.unwrap_err(),
        bench.runs.resume("old", Extend::default()).await.unwrap_err(),
        bench.runs.stop("old").unwrap_err(),
    ];
    assert!(refusals.iter().all(|p| p.status == 403 && p.code == "training_not_allowed"));
    assert!(!bench.run("cats").exists());
}

#[test]
fn ids_are_looked_up_and_never_joined() {
    let bench = Bench::new(true);
    fs::create_dir_all(bench.run("old/samples")).unwrap();
    fs::write(bench.run("old/config.toml"), "").unwrap();
    for (name, text) in [("000000064.png", "png"), ("notes.txt", "x"), ("-1.png", "x"), ("+2.png", "x")] {
        fs::write(bench.run("old/samples").join(name), text).unwrap();
    }
    let absolute = bench.run("old").to_str().unwrap().to_owned();
    let long = "x".repeat(5000);
    for id in ["..", ".", "", "../runs/old", "old/", "./old", "old/../old", "%2e%2e", "old\0", &absolute, &long] {
        let problem = bench.runs.info(id).unwrap_err();
        assert_eq!(problem.status, 404, "{id}");
        assert!(problem.detail.len() < 300);
        assert_eq!(bench.runs.log(id, 10).unwrap_err().status, 404);
        assert_eq!(bench.runs.config(id).unwrap_err().status, 404);
        assert_eq!(bench.runs.curves(id, 10).unwrap_err().status, 404);
        assert_eq!(bench.runs.sample(id, 64).unwrap_err().status, 404);
        assert_eq!(bench.runs.examine(id, |_| Ok(())).unwrap_err().status, 404);
    }
    let info = bench.runs.info("old").unwrap();
    assert_eq!((info.state, info.samples), (RunState::Empty, vec![64]));
    assert_eq!(bench.runs.sample("old", 64).unwrap(), b"png");
    assert_eq!(bench.runs.sample("old", 65).unwrap_err().status, 404);
}

#[test]
fn states_follow_from_what_is_there() {
    let bench = Bench::new(false);
    let run = bench.run("r");
    fs::create_dir_all(run.join("model/unet")).unwrap();
    let write = |file: &str, text: &str| fs::write(run.join(file), text).unwrap();
    let state = || bench.runs.info("r").unwrap().state;
    write("config.toml", "");
    assert_eq!(state(), RunState::Empty);
    let step = "{\"event\":\"step\",\"step\":1,\"nimg\":64,\"loss\":0.5,\"seconds\":1}\n";
    write("metrics.jsonl", step);
    assert_eq!(state(), RunState::Stopped);
    write("length.json", r#"{"segments":[{"from":0,"until":64}],"images_per_second":1}"#);
    // The end is reached, the model not written.
    assert_eq!(state(), RunState::Stopped);
    write("model/unet/config.json", "{}");
    assert_eq!(state(), RunState::Finished);
    assert_eq!(bench.runs.info("r").unwrap().model.as_deref(), Some("r"));
    let diverged = "{\"event\":\"diverged\",\"step\":2,\"nimg\":64,\"what\":\"the loss is NaN\"}\n";
    write("metrics.jsonl", &format!("{step}{diverged}"));
    assert_eq!(state(), RunState::Diverged);
    // Another program has it.
    let lock = fs::File::create(run.join("lock")).unwrap();
    lock.try_lock().unwrap();
    lock.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    assert_eq!(state(), RunState::Training);
    drop(lock);
    assert_eq!(state(), RunState::Diverged);
}
