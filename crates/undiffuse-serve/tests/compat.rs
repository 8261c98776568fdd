//! Other services' clients, runs, reports and toys over HTTP.

mod common;

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::Service;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};
use undiffuse::data::decode::decode;
use undiffuse::data::{Image, encode_png};

fn is_png(base64: &Value) -> bool {
    BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap().starts_with(b"\x89PNG")
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_images() {
    let service = Service::start(|_| {});
    let models = service.get("/v1/models").await.json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("grey")));
    assert_eq!(service.get("/v1/models/grey").await.json()["object"], "model");
    let path = "/v1/images/generations";
    let ask = json!({"prompt": "a cat, oil on canvas", "n": 2, "size": "8x8", "response_format": "b64_json", "steps": 3,
                     "seed": 4, "quality": "hd", "user": "me"});
    let answer = service.post(path, ask).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let made = answer.json();
    let data = made["data"].as_array().unwrap();
    assert_eq!((data.len(), &data[0]["revised_prompt"]), (2, &json!("cat")));
    assert!(data.iter().all(|image| is_png(&image["b64_json"])) && made["created"].as_u64().unwrap() > 1_700_000_000);
    // The same picture as the native API makes of the same seed and class.
    let native = json!({"model": "grey", "seed": 4, "steps": 3, "class": ["cat"]});
    let native = service.post("/api/v1/generate", native).await.json();
    assert_eq!(native["images"][0]["png"], data[0]["b64_json"]);
    // By address, which is what nobody asked for otherwise.
    let made = service.post(path, json!({"prompt": "dog", "steps": 2})).await.json();
    let url = made["data"][0]["url"].as_str().unwrap().to_owned();
    let start = format!("http://{}/", service.addr);
    let picture = service.get(&format!("/{}", url.strip_prefix(&start).unwrap())).await;
    assert_eq!((picture.status, picture.header("content-type")), (200, Some("image/png")));
    // No prompt: all classes in turn.
    let made = service.post(path, json!({"prompt": "", "n": 5, "steps": 1})).await.json();
    let classes: Vec<&str> =
        made["data"].as_array().unwrap().iter().map(|i| i["revised_prompt"].as_str().unwrap()).collect();
    assert_eq!(classes, ["ant", "bee", "cat", "dog", "ant"]);
    for (body, status, param) in [
        (json!({"prompt": "a cat and a dog"}), 400, json!("prompt")),
        (json!({"prompt": "a horse"}), 400, json!("prompt")),
        (json!({"prompt": "cat", "size": "1024x1024"}), 400, json!("size")),
        (json!({"prompt": "cat", "n": 0}), 400, json!("n")),
        (json!({"prompt": "cat", "n": "many"}), 400, json!("n")),
        (json!({"prompt": "cat", "sneaky": 1}), 400, json!("sneaky")),
        (json!({"prompt": "cat", "model": "dall-e-3"}), 404, json!("model")),
    ] {
        let answer = service.post(path, body.clone()).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["param"]), (status, &param), "{error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    // What the guard refuses, it refuses in its own way.
    assert_eq!(service.post(path, json!({"prompt": "x".repeat(200_000)})).await.problem(), "too_large");
    let broken = service.send("POST", path, &[], "{").await;
    assert_eq!((broken.status, &broken.json()["error"]["code"]), (400, &json!("malformed")));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic1111s_pictures() {
    let service = Service::start(|_| {});
    let path = "/sdapi/v1/txt2img";
    let ask = json!({"prompt": "a bee", "seed": 9, "batch_size": 2, "n_iter": 2, "steps": 3, "cfg_scale": 2.0, "width": 512,
                     "height": 512, "sampler_name": "Euler a", "scheduler": "Karras", "alwayson_scripts": {}, "styles": []});
    let answer = service.post(path, ask).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let made = answer.json();
    let info: Value = serde_json::from_str(made["info"].as_str().unwrap()).unwrap();
    assert!(made["images"].as_array().unwrap().iter().all(is_png));
    assert_eq!((&info["all_seeds"], &info["width"]), (&json!([9, 10, 11, 12]), &json!(8)));
    assert_eq!((&info["classes"][3], &made["parameters"]["steps"]), (&json!("bee"), &json!(3)));
    assert!(info["infotexts"][0].as_str().unwrap().starts_with("a bee\nSteps: 3, Sampler: Euler a"));
    let native = json!({"seed": 9, "steps": 3, "guidance": 2, "class": ["bee"], "solver": "euler-ancestral", "spacing": "karras"});
    assert_eq!(service.post("/api/v1/generate", native).await.json()["images"][0]["png"], made["images"][0]);
    // Seeds of chance differ.
    let any = |_| service.post(path, json!({"prompt": "ant", "steps": 1, "seed": -1}));
    let (a, b) = (any(0).await.json(), any(1).await.json());
    assert_ne!(a["info"], b["info"]);
    // From a picture, part of it painted.
    let mask = made["images"][1].clone();
    let ask = json!({"prompt": "ant", "steps": 4, "seed": 1, "init_images": [made["images"][0]], "mask": mask,
                     "denoising_strength": 0.5, "inpainting_mask_invert": 1});
    let painted = service.post("/sdapi/v1/img2img", ask).await;
    assert_eq!(painted.status, 200, "{painted:?}");
    assert_eq!(painted.json()["parameters"]["init_images"], Value::Null);
    assert_eq!(service.post("/sdapi/v1/img2img", json!({"prompt": "ant"})).await.status, 404);
    for (body, field) in [
        (json!({"prompt": "a bee and an ant"}), "prompt"),
        (json!({"enable_hr": true}), "enable_hr"),
        (json!({"sampler_name": "Nothing"}), "sampler_name"),
        (json!({"sampler_index": "Nothing"}), "sampler_index"),
        (json!({"scheduler": "Nothing"}), "scheduler"),
        (json!({"cfg_scale": 1e9}), "cfg_scale"),
        (json!({"steps": 0}), "steps"),
        (json!({"batch_size": 1000, "n_iter": 1000}), "batch_size"),
        (json!({"n_iter": 100_000}), "n_iter"),
        (json!({"width": 1_000_000, "height": 1_000_000}), "width"),
        (json!({"steps": "many"}), "steps"),
    ] {
        let answer = service.post(path, body).await;
        assert_eq!(
            (answer.status, answer.problem().as_str(), &answer.json()["field"]),
            (422, "invalid", &json!(field))
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic1111s_lists_and_options() {
    let service = Service::start(|_| {});
    assert_eq!(service.get("/sdapi/v1/sd-models").await.json()[0]["title"], "grey");
    let samplers = service.get("/sdapi/v1/samplers").await.json();
    assert!(samplers.as_array().unwrap().iter().any(|s| s["name"] == "Euler a"));
    assert_eq!(service.get("/sdapi/v1/schedulers").await.json()[0]["name"], "automatic");
    assert_eq!(service.get("/sdapi/v1/options").await.json()["sd_model_checkpoint"], "grey");
    let choose =
        |name| service.post("/sdapi/v1/options", json!({"sd_model_checkpoint": name, "CLIP_stop_at_last_layers": 2}));
    assert_eq!(choose("grey [0123]").await.status, 200);
    assert_eq!((choose("../grey").await.status, choose("other").await.problem()), (404, "not_found".into()));
    let idle = service.get("/sdapi/v1/progress").await.json();
    assert_eq!(
        (&idle["progress"], &idle["current_image"], &idle["state"]["job_count"]),
        (&json!(0.0), &Value::Null, &json!(0))
    );
    assert_eq!(service.send("POST", "/sdapi/v1/interrupt", &[], "").await.json(), json!({}));
    service.stop().await;
}

/// Interrupted from elsewhere, the call that waits answers with what is finished; progress is seen in between.
#[tokio::test(flavor = "multi_thread")]
async fn automatic1111s_progress_and_interrupt() {
    let service = Service::slow(20);
    let call = service.post("/sdapi/v1/txt2img", json!({"prompt": "ant", "steps": 400}));
    let watch = async {
        loop {
            let now = service.get("/sdapi/v1/progress").await.json();
            if now["progress"].as_f64().unwrap() > 0.0 && now["current_image"].is_string() {
                assert!(is_png(&now["current_image"]) && now["eta_relative"].as_f64().unwrap() > 0.0);
                assert_eq!((&now["state"]["sampling_steps"], &now["state"]["job_count"]), (&json!(400), &json!(1)));
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        service.send("POST", "/sdapi/v1/interrupt", &[], "").await;
    };
    let (answer, ()) = tokio::join!(call, watch);
    assert_eq!((answer.status, &answer.json()["images"]), (200, &json!([])));
    assert_eq!(service.get("/sdapi/v1/progress").await.json()["progress"], 0.0);
    service.stop().await;
}

/// Whoever hangs up gives the device to others.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_cancel_their_jobs() {
    let service = Service::slow(20);
    for (path, body) in [
        ("/v1/images/generations", json!({"prompt": "ant", "steps": 900})),
        ("/sdapi/v1/txt2img", json!({"prompt": "ant", "steps": 900})),
    ] {
        let stream = service.begin("POST", path, &[], &body.to_string()).await;
        let newest = || async { service.get("/api/v1/jobs?limit=1").await.json()["jobs"][0].clone() };
        while newest().await["state"] != "running" {
            sleep(Duration::from_millis(10)).await;
        }
        let id = newest().await["id"].as_str().unwrap().to_owned();
        drop(stream);
        assert_eq!(service.ended(&id).await["state"], "cancelled", "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ink_and_toy() {
    let service = Service::start(|_| {});
    let curve = service.get("/api/v1/schedules/curve?schedule=linear&points=4").await.json();
    assert_eq!(curve["times"], json!([0.0, 333.0, 666.0, 999.0]));
    let of_model = service.get("/api/v1/schedules/curve?model=grey").await.json();
    assert_eq!((&of_model["schedule"], of_model["alpha"].as_array().unwrap().len()), (&json!("cosine"), 200));
    assert_eq!(service.get("/api/v1/schedules/curve?model=..%2Fgrey").await.status, 404);
    let noise = service.get("/api/v1/noise?seed=3&count=5").await;
    assert_eq!((noise.body.len(), noise.header("content-type")), (20, Some("application/octet-stream")));
    let toy = service.post("/api/v1/toy", json!({"shape": "heart", "steps": 5, "n": 3, "grid": 2})).await.json();
    assert_eq!((toy["walkers"].as_array().unwrap().len(), toy["field"]["score"][5].as_array().unwrap().len()), (6, 4));
    for (path, field) in [
        ("/api/v1/schedules/curve?points=1000000000", "points"),
        ("/api/v1/schedules/curve?schedule=linear:steps=4000000000", "schedule"),
        ("/api/v1/noise?count=4000000001", "count"),
        ("/api/v1/noise?seed=-1", "seed"),
    ] {
        let answer = service.get(path).await;
        assert_eq!(
            (answer.status, answer.problem().as_str(), &answer.json()["field"]),
            (422, "invalid", &json!(field)),
            "{path}"
        );
    }
    service.stop().await;
}

fn report(folder: &Path, name: &str, value: f64, steps: usize, format: u32) {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let report = json!({
        "format": format, "program": "undiffuse 0.1.0", "data": "/home/ann/private/flowers", "fingerprint": format!("{steps}"),
        "notes": [], "subject": {"fingerprint": "00", "kind": "model", "name": format!("/home/ann/private/{name}/model")},
        "figures": [{"tag": "fid", "name": "Fréchet distance", "value": value, "interval": [value - 0.1, value + 0.1], "better": "lower"}],
        "protocol": {
            "version": 1, "pairs": 200, "seed": 0, "resamples": 100,
            "features": {"network": "mobilenet-v2", "fingerprint": "00", "dims": 1280, "input": "224"},
            "data": {"fingerprint": "00", "images": 200, "size": 32, "channels": 3},
            "generated": {"images": 200, "seeds": [0, 199], "solver": "ddim", "spacing": "karras", "steps": steps,
                          "guidance": 1.0, "classes": null},
            "likelihood": {}, "audit": {},
        },
    });
    std::fs::write(folder.join("report.json"), report.to_string()).unwrap();
    std::fs::write(folder.join("report.html"), "<script>alert(1)</script>").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_side_by_side() {
    let service = Service::start(|options| {
        report(&options.reports, "one", 3.0, 25, 1);
        report(&options.reports, "two", 2.0, 25, 1);
        report(&options.reports, "other", 1.0, 50, 1);
        report(&options.reports, "future", 1.0, 50, 99);
        report(&options.reports, ".hidden", 1.0, 50, 1);
    });
    let list = service.get("/api/v1/reports").await.json();
    let mut ids: Vec<&str> = list["reports"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["one", "other", "two"]);
    let first = &list["reports"][0];
    assert_eq!(
        (&first["images"], &first["html"], &first["figures"][0]["tag"]),
        (&json!(200), &json!(true), &json!("fid"))
    );
    assert_eq!((&first["data"], first["subject"] == first["id"]), (&json!("flowers"), true));
    let whole = service.get("/api/v1/reports/one").await;
    assert_eq!(whole.json()["figures"][0]["value"], 3.0);
    // Where data and models lay is nobody's business, even where an older report says it.
    assert_eq!((&whole.json()["data"], &whole.json()["subject"]["name"]), (&json!("flowers"), &json!("one")));
    assert!(!whole.text().contains("private"), "{whole:?}");
    let both = service.get("/api/v1/reports/compare?a=one&b=two").await.json();
    assert_eq!((&both["lines"][0]["winner"], &both["lines"][0]["a"]["shown"]), (&json!("b"), &json!("3.00")));
    let refused = service.get("/api/v1/reports/compare?a=one&b=other").await;
    assert_eq!((refused.status, refused.problem().as_str()), (409, "not_comparable"));
    assert_eq!(refused.json()["differences"][0], json!({"path": "generated.steps", "a": "25", "b": "50"}));
    // Whatever is in a page runs nothing.
    let page = service.get("/api/v1/reports/one/html").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("sandbox; default-src 'none'") && !policy.contains("script") && !policy.contains("allow-")
    );
    assert_eq!(page.headers.iter().filter(|(name, _)| name == "content-security-policy").count(), 1);
    assert_eq!(service.get("/api/v1/reports/future").await.problem(), "invalid");
    for id in ["..", "%2e%2e", "..%2Fone", "one%2F..%2Fone", ".hidden", "missing", "one%00"] {
        for path in [format!("/api/v1/reports/{id}"), format!("/api/v1/reports/{id}/html")] {
            assert_eq!(service.get(&path).await.status, 404, "{path}");
        }
        assert_eq!(service.get(&format!("/api/v1/reports/compare?a={id}&b=one")).await.status, 404, "{id}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_over_http() {
    let service = Service::start(|options| {
        let run = options.paths[0].join("old");
        std::fs::create_dir_all(run.join("samples")).unwrap();
        std::fs::write(run.join("config.toml"), "version = 1\n").unwrap();
        std::fs::write(run.join("samples/64.png"), "png").unwrap();
        let line =
            |k: u64| format!("{{\"event\":\"step\",\"step\":{k},\"nimg\":{},\"loss\":0.5,\"seconds\":{k}}}\n", 64 * k);
        std::fs::write(run.join("metrics.jsonl"), (1..=10).map(line).collect::<String>()).unwrap();
    });
    let list = service.get("/api/v1/runs").await.json();
    let run = &list["runs"][0];
    assert_eq!((&run["id"], &run["state"], &run["images"]), (&json!("old"), &json!("stopped"), &json!(640)));
    assert_eq!((&run["samples"], &run["ours"], run.get("model")), (&json!([64]), &json!(false), None));
    assert_eq!(service.get("/api/v1/runs/old").await.json()["config"], "version = 1\n");
    assert_eq!(service.get("/api/v1/runs/old/metrics?points=5").await.json()["steps"].as_array().unwrap().len(), 5);
    let sample = service.get("/api/v1/runs/old/samples/64").await;
    assert_eq!((sample.body.as_slice(), sample.header("content-type")), (&b"png"[..], Some("image/png")));
    let log = service.get("/api/v1/runs/old/log").await;
    assert_eq!((log.status, log.text(), log.header("content-type")), (200, "", Some("text/plain; charset=utf-8")));
    for path in
        ["old/samples/65", "old/samples/..%2f..%2fconfig.toml", "..%2fold", "%2e%2e/log", "grey", "old/samples/x"]
    {
        assert_eq!(service.get(&format!("/api/v1/runs/{path}")).await.status, 404, "{path}");
    }
    assert_eq!(service.get("/api/v1/runs/old/metrics?points=0").await.problem(), "invalid");
    for (path, body) in
        [("", json!({"name": "a", "dataset": "b"})), ("/old/stop", json!({})), ("/old/resume", json!({}))]
    {
        let answer = service.post(&format!("/api/v1/runs{path}"), body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "training_not_allowed"));
    }
    // A watcher is told at once, and when something changes.
    let mut stream = service.begin("GET", "/api/v1/runs/old/events", &[], "").await;
    let mut seen = String::new();
    while !seen.contains("\"images\":640") {
        use tokio::io::AsyncReadExt;
        let mut bytes = [0; 4096];
        let n = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut bytes)).await.unwrap().unwrap();
        assert!(n > 0, "{seen}");
        seen += &String::from_utf8_lossy(&bytes[..n]);
    }
    assert!(seen.contains("event: run"), "{seen}");
    service.stop().await;
}

/// A PNG in base64, in lines as mail has them.
fn in_lines(image: &Image) -> String {
    let text = BASE64_STANDARD.encode(encode_png(image, &[]).unwrap());
    text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line) + "\r\n").collect()
}

fn pixels(base64: &Value) -> Vec<u8> {
    let png = BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap();
    decode(&png, &Default::default()).unwrap().image.pixels
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_started_from_in_both_apis() {
    let service = Service::start(|_| {});
    let photo = Image::new(8, 8, 1, (0..64).map(|i| (i * 4) as u8).collect());
    let init = in_lines(&photo);
    let own = async |more: Value| {
        let mut ask = json!({"init_image": init, "seed": 3, "steps": 4, "class": ["bee"]});
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service.post("/api/v1/generate", ask).await
    };
    let theirs = async |more: Value| {
        let mut ask = json!({"init_images": [init], "seed": 3, "steps": 4, "prompt": "bee", "cfg_scale": 1.0});
        ask.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service.post("/sdapi/v1/img2img", ask).await
    };
    // A strength of 0 gives the picture back, and above it there is at least one step.
    let kept = own(json!({"strength": 0, "frames": true})).await.json();
    assert_eq!(pixels(&kept["images"][0]["png"]), photo.pixels);
    let frames = service.get(&format!("/api/v1/jobs/{}/frames", kept["id"].as_str().unwrap())).await.json();
    assert_eq!((frames["frames"].as_array().unwrap().len(), &frames["frames"][0]["rows"]), (1, &json!(0)));
    assert_eq!(pixels(&theirs(json!({"denoising_strength": 0})).await.json()["images"][0]), photo.pixels);
    assert_ne!(pixels(&own(json!({"strength": 0.001})).await.json()["images"][0]["png"]), photo.pixels);

    // What is transparent in a mask is kept, as black is; turned around, both are painted.
    let half = |left: &[u8]| -> Vec<u8> {
        (0..64).flat_map(|i| if i % 8 < 4 { left.to_vec() } else { vec![255; left.len()] }).collect()
    };
    let black = in_lines(&Image::new(8, 8, 1, half(&[0])));
    let clear = in_lines(&Image::new(8, 8, 4, half(&[255, 255, 255, 0])));
    let left = |pixels: &[u8]| -> Vec<u8> { (0..64).filter(|i| i % 8 < 4).map(|i| pixels[i]).collect() };
    let painted =
        async |mask: &str| pixels(&own(json!({"strength": 1, "mask": mask})).await.json()["images"][0]["png"]);
    let there = async |mask: &str, invert: u8| {
        let ask = json!({"denoising_strength": 1, "mask": mask, "inpainting_mask_invert": invert});
        pixels(&theirs(ask).await.json()["images"][0])
    };
    let expected = painted(&black).await;
    assert_eq!(left(&expected), left(&photo.pixels));
    assert_ne!(expected, photo.pixels);
    assert_eq!(painted(&clear).await, expected);
    assert_eq!((there(&black, 0).await, there(&clear, 0).await), (expected.clone(), expected));
    let turned = there(&clear, 1).await;
    assert_ne!(left(&turned), left(&photo.pixels));
    assert_eq!(turned, there(&black, 1).await);

    // A refusal names what was sent.
    for (ask, field) in [
        (json!({"denoising_strength": 7}), "denoising_strength"),
        (json!({"init_images": ["?"]}), "init_images"),
        (json!({"mask": in_lines(&Image::filled(4, 4, &[255]))}), "mask"),
    ] {
        let answer = theirs(ask).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{answer:?}");
        assert!(!answer.json()["detail"].as_str().unwrap().contains("`strength`"), "{answer:?}");
    }
    let refused = own(json!({"strength": 7})).await.json();
    assert_eq!(refused["field"], "strength");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_another_program_are_read() {
    let service = Service::start(|_| {});
    let text =
        "a bee\nNegative prompt: wasps\nSteps: 9, Sampler: Euler a, CFG scale: 2, Seed: 5, Size: 512x512, Model: epic";
    let found = service.post("/api/v1/parameters", json!({"text": text, "model": "grey"})).await.json();
    let settings = json!({"seed": 5, "solver": "euler-ancestral", "steps": 9, "guidance": 2.0, "class": ["bee"]});
    assert_eq!(found["settings"], settings);
    let notes = found["notes"].to_string();
    assert!(
        ["“epic” is not here", "512 by 512", "negative prompt"].iter().all(|words| notes.contains(words)),
        "{notes}"
    );
    // What our own API writes comes back whole.
    let made =
        service.post("/sdapi/v1/txt2img", json!({"prompt": "ant", "seed": 8, "steps": 2, "cfg_scale": 3})).await.json();
    let info: Value = serde_json::from_str(made["info"].as_str().unwrap()).unwrap();
    let found = service.post("/api/v1/parameters", json!({"text": info["infotexts"][0]})).await.json();
    assert_eq!(found["notes"], json!([]));
    let again = service.post("/api/v1/generate", found["settings"].clone()).await.json();
    assert_eq!(again["images"][0]["png"], made["images"][0]);
    assert_eq!(service.post("/api/v1/parameters", json!({"text": 7})).await.status, 422);
    service.stop().await;
}
