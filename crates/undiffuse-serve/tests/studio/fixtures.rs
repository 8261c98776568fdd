//! What the pages are to show: a picture, a run, reports.

use std::fs;
use std::path::Path;

use serde_json::json;
use undiffuse::data::{Image, encode_png};
use undiffuse::train::Config;
#[cfg(unix)]
use undiffuse_serve::options::Training;

/// The PNG of a colourful picture.
pub fn rainbow(width: usize, height: usize) -> Vec<u8> {
    let colour = |k: usize| {
        let (x, y) = (k % width, k / width);
        [(255 * x / width) as u8, (255 * y / height) as u8, (x * y % 256) as u8]
    };
    let pixels = (0..width * height).flat_map(colour).collect();
    encode_png(&Image { width, height, channels: 3, pixels }, &[]).unwrap()
}

/// A run with a log, curves and grids of samples, and a model of its own.
pub fn run(folder: &Path) {
    crate::service::save_model(&folder.join("model"), 2);
    fs::create_dir_all(folder.join("samples")).unwrap();
    let write = |file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
    let config = Config::layered("quick", None, &["data.path=data/flowers".into()]).unwrap();
    write("config.toml", &config.to_toml());
    write("length.json", r#"{"segments":[{"from":0,"until":6400}],"images_per_second":64}"#);
    write("train.log", "trainer: quick on flowers\nstep 50: loss 0.41\nsaved\n");
    let step = |k: u64| {
        let loss = 1.0 / (1.0 + 0.03 * k as f64) + 0.02 * (k as f64).sin();
        json!({"event": "step", "step": k, "nimg": 64 * k, "loss": loss, "gradient_norm": 3.0 * loss, "lr": 2e-3,
               "images_per_second": 60 + k % 9, "seconds": k})
    };
    let validation = |k: u64| json!({"event": "validation", "nimg": 64 * k, "loss": 1.1 / (1.0 + 0.03 * k as f64)});
    let lines = (1..=100).flat_map(|k| [Some(step(k)), (k % 25 == 0).then(|| validation(k))]);
    write("metrics.jsonl", &lines.flatten().map(|line| format!("{line}\n")).collect::<String>());
    for nimg in [1600, 3200, 4800, 6400] {
        fs::write(folder.join(format!("samples/{nimg:09}.png")), rainbow(32 + nimg / 200, 32)).unwrap();
    }
}

/// A trainer that takes a step and then waits for its standard input to end: a shell script.
#[cfg(unix)]
const TRAINER: &str = r#"#!/bin/sh
for word in "$@"; do
  case "$before" in --run|--resume) run="$word";; esac
  before="$word"
done
echo "trainer: $*"
echo 'version = 1' > "$run/config.toml"
echo '{"event":"step","step":1,"nimg":64,"loss":0.5,"seconds":1}' >> "$run/metrics.jsonl"
cat
echo saved
exit 130
"#;

/// Trainings by that, on a data set `flowers`.
#[cfg(unix)]
pub fn training(folder: &Path) -> Training {
    use std::os::unix::fs::PermissionsExt;
    let training =
        Training { program: folder.join("trainer"), datasets: folder.join("data"), runs: folder.join("runs") };
    fs::create_dir_all(training.datasets.join("flowers")).unwrap();
    fs::create_dir_all(&training.runs).unwrap();
    fs::write(&training.program, TRAINER).unwrap();
    fs::set_permissions(&training.program, fs::Permissions::from_mode(0o755)).unwrap();
    training
}

/// A report of a Fréchet distance.
pub fn report(folder: &Path, distance: f64, steps: usize) {
    fs::create_dir_all(folder).unwrap();
    let report = json!({
        "format": 1, "program": "undiffuse 0.1.0", "data": "data/flowers", "fingerprint": format!("{steps:0<64}"),
        "notes": ["Only 200 pictures were judged."],
        "subject": {"fingerprint": "00", "kind": "model", "name": "runs/flowers"},
        "figures": [
            {"tag": "fid", "name": "Fréchet distance", "value": distance, "interval": [distance - 0.1, distance + 0.1], "better": "lower"},
            {"tag": "precision", "name": "Precision", "value": 0.7, "interval": [0.6, 0.8], "better": "higher"},
        ],
        "protocol": {
            "version": 1, "pairs": 200, "seed": 0, "resamples": 100,
            "features": {"network": "mobilenet-v2", "fingerprint": "00", "dims": 1280, "input": "224"},
            "data": {"fingerprint": "00", "images": 200, "size": 32, "channels": 3},
            "generated": {"images": 200, "seeds": [0, 199], "solver": "ddim", "spacing": "karras", "steps": steps,
                          "guidance": 1.0, "classes": null},
            "likelihood": {}, "audit": {},
        },
    });
    fs::write(folder.join("report.json"), report.to_string()).unwrap();
    fs::write(folder.join("report.html"), "<!doctype html><title>A report</title><p>The whole of it.</p>").unwrap();
}

/// A report that this program does not read.
pub fn unreadable_report(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("report.json"), r#"{"format": 99}"#).unwrap();
}
