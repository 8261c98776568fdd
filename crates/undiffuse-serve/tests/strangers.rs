//! Runs and reports that somebody else has made: what they hold leads nowhere and holds nobody up.
#![cfg(unix)]

mod service;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use undiffuse::data::{Image, encode_png};
use undiffuse::train::Config;
use undiffuse_serve::options::Training;

use service::{Service, save_model};

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A pipe that nobody writes to.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A file of a terabyte that takes no room on the disk.
fn huge(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().set_len(1 << 40).unwrap();
}

/// A folder with a model, and a secret beside what is served.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    save_model(&folder.path().join("models/grey"), 1);
    let secret = folder.path().join("secret");
    write(&secret, "the-secret = 1\n");
    (folder, secret)
}

/// Every question about a run; none is answered late or with the secret.
fn asks(service: &Service, run: &str) {
    for path in ["", "/metrics", "/log", "/samples/64", "/samples/65", "/doctor"] {
        let begin = Instant::now();
        let answer = service.get(&format!("/api/v1/runs/{run}{path}"));
        assert!(matches!(answer.status, 200 | 404 | 422), "{run}{path}: {answer}");
        assert!(!answer.to_string().contains("the-secret"), "{run}{path}: {answer}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{run}{path}: {:?}", begin.elapsed());
    }
}

#[test]
fn links_out_of_a_run_lead_nowhere() {
    let (folder, secret) = folder();
    let run = folder.path().join("models/foreign");
    write(&run.join("config.toml"), "");
    write(&run.join("samples/000000064.png"), "png");
    for name in ["train.log", "metrics.jsonl", "length.json", "lock", "samples/000000065.png"] {
        symlink(&secret, run.join(name)).unwrap();
    }
    // A run whose folder of samples is a link, and one whose configuration is.
    let (linked, outside) = (folder.path().join("models/linked"), folder.path().join("outside"));
    write(&linked.join("config.toml"), "");
    write(&outside.join("000000064.png"), "the-secret");
    symlink(&outside, linked.join("samples")).unwrap();
    fs::create_dir_all(folder.path().join("models/nothing")).unwrap();
    symlink(&secret, folder.path().join("models/nothing/config.toml")).unwrap();
    // The owner of the folder of runs may put a run there by a link.
    write(&folder.path().join("elsewhere/config.toml"), "");
    write(&folder.path().join("elsewhere/train.log"), "all is well\n");
    symlink(folder.path().join("elsewhere"), folder.path().join("models/placed")).unwrap();
    // Reports likewise.
    for name in ["report.json", "report.html"] {
        fs::create_dir_all(folder.path().join("eval/bad")).unwrap();
        symlink(&secret, folder.path().join("eval/bad").join(name)).unwrap();
    }
    let service = Service::open(folder, |_| {});
    let runs = service.get("/api/v1/runs").json();
    let ids: Vec<&str> = runs["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    for (id, there) in [("foreign", true), ("linked", true), ("placed", true), ("nothing", false)] {
        assert_eq!(ids.contains(&id), there, "{ids:?}");
    }
    ids.iter().for_each(|run| asks(&service, run));
    assert_eq!(service.get("/api/v1/runs/foreign/samples/64").body, b"png");
    assert_eq!(service.get("/api/v1/runs/foreign/samples/65").status, 404);
    assert_eq!(service.get("/api/v1/runs/linked/samples/64").status, 404);
    assert_eq!(service.get("/api/v1/runs/foreign/log").body, b"");
    assert_eq!(service.get("/api/v1/runs/placed/log").body, b"all is well\n");
    for path in ["/api/v1/reports", "/api/v1/reports/bad", "/api/v1/reports/bad/html"] {
        let answer = service.get(path);
        assert!(!answer.to_string().contains("the-secret"), "{answer}");
        assert!(path.ends_with("reports") || answer.status == 404, "{answer}");
    }
    service.lives();
}

#[test]
fn pipes_and_endless_files_hold_nobody_up() {
    let (folder, _) = folder();
    let run = folder.path().join("models/pipes");
    write(&run.join("config.toml"), "");
    fs::create_dir_all(run.join("samples")).unwrap();
    for name in ["train.log", "metrics.jsonl", "length.json", "lock", "data.sha256", "samples/000000064.png"] {
        pipe(&run.join(name));
    }
    let run = folder.path().join("models/huge");
    write(&run.join("config.toml"), "");
    for name in ["train.log", "metrics.jsonl", "length.json", "samples/000000064.png"] {
        huge(&run.join(name));
    }
    let reports = folder.path().join("eval");
    for name in ["pipes", "huge"] {
        fs::create_dir_all(reports.join(name)).unwrap();
    }
    pipe(&reports.join("pipes/report.json"));
    write(&reports.join("page/report.json"), "{}");
    pipe(&reports.join("page/report.html"));
    huge(&reports.join("huge/report.json"));
    let service = Service::open(folder, |_| {});
    let begin = Instant::now();
    assert_eq!(service.get("/api/v1/runs").json()["runs"].as_array().unwrap().len(), 2);
    for run in ["pipes", "huge"] {
        asks(&service, run);
    }
    let reports = service.get("/api/v1/reports").json();
    assert_eq!(reports["reports"], json!([]));
    assert_eq!(service.get("/api/v1/reports/page/html").status, 404);
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    service.lives();
}

/// A run whose data are pictures at this place.
fn trained_on(folder: &Path, name: &str, data: &Path) {
    for k in 0..12u8 {
        let png = encode_png(&Image::new(8, 8, 1, (0..64).map(|i| i * 3 + k).collect()), &[]).unwrap();
        write(&data.join(format!("{k}.png")), png);
    }
    let mut config = Config::layered("quick", None, &[]).unwrap();
    (config.data.path, config.data.size, config.data.channels) = (data.to_str().unwrap().into(), 8, 1);
    write(&folder.join("models").join(name).join("config.toml"), config.to_toml());
}

fn unseen(service: &Service, run: &str) -> String {
    let answer = service.get(&format!("/api/v1/runs/{run}/doctor"));
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()["unseen"].to_string()
}

#[test]
fn a_runs_data_are_opened_and_trained_on_only_where_clients_may() {
    let (folder, _) = folder();
    let (inside, outside) = (folder.path().join("data/pictures"), folder.path().join("private"));
    trained_on(folder.path(), "inside", &inside);
    trained_on(folder.path(), "outside", &outside);
    let (datasets, runs) = (folder.path().join("data"), folder.path().join("models"));
    let training = Training { program: "/bin/false".into(), datasets, runs };
    // Without leave to train, no data are opened at all.
    let service = Service::open(folder, |_| {});
    for run in ["inside", "outside"] {
        assert!(unseen(&service, run).contains("--allow-train"), "{run}");
        assert_eq!(service.post(&format!("/api/v1/runs/{run}/resume"), &json!({})).status, 403);
    }
    service.lives();
    let folder = service.into_folder();
    let service = Service::open(folder, |options| options.training = Some(training));
    assert!(!unseen(&service, "inside").contains("--allow-train"));
    assert!(unseen(&service, "outside").contains("--allow-train"));
    let answer = service.post("/api/v1/runs/outside/resume", &json!({"images": 64}));
    assert_eq!((answer.status, answer.code().as_str()), (403, "training_not_allowed"), "{answer}");
    // The other is handed to the trainer, which here refuses everything.
    let answer = service.post("/api/v1/runs/inside/resume", &json!({"images": 64}));
    assert_eq!((answer.status, answer.code().as_str()), (422, "training_refused"), "{answer}");
    // A log that is a link is not written to.
    let target = service.folder.path().join("target");
    write(&target, "");
    let log = service.folder.path().join("models/inside/train.log");
    let _ = fs::remove_file(&log);
    symlink(&target, &log).unwrap();
    assert!(service.post("/api/v1/runs/inside/resume", &json!({"images": 64})).status >= 400);
    assert_eq!(fs::read(&target).unwrap(), b"");
    service.lives();
}

#[test]
fn the_doctor_stays_within_the_memory() {
    let (folder, _) = folder();
    let run = folder.path().join("models/run");
    write(&run.join("config.toml"), "");
    huge(&run.join("checkpoints/state-000000064.safetensors"));
    let service = Service::open(folder, |_| {});
    let answer = service.get("/api/v1/runs/run/doctor");
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_memory"), "{answer}");
    service.lives();
}
