//! What a hostile request can hold, and the exact answer; connections.rs has what can be done with a connection. Both
//! lists with their answers are in docs/service.md.
//!
//! Each test ends with a service that still answers, and ends in order: `Service` checks both.

mod service;

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use undiffuse_serve::options::{RequestLimits, Training};

use service::{Answer, JSON, Service, save_model};

/// The answer to a request for pictures.
fn jobs(service: &Service, body: &str) -> Answer {
    service.ask("POST", "/api/v1/jobs", &[JSON], body.as_bytes())
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
    service.lives();
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
    service.lives();
}

#[test]
fn numbers_beyond_the_limits_are_named() {
    let service =
        Service::start(|options| options.limits = RequestLimits { n: 16, steps: 50, ..RequestLimits::default() });
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
        (r#"{"class": [true]}"#, 422, "class"),
        (r#"{"class": 4}"#, 422, "class"),
        (r#"{"class": 3.5}"#, 422, "class"),
        (r#"{"mask": "AAAA"}"#, 422, "mask"),
        (r#"{"n": 1, "n": 1}"#, 422, "n"),
        (r#"{"__proto__": {}}"#, 422, "__proto__"),
        (r#"{"n": 1e400}"#, 400, ""),
        (r#"{"n": NaN}"#, 400, ""),
        (r#"{"n": 0x10}"#, 400, ""),
        (r#"{"n": 1"#, 400, ""),
        ("\u{feff}{}", 400, ""),
        ("", 400, ""),
        (&deep, 422, ""),
        (&deep_object, 400, ""),
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
    service.lives();
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
                // Read before it is known who asks, and little of it.
                "/api/session" => 413,
                path if path.starts_with("/sdapi/") || path.starts_with("/v1/") => 200,
                path if path.starts_with("/api/v1/runs") => 403,
                _ => 422,
            };
            assert!(answer.status == known || matches!(answer.status, 400 | 422), "{path}: {answer}");
        }
    }
    assert!(routes >= 6, "{routes} routes with bodies");
    service.lives();
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
    service.lives();
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
    service.lives();
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
    service.lives();
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
    second.lives();
    service.lives();
    assert!(!touched.exists());
    let _: Value = service.get("/api/v1/models").json();
}
