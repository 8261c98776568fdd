//! A CLIP through the built program: trained, searched with, looked into, a judge; and what is refused.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs in `folder`, its cache there, too; expects an exit code, and returns what was printed to each stream.
fn run(folder: &Path, code: i32, args: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undiffuse"));
    command.args(args).current_dir(folder).env("UNDIFFUSE_CACHE", folder.join("cache")).stdin(Stdio::null());
    let output = command.env("XDG_DATA_HOME", folder.join("data-home")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "undiffuse {}\n{out}{err}", args.join(" "));
    assert!(!err.contains("panicked"), "undiffuse {}\n{err}", args.join(" "));
    (out, err)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn figure(report: &Value, tag: &str) -> (f64, [f64; 2]) {
    let figures = report["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["tag"] == tag).unwrap_or_else(|| panic!("no {tag} in {report:#}"));
    let number = |value: &Value| value.as_f64().unwrap();
    (number(&found["value"]), [0, 1].map(|end| number(&found["interval"][end])))
}

const SMALL: [&str; 7] = [
    "clip.width=32",
    "clip.layers=1",
    "clip.heads=2",
    "clip.embedding=16",
    "clip.patch=8",
    "condition.words.width=32",
    "train.batch=32",
];

#[test]
fn a_clip_finds_and_judges() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    run(folder, 0, &["data", "make-scenes", "scenes", "--n", "240"]);
    let mut train = vec!["train", "--preset", "clip", "--data", "scenes", "--run", "run", "--images", "3200"];
    SMALL.iter().for_each(|set| train.extend(["--set", *set]));
    run(folder, 0, &train);

    let find =
        |more: &[&str]| run(folder, 0, &[&["search", "run", "a red circle", "--data", "scenes"], more].concat()).0;
    let found = json(&find(&["-n", "5", "--json", "--out", "found.png"]));
    let pictures = found["pictures"].as_array().unwrap();
    let cosines: Vec<f64> = pictures.iter().map(|picture| picture["cosine"].as_f64().unwrap()).collect();
    assert!(pictures.len() == 5 && cosines.is_sorted_by(|a, b| a >= b), "{found:#}");
    assert!(folder.join(pictures[0]["path"].as_str().unwrap()).is_file() && !pictures[0]["captions"][0].is_null());
    assert!(folder.join("found.png").is_file());
    let lines = find(&["-n", "5"]);
    assert!(lines.lines().zip(pictures).all(|(line, picture)| line.ends_with(picture["path"].as_str().unwrap())));

    let looked = run(folder, 0, &["inspect", "run/model"]).0;
    assert!(looked.contains("CLIPVisionModelWithProjection") && looked.contains("logit scale"), "{looked}");
    let looked = json(&run(folder, 0, &["inspect", "run", "--json"]).0);
    assert!(looked["config"]["noise"].is_null() && !looked["config"]["clip"].is_null() && looked["model"].is_string());

    let eval = ["eval", "scenes", "--data", "scenes", "--features", "pixels", "--no-audit", "--json"];
    let report = json(&run(folder, 0, &[&eval[..], &["--judge", "run"]].concat()).0);
    let (share, [low, high]) = figure(&report, "r_precision");
    assert!(share > 0.01 && low < share && share < high, "{report:#}");
    assert_eq!(figure(&report, "r_precision_real").0, share);
    assert!(figure(&report, "clip_score").0 > 0.0);
    let (judged, plain) = (report["protocol"]["judge"]["clip"].as_str().unwrap(), json(&run(folder, 0, &eval).0));
    assert!(judged.len() == 64 && plain["protocol"]["judge"]["clip"].is_null());
    assert_ne!(report["fingerprint"], plain["fingerprint"]);

    for (args, words) in [
        (&["sample", "run"][..], "is a CLIP, which makes no pictures"),
        (&["eval", "run", "--data", "scenes"], "is a CLIP, which makes no pictures"),
        (&["doctor", "run"], "is of a CLIP, and the doctor examines what makes pictures"),
        (&["search", "scenes", "a dog", "--data", "scenes"], "holds no CLIP: there is no `text_encoder/config.json`"),
        (&["search", "nowhere", "a dog", "--data", "scenes"], "holds no CLIP"),
    ] {
        let said = run(folder, 1, args).1;
        assert!(said.contains(words) && said.lines().count() == 1, "{args:?}: {said}");
    }
    assert!(run(folder, 2, &["search", "run", "a dog", "--data", "scenes", "-n", "0"]).1.contains("-n must be"));
}
