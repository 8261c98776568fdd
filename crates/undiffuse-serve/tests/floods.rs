//! What many connections, or slow ones, can do, and the exact answer: connections.rs has what one can do, hostile.rs what a
//! request can hold. The lists with their answers are in docs/service.md.
//!
//! Each test ends with a service that still makes a picture, and ends in order.

mod service;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use service::{Answer, JSON, Service};

/// A connection from this address of this machine, for which the system keeps as little as it can.
fn connect(service: &Service, from: [u8; 4]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::from(from), 0)).into()).unwrap();
    socket.connect(&service.addr.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn local(service: &Service) -> TcpStream {
    connect(service, [127, 0, 0, 1])
}

fn get(service: &Service, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", service.addr)
}

/// A job of pictures that is done.
fn job(service: &Service, request: &serde_json::Value) -> String {
    let made = service.post("/api/v1/generate", request);
    assert_eq!(made.status, 200, "{made}");
    made.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn downloads_that_nobody_takes_hold_no_thread() {
    let service = Service::start(|_| {});
    let id = job(&service, &json!({"n": 24, "steps": 1}));
    let ask = get(&service, &format!("/api/v1/jobs/{id}/images.zip"));
    let mut open: Vec<TcpStream> = (0..512).map(|_| local(&service)).collect();
    open.iter_mut().for_each(|stream| drop(stream.write_all(ask.as_bytes())));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(service.get("/readyz").status, 200);
    drop(open);
    let begin = Instant::now();
    assert_eq!(service.get("/api/v1/models").status, 200);
    let zip = service.get(&format!("/api/v1/jobs/{id}/images.zip"));
    assert_eq!((zip.status, zip.header("content-type")), (200, Some("application/zip")));
    assert_eq!(zip::ZipArchive::new(std::io::Cursor::new(zip.body)).unwrap().len(), 24);
    service.lives();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

/// A short file that looks whole would be taken for all there is.
#[test]
fn a_download_whose_pictures_go_away_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    service::save_model(&folder.path().join("models/grey"), 1);
    service::save_model_of(&folder.path().join("models/colour"), 3, 1);
    let service = Service::open(folder, |options| options.limits.cost = 1 << 20);
    let request = json!({"model": "colour", "n": 24, "steps": 1, "width": 256, "height": 256});
    let made = service.post("/api/v1/jobs", &request);
    let place = format!("/api/v1/jobs/{}", made.json()["id"].as_str().unwrap());
    while service.get(&place).json()["state"] != "done" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut stream = local(&service);
    stream.write_all(get(&service, &format!("{place}/images.zip")).as_bytes()).unwrap();
    assert!(stream.read(&mut [0; 100]).unwrap() > 0);
    assert_eq!(service.ask("DELETE", &place, &[], &[]).status, 204);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() > 1 << 16 && !rest.ends_with(b"0\r\n\r\n"), "{} bytes look whole", rest.len());
    service.lives();
}

#[test]
fn who_has_no_token_takes_no_memory() {
    let service = Service::start(|options| {
        options.token = Some("correct-horse".into());
        options.waits.pause = Duration::from_secs(1);
    });
    let head = format!("POST /api/session HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", service.addr);
    for length in [(16 << 20) - 1, 5000] {
        let answer = service.send(format!("{head}content-length: {length}\r\n\r\n{{").as_bytes()).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"), "{answer}");
    }
    let chunk = format!("{head}transfer-encoding: chunked\r\n\r\n1400\r\n{}\r\n", " ".repeat(0x1400));
    assert_eq!(service.send(chunk.as_bytes()).unwrap().status, 413);
    // Sockets that send a part and go silent, and one that sends on and on, byte by byte.
    let begin = format!("{head}content-length: 4000\r\n\r\n{}", " ".repeat(2000));
    let mut open: Vec<TcpStream> = (0..40).map(|_| local(&service)).collect();
    open.iter_mut().for_each(|stream| stream.write_all(begin.as_bytes()).unwrap());
    let right = [("authorization", "Bearer correct-horse"), JSON];
    let words = format!("{{\"model\": \"grey\", \"steps\": 2, \"class\": []{}}}", " ".repeat(1 << 20));
    assert_eq!(service.ask("POST", "/api/v1/generate", &right, words.as_bytes()).status, 200);
    let started = Instant::now();
    let mut trickle = open.pop().unwrap();
    while started.elapsed() < Duration::from_millis(1500) && trickle.write_all(b" ").is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
    for stream in open.iter_mut().chain([&mut trickle]) {
        let answer = Answer::read(stream).expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (408, "timeout"), "{answer}");
    }
    assert_eq!(service.ask("POST", "/api/session", &[JSON], br#"{"token": "correct-horse"}"#).status, 204);
}

/// A body may take its time, but not for ever.
#[test]
fn a_body_that_trickles_in_is_given_up() {
    let service = Service::start(|options| options.waits.body = Duration::from_millis(1500));
    let head = format!("POST /api/v1/jobs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", service.addr);
    for coding in ["content-length: 100\r\n\r\n", "transfer-encoding: chunked\r\n\r\n64\r\n"] {
        let mut stream = service.connect();
        stream.write_all(format!("{head}{coding}").as_bytes()).unwrap();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(2) && stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
        let answer = Answer::read(&mut stream).expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (408, "timeout"), "{answer}");
    }
    service.lives();
}

/// What one of our own numbers is cut off at, when its client takes so many bytes every so often.
fn taken(service: &Service, bytes: usize, every: u64) -> usize {
    let mut stream = local(service);
    stream.write_all(get(service, "/api/v1/noise?count=4000000").as_bytes()).unwrap();
    let (started, mut buffer, mut all) = (Instant::now(), vec![0; bytes], 0);
    // Slowly for twice the patience, then as fast as it comes.
    while started.elapsed() < Duration::from_secs(2) {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => all += n,
            _ => return all,
        }
        std::thread::sleep(Duration::from_millis(every));
    }
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    assert!(end.is_ok() || matches!(&end, Err(e) if e.kind() == ErrorKind::ConnectionReset), "{end:?}");
    all + rest.len()
}

#[test]
fn answers_that_are_taken_too_slowly_end() {
    let whole = 4 * 4_000_000;
    let service = Service::start(|options| options.waits.stall = Duration::from_secs(1));
    assert!(taken(&service, 1, 5000) < whole, "nothing was taken for longer than anybody is waited for");
    assert!(taken(&service, 1, 100) < whole, "a byte now and then keeps nobody waiting");
    assert!(taken(&service, 64 << 10, 1) > whole, "whoever reads steadily has all of it");
    service.lives();
}

#[test]
fn heads_that_never_end_make_room_for_others() {
    let service = Service::start(|options| options.limits.connections = 16);
    let mut slow: Vec<TcpStream> = (0..16).map(|_| local(&service)).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(b"GET / HTTP/1.1\r\nx: ").unwrap());
    std::thread::sleep(Duration::from_millis(1200));
    let begin = Instant::now();
    (0..20).for_each(|_| assert_eq!(service.get("/api/v1/about").status, 200));
    service.lives();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn one_address_leaves_room_for_others_and_health_is_told_to_all() {
    let folder = tempfile::tempdir().unwrap();
    service::save_model(&folder.path().join("models/grey"), 1);
    std::fs::create_dir_all(folder.path().join("models/run")).unwrap();
    std::fs::write(folder.path().join("models/run/config.toml"), "").unwrap();
    let service = Service::open(folder, |options| options.limits.connections = 16);
    // Streams that do not end by themselves.
    let mut busy: Vec<TcpStream> = (0..14).map(|_| local(&service)).collect();
    for stream in &mut busy {
        stream.write_all(get(&service, "/api/v1/runs/run/events").as_bytes()).unwrap();
        assert!(stream.read(&mut [0; 16]).unwrap() > 0);
    }
    std::thread::sleep(Duration::from_millis(1200));
    let about = service.get("/api/v1/about");
    assert_eq!((about.status, about.code().as_str(), about.header("retry-after")), (503, "busy", Some("1")), "{about}");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
    let mut other = connect(&service, [127, 0, 0, 2]);
    other.write_all(get(&service, "/api/v1/about").as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut other).unwrap().status, 200);
    drop(busy);
    let begin = Instant::now();
    while service.get("/api/v1/about").status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(20), "places are not given back");
        std::thread::sleep(Duration::from_millis(50));
    }
    service.lives();
}

/// Bodies that are being sent and answers that are not taken are one purse, of which one client never has more than half.
#[test]
fn what_a_client_makes_us_hold_has_a_limit() {
    let service = Service::start(|_| {});
    let length = 16 << 20;
    let head = format!("POST /api/v1/jobs HTTP/1.1\r\nhost: {}\r\n{}: {}\r\n", service.addr, JSON.0, JSON.1);
    let bytes = [format!("{head}content-length: {length}\r\n\r\n").into_bytes(), vec![b'['; length - 1]].concat();
    let mut refused = 0;
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut stream = service.connect();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let _ = stream.write_all(&bytes);
        match stream.peek(&mut [0]) {
            Ok(n) if n > 0 => {
                let answer = Answer::read(&mut stream).unwrap();
                assert_eq!((answer.status, answer.code().as_str()), (503, "busy"), "{answer}");
                refused += 1;
            }
            _ => open.push(stream),
        }
    }
    assert!(refused >= 2 && open.len() <= 8, "{refused} refused, {} held", open.len());
    drop(open);
    service.lives();
}

/// Lists of nothing become far more memory than they are bytes.
#[test]
fn bodies_that_grow_when_they_are_read_are_refused() {
    let service = Service::start(|_| {});
    for item in ["\"\",", "0,", "[],", "{},"] {
        let list = item.repeat((15 << 20) / item.len());
        let body = format!("{{\"class\": [{}]}}", list.trim_end_matches(','));
        let answer = service.ask("POST", "/api/v1/jobs", &[JSON], body.as_bytes());
        assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"), "{item}: {answer}");
    }
    service.lives();
}

/// One look at all runs is for all who watch.
#[test]
fn many_who_watch_see_what_happens() {
    let folder = tempfile::tempdir().unwrap();
    service::save_model(&folder.path().join("models/grey"), 1);
    for k in 0..50 {
        let run = folder.path().join(format!("models/run-{k}"));
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("config.toml"), "").unwrap();
    }
    let service = Service::open(folder, |_| {});
    let mut watchers: Vec<TcpStream> = (0..100).map(|_| service.connect()).collect();
    for (k, stream) in watchers.iter_mut().enumerate() {
        stream.write_all(get(&service, &format!("/api/v1/runs/run-{}/events", k % 50)).as_bytes()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    let step = "{\"event\":\"step\",\"step\":1,\"nimg\":64,\"loss\":0.5,\"seconds\":1}\n";
    for k in 0..50 {
        std::fs::write(service.folder.path().join(format!("models/run-{k}/metrics.jsonl")), step).unwrap();
    }
    let begin = Instant::now();
    for stream in &mut watchers {
        let mut seen = String::new();
        while !seen.contains("\"images\":64") {
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).unwrap();
            assert!(n > 0, "{seen}");
            seen += &String::from_utf8_lossy(&bytes[..n]);
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    service.lives();
}
