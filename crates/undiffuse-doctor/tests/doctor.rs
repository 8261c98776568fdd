//! Sick runs, made by the library: each must yield its finding, and a healthy one none.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use undiffuse::burn::tensor::Device;
use undiffuse::nn::params;
use undiffuse::train::{Config, Event, Trainer};
use undiffuse::{Model, device};
use undiffuse_data::{Dataset, Image, encode_png, grid};
use undiffuse_doctor::{CHECKS, DataStatistics, Diagnosis, DoctorError, Severity, diagnose, examine};
use undiffuse_math::noise;

/// 8×8 pictures, squares and crosses of random place, size and brightness in two class folders; `paint` gives the byte of a
/// brightness of 0 to 255.
fn pictures(folder: &Path, n: usize, channels: usize, paint: fn(f64) -> u8) -> PathBuf {
    let data = folder.join("pictures");
    for k in 0..n {
        let class = ["cross", "square"][k % 2];
        std::fs::create_dir_all(data.join(class)).unwrap();
        let draw = |i: u64, most: f64| noise::uniform(7, k as u64, i) * most;
        let (x, y, r) = (draw(0, 6.0) + 1.0, draw(1, 6.0) + 1.0, draw(2, 2.0) + 1.0);
        let (light, dark) = (140.0 + draw(3, 115.0), draw(4, 60.0));
        let pixel = |i: usize| {
            let (dx, dy) = ((x - (i % 8) as f64).abs(), (y - (i / 8) as f64).abs());
            let inside = if k % 2 == 0 { dx.min(dy) < 0.6 } else { dx.max(dy) <= r };
            paint(if inside { light } else { dark })
        };
        let pixels = (0..64).flat_map(|i| std::iter::repeat_n(pixel(i), channels)).collect();
        let png = encode_png(&Image::new(8, 8, channels, pixels), &[]).unwrap();
        std::fs::write(data.join(class).join(format!("{k:04}.png")), png).unwrap();
    }
    data
}

fn plain(brightness: f64) -> u8 {
    brightness as u8
}

const TINY: [&str; 12] = [
    "data.held_out=0.1",
    "network.width=8",
    "network.multiply=[1,2]",
    "network.groups=4",
    "network.head_dim=8",
    "network.attention=4",
    "train.batch=16",
    "train.images=6400",
    "train.previews=4",
    "train.warmup_images=320",
    "train.lr=4e-3",
    "sample.steps=10",
];

/// On one thread: networks this small lose more by waiting for each other than they gain.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(work)
}

/// Trains on `data` until the end, or until it fails.
fn train(data: &Path, run: &Path, more: &[&str]) {
    let mut settings: Vec<String> = TINY.iter().map(|s| (*s).to_owned()).collect();
    settings.push(format!("data.path={:?}", data.display().to_string()));
    settings.extend(more.iter().map(|s| (*s).to_owned()));
    let config = Config::layered("quick", None, &settings).unwrap();
    alone(|| Trainer::create(config, run, &Device::flex(), &mut |_| {}).unwrap().for_each(drop));
}

/// A folder, data of 700 pictures, and a run that went well.
fn healthy() -> &'static (tempfile::TempDir, PathBuf) {
    static HEALTHY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    HEALTHY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let data = pictures(folder.path(), 700, 1, plain);
        train(&data, &folder.path().join("run"), &[]);
        (folder, data)
    })
}

/// A copy of the healthy run, to be damaged.
fn copy(to: &Path) -> PathBuf {
    fn all(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            match entry.path().is_dir() {
                true => all(&entry.path(), &to.join(entry.file_name())),
                false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
            }
        }
    }
    let run = to.join("run");
    all(&healthy().0.path().join("run"), &run);
    run
}

/// The tags of findings of at least a severity.
fn tags(diagnosis: &Diagnosis, at_least: Severity) -> Vec<&'static str> {
    diagnosis.findings.iter().filter(|f| f.severity <= at_least).map(|f| f.tag).collect()
}

/// Asserts that a finding is there, with evidence and a change, and returns its severity.
fn expect(diagnosis: &Diagnosis, tag: &str) -> Severity {
    let found = diagnosis.findings.iter().find(|f| f.tag == tag);
    let found = found.unwrap_or_else(|| panic!("no {tag} in {diagnosis:#?}"));
    assert!(!found.evidence.is_empty() && !found.change.is_empty() && found.what.ends_with('.'), "{found:?}");
    found.severity
}

#[test]
fn a_healthy_run_has_nothing_wrong() {
    let found = diagnose(&healthy().0.path().join("run")).unwrap();
    assert_eq!(tags(&found, Severity::Warning), [""; 0], "{found:#?}");
    assert!(found.is_run && found.facts.len() >= 7 && found.unseen.is_empty(), "{found:#?}");
    // The model inside the run means the run.
    assert!(diagnose(&healthy().0.path().join("run/model")).unwrap().is_run);
}

#[test]
fn other_processes_are_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let processes = [
        ("ddpm", "linear", "eps", "simple", "uniform"),
        ("edm", "edm", "edm", "edm", "lognormal"),
        ("flow", "flow", "flow", "target", "logit-normal"),
    ];
    for (name, schedule, parameterization, weighting, timing) in processes {
        let run = folder.path().join(name);
        let parts = [("schedule", schedule), ("parameterization", parameterization)];
        let parts = parts.into_iter().chain([("weighting", weighting), ("timing", timing)]);
        let settings: Vec<String> = parts.map(|(key, value)| format!("noise.{key}={value:?}")).collect();
        let more: Vec<&str> = settings.iter().map(String::as_str).chain(["train.images=3200"]).collect();
        train(&healthy().1, &run, &more);
        let found = diagnose(&run).unwrap();
        assert_eq!(tags(&found, Severity::Warning), [""; 0], "{found:#?}");
    }
}

#[test]
fn a_learning_rate_of_one_is_too_high() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&healthy().1, &run, &["train.lr=1.0", "train.images=1600", "train.warmup_images=0"]);
    let found = diagnose(&run).unwrap();
    assert_eq!(expect(&found, "lr-high"), Severity::Problem);
}

#[test]
fn a_learning_rate_of_a_millionth_is_too_low() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&healthy().1, &run, &["train.lr=1e-6", "train.images=1600", "train.batch=8"]);
    let found = diagnose(&run).unwrap();
    expect(&found, "lr-low");
    assert_eq!(expect(&found, "trivial-loss"), Severity::Problem);
    assert!(!tags(&found, Severity::Note).contains(&"lr-high"));
}

#[test]
fn divergence_is_told_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&healthy().1, &run, &["train.lr=1e30", "train.images=1600", "train.warmup_images=0"]);
    let found = diagnose(&run).unwrap();
    assert_eq!(expect(&found, "diverged"), Severity::Problem);
    // What the advice says can be done: a lower rate in the run's own file.
    let config = run.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let lower: Vec<&str> = text.lines().map(|l| if l.starts_with("lr =") { "lr = 0.004" } else { l }).collect();
    std::fs::write(&config, lower.join("\n")).unwrap();
    let last = alone(|| Trainer::resume(&run, &Default::default(), &Device::flex(), &mut |_| {}).unwrap().last());
    assert!(matches!(last, Some(Ok(Event::Finished { .. }))));
    assert_eq!(expect(&diagnose(&run).unwrap(), "diverged"), Severity::Warning);
}

#[test]
fn few_pictures_are_learned_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 40, 1, plain);
    let run = folder.path().join("run");
    train(
        &data,
        &run,
        &["data.held_out=0.5", "data.classes=false", "train.images=6400", "train.previews=8", "train.lr=8e-3"],
    );
    let found = diagnose(&run).unwrap();
    expect(&found, "memorising");
    assert_eq!(expect(&found, "few-images"), Severity::Problem);
}

#[test]
fn averages_may_be_too_long_or_too_short() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("long");
    train(&healthy().1, &long, &["train.ema=[0.27,0.05]", "train.images=1600"]);
    expect(&diagnose(&long).unwrap(), "ema-long");
    let noisy = ["train.lr=2e-2", "train.lr_schedule=\"constant\"", "train.batch=4", "train.images=1600"];
    let wider = folder.path().join("wider");
    train(&healthy().1, &wider, &[&noisy[..], &["train.ema=[0.0005,0.1]"]].concat());
    let found = diagnose(&wider).unwrap();
    expect(&found, "ema-short");
    assert!(!tags(&found, Severity::Note).contains(&"ema-long"), "{found:#?}");
}

#[test]
fn levels_that_were_never_trained_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&healthy().1, &run, &["noise.timing=\"lognormal:mean=-2.5,std=0.3\"", "train.images=1600"]);
    assert_eq!(expect(&diagnose(&run).unwrap(), "levels"), Severity::Problem);
}

/// Changes a field of the model's scheduler file.
fn scheduler(model: &Path, field: &str, value: serde_json::Value) {
    let path = model.join("scheduler/scheduler_config.json");
    let mut config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config[field] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_wrong_reading_is_noticed_with_and_without_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = copy(folder.path());
    scheduler(&run.join("model"), "prediction_type", "epsilon".into());
    let found = diagnose(&run).unwrap();
    assert_eq!(expect(&found, "parameterization"), Severity::Problem);
    let bare = folder.path().join("bare");
    std::fs::rename(run.join("model"), &bare).unwrap();
    let device = device::open("cpu").unwrap();
    let found = examine(&bare, Some(&healthy().1), &device).unwrap();
    assert_eq!(expect(&found, "parameterization"), Severity::Problem);
    assert!(found.findings[0].what.contains("answers v, not eps"), "{found:#?}");
    // The right words again: nothing wrong, without pictures either.
    scheduler(&bare, "prediction_type", "v_prediction".into());
    assert_eq!(tags(&examine(&bare, Some(&healthy().1), &device).unwrap(), Severity::Warning), [""; 0]);
    let alone = diagnose(&bare).unwrap();
    assert!(!alone.is_run && alone.findings.is_empty() && alone.unseen[0].contains("--data"), "{alone:#?}");
}

#[test]
fn models_are_looked_at_for_range_clipping_and_weights() {
    let folder = tempfile::tempdir().unwrap();
    let run = copy(folder.path());
    scheduler(&run.join("model"), "clip_sample_range", 0.5.into());
    assert_eq!(expect(&diagnose(&run).unwrap(), "clip"), Severity::Problem);
    // Inverted pictures for a model of upright ones.
    let inverted = pictures(folder.path(), 100, 1, |brightness| 255 - brightness as u8);
    let device = device::open("cpu").unwrap();
    let bare = folder.path().join("bare");
    std::fs::rename(run.join("model"), &bare).unwrap();
    let found = examine(&bare, Some(&inverted), &device).unwrap();
    assert_eq!(expect(&found, "pixel-range"), Severity::Problem);
    let mut model = Model::load(&bare, &device).unwrap();
    model.network = params::map(model.network, |name, value| match name {
        "conv_in.bias" => value * f32::NAN,
        _ => value,
    });
    model.save(&bare).unwrap();
    assert_eq!(expect(&diagnose(&bare).unwrap(), "weights"), Severity::Problem);
}

#[test]
fn pictures_and_settings_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let short = ["train.images=160", "train.previews=0", "data.held_out=0"];
    let run = |name: &str, channels: usize, paint: fn(f64) -> u8, more: &[&str]| {
        let folder = folder.path().join(name);
        let data = pictures(&folder, 60, channels, paint);
        train(&data, &folder.join("run"), &[&short, more].concat());
        diagnose(&folder.join("run")).unwrap()
    };
    let grey = run("grey", 3, plain, &["data.channels=3"]);
    for tag in ["grey-data", "held-out", "trivial-loss"] {
        expect(&grey, tag);
    }
    let edm = ["noise.parameterization=\"edm\"", "data.size=16"];
    let masks = run("masks", 1, |b| u8::from(b > 100.0), &edm);
    assert_eq!(expect(&masks, "range"), Severity::Problem);
    expect(&masks, "sigma-data");
    expect(&masks, "enlarged");
    let flat = run("flat", 1, |b| 100 + u8::from(b > 250.0), &[]);
    expect(&flat, "one-picture");
    expect(&flat, "duplicates");
    let settings = ["train.batch=1", "train.label_dropout=0.0", "train.warmup_images=500", "sample.guidance=2.0"];
    let settings = run("settings", 1, plain, &settings);
    for tag in ["batch", "guidance", "warmup"] {
        expect(&settings, tag);
    }
    let process = ["noise.schedule=\"linear:rescale_zero_snr=true\"", "noise.parameterization=\"eps\""];
    expect(&run("zero", 1, plain, &process), "zero-snr");
}

/// Writes a caption for each picture that has one.
fn caption(data: &Path, of: impl Fn(usize, &str) -> Option<String>) {
    let mut lines = String::new();
    for class in ["cross", "square"] {
        let mut names: Vec<_> = std::fs::read_dir(data.join(class)).unwrap().flatten().collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        for (k, name) in names.iter().enumerate() {
            let file = format!("{class}/{}", name.file_name().display());
            if let Some(text) = of(k, class) {
                lines += &format!("{}\n", serde_json::json!({ "file_name": file, "text": text }));
            }
        }
    }
    std::fs::write(data.join("metadata.jsonl"), lines).unwrap();
}

#[test]
fn words_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["condition.kind=\"text\"", "condition.words.width=16", "condition.words.layers=1"];
    let run = |name: &str, more: &[&str], of: fn(usize, &str) -> Option<String>| {
        let folder = folder.path().join(name);
        let data = pictures(&folder, 120, 1, plain);
        caption(&data, of);
        train(&data, &folder.join("run"), &[&words[..], more].concat());
        diagnose(&folder.join("run")).unwrap()
    };
    let short = ["train.images=160", "train.previews=0"];
    let alike = run("alike", &short, |_, _| Some("a picture".into()));
    assert_eq!(expect(&alike, "captions-alike"), Severity::Problem);
    let half = run("half", &short, |k, class| (k % 2 == 0).then(|| format!("a {class} number {k}")));
    assert_eq!(expect(&half, "uncaptioned"), Severity::Note);
    assert!(!tags(&half, Severity::Note).contains(&"captions-alike"), "{half:#?}");
    // Words that have nothing to do with the pictures, and the same that have.
    let long = ["train.images=8320", "data.held_out=0.4"];
    expect(&run("unheard", &long, |k, _| Some(["one", "two"][k % 2].into())), "labels-unused");
    let heard = run("heard", &long, |_, class| Some(format!("a {class}")));
    assert!(!tags(&heard, Severity::Note).contains(&"labels-unused"), "{heard:#?}");
}

#[test]
fn samples_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let run = copy(folder.path());
    let data = Dataset::open(&healthy().1, &Default::default()).unwrap();
    let grid_of = |change: fn(u8) -> u8| {
        let cell = |i: usize| {
            let mut image = data.image(i * 11);
            image.pixels.iter_mut().for_each(|v| *v = change(*v));
            image
        };
        let sheet = grid(&(0..60).map(cell).collect::<Vec<_>>(), 10, 2);
        std::fs::write(run.join("samples/999999999.png"), encode_png(&sheet, &[]).unwrap()).unwrap();
        diagnose(&run).unwrap()
    };
    expect(&grid_of(|v| v), "sample-copies");
    expect(&grid_of(|v| 118 + v / 16), "sample-tone");
    expect(&grid_of(|v| if v > 100 { 255 } else { 0 }), "sample-tone");
    expect(&grid_of(|v| 255 - v), "sample-tone");
}

#[test]
fn interrupted_runs_and_folders_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let run = copy(folder.path());
    let length = r#"{"segments":[{"from":0,"until":64000}],"images_per_second":0.0}"#;
    std::fs::write(run.join("length.json"), length).unwrap();
    expect(&diagnose(&run).unwrap(), "unfinished");
    std::fs::remove_dir_all(run.join("checkpoints")).unwrap();
    std::fs::write(run.join("data.sha256"), "another").unwrap();
    let found = diagnose(&run).unwrap();
    assert!(found.unseen.iter().any(|u| u.contains("not what the run began with")), "{found:#?}");
    let error = diagnose(folder.path()).unwrap_err();
    assert!(matches!(error, DoctorError::NotARun { .. }) && error.to_string().contains("config.toml"), "{error}");
    assert!(diagnose(&folder.path().join("nowhere")).unwrap_err().to_string().contains("no such folder"));
}

/// The loss that a new network begins with, and the error of a Wiener filter for DDPM's own loss, where `snr · v σ² / (α² v +
/// σ²) = α² v / (α² v + σ²)`.
#[test]
fn damage_is_told() {
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let damages: [fn(&Path) -> PathBuf; 2] =
        [|run| run.join("metrics.jsonl"), |run| run.join("model/unet/diffusion_pytorch_model.safetensors")];
    for file in damages {
        let folder = tempfile::tempdir().unwrap();
        let run = copy(folder.path());
        cut(&file(&run));
        assert_eq!(expect(&diagnose(&run).unwrap(), "damaged"), Severity::Problem);
    }
}

#[test]
fn trivial_losses_are_those_of_the_formulas() {
    let data = Dataset::open(&healthy().1, &Default::default()).unwrap();
    let facts = DataStatistics::new(data, 0.1, 0);
    let settings = ["schedule=\"linear\"", "parameterization=\"eps\"", "weighting=\"simple\"", "timing=\"uniform\""]
        .map(|s| format!("noise.{s}"));
    let mut settings = settings.to_vec();
    settings.push("data.path=\"x\"".into());
    let config = Config::layered("quick", None, &settings).unwrap();
    let trivial = config.loss.trivial(&config.noise, &facts.moments());
    assert!((trivial.zero - 1.0).abs() < 1e-9, "{trivial:?}");
    let (mut alpha_bar, mut sum) = (1.0, 0.0);
    for t in 0..1000 {
        alpha_bar *= 1.0 - (1e-4 + (0.02 - 1e-4) * f64::from(t) / 999.0);
        let of = |v: &f64| alpha_bar * v / (alpha_bar * v + 1.0 - alpha_bar);
        sum += facts.variance.iter().map(of).sum::<f64>() / facts.variance.len() as f64;
    }
    assert!((trivial.pixelwise / (sum / 1000.0) - 1.0).abs() < 2e-3, "{trivial:?} {}", sum / 1000.0);
    // What training itself measured before its first update.
    let run = healthy().0.path().join("run");
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let trained = Config::from_toml(&std::fs::read_to_string(run.join("config.toml")).unwrap()).unwrap();
    let zero = trained.loss.trivial(&trained.noise, &facts.moments()).zero;
    assert!((first["loss"].as_f64().unwrap() / zero - 1.0).abs() < 0.1, "{first} {zero}");
}

#[test]
fn checks_have_names_of_their_own() {
    let mut tags: Vec<&str> = CHECKS.iter().map(|c| c.tag).collect();
    tags.sort_unstable();
    assert!(tags.windows(2).all(|pair| pair[0] != pair[1]) && CHECKS.iter().all(|c| !c.about.is_empty()));
}
