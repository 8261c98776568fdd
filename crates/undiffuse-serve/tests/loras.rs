//! LoRA files in prompts, through every API: the tiny pipeline of `xtask/golden/stable_diffusion.py` with files of
//! `xtask/golden/lora.py`.

#[path = "../../undiffuse/tests/folders_of_words/mod.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod folders_of_words;
mod service;

use std::path::{Path, PathBuf};

use folders_of_words::{copy, root};
use serde_json::{Value, json};
use service::Service;
use service::words::{ask, good, png, text};
use undiffuse::data::{Options, decode::decode};
use undiffuse::model::{Adapter, Outline, SampleDefaults};
use undiffuse::nn::weights::{self, Named};
use undiffuse::request::Asks;
use undiffuse::sample::Noise;
use undiffuse::{Model, device};
use undiffuse_serve::ServeOptions;
use undiffuse_serve::parameters::Parameters;

fn loras(options: &ServeOptions) -> PathBuf {
    options.paths[0].parent().unwrap().join("loras")
}

/// Serves `ink` and `old`, `strange` of another model, `cut`, and what is none: a link, a pickle, and a file beside the folder.
fn start(change: impl FnOnce(&mut ServeOptions)) -> Service {
    Service::start(|options| {
        copy(&root().join("base"), &options.paths[0].join("words"));
        let (from, to) = (root().join("../lora"), loras(options));
        std::fs::create_dir_all(&to).unwrap();
        for (file, name) in [("kohya", "ink"), ("processors", "old"), ("kohya", "../beside")] {
            std::fs::copy(from.join(format!("{file}.safetensors")), to.join(format!("{name}.safetensors"))).unwrap();
        }
        let mut all: Vec<Named> = weights::read(&from.join("peft.safetensors")).unwrap().into_values().collect();
        all.iter_mut().for_each(|tensor| tensor.name = tensor.name.replace("down_blocks", "up_and_down"));
        std::fs::write(to.join("strange.safetensors"), weights::to_bytes(&all, None)).unwrap();
        std::fs::write(to.join("cut.safetensors"), [9; 40]).unwrap();
        std::fs::write(to.join("pickle.ckpt"), "x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(to.join("../beside.safetensors"), to.join("link.safetensors")).unwrap();
        options.loras = Some(to);
        change(options);
    })
}

fn pixels(png: &[u8]) -> Vec<u8> {
    decode(png, &Options::default()).unwrap().image.pixels
}

/// A picture by the library alone, of a model with these files.
fn alone(folder: &Path, loras: &[(&str, f64)], prompt: &str, seed: u64) -> Vec<u8> {
    let path = |name: &str| folder.join(format!("loras/{name}.safetensors"));
    let adapters: Vec<Adapter> = loras.iter().map(|&(name, scale)| Adapter { path: path(name), scale }).collect();
    let device = device::open("cpu").unwrap();
    let model = Model::load_adapted(folder.join("models/words"), None, &adapters, &device).unwrap();
    let settings = SampleDefaults { steps: 2, guidance: 3.0, ..model.sample_defaults() };
    let model = model.with(settings.clone());
    let cond = Asks::of("prompt", [prompt]).cond(&model.conditioner, 1).unwrap();
    let (plan, denoiser) = (model.plan().unwrap(), model.denoiser(&settings));
    let z = model.sample(&*denoiser, &plan, Noise::Seeds(vec![seed]), &cond).finish().unwrap();
    model.images(z).remove(0).pixels
}

#[test]
fn pictures_are_those_of_the_adapted_model() {
    let service = start(|_| {});
    let path = "/api/v1/generate";
    let made = |prompt: &str| good(service.post(path, &ask(json!({ "prompt": prompt }))))["images"][0].clone();
    let plain = png(&made("a red heart")["png"]);
    assert_eq!(pixels(&plain), alone(service.folder.path(), &[], "a red heart", 5));
    let picture = made("a red heart <lora:old:-0.5> <lora:ink:0.7>");
    let file = png(&picture["png"]);
    assert_eq!(pixels(&file), alone(service.folder.path(), &[("ink", 0.7), ("old", -0.5)], "a red heart", 5));
    assert_ne!(pixels(&file), pixels(&plain));

    // A picture says its files as `undiffuse sample --lora` does, and by its words of every kind it can be asked for again.
    let facts: Value = serde_json::from_str(&text(&file, "undiffuse")).unwrap();
    assert_eq!((&facts["model"], &facts["prompt"]), (&json!("words"), &json!("a red heart")));
    let sha256 = Adapter::sha256(&service.folder.path().join("loras/ink.safetensors")).unwrap();
    assert_eq!(facts["lora"][0], json!({ "file": "ink.safetensors", "sha256": sha256, "scale": 0.7 }));
    assert_eq!((&facts["lora"][1]["file"], facts["lora"].as_array().unwrap().len()), (&json!("old.safetensors"), 2));
    let told = "a red heart <lora:ink:0.7> <lora:old:-0.5>";
    assert_eq!(picture["prompt"], told);
    let parameters = text(&file, "parameters");
    assert_eq!(Parameters::parse(&parameters).prompt, told);
    let read = good(service.post("/api/v1/parameters", &json!({ "text": parameters })));
    let again = good(service.post(path, &read["settings"]));
    assert!(png(&again["images"][0]["png"]) == file, "{}", again["images"][0]["prompt"]);
    // The order in a prompt is no matter, nor where a name stands, nor how often.
    for same in [told, "<lora:old:-0.5>a red heart<lora:ink:0.4> <lora:ink:0.3>"] {
        assert!(png(&made(same)["png"]) == file, "{same}");
    }

    let asked = json!({ "model": "words", "prompt": told, "steps": 2, "guidance": 3, "seed": 5, "response_format": "b64_json" });
    let openai = good(service.post("/v1/images/generations", &asked));
    assert!(png(&openai["data"][0]["b64_json"]) == file, "{}", openai["data"][0]["revised_prompt"]);
    let asked = json!({ "override_settings": { "sd_model_checkpoint": "words" }, "prompt": told, "steps": 2, "cfg_scale": 3, "seed": 5 });
    let webui = good(service.post("/sdapi/v1/txt2img", &asked));
    assert!(png(&webui["images"][0]) == file);
    let info: Value = serde_json::from_str(webui["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["infotexts"][0], text(&file, "parameters"));
    service.lives();
}

#[test]
fn only_what_is_listed_can_be_named() {
    let service = start(|_| {});
    let folder = service.folder.path().join("loras");
    let whole = folder.join("ink.safetensors");
    let beside = folder.join("../beside");
    let inside = folder.to_string_lossy().into_owned();
    let unknown = "there is no LoRA `";
    let named = |name: &str| json!({ "prompt": format!("a <lora:{name}:0.8>") });
    let refused = [
        ("prompt", unknown, named("nothing")),
        ("prompt", unknown, named("../beside")),
        ("prompt", unknown, named("..\\beside")),
        ("prompt", unknown, named("%2e%2e%2fbeside")),
        ("prompt", unknown, named(whole.to_str().unwrap())),
        ("prompt", unknown, named(beside.to_str().unwrap())),
        ("prompt", unknown, named("/etc/passwd")),
        ("prompt", unknown, named("ink.safetensors")),
        ("prompt", unknown, named("INK")),
        ("prompt", unknown, named("link")),
        ("prompt", unknown, named("pickle")),
        ("prompt", "`", named("ink\u{0}")),
        ("prompt", unknown, named(&"x".repeat(3000))),
        ("prompt", "no name or number", json!({ "prompt": "a <lora:ink:much>" })),
        ("prompt", "no name or number", json!({ "prompt": "a <lora::1>" })),
        ("prompt", "10 times", json!({ "prompt": "a <lora:ink:11>" })),
        ("prompt", "different LoRAs", json!({ "prompt": ["a <lora:ink:0.5>", "a <lora:ink:0.6>"] })),
        ("prompt", "different LoRAs", json!({ "prompt": ["a <lora:ink>", "b"] })),
        ("negative", "only `prompt`", json!({ "prompt": "a", "negative": "b <lora:ink>" })),
        ("class", "only `prompt`", json!({ "model": "grey", "class": "bee <lora:ink>" })),
        ("prompt", "takes no words", json!({ "model": "grey", "prompt": "a <lora:ink>" })),
        ("prompt", "`strange.safetensors` is a LoRA of another model", named("strange")),
        ("prompt", "cut.safetensors", named("cut")),
    ];
    for (field, told, more) in refused {
        let answer = service.post("/api/v1/generate", &ask(more));
        let shown = answer.to_string();
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{shown}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told) && answer.body.len() < 2000, "`{told}` in {shown}");
        // What it names itself may be told; where the folder lies is not.
        assert!(!detail.contains(&inside) || told == unknown, "{shown}");
    }
    let detail = service.post("/api/v1/generate", &ask(named("nothing"))).json()["detail"].clone();
    assert_eq!(detail, "there is no LoRA `nothing`; there are: cut, ink, old, strange");
    let answer = service.post("/v1/images/generations", &json!({ "model": "words", "prompt": "<lora:x>" }));
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("prompt")), "{answer}");
    let bare = Service::start(|options| copy(&root().join("base"), &options.paths[0].join("words")));
    let answer = bare.post("/api/v1/generate", &ask(named("ink")));
    assert_eq!(answer.status, 422, "{answer}");
    assert!(answer.to_string().contains("--loras"), "{answer}");
    assert_eq!(good(bare.get("/api/v1/loras")), json!({ "loras": [] }));
    service.lives();
}

#[test]
fn files_are_listed_as_they_come_and_go() {
    let service = start(|_| {});
    let folder = service.folder.path().join("loras");
    let names = |list: &Value| list.as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    let listed = good(service.get("/api/v1/loras"));
    assert_eq!(names(&listed["loras"]), ["cut", "ink", "old", "strange"]);
    assert_eq!(listed["loras"][1], json!({ "name": "ink", "file": "ink.safetensors" }));
    let webui = good(service.get("/sdapi/v1/loras"));
    assert_eq!(webui[1], json!({ "name": "ink", "alias": "ink", "path": "ink.safetensors", "metadata": {} }));
    // One that is written anew is read anew.
    let made =
        || png(&good(service.post("/api/v1/generate", &ask(json!({ "prompt": "a <lora:ink>" }))))["images"][0]["png"]);
    assert_eq!(pixels(&made()), alone(service.folder.path(), &[("ink", 1.0)], "a", 5));
    std::fs::copy(folder.join("old.safetensors"), folder.join("ink.safetensors")).unwrap();
    assert_eq!(pixels(&made()), alone(service.folder.path(), &[("old", 1.0)], "a", 5));
    std::fs::remove_file(folder.join("ink.safetensors")).unwrap();
    assert_eq!(names(&good(service.get("/api/v1/loras"))["loras"]), ["cut", "old", "strange"]);
    assert_eq!(service.post("/api/v1/generate", &ask(json!({ "prompt": "a <lora:ink>" }))).status, 422);
    service.lives();
}

#[test]
fn jobs_keep_their_loras_through_a_restart() {
    let service = start(|_| {});
    let asked = ask(json!({ "prompt": "a red heart <lora:ink:0.7>", "n": 40 }));
    let answer = service.post("/api/v1/jobs", &asked);
    assert_eq!(answer.status, 202, "{answer}");
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let service = Service::open(service.into_folder(), |options| options.loras = Some(loras(options)));
    let job = loop {
        let job = service.get(&format!("/api/v1/jobs/{id}")).json();
        if ["done", "failed"].iter().any(|end| job["state"] == *end) {
            break job;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!((&job["state"], &job["model"]), (&json!("done"), &json!("words")), "{job}");
    let last = service.get(&format!("/api/v1/jobs/{id}/images/39")).body;
    assert_eq!(pixels(&last), alone(service.folder.path(), &[("ink", 0.7)], "a red heart", 44));
}

/// What the model takes: its weights, those of its text encoder among them, and a picture's work.
fn sizes(models: &Path) -> [u64; 3] {
    let outline = Outline::read(models.join("words"), None).unwrap();
    let work = outline.config.features(outline.latent_shape()) + outline.codec.bytes(outline.picture_shape);
    [outline.bytes().unwrap(), outline.readers.words.unwrap().bytes(), work]
}

fn holds(service: &Service, models: u64, bytes: u64) {
    let figures = String::from_utf8(service.get("/metrics").body).unwrap();
    for figure in [format!("undiffuse_models_bytes {bytes}\n"), format!("undiffuse_models_loaded {models}\n")] {
        assert!(figures.contains(&figure), "{figure} in {figures}");
    }
}

/// There is room for one model: with other LoRAs, or none, it is another.
#[test]
fn adapted_models_take_memory_and_are_let_go() {
    let mut memory = 0;
    let service = start(|options| {
        let [all, words, work] = sizes(&options.paths[0]);
        memory = all;
        // One is read beside what its reading takes, and not beside another, with a text encoder or without.
        options.memory = Some(4 * all - words - 1 + work);
    });
    for prompt in ["a", "a <lora:ink>", "a <lora:ink:0.5>", "a", "a <lora:ink>"] {
        good(service.post("/api/v1/generate", &ask(json!({ "prompt": prompt }))));
        holds(&service, 1, memory);
    }
}

/// Where there is room for a second model but for the first one's text encoder, that is let go, and read again for words that are new.
#[test]
fn text_encoders_make_way() {
    let [mut all, mut words] = [0; 2];
    let service = start(|options| {
        let work;
        [all, words, work] = sizes(&options.paths[0]);
        options.memory = Some(4 * all - words + work);
    });
    let made = |prompt: &str| {
        png(&good(service.post("/api/v1/generate", &ask(json!({ "prompt": prompt }))))["images"][0]["png"])
    };
    let plain = made("a red heart");
    made("a <lora:ink>");
    holds(&service, 2, 2 * all - words);
    assert_eq!(made("a red heart"), plain);
    holds(&service, 2, 2 * all - words);
    assert_eq!(pixels(&made("a blue heart")), alone(service.folder.path(), &[], "a blue heart", 5));
    holds(&service, 2, 2 * all);
}

/// What many pictures at once need is not taken by a text encoder that has read what they show.
#[test]
fn text_encoders_make_way_for_pictures() {
    let [mut all, mut words, mut pictures] = [0; 3];
    let service = start(|options| {
        let work;
        [all, words, work] = sizes(&options.paths[0]);
        pictures = (2 * all + words).div_ceil(work) + 1;
        options.memory = Some(all - words + pictures * work);
        // Guided ones take two places.
        options.limits.batch = 2 * pictures as usize;
    });
    let made = |n: u64| good(service.post("/api/v1/generate", &ask(json!({ "prompt": "a red heart", "n": n }))));
    made(1);
    holds(&service, 1, all);
    let images = made(pictures)["images"].clone();
    holds(&service, 1, all - words);
    assert_eq!(pixels(&png(&images[0]["png"])), alone(service.folder.path(), &[], "a red heart", 5));
}
