//! Damaged bodies for every endpoint that takes one: each is answered, and the service makes a picture afterwards.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::Service;
use serde_json::{Value, json};
use undiffuse_fuzz::{check_message, fuzz};

/// A white picture of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg==";

/// Good bodies by endpoint; `{id}` is nobody's.
fn corpus() -> Vec<(&'static str, Vec<Value>)> {
    let generate = || {
        vec![
            json!({"n": 1, "seed": 7, "steps": 2, "class": ["bee"], "guidance": 2, "solver": "heun", "spacing": "karras"}),
            json!({"model": "grey", "steps": 1, "class": "none", "width": 8, "height": 8, "frames": true, "eta": 0.5}),
            json!({"steps": 2, "init_image": PIXEL, "mask": PIXEL, "strength": 0.5}),
        ]
    };
    let txt2img = json!({
        "prompt": "a bee", "negative_prompt": "", "seed": 3, "steps": 2, "batch_size": 1, "n_iter": 1, "cfg_scale": 1.5,
        "width": 512, "height": 512, "sampler_name": "Euler a", "scheduler": "Karras", "override_settings": {},
    });
    let mut img2img = txt2img.clone();
    img2img["init_images"] = json!([PIXEL]);
    img2img["mask"] = json!(PIXEL);
    img2img["denoising_strength"] = json!(0.4);
    vec![
        ("/api/v1/jobs", generate()),
        ("/api/v1/generate", generate()),
        ("/api/v1/parameters", vec![json!({"text": "a bee\nSteps: 2, Sampler: Euler a, CFG scale: 1.5, Seed: 3"})]),
        ("/api/v1/toy", vec![json!({})]),
        ("/api/v1/runs", vec![json!({"data": "flowers", "preset": "quick", "budget": "1m"})]),
        ("/api/v1/runs/{id}/resume", vec![json!({"images": 100}), json!({"budget": "1m"})]),
        ("/api/session", vec![json!({"token": "the-right-words"})]),
        (
            "/v1/images/generations",
            vec![json!({"prompt": "a bee", "n": 1, "size": "auto", "response_format": "url", "steps": 2})],
        ),
        ("/sdapi/v1/txt2img", vec![txt2img]),
        ("/sdapi/v1/img2img", vec![img2img]),
        ("/sdapi/v1/options", vec![json!({"sd_model_checkpoint": "grey"})]),
    ]
}

/// Status and body of an answer, the connection closed behind it.
fn ask(addr: SocketAddr, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let service = Service::start(|options| options.limits.steps = 4);
    let addr = service.addr;
    tokio::task::spawn_blocking(move || {
        let (_, document) = ask(addr, "GET", "/api/openapi.json", b"");
        let document: Value = serde_json::from_slice(&document).unwrap();
        let takes_json =
            |path: &&String| document["paths"][*path]["post"]["requestBody"]["content"]["application/json"].is_object();
        let documented: BTreeSet<&str> =
            document["paths"].as_object().unwrap().keys().filter(takes_json).map(String::as_str).collect();
        let tried: BTreeSet<&str> = corpus().iter().map(|(path, _)| *path).collect();
        assert_eq!(tried, documented, "every endpoint with a body is tried");
        for (path, bodies) in corpus() {
            let bodies: Vec<Vec<u8>> = bodies.iter().map(|body| body.to_string().into_bytes()).collect();
            fuzz(&path.trim_matches('/').replace('/', "-"), &bodies, |body| {
                let (status, answer) = ask(addr, "POST", &path.replace("{id}", "nobody"), body);
                // 503 is the limits' word: a damaged number may ask for more than there is.
                assert!(status < 500 || status == 503, "{status} {}", String::from_utf8_lossy(&answer));
                if status >= 400 {
                    let problem: Value = serde_json::from_slice(&answer).expect("a refusal is JSON");
                    let told = [&problem["detail"], &problem["error"]["message"], &problem["error"]];
                    let told = told.iter().find_map(|text| text.as_str()).expect("a refusal has words");
                    // In JSON it is harmless; what prints it escapes it.
                    check_message(&undiffuse::data::text::escaped(told));
                }
            });
        }
        let (status, answer) =
            ask(addr, "POST", "/api/v1/generate", br#"{"n": 1, "seed": 1, "steps": 2, "class": ["ant"]}"#);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    })
    .await
    .unwrap();
}
