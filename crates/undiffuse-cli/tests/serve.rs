//! `undiffuse serve` as a process: killed under load and started again, ended in order, and what it refuses to begin with.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use undiffuse::data::{Image, Options, encode_png};

fn undiffuse(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undiffuse"));
    command.args(args).stdin(Stdio::null()).env_remove("UNDIFFUSE_TOKEN");
    command
}

fn succeed(args: &[&str]) -> Output {
    let output = undiffuse(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A run that has seen a few pictures of 8×8 pixels.
fn run(folder: &Path) -> PathBuf {
    let (data, run) = (folder.join("data"), folder.join("tiny"));
    std::fs::create_dir_all(&data).unwrap();
    for k in 0..16usize {
        let pixels = (0..64).map(|i| if i % 8 == k % 8 { 255 } else { 0 }).collect();
        let png = encode_png(&Image::new(8, 8, 1, pixels), &[]).unwrap();
        std::fs::write(data.join(format!("{k}.png")), png).unwrap();
    }
    let tiny = ["network.width=8", "network.multiply=[1,2]", "network.groups=4", "network.head_dim=8", "train.batch=8"];
    let set = tiny.iter().flat_map(|set| ["--set", set]);
    let train = ["train", "--data", text(&data), "--run", text(&run), "--threads", "1", "--images", "64"];
    succeed(&train.into_iter().chain(set).collect::<Vec<_>>());
    run
}

/// A service in a process of its own; it is killed when this is dropped.
struct Service {
    child: Child,
    addr: String,
}

impl Service {
    fn start(run: &Path, folder: &Path) -> Self {
        Self::start_with(run, folder, &[])
    }

    fn start_with(run: &Path, folder: &Path, more: &[&str]) -> Self {
        let (store, reports) = (folder.join("store"), folder.join("eval"));
        let args = ["serve", text(run), "--addr", "127.0.0.1:0", "--store", text(&store), "--reports", text(&reports)];
        let mut child = undiffuse(&args).args(more).current_dir(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.next().expect("the service says where it is");
        let addr = said.split("http://").nth(1).unwrap().trim_end_matches('/').to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, addr }
    }

    /// Status and body; `None` where the service is gone.
    fn try_ask(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.addr).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        let head = format!("{method} {path} HTTP/1.0\r\nhost: {}\r\ncontent-type: application/json\r\n", self.addr);
        stream.write_all(format!("{head}{key}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
        let status = std::str::from_utf8(&answer[..end]).ok()?.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer[end + 4..].to_vec()))
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let (status, body) = self.try_ask("GET", path, None, "").expect("an answer");
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path)).unwrap()
    }

    fn submit(&self, key: &str, request: &Value) -> Option<Value> {
        let (status, body) = self.try_ask("POST", "/api/v1/jobs", Some(key), &request.to_string())?;
        assert!(matches!(status, 200 | 202), "{status} {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).ok()
    }

    /// All jobs by their ids.
    fn jobs(&self) -> BTreeMap<String, Value> {
        let list = self.json("/api/v1/jobs?limit=200");
        let jobs = list["jobs"].as_array().unwrap().iter();
        let all: Vec<_> = jobs.map(|job| (job["id"].as_str().unwrap().to_owned(), job.clone())).collect();
        let count = all.len();
        let by_id = BTreeMap::from_iter(all);
        assert_eq!(by_id.len(), count, "a job is listed twice");
        by_id
    }

    fn done(&self) -> BTreeMap<String, Value> {
        self.jobs().into_iter().filter(|(_, job)| job["state"] == "done").collect()
    }

    /// Waits until at least so many jobs are done.
    fn until_done(&self, count: usize) -> BTreeMap<String, Value> {
        let start = Instant::now();
        loop {
            let done = self.done();
            if done.len() >= count {
                return done;
            }
            if start.elapsed() > Duration::from_secs(120) {
                let mut others = self.jobs();
                others.retain(|id, _| !done.contains_key(id));
                panic!("{} of {count} jobs are done; the others: {others:?}", done.len());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, and expects that it does so in order.
    fn end(mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // SIGKILL: nothing of the process runs any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn killed_under_load_it_loses_nothing_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let request = |k: u64| json!({"n": 3, "seed": 100 * k, "steps": 500, "solver": "ddim"});
    const JOBS: u64 = 60;
    let mut ids = BTreeMap::new();
    let mut finished: BTreeMap<String, (Value, Vec<Vec<u8>>)> = BTreeMap::new();
    let pictures = |service: &Service, id: &str| -> Vec<Vec<u8>> {
        (0..3).map(|k| service.get(&format!("/api/v1/jobs/{id}/images/{k}"))).collect()
    };
    for life in 0..4usize {
        let service = Service::start(&run, folder.path());
        // What was done is done, to the byte, and was not done again.
        for (id, (job, images)) in &finished {
            assert_eq!(&service.json(&format!("/api/v1/jobs/{id}")), job);
            assert_eq!(&pictures(&service, id), images);
        }
        // Clients that do not know whether their request arrived send it again.
        for k in 0..JOBS {
            let id = service.submit(&format!("key-{k}"), &request(k)).unwrap()["id"].as_str().unwrap().to_owned();
            assert_eq!(ids.entry(k).or_insert(id.clone()), &id, "job {k} became another one");
        }
        // A job that was begun twice, and both times nothing came of it, would be taken for what the service dies of: so each
        // life is long enough to finish something.
        let more = service.done().len() + 1;
        let done = service.until_done(((life + 1) * JOBS as usize / 6).max(more).min(JOBS as usize));
        for (id, job) in done {
            finished.entry(id).or_insert_with_key(|id| (job, pictures(&service, id)));
        }
    }
    assert!(finished.len() < JOBS as usize, "the service was not killed under load");
    let service = Service::start(&run, folder.path());
    let done = service.until_done(JOBS as usize);
    assert_eq!(service.jobs().len(), JOBS as usize);
    for (id, (job, images)) in &finished {
        assert_eq!(&done[id], job);
        assert_eq!(&pictures(&service, id), images);
    }
    for job in done.values() {
        let indices: Vec<_> = job["images"].as_array().unwrap().iter().map(|made| made["index"].clone()).collect();
        assert_eq!(json!(indices), json!([0, 1, 2]), "{job}");
    }
    // The command line's pictures of these seeds, whatever the kills did.
    for k in [0, JOBS / 2, JOBS - 1] {
        let out = folder.path().join(format!("offline-{k}"));
        let seed = (100 * k).to_string();
        succeed(&[
            "sample",
            text(&run),
            "-n",
            "3",
            "--seed",
            &seed,
            "--steps",
            "500",
            "--solver",
            "ddim",
            "--out",
            text(&out),
        ]);
        let mut files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "png") && !text(path).contains("grid"));
        files.sort();
        let open = |path: &Path| Image::open(path, &Options::default()).unwrap();
        let offline: Vec<Image> = files.iter().map(|path| open(path)).collect();
        let served = pictures(&service, &ids[&k]).into_iter().enumerate().map(|(at, png)| {
            let path = out.join(format!("served-{at}.png"));
            std::fs::write(&path, png).unwrap();
            open(&path)
        });
        assert_eq!(served.collect::<Vec<_>>(), offline, "job {k}");
    }
    service.end();
}

#[test]
fn it_ends_in_order_and_waiting_jobs_go_on_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let service = Service::start(&run, folder.path());
    for k in 0..8u64 {
        service.submit(&format!("{k}"), &json!({"n": 64, "seed": k, "steps": 100})).unwrap();
    }
    service.end();
    let service = Service::start(&run, folder.path());
    assert_eq!(service.jobs().len(), 8);
    assert!(service.jobs().values().all(|job| matches!(job["state"].as_str(), Some("queued" | "running" | "done"))));
    service.until_done(8);
}

#[test]
fn while_it_closes_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let mut service = Service::start(&run, folder.path());
    let long = json!({"n": 64, "steps": 1000});
    let id = service.submit("long", &long).unwrap()["id"].as_str().unwrap().to_owned();
    while service.json(&format!("/api/v1/jobs/{id}"))["state"] != "running" {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").arg(service.child.id().to_string()).status().unwrap().success());
    // Pictures in the making are being finished. Whoever comes now is told; after that nobody answers.
    let ready = || Some(service.try_ask("GET", "/readyz", None, "")?.0);
    let told = std::iter::from_fn(ready).find(|status| *status == 503);
    assert_eq!(told, Some(503), "it closed without a word");
    let (status, body) = service.try_ask("POST", "/api/v1/jobs", None, &long.to_string()).unwrap();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &problem["code"]), (503, &json!("closing")));
    assert!(service.child.wait().unwrap().success());
}

#[test]
fn no_training_outlives_it_and_every_run_has_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let allow = ["--allow-train", "--datasets", "."];
    let service = Service::start_with(&run, folder.path(), &allow);
    let tiny = json!({"network.width": 8, "network.multiply": [1, 2], "network.groups": 4, "network.head_dim": 8});
    let request = json!({"name": "more", "dataset": "data", "images": 100_000_000, "set": tiny});
    let (status, body) = service.try_ask("POST", "/api/v1/runs", None, &request.to_string()).unwrap();
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    let until = |service: &Service, what: &dyn Fn(&Value) -> bool| {
        let start = Instant::now();
        loop {
            let run = service.json("/api/v1/runs/more");
            if what(&run) {
                return run["images"].as_u64().unwrap();
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{run}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let seen = until(&service, &|run| run["images"].as_u64() > Some(0));
    // Killed, it says nothing to its training, which saves and ends all the same.
    drop(service);
    let service = Service::start_with(&run, folder.path(), &allow);
    assert!(until(&service, &|run| run["state"] == "stopped") >= seen);
    let models = service.json("/api/v1/models");
    let ids: Vec<_> = models["models"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["more", "tiny"]);
    let (status, _) = service.try_ask("POST", "/api/v1/generate", None, r#"{"model": "more", "steps": 2}"#).unwrap();
    assert_eq!(status, 200);
    service.end();
}

#[test]
fn what_it_refuses_to_begin_with() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = (folder.path().join("store"), folder.path().join("file"));
    std::fs::write(&file, "").unwrap();
    let (store, file) = (text(&store), text(&file));
    let picture = folder.path().join("picture.png");
    std::fs::write(&picture, encode_png(&Image::new(8, 8, 1, vec![0; 64]), &[]).unwrap()).unwrap();
    let picture = text(&picture);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (code, args, says) in [
        (2, vec!["--addr", "0.0.0.0:0", "--store", store], "--token"),
        (2, vec!["--addr", "[::]:0", "--store", store], "--token"),
        (2, vec!["--token", "short", "--store", store], "eight"),
        (2, vec!["--token", "long enough", "--insecure"], "--insecure"),
        (2, vec!["--addr", "here"], "--addr"),
        (2, vec!["--keep-size", "much"], "1.5GiB"),
        (2, vec!["no such folder"], "no such folder"),
        (2, vec![picture, "--store", store], "is no folder"),
        (2, vec!["--batch", "0"], "--batch"),
        (1, vec!["--addr", &taken, "--store", store], &taken),
        (1, vec!["--addr", "127.0.0.1:0", "--store", file], file),
    ] {
        let output = undiffuse(&["serve"]).args(&args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says) && !said.contains("panicked"), "{args:?}: {said}");
    }
}

/// A free port of this machine.
fn free() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[cfg(target_os = "linux")]
#[test]
fn it_serves_when_nobody_listens_to_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (run, store) = (run(folder.path()), folder.path().join("store"));
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (gone, closed) = std::io::pipe().unwrap();
    drop(gone);
    for (out, error) in [(full().into(), full().into()), (Stdio::from(closed), Stdio::null())] {
        let addr = free();
        let args =
            ["serve", text(&run), "--addr", &addr, "--store", text(&store), "--allow-train", "--datasets", "none"];
        let child = undiffuse(&args).stdout(out).stderr(error).spawn().unwrap();
        let service = Service { child, addr };
        let begin = Instant::now();
        while service.try_ask("GET", "/readyz", None, "").is_none() {
            assert!(begin.elapsed() < Duration::from_secs(60), "it does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        let made = service.try_ask("POST", "/api/v1/generate", None, r#"{"steps": 2}"#).unwrap();
        assert_eq!(made.0, 200, "{}", String::from_utf8_lossy(&made.1));
        service.end();
    }
}

/// The most that a process has had in memory, in bytes.
#[cfg(target_os = "linux")]
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Whatever clients ask for and do not take, and whatever they begin to send, is held within a budget.
#[cfg(target_os = "linux")]
#[test]
fn under_attack_it_stays_small_and_ends_in_time() {
    const EACH: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let mut service = Service::start_with(&run, folder.path(), &["--memory", "128MB", "--max-pixels", "300000"]);
    // One that has noise for pictures, so that they do not shrink in a PNG.
    let large = json!({"n": 8, "steps": 1, "width": 8, "height": 8, "frames": true});
    let (status, body) = service.try_ask("POST", "/api/v1/generate", None, &large.to_string()).unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let id = serde_json::from_slice::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned();
    let host = format!("host: {}\r\n", service.addr);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\n{host}\r\n").into_bytes();
    let post = |path: &str, length: usize| {
        let head =
            format!("POST {path} HTTP/1.1\r\n{host}content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        [head.into_bytes(), vec![b' '; length - 1]].concat()
    };
    let body = 16 << 20;
    let attacks: [(usize, Vec<u8>); 7] = [
        (EACH, get("/api/v1/noise?count=1200000")),
        (EACH, get(&format!("/api/v1/jobs/{id}/images.zip"))),
        (EACH, get(&format!("/api/v1/jobs/{id}/frames"))),
        (EACH, get("/api/openapi.json")),
        (EACH, b"GET / HTTP/1.1\r\nx: ".to_vec()),
        (24, post("/api/v1/jobs", body)),
        (24, post("/api/session", body)),
    ];
    for (many, bytes) in attacks {
        let senders: Vec<_> = (0..many)
            .map(|_| {
                let (addr, bytes) = (service.addr.clone(), bytes.clone());
                std::thread::spawn(move || {
                    let mut stream = TcpStream::connect(addr).ok()?;
                    stream.set_write_timeout(Some(Duration::from_secs(2))).ok()?;
                    // A refusal may come, and the connection end, while this is being sent.
                    let _ = stream.write_all(&bytes);
                    Some(stream)
                })
            })
            .collect();
        // Nobody reads a byte of the answers.
        let held: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(service.get("/readyz"), b"ready");
        drop(held);
        // What they held comes back when their connections are seen to be gone.
        let begin = Instant::now();
        loop {
            let made = service.try_ask("POST", "/api/v1/generate", None, r#"{"steps": 2}"#).unwrap();
            if made.0 == 200 {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "{}", String::from_utf8_lossy(&made.1));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let peak = peak(service.child.id());
    println!("peak: {} MiB", peak >> 20);
    assert!(peak < 128_000_000 + (512 << 20), "{} MiB", peak >> 20);
    // And it ends, with as many connections as it takes open.
    let mut held: Vec<_> = (0..400).filter_map(|_| TcpStream::connect(&service.addr).ok()).collect();
    held.iter_mut().for_each(|stream| drop(stream.write_all(&get(&format!("/api/v1/jobs/{id}/images.zip")))));
    let begin = Instant::now();
    assert!(Command::new("kill").arg(service.child.id().to_string()).status().unwrap().success());
    assert!(service.child.wait().unwrap().success());
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}
