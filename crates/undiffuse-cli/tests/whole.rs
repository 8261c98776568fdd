//! The whole way through the built program: train, be killed, resume, sample, and the messages for what goes wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use undiffuse::data::{Image, encode_png, read_png_text};

fn undiffuse(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_undiffuse")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs and expects an exit code; returns what was printed.
fn expect(code: i32, args: &[&str]) -> String {
    let output = undiffuse(args);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "undiffuse {}\n{text}", args.join(" "));
    assert!(!text.contains("panicked"), "undiffuse {}\n{text}", args.join(" "));
    text
}

/// Pictures of 8×8 pixels in two classes.
fn pictures(folder: &Path) -> PathBuf {
    let data = folder.join("shapes");
    for k in 0..40usize {
        let class = ["bar", "dot"][k % 2];
        std::fs::create_dir_all(data.join(class)).unwrap();
        let at = 1 + k * 3 % 6;
        let lit = |i: usize| if k % 2 == 0 { i % 8 == at } else { (i % 8).abs_diff(at) + (i / 8).abs_diff(4) < 2 };
        let pixels = (0..64).map(|i| if lit(i) { 255 - k as u8 } else { 0 }).collect();
        let png = encode_png(&Image::new(8, 8, 1, pixels), &[]).unwrap();
        std::fs::write(data.join(class).join(format!("{k:03}.png")), png).unwrap();
    }
    data
}

const TINY: [&str; 12] = [
    "--set",
    "network.width=8",
    "--set",
    "network.multiply=[1,2]",
    "--set",
    "network.groups=4",
    "--set",
    "network.head_dim=8",
    "--set",
    "train.batch=8",
    "--set",
    "sample.steps=5",
];

fn train<'a>(data: &'a str, run: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["train", "--data", data, "--run", run, "--threads", "1"];
    args.extend(TINY);
    args.extend(more);
    args
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The newest checkpoint of a run.
fn state(run: &Path) -> Vec<u8> {
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    std::fs::read(all.pop().unwrap()).unwrap()
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    // Checkpoints as often as there are seconds: 0 is after every step, so kills fall into writes, too.
    let length = ["--images", "2400", "--set", "train.checkpoint_seconds=0", "--set", "train.previews=1"];
    expect(0, &train(text(&data), text(&whole), &length));
    let mut kills = 0;
    for k in 0..6u64 {
        let args = match killed.join("config.toml").exists() {
            false => train(text(&data), text(&killed), &length),
            true => vec!["train", "--resume", text(&killed), "--threads", "1"],
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_undiffuse"))
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(150 + 137 * k));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    expect(0, &["train", "--resume", text(&killed), "--threads", "1"]);
    assert!(kills > 0, "the run is too short to be killed");
    assert!(state(&whole) == state(&killed), "after {kills} kills the state differs");
}

/// `train --data .` puts its run below the pictures; what it writes there is no picture of theirs.
#[test]
fn a_run_below_its_pictures_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let here = |code: i32, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_undiffuse"));
        let output =
            command.current_dir(&data).args(args).args(["--threads", "1"]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{said}");
        said
    };
    let begin = ["--data", ".", "--images", "16", "--seed", "18446744073709551615"];
    let said = here(0, &[&["train"], &begin[..], &TINY].concat());
    assert!(said.contains("inside the data"), "{said}");
    let said = here(0, &["train", "--resume", "runs/shapes", "--images", "32"]);
    assert!(said.contains("left out 1 folder"), "{said}");
    // From elsewhere, and with the pictures elsewhere.
    let moved = folder.path().join("moved");
    std::fs::rename(&data, &moved).unwrap();
    let run = moved.join("runs/shapes");
    let resume = |code: i32, more: &[&str]| expect(code, &[&["train", "--resume", text(&run)], more].concat());
    assert!(resume(1, &[]).contains("--data PLACE"));
    resume(0, &["--data", text(&moved), "--images", "48"]);
    resume(0, &["--images", "56"]);
}

#[test]
fn pictures_depend_on_their_seed_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    expect(0, &train(text(&data), text(&run), &["--images", "400"]));
    let sample = |batch: &str, threads: &str, solver: &str| {
        let out = folder.path().join(format!("{batch}-{threads}-{solver}"));
        let settings = ["sample", text(&run), "-n", "9", "--seed", "3", "--solver", solver];
        expect(0, &[&settings[..], &["--batch", batch, "--threads", threads, "--out", text(&out)]].concat());
        let mut files: Vec<PathBuf> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 9, "nine pictures and nothing else");
        files.push(out.with_file_name(format!("{batch}-{threads}-{solver}-grid.png")));
        files.into_iter().map(|f| std::fs::read(f).unwrap()).collect::<Vec<_>>()
    };
    for solver in ["dpmpp-2m", "ddpm"] {
        let one = sample("1", "1", solver);
        assert!(sample("4", "2", solver) == one && sample("9", "2", solver) == one, "{solver}");
    }
}

#[test]
fn pictures_know_what_made_them_and_can_be_started_from() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    let said = expect(0, &train(text(&data), text(&run), &["--images", "400"]));
    assert!(said.contains("undiffuse sample"), "{said}");
    let out = folder.path().join("out");
    let raw = folder.path().join("raw.safetensors");
    let args = ["-n", "2", "--class", "dot", "--guidance", "2", "--solver", "ddim", "--eta", "0.5"];
    expect(0, &[&["sample", text(&run), "--out", text(&out), "--raw", text(&raw)], &args[..]].concat());
    let png = std::fs::read(out.join("00000001-dot.png")).unwrap();
    let facts = read_png_text(&png).unwrap();
    let facts: serde_json::Value = serde_json::from_str(&facts[0].1).unwrap();
    assert_eq!((facts["seed"].as_u64(), facts["class"].as_str()), (Some(1), Some("dot")));
    assert_eq!(facts["solver"], "ddim:eta=0.5");
    assert!(std::fs::metadata(raw).unwrap().len() > 2 * 64 * 4);

    // Image to image and inpainting: what is kept is kept.
    let init = data.join("bar/000.png");
    let mask = folder.path().join("mask.png");
    let right = (0..64).map(|i| if i % 8 >= 4 { 255 } else { 0 }).collect();
    std::fs::write(&mask, encode_png(&Image::new(8, 8, 1, right), &[]).unwrap()).unwrap();
    let painted = folder.path().join("painted");
    let from = ["sample", text(&run), "-n", "1", "--class", "bar", "--init-image", text(&init), "--strength", "1"];
    expect(0, &[&from[..], &["--mask", text(&mask), "--out", text(&painted)]].concat());
    let open = |path: &Path| Image::open(path, &Default::default()).unwrap();
    let (before, after) = (open(&init), open(&painted.join("00000000-bar.png")));
    let left = |image: &Image| (0..64).filter(|i| i % 8 < 4).map(|i| image.pixels[i]).collect::<Vec<_>>();
    assert_eq!(left(&before), left(&after));
    let small = folder.path().join("small.png");
    std::fs::write(&small, encode_png(&Image::filled(4, 4, &[255]), &[]).unwrap()).unwrap();
    let said = expect(2, &[&from[..], &["--mask", text(&small)]].concat());
    assert!(said.contains("4×4") && said.contains("8×8"), "{said}");
}

/// A model's likelihood, its ODE's samples, a picture inverted and found again, a picture believed.
#[test]
fn a_model_is_measured_and_inverted() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    expect(0, &train(text(&data), text(&run), &["--images", "4000"]));
    let out = folder.path().join("nll");
    let nll = |more: &[&str]| -> serde_json::Value {
        let args = ["nll", text(&run), "--data", text(&data), "-n", "12", "--out", text(&out), "--json"];
        let said = expect(0, &[&args[..], more].concat());
        // Progress on standard error may follow.
        let mut values = serde_json::Deserializer::from_str(&said[said.find('{').unwrap()..]).into_iter();
        values.next().unwrap().unwrap()
    };
    let all = nll(&["--evaluations", "30", "--tolerance", "1e-3"]);
    let of = |json: &serde_json::Value, part: &str| json[part]["bits_per_dim"]["mean"].as_f64().unwrap();
    // Eight bits are what a pixel costs without a model; the untrained end of the range is far above.
    assert!(of(&all, "bound") > 0.0 && of(&all, "bound") < 8.0 && of(&all, "ode") < 8.0, "{all:#}");
    assert_eq!(all["bound"]["curve"].as_array().unwrap().len(), 1000);
    assert_eq!((&all["protocol"]["pictures"], &all["protocol"]["dequantization"]), (&12.into(), &"gaussian".into()));
    assert!(out.join("nll.png").is_file() && out.join("nll.json").is_file());
    // The same again, in other batches.
    let again = nll(&["--evaluations", "30", "--only", "bound", "--batch", "5"]);
    assert!((of(&again, "bound") - of(&all, "bound")).abs() < 1e-3);
    let best = nll(&["--only", "bound", "--variance", "optimal", "--steps", "20", "--evaluations", "0"]);
    let plain = nll(&["--only", "bound", "--steps", "20", "--evaluations", "0"]);
    assert!(of(&best, "bound") < of(&plain, "bound"), "{} {}", of(&best, "bound"), of(&plain, "bound"));
    nll(&["--only", "ode", "--dequantize", "uniform", "--trace", "exact", "--tolerance", "1e-2"]);

    let (ode, raw) = (folder.path().join("ode"), folder.path().join("noise.safetensors"));
    let sample = ["sample", text(&run), "-n", "1", "--class", "bar", "--guidance", "1", "--spacing", "trailing"];
    let said = expect(0, &["sample", text(&run), "-n", "2", "--adaptive", "1e-2", "--out", text(&ode)]);
    assert!(said.contains("evaluations of the network"), "{said}");
    let (picture, back) = (data.join("bar/000.png"), folder.path().join("back"));
    let up = ["--solver", "ddim-inverse", "--steps", "100", "--init-image", text(&picture)];
    expect(0, &[&sample[..], &up, &["--raw", text(&raw), "--out", text(&folder.path().join("up"))]].concat());
    let down = ["--solver", "ddim", "--steps", "100", "--init-noise", text(&raw), "--out", text(&back)];
    expect(0, &[&sample[..], &down].concat());
    let open = |path: &Path| Image::open(path, &Default::default()).unwrap();
    let difference = |a: &Image, b: &Image| {
        a.pixels.iter().zip(&b.pixels).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.pixels.len() as f64
    };
    let found = open(&back.join("000000-bar.png"));
    assert!(difference(&open(&picture), &found) < 12.0, "{}", difference(&open(&picture), &found));
    // Noise from a file serves a corrector, too; without enough of it the names that are missing are said.
    let corrected = ["--solver", "ddim", "--steps", "3", "--corrector", "0.1", "--init-noise", text(&raw)];
    let said = expect(2, &[&sample[..], &corrected].concat());
    assert!(said.contains("noise.0") && said.contains("needs 4 noises"), "{said}");
    // Measured errors are those of one model.
    let other = folder.path().join("other");
    expect(0, &train(text(&data), text(&other), &["--images", "16", "--seed", "9"]));
    let (report, few) = (out.join("nll.json"), folder.path().join("few"));
    nll(&["--only", "bound", "--evaluations", "5"]);
    let ancestral = ["--solver", "ddpm", "--steps", "5", "--optimal-variance", text(&report), "--out", text(&few)];
    expect(0, &[&sample[..], &ancestral].concat());
    let said = expect(2, &[&["sample", text(&other)], &ancestral[..]].concat());
    assert!(said.contains("not this model"), "{said}");
    // Seen almost without noise, the picture is what comes out; its noise drowned, it is not.
    let believed = |noise: &str| {
        let out = folder.path().join(format!("seen-{noise}"));
        let seen = ["--observed", text(&picture), "--observed-noise", noise, "--out", text(&out)];
        expect(0, &[&sample[..], &seen].concat());
        difference(&open(&picture), &open(&out.join("00000000-bar.png")))
    };
    assert!(believed("0.001") < 2.0 && believed("100") > 4.0);
}

#[test]
fn experiments_are_listed_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let list = expect(0, &["reproduce"]);
    assert!(["swiss-roll", "heartbeat", "scores", "modes"].iter().all(|name| list.contains(name)), "{list}");
    let said = expect(2, &["reproduce", "hartbeat"]);
    assert!(said.contains("did you mean `heartbeat`?") && said.contains("swiss-roll"), "{said}");
    let said = expect(0, &["reproduce", "heartbeat", "--quick", "--out", text(folder.path())]);
    assert!(said.contains("paper") && said.contains("K - L_null") && said.contains("-2.414"), "{said}");
    assert!(folder.path().join("heartbeat.png").is_file());
}

#[test]
fn what_goes_wrong_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let run = folder.path().join("run");
    expect(0, &train(text(&data), text(&run), &["--images", "16"]));
    let (nowhere, zero) = (folder.path().join("nowhere"), folder.path().join("zero"));
    let rescaled = [
        "--images",
        "16",
        "--set",
        "noise.schedule=linear:rescale_zero_snr=true",
        "--set",
        "noise.parameterization=eps",
    ];
    expect(0, &train(text(&data), text(&zero), &rescaled));
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[train]\nlearning_rate = 1.0\n").unwrap();
    let cases: Vec<(i32, Vec<&str>, &str)> = vec![
        (2, train(text(&data), text(&run), &[]), "--resume"),
        (2, vec!["train", "--resume", text(&nowhere)], "no run"),
        (1, vec!["train", "--data", text(&nowhere), "--run", "x"], "no such file"),
        (2, vec!["train", "--data", text(&data), "--config", text(&config), "--run", "x"], "learning_rate"),
        (2, vec!["train", "--data", text(&data), "--set", "train.lr=fast", "--run", "x"], "lr"),
        (2, vec!["train", "--data", text(&data), "--budget", "soon", "--run", "x"], "soon"),
        (2, vec!["train", "--data", text(&data), "--images", "0", "--run", "x"], "not in 1..="),
        (2, vec!["train", "--data", text(&data), "--epochs", "0", "--run", "x"], "above 0"),
        (2, vec!["train", "--data", text(&data), "--set", "train.images=0", "--run", "x"], "train.images = 0"),
        (2, vec!["train", "--config", "/dev/null", "--run", "x"], "data.path is not given"),
        (2, vec!["train", "--resume", text(&run), "--flip", "--strict"], "mirrored was decided"),
        (2, vec!["train", "--resume", text(&run), "--seed", "3"], "--seed cannot be used with --resume"),
        (2, vec!["train", "--restart"], "--resume"),
        (1, vec!["train", "--resume", text(&run), "--data", text(&nowhere)], "--data"),
        (2, train(text(&data), text(&data), &["--images", "16"]), "the folder of the pictures"),
        (2, vec!["train", "--device", "cuda:0"], "--features cuda"),
        (2, vec!["train", "--device", "abacus"], "abacus"),
        (1, vec!["sample", text(&nowhere)], "no model"),
        (2, vec!["sample", text(&run), "--class", "cat"], "bar, dot"),
        (2, vec!["sample", text(&run), "--solver", "eular"], "euler"),
        (2, vec!["sample", text(&run), "--steps", "0"], "at least 1"),
        (2, vec!["sample", text(&run), "--solver", "heun", "--eta", "1"], "eta"),
        (2, vec!["sample", text(&run), "--size", "9x9"], "multiples"),
        (2, vec!["sample", text(&run), "--adaptive", "2"], "between 0 and 1"),
        (2, vec!["sample", text(&run), "--adaptive", "1e-2", "--steps", "2"], "cannot be used with"),
        (2, vec!["sample", text(&run), "--corrector", "0.1", "--corrections", "0"], "at least 1"),
        (2, vec!["sample", text(&run), "--observed", "x.png", "--observed-noise", "1e-30"], "1e-4"),
        (2, vec!["sample", text(&run), "--mask", "x.png"], "--observed"),
        (2, vec!["sample", text(&run), "--solver", "ddim-inverse"], "--init-image"),
        (2, vec!["sample", text(&run), "--optimal-variance", "x.json"], "--solver ddpm"),
        (2, vec!["nll", text(&run), "--trace", "exact", "--probes", "0"], "at least 1"),
        (2, vec!["nll", text(&run), "--data", text(&data), "-n", "1"], "at least 2"),
        (2, vec!["nll", text(&run), "--data", text(&data), "--variance", "learned"], "no learned variance"),
        (1, vec!["nll", text(&run), "--data", text(&data), "--steps", "1"], "at least 2 steps"),
        (1, vec!["nll", text(&zero), "--data", text(&data), "-n", "2", "--evaluations", "2"], "alpha = 0"),
    ];
    for (code, args, part) in cases {
        let said = expect(code, &args);
        assert!(said.contains(part), "{args:?}: `{part}` is not in: {said}");
    }
    // A file in the place of a folder: said once, not once by each layer.
    let said = expect(1, &train(text(&data), text(&config), &[]));
    assert_eq!(said.matches("os error").count(), 1, "{said}");
    // A truncated file is named, and nothing is lost by looking at it.
    let weights = run.join("model/unet/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let said = expect(1, &["sample", text(&run)]);
    assert!(said.contains("safetensors") && said.contains("complete"), "{said}");
    // A finished run that has lost its state does not begin anew unless that is asked for.
    let checkpoints: Vec<PathBuf> =
        std::fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.iter().for_each(|path| std::fs::write(path, b"broken").unwrap());
    let said = expect(1, &["train", "--resume", text(&run), "--threads", "1"]);
    assert!(said.contains("--restart") && !said.contains("--restart --"), "{said}");
    let said = expect(0, &["inspect", text(&run)]);
    assert!(said.contains("no checkpoint can be read") && said.contains("--restart"), "{said}");
    assert_eq!(std::fs::read(&weights).unwrap(), &bytes[..bytes.len() / 2]);
    expect(0, &["train", "--resume", text(&run), "--restart", "--threads", "1"]);
    assert!(std::fs::read(&weights).unwrap() == bytes, "the same run again");
}
