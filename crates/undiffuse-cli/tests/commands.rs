//! The commands that look and show (`data`, `diffuse`, `plan`, `inspect`, `predict`) through the built program.

#[path = "commands/predict.rs"]
mod predict;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use undiffuse::data::{Image, Options, encode_png, read_png_text};
use undiffuse::math::prelude::ScheduleKind;
use undiffuse::nn::weights::{self, Named};

/// Runs in `folder`, expects an exit code, and returns standard output and standard error.
fn run(folder: &Path, code: i32, args: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_undiffuse"))
        .args(args)
        .current_dir(folder)
        .env("UNDIFFUSE_CACHE", folder.join("cache"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "undiffuse {}\n{out}{err}", args.join(" "));
    assert!(!err.contains("panicked"), "undiffuse {}\n{err}", args.join(" "));
    (out, err)
}

/// Runs and expects success.
fn ok(folder: &Path, args: &[&str]) -> String {
    run(folder, 0, args).0
}

/// Runs and expects a refusal with these words.
fn refused(folder: &Path, code: i32, args: &[&str], words: &[&str]) {
    let (_, err) = run(folder, code, args);
    for word in words {
        assert!(err.contains(word), "undiffuse {}: `{word}` is missing in\n{err}", args.join(" "));
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn close(a: &Value, b: f64) {
    let a = a.as_f64().unwrap();
    assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-6), "{a} {b}");
}

/// A colour picture of this size.
fn picture(folder: &Path, name: &str, width: usize, height: usize) -> PathBuf {
    let pixels = (0..width * height * 3).map(|i| (i * 31 % 251) as u8).collect();
    let path = folder.join(name);
    std::fs::write(&path, encode_png(&Image::new(width, height, 3, pixels), &[]).unwrap()).unwrap();
    path
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../undiffuse-nn/tests/fixtures/unet")
}

/// A network of the fixtures, as a command takes it.
fn network(name: &str) -> String {
    fixtures().join(name).to_str().unwrap().to_owned()
}

fn tensor(name: &str, shape: &[usize], value: f32) -> Named {
    Named { name: name.into(), shape: shape.to_vec(), values: vec![value; shape.iter().product()] }
}

#[test]
fn data_reports_and_draws_a_sheet() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for k in 0..6 {
        let class = folder.join("pets").join(["cat", "dog"][k % 2]);
        std::fs::create_dir_all(&class).unwrap();
        picture(&class, &format!("{k}.png"), 9 + k, 8);
    }
    std::fs::write(folder.join("pets/cat/broken.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let text = ok(folder, &["data", "pets", "--size", "8"]);
    for word in
        ["images       6, 1 skipped", "broken.png", "3  cat", "3  dog", "trained as   8x8 RGB", "pets-contact.png"]
    {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
    let sheet = Image::open(&folder.join("pets-contact.png"), &Options::default()).unwrap();
    assert!(sheet.height >= 2 * 64, "two rows of pictures enlarged to 64");
    let args = ["data", "pets", "--size", "8", "--channels", "1", "--json", "--sheet", "s.png"];
    let report = json(&ok(folder, &args));
    assert_eq!((&report["images"], &report["channels"]), (&6.into(), &1.into()));
    assert_eq!(report["contact_sheet"], "s.png");
    assert!(folder.join("s.png").is_file());

    refused(folder, 1, &["data", "pets", "--size", "8", "--strict"], &["--strict", "broken.png"]);
    refused(folder, 1, &["data", "nowhere"], &["nowhere", "no such file"]);
    refused(folder, 1, &["data", "pets", "--size", "8", "--sheet", "no/such/s.png"], &["cannot write `no/such/s.png`"]);
    refused(folder, 2, &["data", "pets", "--size", "1"], &["size", "2 to 4096"]);
    refused(folder, 2, &["data", "pets", "--background", "purple"], &["purple", "#rrggbb"]);
}

#[test]
fn scenes_are_made_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = ok(folder, &["data", "make-scenes", "s", "-n", "40", "--seed", "2"]);
    assert!(made.contains("40 pictures of 32x32 in s") && made.contains("s/prompts.txt"), "{made}");
    ok(folder, &["data", "make-scenes", "new", "--n", "40", "--held-out", "--size", "64"]);
    assert_eq!(std::fs::read_to_string(folder.join("new/prompts.txt")).unwrap().lines().count(), 40);

    let checked = ok(folder, &["data", "check-scenes", "s"]);
    assert!(checked.contains("seen: 40") && checked.contains("100.0 %   91.2 to 100.0"), "{checked}");
    let report = json(&ok(folder, &["data", "check-scenes", "new", "--noise", "0.1", "--json"]));
    assert_eq!((&report["groups"][0]["group"], &report["groups"][0]["images"]), (&"held out".into(), &40.into()));
    let everything = &report["groups"][0]["scores"].as_array().unwrap()[6];
    assert_eq!(everything["measure"], "everything");
    assert!(everything["right"]["share"].as_f64().unwrap() >= 0.95, "{everything}");

    let looked = ok(folder, &["data", "s"]);
    for line in
        ["images       40, 1 other", "captions     40 images, such as \"a ", "120 in all, ", "; to an image 3; words "]
    {
        assert!(looked.contains(line), "`{line}` is missing in\n{looked}");
    }

    refused(folder, 1, &["data", "make-scenes", "s"], &["it holds `00", "choose another folder"]);
    refused(folder, 2, &["data", "make-scenes", "t", "--size", "8"], &["`size` = 8", "24 to 512"]);
    refused(folder, 2, &["data", "check-scenes", "s", "--noise", "-1"], &["--noise -1", "from 0 to 2"]);
    refused(folder, 2, &["data"], &["<PATH>"]);
    std::fs::create_dir(folder.join("pets")).unwrap();
    picture(&folder.join("pets"), "a.png", 32, 32);
    let words = ["no picture in pets", "not counted: 1 (first: a.png: it has no caption)", "make-scenes"];
    refused(folder, 1, &["data", "check-scenes", "pets"], &words);
}

#[test]
fn diffuse_draws_the_same_strip_again_on_every_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    picture(folder, "cat.png", 20, 10);
    assert!(ok(folder, &["diffuse", "cat.png", "--steps", "3"]).contains("wrote cat-diffuse.png"));
    let bytes = std::fs::read(folder.join("cat-diffuse.png")).unwrap();
    ok(folder, &["diffuse", "cat.png", "--steps", "3", "--out", "again.png"]);
    assert_eq!(bytes, std::fs::read(folder.join("again.png")).unwrap());
    ok(folder, &["diffuse", "cat.png", "--steps", "3", "--seed", "1", "--out", "other.png"]);
    assert_ne!(bytes, std::fs::read(folder.join("other.png")).unwrap());

    // The command that a strip carries makes it again.
    let found = json(&ok(folder, &["inspect", "cat-diffuse.png", "--json"]));
    let again = found["again"].as_str().unwrap().to_owned() + " --out third.png";
    let words: Vec<&str> = again.split(' ').skip(1).collect();
    ok(folder, &words);
    assert_eq!(bytes, std::fs::read(folder.join("third.png")).unwrap());

    let strip = Image::open(&folder.join("cat-diffuse.png"), &Options::default()).unwrap();
    // 20 pixels become 220; three columns, and three rows of pictures.
    assert!(strip.width > 3 * 220 && strip.width < 3 * 220 + 100, "{}", strip.width);
    assert!(strip.height > 3 * 110, "{}", strip.height);
    for schedule in ScheduleKind::ALL {
        let out = format!("{}.png", schedule.tag);
        ok(folder, &["diffuse", "cat.png", "--steps", "2", "--schedule", schedule.tag, "--histogram", "--out", &out]);
        let plotted = Image::open(&folder.join(out), &Options::default()).unwrap();
        assert!(plotted.height > strip.height, "{}: the histogram is one more row", schedule.tag);
    }
}

#[test]
fn diffuse_writes_animations_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cat = picture(folder, "cat.png", 6, 6);
    picture(folder, "dog.png", 300, 7);
    ok(folder, &["diffuse", "cat.png", "dog.png", "--out", "strips/", "--gif", "--ping-pong", "--size", "6"]);
    for name in ["cat-diffuse.png", "cat-diffuse.gif", "dog-diffuse.png", "dog-diffuse.gif"] {
        assert!(folder.join("strips").join(name).is_file(), "{name}");
    }
    let frames = std::fs::read(folder.join("strips/cat-diffuse.gif")).unwrap();
    assert!(frames.starts_with(b"GIF89a"));

    let before = std::fs::read(&cat).unwrap();
    refused(folder, 2, &["diffuse", "cat.png", "--out", "cat.png"], &["would be overwritten", "--out"]);
    assert_eq!(before, std::fs::read(&cat).unwrap());
    refused(folder, 2, &["diffuse", "cat.png", "./cat.png"], &["both become cat-diffuse.png"]);
    refused(folder, 2, &["diffuse", "cat.png", "--out", "cat.jpg"], &["PNG"]);
    refused(folder, 2, &["diffuse", "cat.png", "--schedule", "cosin"], &["did you mean `cosine`"]);
    refused(folder, 2, &["diffuse", "cat.png", "--schedule", "flow:shift=-1"], &["shift must be positive"]);
    refused(folder, 2, &["diffuse", "cat.png", "--steps", "1"], &["--steps"]);
    refused(folder, 2, &["diffuse"], &["IMAGE"]);
    refused(folder, 1, &["diffuse", "bird.png"], &["bird.png", "no such file"]);
    std::fs::write(folder.join("note.png"), "not a picture").unwrap();
    refused(folder, 1, &["diffuse", "note.png"], &["note.png", "not an image"]);
    // A file where a folder is needed.
    refused(folder, 1, &["diffuse", "cat.png", "--out", "note.png/x.png"], &["cannot create `note.png`"]);
}

/// DDIM and Euler by their published formulas, and numbers of the DDPM schedule: alphas_cumprod[999] of diffusers is
/// 4.0358e-5.
#[test]
fn plan_prints_the_rows_of_a_sampler() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plan = json(&ok(folder, &["plan", "--steps", "5", "--json"]));
    assert_eq!((&plan["nfe"], plan["rows"].as_array().unwrap().len()), (&5.into(), 5));
    let first = &plan["rows"][0];
    assert_eq!(first["time"], 999.0);
    assert!((first["level"]["alpha"].as_f64().unwrap().powi(2) - 4.0358e-5).abs() < 1e-9);
    for row in plan["rows"].as_array().unwrap() {
        let of = |level: &str, part: &str| row[level][part].as_f64().unwrap();
        // [Song21c, Eq. 12] with eta = 0.
        let kept = of("to", "sigma") / of("level", "sigma");
        close(&row["x"][0], kept);
        close(&row["denoised"][0], of("to", "alpha") - kept * of("level", "alpha"));
        close(&row["log_snr"], 2.0 * (of("level", "alpha") / of("level", "sigma")).ln());
    }
    // [Karras22, Eq. 5]: the middle of three is ((80^(1/7) + 0.002^(1/7)) / 2)^7, and Heun looks there twice.
    let args = ["plan", "--schedule", "edm", "--spacing", "karras", "--solver", "heun", "--steps", "3", "--json"];
    let plan = json(&ok(folder, &args));
    assert_eq!(plan["nfe"], 5);
    let root = 1.0f64 / 7.0;
    close(&plan["rows"][1]["level"]["sigma"], ((80f64.powf(root) + 0.002f64.powf(root)) / 2.0).powi(7));
    // Pure noise has no finite log-SNR.
    let flow = json(&ok(folder, &["plan", "--schedule", "flow", "--solver", "euler", "--steps", "2", "--json"]));
    assert_eq!(flow["rows"][0]["log_snr"], Value::Null);

    let text = ok(folder, &["plan", "--solver", "ddpm", "--steps", "3"]);
    assert!(text.contains("nfe 3") && text.contains("999.000000"), "{text}");
    refused(folder, 2, &["plan", "--solver", "hein"], &["did you mean `heun`"]);
    refused(folder, 2, &["plan", "--steps", "0"], &["at least 1"]);
    refused(folder, 2, &["plan", "--steps", "2000"], &["1000 timesteps"]);
}

#[test]
fn plan_lists_every_registry() {
    let folder = tempfile::tempdir().unwrap();
    let text = ok(folder.path(), &["plan", "--list"]);
    for entry in ScheduleKind::ALL {
        assert!(text.contains(&format!("  {:<16} {}", entry.tag, entry.doc)), "{}", entry.tag);
    }
    let list = json(&ok(folder.path(), &["plan", "--list", "--json"]));
    for kind in ["schedule", "spacing", "solver", "parameterization", "weighting", "timing"] {
        assert!(text.contains(&format!("{kind}\n")), "{kind}");
        assert!(list[kind].as_array().unwrap().len() >= 4, "{kind}");
    }
    assert_eq!(list["solver"][1]["options"]["eta"], 0.0);
}

#[test]
fn inspect_reads_networks_weights_and_refuses_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // INDEX.json counts the parameters with PyTorch.
    let index = json(&std::fs::read_to_string(fixtures().join("INDEX.json")).unwrap());
    let plain = index["fixtures"].as_array().unwrap().iter().find(|f| f["name"] == "plain").unwrap();
    let found = json(&ok(folder, &["inspect", &network("plain"), "--json"]));
    assert_eq!((&found["kind"], &found["parameters"]), (&"network".into(), &plain["parameters"]));
    let text = ok(folder, &["inspect", &network("plain")]);
    for word in ["10709", "DownBlock2D", "UpBlock2D", "8×8, 1 channel", "there is no scheduler"] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
    let file = fixtures().join("plain/diffusion_pytorch_model.safetensors");
    let found = json(&ok(folder, &["inspect", file.to_str().unwrap(), "--json"]));
    assert_eq!((&found["numbers"], &found["kind"]), (&plain["parameters"], &"weights".into()));
    assert_eq!(found["tensors"]["conv_in.weight"], serde_json::json!([4, 1, 3, 3]));

    let png = encode_png(&Image::filled(3, 2, &[9]), &[("Title".into(), "A picture".into())]).unwrap();
    std::fs::write(folder.join("a.png"), &png).unwrap();
    let text = ok(folder, &["inspect", "a.png"]);
    assert!(text.contains("3×2 pixels") && text.contains("Title: A picture"), "{text}");
    std::fs::write(folder.join("short.png"), &png[..png.len() - 20]).unwrap();
    refused(folder, 1, &["inspect", "short.png"], &["short.png", "damaged"]);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(folder.join("short.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    refused(folder, 1, &["inspect", "short.safetensors"], &["short.safetensors", "not a complete safetensors file"]);
    std::fs::write(folder.join("a.txt"), "words").unwrap();
    refused(folder, 1, &["inspect", "a.txt"], &["a.txt", "a picture (PNG, JPEG, WebP), a model folder"]);
    refused(folder, 1, &["inspect", "nothing"], &["cannot read `nothing`"]);
    std::fs::create_dir(folder.join("empty")).unwrap();
    refused(folder, 1, &["inspect", "empty"], &["no model at `empty`"]);
}

#[test]
fn inspect_reads_a_run_its_checkpoint_its_model_and_its_samples() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for k in 0..8 {
        for class in ["cat", "dog"] {
            std::fs::create_dir_all(folder.join("pets").join(class)).unwrap();
            picture(&folder.join("pets").join(class), &format!("{k}.png"), 8, 9 + k);
        }
    }
    let mut args = vec!["train", "--data", "pets", "--size", "8", "--run", "run", "--images", "16", "--threads", "1"];
    for setting in [
        "network.width=8",
        "network.multiply=[1,2]",
        "network.groups=4",
        "network.head_dim=8",
        "train.batch=8",
        "sample.steps=2",
    ] {
        args.extend(["--set", setting]);
    }
    ok(folder, &args);

    let run_ = json(&ok(folder, &["inspect", "run", "--json"]));
    assert_eq!((&run_["nimg"], &run_["until"], &run_["step"]), (&16.into(), &16.into(), &2.into()));
    assert_eq!((&run_["state"], &run_["resumable"]), (&"finished".into(), &true.into()));
    assert!(run_["loss"].as_f64().unwrap() > 0.0);
    let model = json(&ok(folder, &["inspect", "run/model", "--json"]));
    assert_eq!(model["card"]["classes"], serde_json::json!(["cat", "dog"]));
    assert_eq!((&model["sample"]["steps"], &model["card"]["provenance"]["images_seen"]), (&2.into(), &16.into()));
    let checkpoint = "run/checkpoints/000000000016.safetensors";
    let found = json(&ok(folder, &["inspect", checkpoint, "--json"]));
    assert_eq!((&found["kind"], &found["state"]["nimg"]), (&"checkpoint".into(), &16.into()));
    assert_eq!(found["groups"]["raw"], model["parameters"]);
    let text = ok(folder, &["inspect", checkpoint]) + &ok(folder, &["inspect", "run/model"]);
    let there = "pipe.unet.forward = functools.partial(pipe.unet.forward, class_labels=torch.full((16,), 0))";
    for word in ["undiffuse train --resume run", "cat, dog", "16 images seen", "schedule", "solver", there] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }

    // A sample's settings give the command that makes it again.
    ok(folder, &["sample", "run", "-n", "1", "--seed", "3", "--class", "dog", "--out", "a", "--threads", "1"]);
    let sample = std::fs::read_dir(folder.join("a")).unwrap().map(|e| e.unwrap().path());
    let sample = sample.into_iter().next().unwrap();
    let again =
        json(&ok(folder, &["inspect", sample.to_str().unwrap(), "--json"]))["again"].as_str().unwrap().to_owned();
    let words: Vec<&str> = again.split(' ').skip(1).chain(["--out", "b", "--threads", "1"]).collect();
    ok(folder, &words);
    let second = folder.join("b").join(sample.file_name().unwrap());
    assert_eq!(std::fs::read(&sample).unwrap(), std::fs::read(&second).unwrap());
    assert!(!read_png_text(&std::fs::read(second).unwrap()).unwrap().is_empty());

    // So few pictures and steps have findings, each told on the screen and in JSON.
    let found = json(&ok(folder, &["doctor", "run", "--json"]));
    let tags: Vec<&str> = found["findings"].as_array().unwrap().iter().filter_map(|f| f["tag"].as_str()).collect();
    assert!(tags.contains(&"few-images") && tags.contains(&"warmup"), "{found:#}");
    let text = ok(folder, &["doctor", "run"]);
    assert!(tags.iter().all(|tag| text.contains(&format!("[{tag}]"))) && text.contains("WARNINGS"), "{text}");
    assert!(ok(folder, &["doctor", "run/model"]).contains("looked at"));
    refused(folder, 1, &["doctor", "pets"], &["neither a training run nor a model", "config.toml"]);
    refused(folder, 2, &["doctor"], &["RUN"]);
    assert!(ok(folder, &["doctor", "--list"]).contains("zero-snr"));

    // A checkpoint cut short is named, and the one before it counts.
    let bytes = std::fs::read(folder.join(checkpoint)).unwrap();
    std::fs::write(folder.join("run/checkpoints/000000000024.safetensors"), &bytes[..bytes.len() - 9]).unwrap();
    let run_ = json(&ok(folder, &["inspect", "run", "--json"]));
    assert_eq!(run_["nimg"], 16);
    assert!(run_["broken_checkpoints"][0].as_str().unwrap().contains("000000000024"));
    // Without its data a run that is not done cannot go on.
    let length = std::fs::read_to_string(folder.join("run/length.json")).unwrap();
    std::fs::write(folder.join("run/length.json"), length.replace("16", "32")).unwrap();
    let state = || json(&ok(folder, &["inspect", "run", "--json"]))["state"].clone();
    assert_eq!(state(), "interrupted");
    std::fs::rename(folder.join("pets"), folder.join("gone")).unwrap();
    assert_eq!(state(), "data-gone");
    std::fs::remove_file(folder.join("run/length.json")).unwrap();
    assert_eq!(state(), "lost");
}

/// Weights that are not numbers, and weights so large that no number comes of them: nothing is written, and nothing is said to
/// be done.
#[test]
fn no_pictures_are_made_of_what_is_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pipeline = fixtures().join("../../../../undiffuse/tests/fixtures/pipelines/ddim-classes");
    let weights_file = folder.join("model/unet/diffusion_pytorch_model.safetensors");
    for file in ["scheduler/scheduler_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"] {
        std::fs::create_dir_all(folder.join("model").join(file).parent().unwrap()).unwrap();
        std::fs::copy(pipeline.join(file), folder.join("model").join(file)).unwrap();
    }
    let whole = weights::read(&weights_file).unwrap();
    let sample = ["sample", "model", "-n", "2", "--steps", "3", "--out", "out", "--threads", "1"];
    for (value, words) in [(f32::NAN, ["conv_in.weight", "NaN"]), (3e38, ["the walk left the numbers at step", "of 3"])]
    {
        let mut tensors: Vec<Named> = whole.values().cloned().collect();
        let conv_in = tensors.iter_mut().find(|t| t.name == "conv_in.weight").unwrap();
        conv_in.values.fill(value);
        std::fs::write(&weights_file, weights::to_bytes(&tensors, None)).unwrap();
        refused(folder, 1, &sample, &words);
        let made = std::fs::read_dir(folder.join("out")).into_iter().flatten().count();
        assert_eq!((made, folder.join("out-grid.png").exists()), (0, false), "{value}");
    }
}

#[test]
fn a_sheet_is_no_data_and_is_never_drawn_over_data() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    let first = picture(&photos, "a.png", 8, 8);
    picture(&photos, "b.png", 9, 8);
    let before = std::fs::read(&first).unwrap();
    refused(&photos, 2, &["data", ".", "--sheet", "a.png"], &["a.png is among the data", "--sheet"]);
    refused(folder.path(), 2, &["data", "photos", "--sheet", "photos/../photos/a.png"], &["is among the data"]);
    assert_eq!(std::fs::read(&first).unwrap(), before);
    for again in 0..2 {
        let text = ok(&photos, &["data", "."]);
        assert!(text.contains("images       2"), "{again}: {text}");
        assert_eq!(
            text.contains("left out 1 sheet of pictures that undiffuse drew (first: photos-contact.png)"),
            again == 1
        );
    }
}

#[test]
fn variants_are_asked_for_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("bare")).unwrap();
    std::fs::copy(fixtures().join("plain/config.json"), folder.join("bare/config.json")).unwrap();
    let from = fixtures().join("plain/diffusion_pytorch_model.safetensors");
    std::fs::copy(from, folder.join("bare/diffusion_pytorch_model.fp16.safetensors")).unwrap();
    refused(folder, 1, &["inspect", "bare"], &["diffusion_pytorch_model.safetensors", "--variant fp16"]);
    assert!(ok(folder, &["inspect", "bare", "--variant", "fp16"]).contains("UNet2DModel"));
    std::fs::write(folder.join("a.txt"), "words").unwrap();
    refused(folder, 2, &["inspect", "a.txt", "--variant", "fp16"], &["--variant", "a.txt"]);
}

#[test]
fn diffuse_draws_over_none_of_its_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    picture(folder, "a.png", 8, 8);
    std::fs::copy(folder.join("a.png"), folder.join("x.gif")).unwrap();
    refused(folder, 2, &["diffuse", "a.png", "--out", "a.png"], &["a.png is to be read, and would be overwritten"]);
    refused(folder, 2, &["diffuse", "x.gif", "--gif", "--out", "x.png"], &["x.gif is to be read"]);
    assert!(!folder.join("x.png").exists());
}
