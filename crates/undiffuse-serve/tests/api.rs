//! The service as clients meet it: over a socket, in good manners and bad.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use common::{Answer, Service, options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use undiffuse_serve::api::{App, document};
use undiffuse_serve::engine::Engine;
use undiffuse_serve::gate::Gate;
use undiffuse_serve::{ServeError, Server, guard};

/// Every refusal, its status and its code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_refused_by_name() {
    let service = Service::start(|options| options.hosts = vec!["studio.example".into()]);
    let own = format!("http://{}", service.addr);
    let deep = "[".repeat(10_000);
    let large = format!(r#"{{"model": "{}"}}"#, "x".repeat(100_001));
    let text = ("Content-Type", "text/plain");
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let cases: &[Case] = &[
        ("GET", "/", &[("Host", "studio.example")], "", 200, ""),
        ("GET", "/", &[("Host", "evil.example")], "", 421, "unknown_host"),
        ("GET", "/api/v1/about", &[("Host", "evil.example:80")], "", 421, "unknown_host"),
        ("GET", "/api/v1/about", &[("Host", "")], "", 421, "unknown_host"),
        ("GET", "http://evil.example/healthz", &[], "", 421, "unknown_host"),
        ("GET", "/healthz", &[("Sec-Fetch-Site", "same-origin")], "", 200, ""),
        ("GET", "/healthz", &[("Sec-Fetch-Site", "none")], "", 200, ""),
        ("GET", "/api/v1/jobs", &[("Sec-Fetch-Site", "cross-site")], "", 403, "cross_site"),
        ("GET", "/api/v1/jobs", &[("Sec-Fetch-Site", "same-site")], "", 403, "cross_site"),
        ("GET", "/", &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")], "", 200, ""),
        ("GET", "/", &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")], "", 403, "cross_site"),
        ("POST", "/api/v1/jobs", &[("Origin", "https://evil.example")], "{}", 403, "cross_site"),
        ("POST", "/api/v1/jobs", &[("Origin", "null")], "{}", 403, "cross_site"),
        ("POST", "/api/v1/jobs/x/cancel", &[("Origin", "https://evil.example")], "", 403, "cross_site"),
        ("POST", "/api/v1/jobs/x/cancel", &[("Origin", &own)], "", 404, "not_found"),
        ("POST", "/api/v1/jobs", &[text], "{}", 415, "not_json"),
        ("POST", "/api/v1/jobs", &[("Content-Type", "application/x-www-form-urlencoded")], "a=b", 415, "not_json"),
        ("POST", "/api/v1/jobs", &[("Content-Type", "")], "{}", 415, "not_json"),
        ("DELETE", "/api/v1/jobs/x", &[text], "{}", 415, "not_json"),
        ("POST", "/api/v1/jobs", &[("Content-Type", "application/json; charset=utf-8")], "{", 400, "malformed"),
        ("POST", "/api/v1/jobs", &[], "", 400, "malformed"),
        ("POST", "/api/v1/jobs", &[], &deep, 400, "malformed"),
        ("POST", "/api/v1/jobs", &[], &large, 413, "too_large"),
        ("POST", "/api/v1/generate", &[], r#"{"n": "many"}"#, 422, "invalid"),
        ("POST", "/api/v1/generate", &[], r#"{"n": 0}"#, 422, "invalid"),
        ("POST", "/api/v1/generate", &[], r#"{"width": 4294967295, "height": 4294967295}"#, 422, "invalid"),
        ("POST", "/api/v1/generate", &[], r#"{"class": ["unicorn"]}"#, 422, "invalid"),
        ("POST", "/api/v1/generate", &[], r#"{"model": "../../etc"}"#, 404, "not_found"),
        ("POST", "/api/v1/jobs", &[("Idempotency-Key", &"k".repeat(201))], "{}", 422, "invalid"),
        ("GET", "/api/v1/jobs?limit=201", &[], "", 422, "invalid"),
        ("GET", "/api/v1/jobs?limit=-1", &[], "", 422, "invalid"),
        ("GET", "/api/v1/jobs?state=lost", &[], "", 422, "invalid"),
        ("GET", "/api/v1/jobs/nothing", &[], "", 404, "not_found"),
        ("GET", "/api/v1/jobs/%ff", &[], "", 404, "not_found"),
        ("GET", "/api/v1/jobs/x/images/one", &[], "", 404, "not_found"),
        ("GET", "/api/v1/jobs/..%2f..%2fetc%2fpasswd/images/0", &[], "", 404, "not_found"),
        ("GET", "/api/v1/models/nothing", &[], "", 404, "not_found"),
        ("GET", "/nothing", &[], "", 404, "not_found"),
        ("GET", "/studio/nothing.js", &[], "", 404, "not_found"),
        ("GET", "/studio/../Cargo.toml", &[], "", 404, "not_found"),
        ("GET", "/studio/..%2fCargo.toml", &[], "", 404, "not_found"),
        ("PUT", "/api/v1/jobs", &[], "", 405, "wrong_method"),
        ("POST", "/", &[], "", 405, "wrong_method"),
        ("OPTIONS", "/api/v1/jobs", &[("Origin", "https://evil.example")], "", 403, "cross_site"),
        ("OPTIONS", "/api/v1/jobs", &[], "", 405, "wrong_method"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = service.send(method, path, headers, body).await;
        assert_eq!(answer.status, *status, "{method} {path} {headers:?}: {answer:?}");
        if *status >= 400 {
            assert_eq!(answer.problem(), *code, "{method} {path}");
        }
        let csp = answer.header("content-security-policy").expect("a policy on every answer");
        assert!(csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"), "{csp}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert!(*status != 405 || answer.header("allow").is_some(), "{method} {path}");
    }
    let chunked = [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")];
    let mut stream = service.begin("POST", "/api/v1/jobs", &chunked, "").await;
    stream.write_all(format!("1fffff\r\n{}\r\n0\r\n\r\n", "[".repeat(0x1fffff)).as_bytes()).await.ok();
    let mut bytes = vec![0; 4096];
    let length = timeout(Duration::from_secs(10), stream.read(&mut bytes)).await.unwrap().unwrap();
    assert!(bytes[..length].starts_with(b"HTTP/1.1 413"), "{:?}", String::from_utf8_lossy(&bytes[..length]));
    let field = service.send("POST", "/api/v1/jobs", &[], r#"{"seeds": [1, -2]}"#).await.json();
    assert_eq!(field["field"], "seeds[1]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for() {
    let service = Service::start(|options| options.token = Some("open sesame".replace(' ', "-")));
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(service.get(path).await.status, 200, "{path}");
    }
    for path in ["/api/v1/about", "/api/openapi.json", "/metrics", "/v1/models", "/nothing"] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"), "{path}");
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
    }
    let with = |name, value| [(name, value)];
    let wrong = service.send("GET", "/api/v1/about", &with("Authorization", "Bearer open"), "").await;
    assert_eq!(wrong.status, 401);
    let right = service.send("GET", "/api/v1/about", &with("Authorization", "Bearer open-sesame"), "").await;
    assert_eq!((right.status, &right.json()["token_required"]), (200, &json!(true)));
    assert_eq!(service.post("/api/session", json!({"token": "open"})).await.status, 401);
    let session = service.post("/api/session", json!({"token": "open-sesame"})).await;
    let cookie = session.header("set-cookie").unwrap();
    assert_eq!(session.status, 204);
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("sesame"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    assert!(cookie.starts_with(&format!("undiffuse_session_{}=", service.addr.port())), "{cookie}");
    assert_eq!(service.send("GET", "/api/v1/about", &with("Cookie", cookie), "").await.status, 200);
    let document = service.send("GET", "/api/openapi.json", &with("Cookie", cookie), "").await.json();
    let named = &document["components"]["securitySchemes"]["cookie"]["name"];
    assert!(cookie.starts_with(named.as_str().unwrap()), "{named}");
    // Signing out ends the session, not only the browser's memory of it.
    let out = service.send("DELETE", "/api/session", &with("Cookie", cookie), "").await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")), "{out:?}");
    assert_eq!(service.send("GET", "/api/v1/about", &with("Cookie", cookie), "").await.status, 401);
    let mut last = 401;
    for _ in 0..20 {
        last = service.post("/api/session", json!({"token": "guess"})).await.status;
    }
    assert_eq!(last, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_from_request_to_pictures() {
    let service = Service::start(|_| {});
    let models = service.get("/api/v1/models").await.json();
    assert_eq!((&models["models"][0]["id"], &models["models"][0]["shape"]), (&json!("grey"), &json!([1, 8, 8])));
    assert_eq!(service.get("/api/v1/models/grey").await.json()["classes"], json!(["ant", "bee", "cat", "dog"]));

    let asked = json!({"n": 3, "seed": 5, "steps": 4, "frames": true});
    let key = [("Idempotency-Key", "once")];
    let answer = service.send("POST", "/api/v1/jobs", &key, &asked.to_string()).await;
    let job = answer.json();
    let (id, place) = (job["id"].as_str().unwrap(), answer.header("location").unwrap());
    assert_eq!((answer.status, place), (202, &*format!("/api/v1/jobs/{id}")));
    assert_eq!(service.send("POST", "/api/v1/jobs", &key, &asked.to_string()).await.json()["id"], id);
    assert_eq!(service.send("POST", "/api/v1/jobs", &key, "{}").await.status, 409);

    // The stream says everything and ends by itself.
    let stream = service.get(&format!("{place}/events")).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let events: Vec<(&str, Value)> = stream.text().split("\n\n").filter_map(event).collect();
    let named = |name: &str| events.iter().filter(|(n, _)| *n == name).map(|(_, data)| data).collect::<Vec<_>>();
    assert_eq!(events[0].0, "state");
    assert_eq!(events.last().map(|(name, data)| (*name, &data["state"])), Some(("state", &json!("done"))));
    let seeds: BTreeSet<u64> = named("image").iter().map(|made| made["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, BTreeSet::from([5, 6, 7]));
    let rows: Vec<&Value> = named("frame").iter().map(|frame| &frame["row"]).collect();
    assert_eq!(rows, [0, 1, 2, 3, 4]);
    assert_eq!(service.get(&format!("{place}/frames")).await.json()["frames"].as_array().unwrap().len(), 5);

    let picture = service.get(&format!("{place}/images/0")).await;
    assert_eq!((picture.status, picture.header("content-type")), (200, Some("image/png")));
    assert!(picture.body.starts_with(b"\x89PNG") && picture.header("cache-control").unwrap().contains("immutable"));
    let tag = [("If-None-Match", picture.header("etag").unwrap())];
    assert_eq!(service.send("GET", &format!("{place}/images/0"), &tag, "").await.status, 304);
    let head = service.send("HEAD", &format!("{place}/images/0"), &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(service.get(&format!("{place}/images/3")).await.status, 404);

    let zip = service.get(&format!("{place}/images.zip")).await;
    assert_eq!(zip.header("content-type"), Some("application/zip"));
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(zip.body)).unwrap();
    assert_eq!(zip.len(), 3);
    let mut first = Vec::new();
    std::io::Read::read_to_end(&mut zip.by_name("0000-seed5-ant.png").unwrap(), &mut first).unwrap();
    assert_eq!(first, picture.body);

    let later = service.post("/api/v1/jobs", json!({"steps": 2})).await.json();
    service.ended(later["id"].as_str().unwrap()).await;
    let jobs = service.get("/api/v1/jobs?state=done&limit=1").await.json();
    assert_eq!((jobs["jobs"].as_array().unwrap().len(), &jobs["jobs"][0]["id"]), (1, &later["id"]));
    let before = format!("/api/v1/jobs?before={}", later["id"].as_str().unwrap());
    assert_eq!(service.get(&before).await.json()["jobs"][0]["id"], id);
    assert_eq!(service.send("POST", &format!("{place}/cancel"), &[], "").await.json()["state"], "done");
    assert_eq!(service.send("DELETE", place, &[], "").await.status, 204);
    assert_eq!(service.get(place).await.status, 404);
    assert_eq!(service.get(&format!("{place}/images/0")).await.status, 404);

    let metrics = service.get("/metrics").await;
    for line in [
        "undiffuse_images_total 4",
        "undiffuse_jobs_ended_total 2",
        r#"undiffuse_http_requests_total{route="/api/v1/jobs/{id}/images/{index}",method="GET",status="200"} 1"#,
        r#"undiffuse_http_request_duration_seconds_count{route="/api/v1/models",method="GET"} 1"#,
        "undiffuse_process_resident_memory_bytes ",
        "undiffuse_batch_pictures_sum ",
        "undiffuse_job_wait_seconds_count 2",
        "# EOF",
    ] {
        assert!(metrics.text().contains(line), "{line} in\n{}", metrics.text());
    }
}

/// The name and the data of an event; `None` for comments.
fn event(text: &str) -> Option<(&str, Value)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    Some((field("event: ")?, serde_json::from_str(field("data: ")?).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_in_one_call_are_those_of_a_job() {
    let service = Service::start(|_| {});
    let asked = json!({"n": 2, "seed": 9, "steps": 3, "class": ["cat"]});
    let answer = service.post("/api/v1/generate", asked).await.json();
    assert_eq!((&answer["images"][1]["seed"], &answer["images"][1]["class"]), (&json!(10), &json!("cat")));
    let picture = service.get(&format!("/api/v1/jobs/{}/images/1", answer["id"].as_str().unwrap())).await;
    let png = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, picture.body);
    assert_eq!(answer["images"][1]["png"], png);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_cancels_its_job() {
    let service = Service::slow(5);
    let call = service.begin("POST", "/api/v1/generate", &[], r#"{"steps": 1000, "solver": "ddpm"}"#).await;
    let id = loop {
        let jobs = service.get("/api/v1/jobs?state=running").await.json();
        if let Some(id) = jobs["jobs"][0]["id"].as_str() {
            break id.to_owned();
        }
        sleep(Duration::from_millis(5)).await;
    };
    drop(call);
    assert_eq!(service.ended(&id).await["state"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_orderly() {
    let service = Service::slow(2);
    let long = service.post("/api/v1/jobs", json!({"steps": 100, "n": 1000})).await.json();
    let events = format!("/api/v1/jobs/{}/events", long["id"].as_str().unwrap());
    let mut stream = service.begin("GET", &events, &[], "").await;
    let mut call = service.begin("POST", "/api/v1/generate", &[], r#"{"steps": 5}"#).await;
    let mut idle = service.begin("GET", "/healthz", &[("Connection", "keep-alive")], "").await;
    sleep(Duration::from_millis(50)).await;
    let addr = service.addr;
    service.stop().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "nobody listens");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(Answer::parse(&rest).text().contains("event: state"));
    rest.clear();
    call.read_to_end(&mut rest).await.unwrap();
    let answer = Answer::parse(&rest);
    assert!(answer.status == 200 || (answer.status == 503 && answer.problem() == "closing"), "{answer:?}");
    rest.clear();
    idle.read_to_end(&mut rest).await.unwrap();
    assert_eq!(Answer::parse(&rest).text(), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_connections_are_told_so() {
    let service = Service::start(|options| options.limits.connections = 2);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = service.begin("GET", "/healthz", &[("Connection", "keep-alive")], "").await;
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        held.push(stream);
    }
    let answer = service.get("/api/v1/about").await;
    assert_eq!((answer.status, answer.problem().as_str(), answer.header("retry-after")), (503, "busy", Some("1")));
    assert_eq!(service.get("/healthz").await.status, 200, "whoever asks how it is hears that it lives");
    held.clear();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(service.get("/api/v1/about").await.status, 200);
}

/// An evaluation that hangs holds up the end for so long and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_comes_whatever_hangs() {
    let service = Service::slow_with(6000, |options| {
        options.waits.finish = Duration::from_millis(100);
        options.waits.end = Duration::from_millis(500);
        options.waits.last_words = Duration::from_millis(500);
    });
    let job = service.post("/api/v1/jobs", json!({"steps": 2})).await.json();
    while service.get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await.json()["state"] != "running" {
        sleep(Duration::from_millis(5)).await;
    }
    let begin = std::time::Instant::now();
    service.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_answers_500() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let engine = Engine::open(&options).unwrap();
    let app = App::new(engine, options, Gate::new(None, 0).unwrap(), watch::channel(false).1);
    let boom = || async {
        if true {
            panic!("this panic is part of the test")
        }
    };
    let router: Router = Router::new().route("/boom", get(boom)).layer(from_fn_with_state(app.guard(), guard::guard));
    let request = Request::get("/boom").header("host", "localhost").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[test]
fn a_service_that_would_be_open_to_all_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let with = |addr: &str, token: Option<&str>, insecure| {
        let (addr, token) = (addr.parse().unwrap(), token.map(String::from));
        Server::bind(undiffuse_serve::ServeOptions { addr, token, insecure, ..options(folder.path()) })
    };
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        assert!(matches!(with(addr, None, false), Err(ServeError::Open(_))), "{addr}");
    }
    assert!(matches!(with("127.0.0.1:0", Some(""), false), Err(ServeError::Token(_))));
    assert!(matches!(with("127.0.0.1:0", Some("a b"), false), Err(ServeError::Token(_))));
    drop(with("0.0.0.0:0", Some("token"), false).unwrap());
    let first = with("0.0.0.0:0", None, true).unwrap();
    let taken = with(&first.local_addr().to_string(), None, true).unwrap_err().to_string();
    assert!(taken.contains("another program") && taken.contains("--addr"), "{taken}");
}

/// The document hangs together: references lead somewhere, names are unique, refusals are problems.
#[test]
fn the_document_is_sound() {
    let document: Value =
        serde_json::from_str(&document::document("undiffuse_session_8484").to_json().unwrap()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut stack = vec![&document];
    while let Some(value) = stack.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
                }
                stack.extend(map.values());
            }
            Value::Array(items) => stack.extend(items),
            _ => {}
        }
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place}: its id is taken");
            assert!(operation["summary"].is_string(), "{place} says not what it is for");
            assert!(operation["tags"].as_array().is_some_and(|tags| !tags.is_empty()), "{place} has no tag");
            let named: BTreeSet<&str> = path.split('{').skip(1).map(|part| part.split('}').next().unwrap()).collect();
            let empty = Vec::new();
            let parameters = operation["parameters"].as_array().unwrap_or(&empty);
            let told = parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap()).collect();
            assert_eq!(named, told, "{place}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{place}");
            for (status, response) in responses {
                let response = match response["$ref"].as_str() {
                    Some(target) => document.pointer(&target[1..]).unwrap(),
                    None => response,
                };
                assert!(response["description"].is_string(), "{place} {status}");
                let is_problem = response["content"].get("application/problem+json").is_some();
                let openai = path.starts_with("/v1/");
                assert!(is_problem == status.starts_with(['4', '5']) || openai, "{place} {status}: {response}");
            }
        }
    }
    assert!(ids.len() > 15, "{ids:?}");
}
