//! What a hostile client can send, and the exact answer. The list with its answers is also in docs/service.md.
//!
//! Each test ends with a service that still answers, and ends in order: `Service` checks both.

mod service;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use undiffuse_serve::options::{Limits, Training};

use service::{Answer, Service, save_model};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The answer to a request for pictures.
fn jobs(service: &Service, body: &str) -> Answer {
    service.ask("POST", "/api/v1/jobs", &[JSON], body.as_bytes())
}

fn lives(service: &Service) {
    assert_eq!(service.get("/healthz").status, 200);
    let made = service.post("/api/v1/generate", &json!({"model": "grey", "steps": 2}));
    assert_eq!(made.status, 200, "{made}");
}

/// Ids that try to leave their folder.
const TRAVERSALS: [&str; 16] = [
    "..",
    ".",
    "%2e%2e",
    "..%2f..%2fsecret.txt",
    "..%2Foutside",
    "%2e%2e%2foutside",
    "..%252foutside",
    "..%5coutside",
    "..;/outside",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "grey%00",
    "%00",
    "grey%2f..%2f..%2foutside",
    "..%c0%afoutside",
    "file:%2f%2f%2fetc%2fpasswd",
];

#[test]
fn no_id_leaves_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    // A run, a model and a report beside the folders that are served, so that a way out would find something.
    let outside = folder.path().join("outside");
    save_model(&outside.join("model"), 2);
    for (file, text) in [
        ("secret.txt", "the-secret"),
        ("outside/config.toml", "the-secret"),
        ("outside/train.log", "the-secret"),
        ("outside/metrics.jsonl", "{\"the-secret\": 1}"),
        ("outside/report.json", "{\"the-secret\": 1}"),
        ("outside/report.html", "the-secret"),
        ("outside/samples/000000064.png", "the-secret"),
        ("outside.json", "{\"the-secret\": 1}"),
    ] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    save_model(&folder.path().join("models/grey"), 1);
    let service = Service::open(folder, |_| {});
    let routes = [
        ("GET", "/api/v1/models/{}"),
        ("GET", "/api/v1/jobs/{}"),
        ("DELETE", "/api/v1/jobs/{}"),
        ("POST", "/api/v1/jobs/{}/cancel"),
        ("GET", "/api/v1/jobs/{}/events"),
        ("GET", "/api/v1/jobs/{}/images/0"),
        ("GET", "/api/v1/jobs/{}/images.zip"),
        ("GET", "/api/v1/jobs/{}/frames"),
        ("GET", "/api/v1/runs/{}"),
        ("GET", "/api/v1/runs/{}/metrics"),
        ("GET", "/api/v1/runs/{}/samples/64"),
        ("GET", "/api/v1/runs/{}/log"),
        ("GET", "/api/v1/runs/{}/doctor"),
        ("GET", "/api/v1/runs/{}/events"),
        ("GET", "/api/v1/reports/{}"),
        ("GET", "/api/v1/reports/{}/html"),
        ("GET", "/api/v1/reports/compare?a={}&b={}"),
        ("GET", "/api/v1/schedules/curve?model={}"),
        ("GET", "/studio/{}"),
        ("GET", "/studio/js/{}"),
        ("GET", "/studio/js/{}/main.js"),
        ("GET", "/{}"),
    ];
    for (method, route) in routes {
        for id in TRAVERSALS {
            let path = route.replace("{}", id);
            let answer = service.ask(method, &path, &[], &[]);
            // Two routes remain themselves with a dot at their end: no way out, another name for the same.
            assert!(matches!(answer.status, 400 | 404 | 405 | 422), "{method} {path}: {answer}");
            answer.code();
            assert!(!answer.to_string().contains("the-secret"), "{method} {path}: {answer}");
        }
    }
    for id in ["../outside", "..", "/etc", "..\\outside", "grey/../../outside", "", "\0"] {
        let answer = service.post("/api/v1/jobs", &json!({"model": id}));
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{id:?}: {answer}");
    }
    lives(&service);
}

#[test]
fn runs_are_started_by_plain_names_only() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data/pictures")).unwrap();
    std::fs::create_dir_all(folder.path().join("outside")).unwrap();
    save_model(&folder.path().join("models/grey"), 1);
    let (datasets, runs) = (folder.path().join("data"), folder.path().join("models"));
    let training = Training { program: "/bin/false".into(), datasets, runs };
    let service = Service::open(folder, |options| options.training = Some(training));
    let good = json!({"name": "new", "dataset": "pictures", "preset": "quick", "images": 64});
    for (part, value) in [
        ("name", json!("../new")),
        ("name", json!("/tmp/new")),
        ("name", json!("a/b")),
        ("name", json!("")),
        ("name", json!(".")),
        ("name", json!("..")),
        ("name", json!("-n")),
        ("name", json!("\u{0}")),
        ("name", json!("a".repeat(10_000))),
        ("dataset", json!("../outside")),
        ("dataset", json!("..")),
        ("dataset", json!("/etc")),
        ("dataset", json!("--resume")),
        ("preset", json!("../../outside/config.toml")),
        ("preset", json!("--help")),
        ("budget", json!("; touch /tmp/x")),
        ("size", json!(-1)),
        ("set", json!({"data.path": "/etc"})),
        ("set", json!({"--run": "/tmp/x"})),
        ("set", json!({"network.width": 1e300})),
    ] {
        let mut body = good.clone();
        body[part] = value.clone();
        let answer = service.post("/api/v1/runs", &body);
        assert!(matches!(answer.status, 404 | 409 | 422), "{part}: {value:.80}: {answer}");
        answer.code();
    }
    lives(&service);
}

#[test]
fn numbers_beyond_the_limits_are_named() {
    let service = Service::start(|options| options.limits = Limits { n: 16, steps: 50, ..Limits::default() });
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_object = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    for (body, status, field) in [
        (r#"{"width": 1000000000, "height": 1000000000}"#, 422, "width"),
        (r#"{"width": 18446744073709551615, "height": 2}"#, 422, "width"),
        (r#"{"width": 0}"#, 422, "width"),
        (r#"{"width": 7}"#, 422, "width"),
        (r#"{"n": 17}"#, 422, "n"),
        (r#"{"n": 18446744073709551615}"#, 422, "n"),
        (r#"{"n": 0}"#, 422, "n"),
        (r#"{"n": -1}"#, 422, "n"),
        (r#"{"n": 1.5}"#, 422, "n"),
        (r#"{"n": "1"}"#, 422, "n"),
        (r#"{"seed": -1}"#, 422, "seed"),
        (r#"{"seed": 18446744073709551616}"#, 422, "seed"),
        (r#"{"seeds": []}"#, 422, "seeds"),
        (r#"{"seeds": [1, 2], "n": 3}"#, 422, "seeds"),
        (r#"{"steps": 51}"#, 422, "steps"),
        (r#"{"steps": 0}"#, 422, "steps"),
        (r#"{"steps": 1e9}"#, 422, "steps"),
        (r#"{"guidance": 1e308}"#, 422, "guidance"),
        (r#"{"guidance": -1e308}"#, 422, "guidance"),
        (r#"{"eta": 1e308}"#, 422, "eta"),
        (r#"{"eta": -1}"#, 422, "eta"),
        (r#"{"strength": 0.5}"#, 422, "strength"),
        (r#"{"solver": "ddim:eta=1e999"}"#, 422, "solver"),
        (r#"{"solver": "rm -rf /"}"#, 422, "solver"),
        (r#"{"spacing": "../karras"}"#, 422, "spacing"),
        (r#"{"class": ["none; drop table"]}"#, 422, "class"),
        (r#"{"class": [3]}"#, 422, "class[0]"),
        (r#"{"mask": "AAAA"}"#, 422, "mask"),
        (r#"{"n": 1, "n": 1}"#, 422, ""),
        (r#"{"__proto__": {}}"#, 422, "__proto__"),
        (r#"{"n": 1e400}"#, 400, ""),
        (r#"{"n": NaN}"#, 400, ""),
        (r#"{"n": 0x10}"#, 400, ""),
        (r#"{"n": 1"#, 400, ""),
        ("\u{feff}{}", 400, ""),
        ("", 400, ""),
        (&deep, 422, ""),
        (&deep_object, 422, "a"),
        (r#"[]"#, 422, ""),
        (r#""text""#, 422, ""),
    ] {
        let answer = jobs(&service, body);
        assert_eq!(answer.status, status, "{body:.80}: {answer}");
        let code = if status == 400 { "malformed" } else { "invalid" };
        assert_eq!(answer.code(), code, "{body:.80}");
        assert_eq!(answer.json()["field"].as_str().unwrap_or_default(), field, "{body:.80}: {answer}");
    }
    let many = json!({"seeds": vec![7; 1_000_000]});
    assert_eq!(service.post("/api/v1/jobs", &many).code(), "invalid");
    // Bytes that are no UTF-8, in a string and on their own.
    for body in [&b"{\"model\": \"\xff\xfe\"}"[..], b"\xff\xfe", b"{\"model\": \"\\ud800\"}"] {
        let answer = service.ask("POST", "/api/v1/jobs", &[JSON], body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{answer}");
    }
    lives(&service);
}

#[test]
fn deep_json_is_refused_everywhere() {
    let service = Service::start(|_| {});
    let document = service.get("/api/openapi.json").json();
    let deep = format!("{{\"x\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let mut routes = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["post", "put", "patch"] {
            if item[method]["requestBody"].is_null() {
                continue;
            }
            routes += 1;
            let answer = service.ask("POST", &path.replace("{id}", "grey"), &[JSON], deep.as_bytes());
            // Training is off here. The APIs of others pass over what they do not know, however deep; an img2img without a
            // picture is AUTOMATIC1111's 404.
            let known = match path.as_str() {
                "/sdapi/v1/img2img" => 404,
                path if path.starts_with("/sdapi/") || path.starts_with("/v1/") => 200,
                path if path.starts_with("/api/v1/runs") => 403,
                _ => 422,
            };
            assert!(answer.status == known || matches!(answer.status, 400 | 422), "{path}: {answer}");
        }
    }
    assert!(routes >= 6, "{routes} routes with bodies");
    lives(&service);
}

/// A chunk of a PNG.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = !0u32;
    for byte in kind.iter().chain(data) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    [&(data.len() as u32).to_be_bytes(), &kind[..], data, &(!crc).to_be_bytes()].concat()
}

/// A grey PNG of this size whose pixels are `zeros` packed zeros, whatever the size says.
fn png(width: u32, height: u32, zeros: usize, more: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let mut pixels = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let block = vec![0; 1 << 16];
    for start in (0..zeros).step_by(block.len()) {
        pixels.write_all(&block[..block.len().min(zeros - start)]).unwrap();
    }
    let pixels = pixels.finish().unwrap();
    let parts = [chunk(b"IHDR", &header), more.to_vec(), chunk(b"IDAT", &pixels), chunk(b"IEND", &[])];
    [b"\x89PNG\r\n\x1a\n".to_vec(), parts.concat()].concat()
}

/// Peak resident bytes of this process.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
}

#[test]
fn pictures_that_grow_are_refused_before_they_do() {
    let service = Service::start(|_| {});
    lives(&service);
    let mut text = flate2::write::ZlibEncoder::new(b"x\0\0".to_vec(), flate2::Compression::best());
    text.write_all(&vec![0; 64 << 20]).unwrap();
    let ztxt = chunk(b"zTXt", &text.finish().unwrap());
    let mut profile = flate2::write::ZlibEncoder::new(b"x\0\0".to_vec(), flate2::Compression::best());
    profile.write_all(&vec![0; 64 << 20]).unwrap();
    let iccp = chunk(b"iCCP", &profile.finish().unwrap());
    let mut gif = b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\0\0\0\0\xff\xff\xff\xff\x00\x02".to_vec();
    gif.extend([2, 0x4c, 1, 0, 0x3b]);
    let mut jpeg = b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01".to_vec();
    jpeg.extend(b"\xff\xd9");
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend([0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 24, 0]);
    bmp.extend([0; 24]);
    let before = peak();
    let refused: [(&str, Vec<u8>); 11] = [
        ("a header of 4 gigapixels", png(65_535, 65_535, 100, &[])),
        ("a header of the largest size", png(0x7fff_ffff, 0x7fff_ffff, 100, &[])),
        ("a width of 0", png(0, 8, 100, &[])),
        ("100 million pixels that are there", png(10_000, 10_000, 10_001 * 10_000, &[])),
        ("a text chunk of 64 MiB, and no picture", png(9, 8, 0, &ztxt)),
        ("GIF of 4 gigapixels", gif),
        ("JPEG of 4 gigapixels", jpeg),
        ("BMP of 4 gigapixels", bmp),
        ("a pickle", b"\x80\x04cos\nsystem\n(S'id'\ntR.".to_vec()),
        ("an SVG", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>".to_vec()),
        ("nothing", Vec::new()),
    ];
    for (what, bytes) in &refused {
        let answer = service.post("/api/v1/jobs", &json!({"init_image": STANDARD.encode(bytes)}));
        assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"), "{what}: {answer}");
        assert_eq!(answer.json()["field"], "init_image", "{what}: {answer}");
    }
    // A picture that is right but for what hangs on it: taken or refused, but not unpacked.
    for (what, bytes) in [
        ("more pixels than its size", png(8, 8, 64 << 20, &[])),
        ("a text chunk of 64 MiB", png(8, 8, 72, &ztxt)),
        ("a colour profile of 64 MiB", png(8, 8, 72, &iccp)),
    ] {
        let body = json!({"init_image": STANDARD.encode(bytes), "steps": 2, "strength": 0.5});
        let answer = service.post("/api/v1/generate", &body);
        assert!(matches!(answer.status, 200 | 422), "{what}: {answer}");
    }
    for not_base64 in ["!!!!", "data:image/png;base64,", "data:text/html;base64,PGI+", "file:///etc/passwd"] {
        let answer = service.post("/api/v1/jobs", &json!({"init_image": not_base64}));
        assert_eq!(
            (answer.status, answer.json()["field"].as_str()),
            (422, Some("init_image")),
            "{not_base64}: {answer}"
        );
    }
    // The other tests of this process share the peak: their largest is the 16 MiB that a body may have, held a few times.
    let grown = peak() - before;
    assert!(grown < 400 << 20, "{} MiB more", grown >> 20);
    lives(&service);
}

#[test]
fn bodies_have_an_end() {
    let service = Service::start(|_| {});
    let length = [JSON, ("content-length", "104857600")];
    let head = format!("POST /api/v1/jobs HTTP/1.1\r\nhost: {}\r\n", service.addr);
    let head = length.iter().fold(head, |head, (name, value)| format!("{head}{name}: {value}\r\n"));
    // Said before a byte of it is sent…
    let answer = service.send(format!("{head}\r\n").as_bytes()).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"), "{answer}");
    // …and of a body that does not say how long it is, when it is longer than it may be.
    let mut stream = service.connect();
    let mut reader = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || Answer::read(&mut reader));
    let head = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        service.addr
    );
    stream.write_all(head.as_bytes()).unwrap();
    let block = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    let sent = (0..1600).take_while(|_| stream.write_all(&block).is_ok()).count();
    let answer = reading.join().unwrap().expect("an answer to 100 MiB");
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"), "{answer}");
    assert!(sent < 1600, "all 100 MiB were read");
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"]
    {
        let answer = service.ask("POST", "/api/v1/jobs", &[("content-type", kind)], b"{}");
        assert_eq!((answer.status, answer.code().as_str()), (415, "not_json"), "{kind}: {answer}");
    }
    let answer = service.ask("POST", "/api/v1/jobs", &[JSON, ("content-encoding", "gzip")], b"\x1f\x8b\x08");
    assert!(matches!(answer.status, 400 | 415), "a compressed body is not unpacked: {answer}");
    lives(&service);
}

#[test]
fn slow_clients_hold_nobody_up() {
    let service = Service::start(|_| {});
    // A head, a body and a chunk that never end, fed often enough that no socket is idle.
    let opening = format!("POST /api/v1/jobs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", service.addr);
    let openings = [
        ("a head", "GET / HTTP/1.1\r\nx: ".to_owned(), None),
        ("a silent body", format!("{opening}content-length: 100\r\n\r\n{{"), Some(408)),
        ("a silent chunk", format!("{opening}transfer-encoding: chunked\r\n\r\n64\r\n{{"), Some(408)),
        ("nothing at all", String::new(), None),
    ];
    let mut streams: Vec<_> = openings
        .iter()
        .map(|(what, bytes, answer)| {
            let mut stream = service.connect();
            stream.write_all(bytes.as_bytes()).unwrap();
            (*what, stream, *answer)
        })
        .collect();
    let start = Instant::now();
    lives(&service);
    while start.elapsed() < Duration::from_secs(9) {
        let _ = streams[0].1.write_all(b"x");
        std::thread::sleep(Duration::from_millis(500));
    }
    for (what, stream, status) in &mut streams {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        match status {
            Some(status) => {
                let answer = Answer::read(stream).unwrap_or_else(|| panic!("{what} is not answered"));
                assert_eq!((answer.status, answer.code().as_str()), (*status, "timeout"), "{what}: {answer}");
            }
            None => {
                let mut rest = Vec::new();
                let ended = stream.read_to_end(&mut rest);
                let refused = rest.is_empty() || rest.starts_with(b"HTTP/1.1 408") || rest.starts_with(b"HTTP/1.1 400");
                let still_open = matches!(&ended, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
                assert!(!still_open && refused, "{what}: {ended:?} {}", String::from_utf8_lossy(&rest));
            }
        }
    }
    lives(&service);
}

#[test]
fn pages_elsewhere_get_nothing() {
    let service = Service::start(|options| options.hosts = vec!["studio.example".into()]);
    let addr = service.addr.to_string();
    let here = format!("http://{addr}");
    let (port, api) = (service.addr.port(), "/api/v1/models");
    let local = format!("localhost:{port}");
    for (headers, status) in [
        (&[("host", "evil.example")][..], 421),
        (&[("host", "127.0.0.1.evil.example")], 421),
        (&[("host", "localhost.evil.example")], 421),
        (&[("host", "evil.example:80"), ("x-forwarded-host", "localhost")], 421),
        (&[("host", "")], 421),
        (&[("host", "localhost@evil.example")], 421),
        (&[("host", "studio.example")], 200),
        (&[("host", local.as_str())], 200),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 403),
        (&[("sec-fetch-site", "same-origin")], 200),
        (&[("sec-fetch-site", "none")], 200),
    ] {
        let answer = service.ask("GET", api, headers, &[]);
        assert_eq!(answer.status, status, "{headers:?}: {answer}");
        if status != 200 {
            answer.code();
        }
        assert_eq!(answer.header("access-control-allow-origin"), None, "{headers:?}");
    }
    for (origin, status) in [
        (here.as_str(), 202),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1", 403),
        (&format!("http://localhost:{port}"), 403),
        (&format!("{here}.evil.example"), 403),
        (&format!("{here}/"), 403),
    ] {
        let answer = service.ask("POST", "/api/v1/jobs", &[JSON, ("origin", origin)], b"{\"steps\": 2}");
        assert_eq!(answer.status, status, "{origin}: {answer}");
    }
    // What a browser asks before it sends JSON across origins.
    let preflight = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let answer = service.ask("OPTIONS", "/api/v1/jobs", &preflight, &[]);
    assert!(matches!(answer.status, 403 | 405), "{answer}");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    // A link from elsewhere opens the studio, and only that.
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
    assert_eq!(service.ask("GET", "/", &link, &[]).status, 200);
    let answer = service.get("/");
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    // Absolute addresses count as hosts, too.
    let absolute = format!("GET http://evil.example{api} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    assert_eq!(service.send(absolute.as_bytes()).unwrap().status, 421);
    let two = format!("GET {api} HTTP/1.1\r\nhost: {addr}\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
    assert!(matches!(service.send(two.as_bytes()).unwrap().status, 400 | 421));
    let none = format!("GET {api} HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert!(matches!(service.send(none.as_bytes()).unwrap().status, 400 | 421));
    lives(&service);
}

#[test]
fn without_the_token_there_is_nothing() {
    let service = Service::start(|options| options.token = Some("correct-horse".into()));
    let with = |value: &str| vec![("authorization".to_owned(), value.to_owned())];
    for headers in [
        vec![],
        with("Bearer"),
        with("Bearer "),
        with("Basic Y29ycmVjdC1ob3JzZQ=="),
        with("correct-horse"),
        with("Bearer correct-hors"),
        vec![("cookie".to_owned(), "undiffuse_session=correct-horse".to_owned())],
        vec![("x-api-key".to_owned(), "correct-horse".to_owned())],
    ] {
        let headers: Vec<_> = headers.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        for path in [
            "/api/v1/models",
            "/api/v1/jobs",
            "/api/openapi.json",
            "/metrics",
            "/v1/models",
            "/api/v1/nothing",
            "/sdapi/v1/options",
        ] {
            let answer = service.ask("GET", path, &headers, &[]);
            // An address that wrote too many wrong tokens has to wait, which is a refusal, too.
            assert!(matches!(answer.status, 401 | 429), "{headers:?} {path}: {answer}");
            answer.code();
        }
    }
    let service = Service::start(|options| options.token = Some("correct-horse".into()));
    assert_eq!(service.get("/api/v1/models?token=correct-horse").status, 401);
    assert_eq!(service.get("/api/v1/models").header("www-authenticate").map(|v| &v[..6]), Some("Bearer"));
    for public in ["/", "/healthz", "/readyz", "/studio/js/main.js"] {
        assert_eq!(service.get(public).status, 200, "{public}");
    }
    let session = service.post("/api/session", &json!({"token": "correct-horse"}));
    assert_eq!(session.status, 204, "{session}");
    let cookie = session.header("set-cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("correct"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(service.ask("GET", "/api/v1/models", &[("cookie", cookie)], &[]).status, 200);
    // Guessing gets slow; whoever has a session goes on.
    let codes: Vec<_> =
        (0..30).map(|k| service.post("/api/session", &json!({"token": format!("guess-{k}")})).status).collect();
    assert!(codes.starts_with(&[401; 10]) && codes[12..].iter().all(|&s| s == 429), "{codes:?}");
    assert_eq!(service.ask("GET", "/api/v1/models", &[("cookie", cookie)], &[]).status, 200);
    let session = service.post("/api/session", &json!({"token": 7}));
    assert!(matches!(session.status, 422 | 429), "{session}");
}

#[test]
fn one_request_is_one_request() {
    let service = Service::start(|_| {});
    let head = format!("POST /api/v1/jobs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", service.addr);
    let smuggled = format!("DELETE /api/v1/jobs/x HTTP/1.1\r\nhost: {}\r\n\r\n", service.addr);
    for (what, rest) in [
        ("a length and chunks", format!("content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}")),
        ("chunks and a length", format!("transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{smuggled}")),
        ("two lengths", format!("content-length: 2\r\ncontent-length: 100\r\n\r\n{{}}{smuggled}")),
        ("a length of two numbers", format!("content-length: 2, 100\r\n\r\n{{}}{smuggled}")),
        ("a signed length", format!("content-length: +2\r\n\r\n{{}}{smuggled}")),
        ("a negative length", format!("content-length: -2\r\n\r\n{{}}{smuggled}")),
        ("a length beyond numbers", format!("content-length: 99999999999999999999\r\n\r\n{{}}{smuggled}")),
        ("another coding", format!("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}")),
        ("chunks not last", format!("transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n{smuggled}")),
        (
            "chunks twice",
            format!("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("a space before the colon", format!("content-length : 2\r\n\r\n{{}}{smuggled}")),
        ("a folded header", format!("x: a\r\n content-length: 100\r\ncontent-length: 2\r\n\r\n{{}}{smuggled}")),
        ("a bare carriage return", format!("x: a\rcontent-length: 100\r\ncontent-length: 2\r\n\r\n{{}}{smuggled}")),
        ("a zero byte", format!("x: a\0b\r\ncontent-length: 2\r\n\r\n{{}}{smuggled}")),
        ("a chunk of no size", format!("transfer-encoding: chunked\r\n\r\nx\r\n{{}}\r\n0\r\n\r\n{smuggled}")),
        (
            "a chunk beyond numbers",
            format!("transfer-encoding: chunked\r\n\r\n{}2\r\n{{}}\r\n0\r\n\r\n{smuggled}", "f".repeat(40)),
        ),
    ] {
        let mut stream = service.connect();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream.write_all(format!("{head}{rest}").as_bytes()).unwrap();
        let first = Answer::read(&mut stream);
        if let Some(first) = &first {
            assert!(matches!(first.status, 400 | 413 | 422), "{what}: {first}");
        }
        // Whatever stands behind a request that can be read in two ways is not taken for one, unless chunks, which
        // rule [RFC 9112, 6.3], end before it.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let answers = String::from_utf8_lossy(&rest).matches("HTTP/1.1 ").count();
        println!("{what}: {:?}, then {answers}", first.as_ref().map(|a| a.status));
        let by_chunks = what == "a length and chunks" || what == "chunks and a length";
        assert!(answers == 0 || by_chunks, "{what}: {}", String::from_utf8_lossy(&rest));
    }
    lives(&service);
}

#[test]
fn what_is_no_request_gets_no_answer_or_a_refusal() {
    let service = Service::start(|_| {});
    let addr = service.addr;
    for (what, bytes, statuses) in [
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400, 505][..]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400]),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec(), &[400]),
        (
            "a head of a megabyte",
            format!("GET / HTTP/1.1\r\nhost: {addr}\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)).into(),
            &[431],
        ),
        (
            "10,000 headers",
            format!("GET / HTTP/1.1\r\nhost: {addr}\r\n{}\r\n", "x: y\r\n".repeat(10_000)).into(),
            &[431],
        ),
        (
            "an address of a megabyte",
            format!("GET /{} HTTP/1.1\r\nhost: {addr}\r\n\r\n", "x".repeat(1 << 20)).into(),
            &[414, 431],
        ),
        ("another method", format!("FROBNICATE / HTTP/1.1\r\nhost: {addr}\r\n\r\n").into(), &[405]),
        ("TRACE", format!("TRACE / HTTP/1.1\r\nhost: {addr}\r\n\r\n").into(), &[405]),
        ("CONNECT", format!("CONNECT evil.example:443 HTTP/1.1\r\nhost: {addr}\r\n\r\n").into(), &[400, 404, 405, 421]),
        ("another protocol", b"EHLO evil.example\r\n".to_vec(), &[400]),
    ] {
        // A refusal may come while the rest is still being sent, and the connection end with it.
        let mut stream = service.connect();
        let mut reader = stream.try_clone().unwrap();
        let reading = std::thread::spawn(move || Answer::read(&mut reader));
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = reading.join().unwrap();
        println!("{what}: {:?}", answer.as_ref().map(|a| a.status));
        if let Some(answer) = answer {
            assert!(statuses.contains(&answer.status), "{what}: {answer}");
        }
    }
    let mut stream = service.connect();
    stream.write_all(format!("HEAD / HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut head = String::new();
    stream.read_to_string(&mut head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let put = service.ask("PUT", "/api/v1/models", &[JSON], b"{}");
    assert_eq!((put.status, put.code().as_str()), (405, "wrong_method"), "{put}");
    assert!(put.header("allow").is_some_and(|allow| allow.contains("GET")), "{put}");
    lives(&service);
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let service = Service::start(|options| options.limits.connections = 4);
    let mut open: Vec<_> = (0..4).map(|_| service.connect()).collect();
    // A byte each: the server has seen them.
    open.iter_mut().for_each(|stream| stream.write_all(b"G").unwrap());
    std::thread::sleep(Duration::from_millis(200));
    let answer = service.send(format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", service.addr).as_bytes()).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "busy"), "{answer}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(open);
    let start = Instant::now();
    while service.get("/healthz").status != 200 {
        assert!(start.elapsed() < Duration::from_secs(20), "places are not given back");
        std::thread::sleep(Duration::from_millis(50));
    }
    lives(&service);
}

#[test]
fn watchers_that_do_not_read_hold_nothing_up() {
    let service = Service::start(|_| {});
    let job = service.post("/api/v1/jobs", &json!({"frames": true, "n": 8, "steps": 200}));
    assert_eq!(job.status, 202, "{job}");
    let id = job.json()["id"].as_str().unwrap().to_owned();
    let request = format!("GET /api/v1/jobs/{id}/events HTTP/1.1\r\nhost: {}\r\n\r\n", service.addr);
    let mut silent: Vec<_> = (0..20).map(|_| service.connect()).collect();
    silent.iter_mut().for_each(|stream| stream.write_all(request.as_bytes()).unwrap());
    let start = Instant::now();
    loop {
        let job = service.get(&format!("/api/v1/jobs/{id}")).json();
        if job["state"] == "done" {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{job}");
        std::thread::sleep(Duration::from_millis(50));
    }
    // One that reads at last has missed no frame and no picture, and the end.
    let mut text = String::new();
    let mut late = silent.pop().unwrap();
    let mut bytes = [0; 1 << 16];
    while !text.contains("\"state\":\"done\"") {
        let n = late.read(&mut bytes).unwrap();
        assert!(n > 0, "the stream ends before the job");
        text += &String::from_utf8_lossy(&bytes[..n]);
    }
    assert_eq!(text.matches("event: frame").count(), 201);
    assert_eq!(text.matches("event: image").count(), 8);
    lives(&service);
}

#[test]
fn names_of_any_script_are_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["models/grey", "models/modèle \u{202e}txt", "models/模型", "models/<img src=x onerror=alert(1)>"] {
        save_model(&folder.path().join(name), 1);
    }
    let service = Service::open(folder, |_| {});
    let models = service.get("/api/v1/models").json();
    let ids: Vec<&str> = models["models"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    for id in ids {
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{id}");
        let made = service.post("/api/v1/generate", &json!({"model": id, "steps": 2}));
        assert_eq!(made.status, 200, "{id}: {made}");
    }
    for asked in ["模型", "\u{202e}", "<script>alert(1)</script>", "a\r\nset-cookie: x=y"] {
        let answer = service.post("/api/v1/jobs", &json!({"model": asked}));
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{answer}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    let key = service.ask("POST", "/api/v1/jobs", &[JSON, ("idempotency-key", "schlüssel")], b"{}");
    assert_eq!((key.status, key.code().as_str()), (422, "invalid"), "{key}");
    let raw = service.ask("GET", "/api/v1/models/模型", &[], &[]);
    assert!(matches!(raw.status, 400 | 404), "{raw}");
}

#[test]
fn pickles_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    save_model(&folder.path().join("models/grey"), 1);
    save_model(&folder.path().join("models/pickled"), 1);
    let touched = folder.path().join("touched");
    // What `torch.load` would run: os.system("touch …").
    let command = format!("touch {}", touched.display());
    let length = u32::try_from(command.len()).unwrap().to_le_bytes();
    let pickle = [b"\x80\x02cposix\nsystem\nX", &length[..], command.as_bytes(), b"\x85R."].concat();
    let unet = folder.path().join("models/pickled/unet");
    std::fs::remove_file(unet.join("diffusion_pytorch_model.safetensors")).unwrap();
    for name in ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.pt", "pytorch_model.bin"] {
        std::fs::write(unet.join(name), &pickle).unwrap();
    }
    let service = Service::open(folder, |_| {});
    let answer = service.post("/api/v1/jobs", &json!({"model": "pickled"}));
    assert!(matches!(answer.status, 404 | 422), "{answer}");
    answer.code();
    // The same bytes by the right name are no safetensors file either.
    let folder = tempfile::tempdir().unwrap();
    for name in ["grey", "renamed", "cut"] {
        save_model(&folder.path().join("models").join(name), 1);
    }
    let weights = |name: &str| folder.path().join("models").join(name).join("unet/diffusion_pytorch_model.safetensors");
    std::fs::write(weights("renamed"), &pickle).unwrap();
    let whole = std::fs::read(weights("cut")).unwrap();
    std::fs::write(weights("cut"), &whole[..whole.len() / 2]).unwrap();
    let header_bomb = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let second = Service::open(folder, |_| {});
    for name in ["renamed", "cut"] {
        let answer = second.post("/api/v1/jobs", &json!({"model": name}));
        assert!(matches!(answer.status, 404 | 422), "{name}: {answer}");
    }
    let path = second.folder.path().join("models/renamed/unet/diffusion_pytorch_model.safetensors");
    std::fs::write(path, header_bomb).unwrap();
    let answer = second.post("/api/v1/jobs", &json!({"model": "renamed"}));
    assert!(matches!(answer.status, 404 | 422), "{answer}");
    lives(&second);
    lives(&service);
    assert!(!touched.exists());
    let _: Value = service.get("/api/v1/models").json();
}
