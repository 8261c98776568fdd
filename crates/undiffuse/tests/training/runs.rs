//! Run folders as people leave them: moved, copied into, cleaned up, cut short.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use undiffuse::data::{Dataset, Options};
use undiffuse::math::recipe::Clip;
use undiffuse::run::{LogLine, RunFolder};
use undiffuse::train::{Config, Event, IMAGES_MAX, Resume, TrainError, Trainer, checkpoint};
use undiffuse::{Model, files};

use super::{TINY, config, create, finish, pictures, resume, state};

/// Two savings along the way, so that two checkpoints are kept.
fn trained(data: &Path, run: &Path) {
    let mut trainer = create(config(data, &["train.images=80"]), run);
    let steps = trainer.by_ref().map(Result::unwrap).filter(|event| matches!(event, Event::Step(_)));
    assert_eq!(steps.take(5).count(), 5);
    trainer.save().unwrap();
    finish(trainer);
}

fn refused(result: Result<Trainer, TrainError>) -> String {
    result.err().expect("refused").to_string()
}

fn warnings(trainer: &mut Trainer) -> Vec<String> {
    match trainer.next() {
        Some(Ok(Event::Started(started))) => started.warnings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_that_has_lost_its_checkpoints_does_not_begin_anew_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let run = folder.path().join("run");
    trained(&data, &run);
    let (bits, weights) = (state(&run), run.join("model/unet/diffusion_pytorch_model.safetensors"));
    let model = fs::read(&weights).unwrap();
    let checkpoints = checkpoint::all(&run.join("checkpoints"));
    assert_eq!(checkpoints.len(), 2);

    // The newest damaged: the one before it is used, and said; the end is the same.
    fs::write(&checkpoints[1], &bits[..bits.len() / 2]).unwrap();
    let mut trainer = resume(&run, &Resume::default()).unwrap();
    let said = warnings(&mut trainer).join("\n");
    assert!(said.contains("skipped") && said.contains("000000000080"), "{said}");
    finish(trainer);
    assert!(state(&run) == bits && fs::read(&weights).unwrap() == model);

    // All damaged, or none there: refused, and nothing is touched.
    let all = checkpoint::all(&run.join("checkpoints"));
    all.iter().for_each(|path| fs::write(path, "broken").unwrap());
    let said = refused(resume(&run, &Resume::default()));
    assert!(said.contains("--restart") && said.contains("000000000080"), "{said}");
    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    let said = refused(resume(&run, &Resume::default()));
    assert!(said.contains("no checkpoints") && said.contains("--restart"), "{said}");
    let longer = Resume { images: Some(160), ..Resume::default() };
    assert!(resume(&run, &longer).is_err());
    assert!(fs::read(&weights).unwrap() == model && !run.join("checkpoints").exists());

    // Asked for, it begins anew and comes to the same end.
    assert!(refused(resume(&run, &Resume { restart: true, ..longer })).contains("afterwards"));
    finish(resume(&run, &Resume { restart: true, ..Resume::default() }).unwrap());
    assert!(state(&run) == bits && fs::read(&weights).unwrap() == model);

    // The plan is as much a part of the state.
    fs::rename(run.join("length.json"), folder.path().join("length.json")).unwrap();
    assert!(refused(resume(&run, &Resume::default())).contains("length.json"));
    for broken in ["", "{}", r#"{"segments":[{"from":9,"until":3}],"images_per_second":0}"#] {
        fs::write(run.join("length.json"), broken).unwrap();
        assert!(refused(resume(&run, &Resume::default())).contains("length.json"), "{broken}");
    }
    fs::rename(folder.path().join("length.json"), run.join("length.json")).unwrap();
    finish(resume(&run, &Resume::default()).unwrap());
}

/// Killed before its first saving, a run goes on from its start; without that it is not mistaken for a new one.
#[test]
fn a_run_has_a_checkpoint_from_its_first_moment() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    finish(create(config(&data, &["train.images=80"]), &whole));
    let steps = create(config(&data, &["train.images=80"]), &killed);
    assert_eq!(steps.filter(|event| matches!(event, Ok(Event::Step(_)))).take(3).count(), 3);
    let start = checkpoint::all(&killed.join("checkpoints"));
    assert_eq!(start, [killed.join("checkpoints/000000000000.safetensors")]);
    let copy = fs::read(&start[0]).unwrap();
    fs::remove_file(&start[0]).unwrap();
    assert!(refused(resume(&killed, &Resume::default())).contains("--restart"));
    fs::write(&start[0], copy).unwrap();
    finish(resume(&killed, &Resume::default()).unwrap());
    assert!(state(&whole) == state(&killed));
    assert!(!start[0].exists(), "there is a later one to go back to");
}

#[test]
fn what_others_put_into_a_run_is_neither_trusted_nor_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    trained(&data, &whole);
    let mut trainer = create(config(&data, &["train.images=80"]), &run);
    let steps = trainer.by_ref().filter(|event| matches!(event, Ok(Event::Step(_))));
    assert_eq!(steps.take(2).count(), 2);
    trainer.save().unwrap();
    let checkpoints = run.join("checkpoints");
    let foreign = ["best.safetensors", "000000000016 (copy).safetensors", "zz.safetensors"];
    let copy = fs::read(checkpoint::all(&checkpoints).pop().unwrap()).unwrap();
    foreign.iter().for_each(|name| fs::write(checkpoints.join(name), &copy).unwrap());
    drop(trainer);
    finish(resume(&run, &Resume::default()).unwrap());
    assert!(state(&run) == state(&whole));
    assert!(foreign.iter().all(|name| fs::read(checkpoints.join(name)).unwrap() == copy));
    // A note beside the model is its owner's: it is not lost, and training says so before it begins.
    fs::write(run.join("model/NOTES.md"), "good one").unwrap();
    let said = refused(resume(&run, &Resume { images: Some(160), ..Resume::default() }));
    assert!(said.contains("NOTES.md"), "{said}");
    let model = Model::load(&run, &Device::flex()).unwrap();
    assert!(model.save(&data).unwrap_err().to_string().contains("would be lost"));
    assert!(data.join("disc").is_dir());
}

#[test]
fn pictures_may_move() {
    let folder = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    let data = pictures(&root, 30);
    let run = root.join("runs/one");
    finish(create(config(&data.join("../pictures"), &["train.images=16"]), &run));
    let kept = || Config::from_toml(&fs::read_to_string(run.join("config.toml")).unwrap()).unwrap().data.path;
    assert_eq!(Path::new(&kept()), data, "a run knows the full path");
    let moved = root.join("moved");
    fs::rename(&data, &moved).unwrap();
    let more = |data: Option<&Path>, images| {
        resume(&run, &Resume { data: data.map(Path::to_owned), images: Some(images), ..Resume::default() })
    };
    let said = refused(more(None, 32));
    assert!(said.contains("--data") && said.contains("pictures"), "{said}");
    finish(more(Some(&moved), 32).unwrap());
    assert_eq!(Path::new(&kept()), moved);
    finish(more(None, 48).unwrap());
    let other = pictures(&root, 29);
    let said = refused(more(Some(&other), 64));
    assert!(said.contains("not those that this run began with") && said.contains("pixels and classes"), "{said}");
    assert_eq!(Path::new(&kept()), moved);
    // Older programs wrote the path as it was typed.
    let text = fs::read_to_string(run.join("config.toml")).unwrap();
    fs::write(run.join("config.toml"), text.replace(moved.to_str().unwrap(), "moved")).unwrap();
    finish(more(None, 64).unwrap());
}

#[test]
fn a_folder_is_a_runs_or_somebody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let run = folder.path().join("run");
    // Somebody makes the run while the pictures are read.
    let mut other = Some(&run);
    let late = Trainer::create(config(&data, &["train.images=8"]), &run, &Device::flex(), &mut |_| {
        if let Some(run) = other.take() {
            finish(create(config(&data, &["train.images=16"]), run));
        }
    });
    assert!(matches!(late.err(), Some(TrainError::Exists(_))));
    let held = resume(&run, &Resume::default()).unwrap();
    assert!(
        RunFolder::new(&run).is_training()
            && matches!(resume(&run, &Resume::default()).err(), Some(TrainError::Locked(_)))
    );
    drop(held);
    // What is left of a run is not mixed into another.
    let fresh = |run: &Path| Trainer::create(config(&data, &["train.images=16"]), run, &Device::flex(), &mut |_| {});
    fs::rename(run.join("config.toml"), folder.path().join("config.toml")).unwrap();
    assert!(matches!(fresh(&run).err(), Some(TrainError::Remains(_))));
    fs::rename(folder.path().join("config.toml"), run.join("config.toml")).unwrap();
    finish(resume(&run, &Resume::default()).unwrap());
    // What a run killed at its very beginning leaves is in nobody's way.
    let begun = folder.path().join("begun");
    drop(fresh(&begun).unwrap());
    fs::remove_file(begun.join("config.toml")).unwrap();
    fs::write(begun.join("length.json"), r#"{"segments":[{"from":0,"until":8}],"images_per_second":0}"#).unwrap();
    finish(fresh(&begun).unwrap());
    assert!(state(&begun) == state(&run));
    // A run among its pictures, and below them.
    assert!(matches!(fresh(&data).err(), Some(TrainError::AmongPictures(_))));
    let mut below = fresh(&data.join("runs/own")).unwrap();
    assert!(warnings(&mut below).iter().any(|said| said.contains("inside the data")));
    finish(below);
    finish(resume(&data.join("runs/own"), &Resume { images: Some(32), ..Resume::default() }).unwrap());
}

/// A killed program leaves half a line, a full disk leaves worse.
#[test]
fn no_line_of_the_log_stops_anything() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let run = folder.path().join("run");
    finish(create(config(&data, &["train.images=16"]), &run));
    let good = fs::read(run.join("metrics.jsonl")).unwrap();
    let lines = good.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count();
    for tail in [
        &b"{\"event\":\"st"[..],
        b"\xff\xfe\x00",
        b"{\"event\":\"step\",\"what\":\"\xc3",
        b"\n\n[]\n7\nnull",
        b"\0\0\0\0",
    ] {
        fs::write(run.join("metrics.jsonl"), [&good, tail].concat()).unwrap();
        let log = || RunFolder::new(&run).log();
        assert_eq!(log().iter().filter(|line| matches!(line, LogLine::Step(_))).count(), 2);
        finish(resume(&run, &Resume::default()).unwrap());
        assert_eq!(fs::read(run.join("metrics.jsonl")).unwrap(), good);
        assert_eq!(log().len(), lines);
    }
}

#[test]
fn lengths_and_seeds_are_checked_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let run = folder.path().join("run");
    let layered = |setting: &str| {
        let settings = TINY.iter().map(|s| (*s).to_owned()).chain([format!("data.path={data:?}"), setting.into()]);
        Config::layered("quick", None, &settings.collect::<Vec<_>>())
    };
    for (setting, part) in [
        ("train.images=0", "train.images = 0"),
        ("train.epochs=0", "train.epochs = 0"),
        ("train.epochs=-1", "train.epochs = -1"),
        ("train.epochs=nan", "train.epochs"),
        ("train.epochs=inf", "train.epochs"),
        ("train.epochs=1e30", "at most"),
        ("train.budget=\"\"", "train.budget"),
        ("train.images=9000000000000000", "at most"),
        ("train.batch=0", "train.batch"),
        ("train.batch=1000000000", "train.batch"),
        ("train.previews=4000000000", "train.previews"),
        ("train.warmup_images=9000000000000000000", "train.warmup_images"),
        ("train.checkpoint_seconds=9000000000000000000", "train.checkpoint_seconds"),
        ("sample.steps=9000000000000000000", "sample.steps"),
        ("network.width=9000000000000000000", "network.width"),
        ("network.multiply=[1,9000000000000000000]", "network.multiply"),
        ("network.layers=9000000000000000000", "network.layers"),
        ("train.seed=-1", "a seed"),
        ("train.seed=18446744073709551616", "a seed"),
    ] {
        let said = layered(setting).err().unwrap_or_else(|| panic!("{setting} is taken")).to_string();
        assert!(said.contains(part), "{setting}: {said}");
        assert!(!said.contains("length of the training once"), "{setting}: {said}");
    }
    // A program that builds its configuration by itself is told the same.
    let good = config(&data, &["train.images=16"]);
    let make = |change: &dyn Fn(&mut Config)| {
        let mut config = good.clone();
        change(&mut config);
        refused(Trainer::create(config, &run, &Device::flex(), &mut |_| {}))
    };
    assert!(make(&|c| c.train.images = u64::MAX).contains("at most"));
    assert!(make(&|c| c.train.images = IMAGES_MAX + 1).contains("at most"));
    assert!(make(&|c| (c.train.images, c.train.epochs) = (0, 1e12)).contains("at most"));
    assert!(make(&|c| c.train.epochs = 2.0).contains("once"));
    assert!(make(&|c| c.data.path = String::new()).contains("data.path is not given"));
    assert!(!run.join("config.toml").exists());

    for seed in [0, 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let config = config(&data, &["train.images=16", &format!("train.seed={seed}")]);
        assert_eq!(config.train.seed, seed);
        assert_eq!(Config::from_toml(&config.to_toml()).unwrap(), config);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }
    finish(create(config(&data, &["train.images=16", "train.seed=18446744073709551615"]), &run));
    finish(resume(&run, &Resume { images: Some(24), ..Resume::default() }).unwrap());
}

/// A run from elsewhere may hold links to what is not its own.
#[cfg(unix)]
#[test]
fn a_strangers_run_does_not_write_through_links() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let precious = folder.path().join("precious");
    for name in ["lock", "metrics.jsonl"] {
        let run = folder.path().join(name.replace('.', "-"));
        finish(create(config(&data, &["train.images=8"]), &run));
        fs::write(&precious, "precious").unwrap();
        fs::remove_file(run.join(name)).unwrap();
        std::os::unix::fs::symlink(&precious, run.join(name)).unwrap();
        let folder = RunFolder::new(&run);
        assert!(!folder.is_training() && folder.log().is_empty() == (name == "metrics.jsonl"));
        assert!(refused(resume(&run, &Resume { images: Some(16), ..Resume::default() })).contains("link"), "{name}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }
    assert!(files::current(&precious).is_file());
}

/// A spread that is measured is that of the data's own numbers, stands in the run's file as a number, and is asked for only where
/// there is a place for it.
#[test]
fn the_spread_of_data_is_measured_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let settings = ["train.images=16", "data.held_out=0", "noise.own_sigma_data=true"];
    let run = folder.path().join("run");
    let trainer = create(config(&data, &[&settings[..], &["noise.parameterization=edm"]].concat()), &run);
    let pixels = Dataset::open(&data, &Options::default()).unwrap();
    let all: Vec<f64> = (0..30).flat_map(|i| pixels.pixels(i)).map(|v| f64::from(*v) / 127.5 - 1.0).collect();
    let expected = (all.iter().map(|x| x * x).sum::<f64>() / all.len() as f64).sqrt();
    let options = trainer.config().noise.parameterization.options();
    assert!((options["sigma_data"].as_f64().unwrap() / expected - 1.0).abs() < 5e-3, "{options:?} {expected}");
    let written = std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(!written.contains("own_sigma_data"), "{written}");
    finish(trainer);
    // There is no scheduler file for it, and nothing of how it is read is lost.
    let recipe = Model::load(&run, &Device::flex()).unwrap().recipe;
    assert_eq!((recipe.clip, recipe.parameterization.options()), (Clip::Range(1.0), options));

    let mut refused: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
    refused.extend(["data.path=\"x\"".into(), "noise.parameterization=eps".into()]);
    let problem = Config::layered("quick", None, &refused).unwrap_err().to_string();
    assert!(problem.contains("own_sigma_data") && problem.contains("eps") && problem.contains("edm"), "{problem}");
}
