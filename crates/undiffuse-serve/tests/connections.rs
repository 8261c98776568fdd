//! What a hostile client can do with a connection, and the exact answer: slowness, requests in the name of others, requests
//! that are two or none. hostile.rs has what a request can hold.

mod service;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use service::{Answer, JSON, Service};

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
    service.lives();
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
    service.lives();
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
    service.lives();
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
    service.lives();
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
    service.lives();
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
    service.lives();
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
    service.lives();
}
