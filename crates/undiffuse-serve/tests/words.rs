//! Models that take words, through every API: the tiny pipeline of `xtask/golden/stable_diffusion.py` beside one of classes.

#[path = "../../undiffuse/tests/folders_of_words/mod.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod folders_of_words;
mod service;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use folders_of_words::{copy, root};
use serde_json::{Value, json};
use service::Service;
use service::words::{ask, good, png, text};
use undiffuse::Model;
use undiffuse::burn::tensor::Device;
use undiffuse::data::{Image, Options, decode::decode};
use undiffuse::request::SampleSettings;
use undiffuse::sample::Noise;
use undiffuse::words::Emphasis;
use undiffuse_serve::ServeOptions;
use undiffuse_serve::parameters::Parameters;

fn start(change: impl FnOnce(&mut ServeOptions)) -> Service {
    Service::start(|options| {
        copy(&root().join("base"), &options.paths[0].join("words"));
        change(options);
    })
}

#[test]
fn prompts_take_turns_and_every_picture_says_its_own() {
    let service = start(|_| {});
    let path = "/api/v1/generate";
    let words = ["a red heart", "caf\u{e9}, (\u{732b}:1.2)"];
    let made = good(service.post(path, &ask(json!({ "prompt": words, "negative": "blurry", "n": 3 }))));
    let pictures = made["images"].as_array().unwrap();
    for (k, picture) in pictures.iter().enumerate() {
        let word = words[k % 2];
        assert_eq!((&picture["prompt"], &picture["negative"]), (&json!(word), &json!("blurry")));
        let file = png(&picture["png"]);
        let facts: Value = serde_json::from_str(&text(&file, "undiffuse")).unwrap();
        assert_eq!((&facts["prompt"], &facts["negative"]), (&json!(word), &json!("blurry")));
        let read = Parameters::parse(&text(&file, "parameters"));
        assert_eq!((read.prompt.as_str(), read.negative.as_str(), read.get("Steps")), (word, "blurry", Some("2")));
        // The same picture alone, whatever it shared its evaluations with; other words make another one.
        let alone = ask(json!({ "prompt": word, "negative": "blurry", "seed": 5 + k }));
        assert_eq!(good(service.post(path, &alone))["images"][0]["png"], picture["png"]);
        let other = ask(json!({ "prompt": word, "negative": "sharp", "seed": 5 + k }));
        let other = good(service.post(path, &other));
        assert_ne!(pixels(&png(&other["images"][0]["png"])), pixels(&file));
    }
    // Nobody asks for anything.
    let nothing = good(service.post(path, &ask(json!({}))));
    assert_eq!((&nothing["images"][0]["prompt"], &nothing["notes"]), (&json!(""), &Value::Null));
    // What a picture says can be asked again, by its text of either kind.
    let parameters = text(&png(&pictures[1]["png"]), "parameters");
    let read = good(service.post("/api/v1/parameters", &json!({ "text": parameters })));
    assert_eq!(read["notes"], json!([]));
    let again = good(service.post(path, &read["settings"]));
    assert_eq!(png(&again["images"][0]["png"]), png(&pictures[1]["png"]));
    service.lives();
}

#[test]
fn other_apis_take_words() {
    let service = start(|_| {});
    let (prompt, negative) = ("a red heart", "blurry");
    let native = |more| good(service.post("/api/v1/generate", &ask(more)))["images"][0]["png"].clone();
    let asked = json!({ "model": "words", "prompt": prompt, "steps": 2, "guidance": 3, "seed": 5, "size": "16x8",
                        "response_format": "b64_json", "negative_prompt": negative });
    let made = good(service.post("/v1/images/generations", &asked));
    let wide = json!({ "prompt": prompt, "negative": negative, "width": 16, "height": 8 });
    assert_eq!((&made["data"][0]["revised_prompt"], &made["size"]), (&json!(prompt), &json!("16x8")));
    assert_eq!(made["data"][0]["b64_json"], native(wide));

    let asked = json!({ "override_settings": { "sd_model_checkpoint": "words" }, "prompt": prompt, "negative_prompt": negative,
                        "steps": 2, "cfg_scale": 3, "seed": 5, "width": 16, "height": 8, "sampler_name": "Euler a" });
    let made = good(service.post("/sdapi/v1/txt2img", &asked));
    let wide = json!({ "prompt": prompt, "negative": negative, "width": 16, "height": 8, "solver": "euler-ancestral" });
    assert_eq!(made["images"][0], native(wide));
    let info: Value = serde_json::from_str(made["info"].as_str().unwrap()).unwrap();
    let told = info["infotexts"][0].as_str().unwrap();
    assert_eq!(told, text(&png(&made["images"][0]), "parameters"));
    assert!(told.starts_with("a red heart\nNegative prompt: blurry\nSteps: 2, Sampler: Euler a, "), "{told}");
    // A model of classes takes no notice.
    let asked = json!({ "override_settings": { "sd_model_checkpoint": "grey" }, "prompt": "a bee", "negative_prompt": negative, "steps": 1 });
    good(service.post("/sdapi/v1/txt2img", &asked));
    for (body, status, param) in [
        (json!({ "model": "words", "prompt": "x".repeat(5000) }), 400, "prompt"),
        (json!({ "model": "words", "prompt": "a", "negative_prompt": "x".repeat(5000) }), 400, "negative_prompt"),
        (json!({ "model": "words", "prompt": "a", "size": "17x9" }), 400, "size"),
    ] {
        let answer = service.post("/v1/images/generations", &body);
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (status, &json!(param)), "{answer}");
    }
    service.lives();
}

fn pixels(png: &[u8]) -> Image {
    decode(png, &Options::default()).unwrap().image
}

/// The library's picture of what [`ask`] asks for.
fn alone(prompt: &str, negative: &str, settings: SampleSettings) -> Image {
    let model = Model::load(root().join("base"), &Device::flex()).unwrap();
    let settings = SampleSettings { steps: Some(2), guidance: Some(3.0), ..settings }.over(&model).unwrap();
    let model = model.with(settings.clone());
    let asked = std::iter::once(model.conditioner.parse(prompt).unwrap()).collect();
    let cond = model.conditioner.away(asked, &[negative]).unwrap();
    let (plan, denoiser) = (model.plan().unwrap(), model.denoiser(&settings));
    let x = model.sample(&*denoiser, &plan, Noise::Seeds(vec![5]), &cond).finish().unwrap();
    model.images(x).remove(0)
}

#[test]
fn how_words_are_read_and_where_guidance_goes_is_asked_for() {
    let service = start(|_| {});
    let (prompt, negative) = ("a (red:1.4) heart", "(blurry:1.2)");
    let native = |more: Value| {
        let mut asked = ask(json!({ "prompt": prompt, "negative": negative }));
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        png(&good(service.post("/api/v1/generate", &asked))["images"][0]["png"])
    };
    let plain = pixels(&native(json!({})));
    let usual = SampleSettings::default();
    let cases = [
        ("clip_skip", json!(1), json!(1), SampleSettings { clip_skip: Some(1), ..usual.clone() }),
        (
            "emphasis",
            json!("no-norm"),
            json!("no-norm"),
            SampleSettings { emphasis: Some(Emphasis::NoNorm), ..usual.clone() },
        ),
        ("emphasis", json!("none"), json!("none"), SampleSettings { emphasis: Some(Emphasis::None), ..usual.clone() }),
        ("guidance_rescale", json!(0.7), json!(0.7), SampleSettings { guidance_rescale: Some(0.7), ..usual.clone() }),
        (
            "guidance_interval",
            json!([0.3, 5]),
            json!("0.3:5"),
            SampleSettings { guidance_interval: Some([0.3, 5.0]), ..usual },
        ),
    ];
    for (field, value, told, settings) in cases {
        let file = native(json!({ field: value }));
        let facts: Value = serde_json::from_str(&text(&file, "undiffuse")).unwrap();
        assert_eq!(facts[field], told);
        assert_eq!(pixels(&file), alone(prompt, negative, settings), "{field} = {value}");
        assert_ne!(pixels(&file), plain, "{field} = {value} matters");
    }
    // AUTOMATIC1111 counts from the last layer on, which is 1.
    let theirs = |stop: Value, emphasis: &str| {
        let settings =
            json!({ "sd_model_checkpoint": "words", "CLIP_stop_at_last_layers": stop, "emphasis": emphasis });
        let asked = json!({ "override_settings": settings, "prompt": prompt, "negative_prompt": negative, "steps": 2,
                            "cfg_scale": 3, "seed": 5, "width": 16, "height": 16 });
        service.post("/sdapi/v1/txt2img", &asked)
    };
    let file = png(&good(theirs(json!(2), "No norm"))["images"][0]);
    assert_eq!(pixels(&file), pixels(&native(json!({ "clip_skip": 1, "emphasis": "no-norm" }))));
    let parameters = text(&file, "parameters");
    assert!(parameters.contains(", Clip skip: 2, Emphasis: No norm, "), "{parameters}");
    assert_eq!(pixels(&png(&good(theirs(json!(1), "Original"))["images"][0])), plain);
    let read = good(service.post("/api/v1/parameters", &json!({ "text": parameters })));
    assert_eq!(
        (&read["settings"]["clip_skip"], &read["settings"]["emphasis"], &read["notes"]),
        (&json!(1), &json!("no-norm"), &json!([]))
    );
    for (stop, emphasis, field, words) in [
        (json!(0), "Original", "CLIP_stop_at_last_layers", "from 1 on"),
        (json!(1.5), "Original", "CLIP_stop_at_last_layers", "from 1 on"),
        (json!(9), "Original", "CLIP_stop_at_last_layers", "leave none"),
        (json!(1), "Ignore", "emphasis", "Original, No norm, None"),
    ] {
        let answer = theirs(stop, emphasis);
        let problem = answer.json();
        assert_eq!((answer.status, &problem["field"]), (422, &json!(field)), "{answer}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{answer}");
    }
    service.lives();
}

#[test]
fn words_that_cannot_be_are_refused_by_field() {
    let service = start(|options| options.limits.body = 32 << 20);
    let bracket = "(".repeat(1_000_000);
    let refused = [
        ("prompt", json!({ "prompt": "x".repeat(10_000_000) })),
        ("prompt", json!({ "prompt": bracket })),
        ("prompt", json!({ "prompt": "\u{732b}".repeat(4001) })),
        ("prompt", json!({ "prompt": "a\u{0}b" })),
        ("negative", json!({ "prompt": "a", "negative": "a\u{0}b" })),
        ("negative", json!({ "prompt": "a", "negative": "x".repeat(5000) })),
        ("prompt", json!({ "prompt": { "a": 1 } })),
        ("prompt", json!({ "prompt": "a <lora:../x:0.8>" })),
        ("prompt", json!({ "prompt": vec!["a"; 2000] })),
        ("class", json!({ "class": "bee" })),
        ("prompt", json!({ "model": "grey", "prompt": "a" })),
        ("width", json!({ "prompt": "a", "width": 17 })),
        ("clip_skip", json!({ "prompt": "a", "clip_skip": 2 })),
        ("clip_skip", json!({ "model": "grey", "clip_skip": 0 })),
        ("emphasis", json!({ "prompt": "a", "emphasis": "loud" })),
        ("emphasis", json!({ "prompt": "a", "emphasis": "x".repeat(5000) })),
        ("guidance_rescale", json!({ "prompt": "a", "guidance_rescale": -0.1 })),
        ("guidance_interval", json!({ "prompt": "a", "guidance_interval": [5, 5] })),
    ];
    for (field, more) in refused {
        let answer = service.post("/api/v1/generate", &ask(more));
        let shown = answer.to_string();
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{shown}");
        assert!(answer.body.len() < 2000, "{shown}");
    }
    // As odd, and words all the same.
    for words in [
        "\u{202e}gnorts",
        "<img src=x onerror=alert(1)>",
        "((((((((((a",
        "a\u{1b}[2J\r\n\tb",
        "\u{1f468}\u{200d}\u{1f467}",
    ] {
        let made = good(service.post("/api/v1/generate", &ask(json!({ "prompt": words, "steps": 1 }))));
        assert_eq!(made["images"][0]["prompt"], *words);
    }
    service.lives();
}

#[test]
fn words_that_are_cut_are_told() {
    let service = start(|options| options.limits.prompt = 16_000);
    let asked = ask(json!({ "prompt": "a ".repeat(4000), "steps": 1 }));
    let made = good(service.post("/api/v1/generate", &asked));
    let note = made["notes"][0].as_str().unwrap();
    assert!(note.contains("too long for the model") && note.contains("cut off"), "{note}");
    let job = service.get(&format!("/api/v1/jobs/{}", made["id"].as_str().unwrap())).json();
    assert_eq!(job["notes"][0], note);
}

#[test]
fn jobs_keep_their_words_through_a_restart() {
    let service = start(|_| {});
    let asked = ask(json!({ "prompt": ["a red heart", "a blue one"], "negative": "blurry", "n": 40, "steps": 60 }));
    let answer = service.post("/api/v1/jobs", &asked);
    assert_eq!(answer.status, 202, "{answer}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let service = Service::open(service.into_folder(), |_| {});
    let job = loop {
        let job = service.get(&format!("/api/v1/jobs/{id}")).json();
        if ["done", "failed"].iter().any(|end| job["state"] == *end) {
            break job;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!((&job["state"], &job["request"]["prompt"]), (&json!("done"), &json!(["a red heart", "a blue one"])));
    assert_eq!(
        (&job["images"][39]["prompt"], &job["images"][39]["negative"]),
        (&json!("a blue one"), &json!("blurry"))
    );
}

#[test]
fn sizes_and_steps_of_the_way_are_those_of_the_model() {
    let service = start(|_| {});
    let models = service.get("/api/v1/models").json();
    let of = |id: &str| models["models"].as_array().unwrap().iter().find(|model| model["id"] == id).unwrap().clone();
    assert_eq!((&of("words")["side_step"], &of("grey")["side_step"]), (&json!(2), &json!(2)));
    assert_eq!(of("words")["ask"]["schema"]["items"]["type"], "string");
    let answer = service.post("/api/v1/jobs", &ask(json!({ "prompt": "a", "frames": true, "width": 24 })));
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let frames = loop {
        match service.get(&format!("/api/v1/jobs/{id}")).json()["state"].as_str().unwrap() {
            "done" => break service.get(&format!("/api/v1/jobs/{id}/frames")).json(),
            "failed" => panic!("it failed"),
            _ => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    };
    let last = frames["frames"].as_array().unwrap().last().unwrap()["denoised"].as_str().unwrap().to_owned();
    let guess = BASE64_STANDARD.decode(last.split_once(',').unwrap().1).unwrap();
    let image = decode(&guess, &Options::default()).unwrap().image;
    assert_eq!((image.width, image.channels), (24, 3), "a guess is shown as a picture, not as latents");
}
