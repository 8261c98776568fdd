//! Training as promised: resumed runs, any number of threads, one batch overfitted, divergence caught.

mod budget;
mod clip;
mod frozen;
mod kill_points;
mod prior;
mod runs;
mod unclip;
mod words;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use undiffuse::Model;
use undiffuse::codec::AnyCodec;
use undiffuse::data::{Dataset, Image, Options, encode_png};
use undiffuse::denoise::Ask;
use undiffuse::likelihood::bound::{self, BoundSettings, StepVariance};
use undiffuse::likelihood::{self, Dequantize, TestPictures};
use undiffuse::model::{Outline, SampleDefaults};
use undiffuse::nn::ops::optim::OptimizerKind;
use undiffuse::train::{Config, Event, Resume, TrainError, Trainer, checkpoint};

/// Pictures of 8×8 pixels: discs and squares of random size and place, in two class folders.
fn pictures(folder: &Path, n: usize) -> PathBuf {
    let data = folder.join("pictures");
    for k in 0..n {
        let class = ["disc", "square"][k % 2];
        std::fs::create_dir_all(data.join(class)).unwrap();
        let (x, y, r) = (2 + k * 7 % 4, 2 + k * 5 % 4, 1 + k % 3);
        let inside = |i: usize| {
            let (dx, dy) = (x.abs_diff(i % 8), y.abs_diff(i / 8));
            if k % 2 == 0 { dx * dx + dy * dy <= r * r } else { dx.max(dy) <= r }
        };
        let pixels = (0..64).map(|i| if inside(i) { 255 - (k % 50) as u8 } else { 0 }).collect();
        let png = encode_png(&Image::new(8, 8, 1, pixels), &[]).unwrap();
        std::fs::write(data.join(class).join(format!("{k:03}.png")), png).unwrap();
    }
    data
}

const TINY: [&str; 9] = [
    "network.width=8",
    "network.multiply=[1,2]",
    "network.groups=4",
    "network.head_dim=8",
    "network.attention=4",
    "train.batch=8",
    "train.previews=1",
    "train.warmup_images=32",
    "sample.steps=4",
];

fn config(data: &Path, more: &[&str]) -> Config {
    let mut settings: Vec<String> = TINY.iter().map(|s| (*s).to_owned()).collect();
    settings.push(format!("data.path={:?}", data.display().to_string()));
    settings.extend(more.iter().map(|s| (*s).to_owned()));
    Config::layered("quick", None, &settings).unwrap()
}

fn create(config: Config, run: &Path) -> Trainer {
    Trainer::create(config, run, &Device::flex(), &mut |_| {}).unwrap()
}

fn finish(trainer: Trainer) {
    trainer.for_each(|event| drop(event.unwrap()));
}

/// The bytes of a run's newest checkpoint: weights, averages, optimiser, counters.
fn state(run: &Path) -> Vec<u8> {
    std::fs::read(checkpoint::all(&run.join("checkpoints")).pop().unwrap()).unwrap()
}

/// Runs of 64 pictures a step by a configuration with some more settings: computed in parts, on one thread, and interrupted, they
/// end with the same bits, which are returned.
fn same_bits(folder: &Path, parts: &[usize], config: impl Fn(&[&str]) -> Config + Sync) -> Vec<u8> {
    const LENGTH: [&str; 2] = ["train.images=128", "train.batch=64"];
    let run = |name: &str, more: &[&str]| {
        let run = folder.join(name);
        finish(create(config(&[&LENGTH[..], more].concat()), &run));
        state(&run)
    };
    let whole = run("whole", &[]);
    for parts in parts {
        let accumulate = format!("train.accumulate={parts}");
        assert!(run(&accumulate, &[&accumulate]) == whole, "{parts} parts change the weights");
    }
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(one.install(|| run("one-thread", &[])) == whole, "the number of threads changes the weights");

    let stopped = folder.join("stopped");
    let mut trainer = create(config(&LENGTH), &stopped);
    assert!(trainer.by_ref().any(|event| matches!(event, Ok(Event::Step(_)))));
    trainer.save().unwrap();
    drop(trainer);
    finish(resume(&stopped, &Resume::default()).unwrap());
    assert!(state(&stopped) == whole, "a resumed run ends elsewhere");
    whole
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let settings = ["train.images=200", "train.accumulate=2", "data.flip=true", "network.dropout=0.1"];
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    finish(create(config(&data, &settings), &whole));

    // Stops in the middle of a pass over the data, twice, and once right at the beginning.
    let mut trainer = Some(create(config(&data, &settings), &parts));
    for stop_after in [0, 5, 9] {
        let mut t = trainer.take().unwrap_or_else(|| resume(&parts, &Resume::default()).unwrap());
        let steps = t.by_ref().map(Result::unwrap).filter(|e| matches!(e, Event::Step(_)));
        let _ = steps.take(stop_after).count();
        t.save().unwrap();
    }
    finish(resume(&parts, &Resume::default()).unwrap());
    assert!(state(&whole) == state(&parts), "a resumed run differs");
    // The model names its data and does not say where they lie.
    let card = std::fs::read_to_string(whole.join("model/undiffuse.json")).unwrap();
    let provenance = Outline::read(&whole, None).unwrap().card.provenance.unwrap();
    assert_eq!(provenance.data, data.file_name().unwrap().to_str().unwrap());
    assert!(!card.contains(folder.path().to_str().unwrap()), "{card}");
    let lines = |run: &Path| std::fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count();
    assert_eq!(lines(&whole), lines(&parts), "steps that were done again must not be logged twice");
}

fn resume(run: &Path, how: &Resume) -> Result<Trainer, TrainError> {
    Trainer::resume(run, how, &Device::flex(), &mut |_| {})
}

#[test]
fn an_extended_run_is_the_same_however_it_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let longer = Resume { images: Some(160), ..Resume::default() };
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    for run in [&one, &two] {
        finish(create(config(&data, &["train.images=80"]), run));
    }
    finish(resume(&one, &longer).unwrap());
    let mut t = resume(&two, &longer).unwrap();
    let _ = t.by_ref().map(Result::unwrap).filter(|e| matches!(e, Event::Step(_))).take(4).count();
    t.save().unwrap();
    drop(t);
    finish(resume(&two, &Resume::default()).unwrap());
    assert!(state(&one) == state(&two), "an extended run differs");
    assert!(resume(&one, &Resume { images: Some(100), ..Resume::default() }).is_err(), "an end in the past");
}

#[test]
fn threads_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let run = |threads: usize| {
        let run = folder.path().join(format!("threads-{threads}"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| finish(create(config(&data, &["train.images=80"]), &run)));
        state(&run)
    };
    let one = run(1);
    assert!(run(2) == one && run(3) == one, "the number of threads changes the weights");
}

/// Parts that are subtrees of the sums over pictures change no bit; parts that are none may.
#[test]
fn parts_of_a_batch_do_not_change_a_bit() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 70);
    let run = |batch: usize, parts: usize| {
        let run = folder.path().join(format!("{batch}-by-{parts}"));
        let settings = [format!("train.images={}", 3 * batch), format!("train.batch={batch}")];
        let accumulate = format!("train.accumulate={parts}");
        // What drops out of a picture, and whether its class is told, is its own, too.
        let settings = [&settings[0][..], &settings[1], &accumulate, "network.dropout=0.2", "train.label_dropout=0.3"];
        finish(create(config(&data, &settings), &run));
        state(&run)
    };
    let whole = run(64, 1);
    for parts in [2, 4, 8] {
        assert!(run(64, parts) == whole, "{parts} parts of a batch of 64 change the weights");
    }
    let whole = run(48, 1);
    assert!(run(48, 3) == whole, "3 parts of 16 of a batch of 48 change the weights");
    assert!(run(48, 2) != whole, "24 pictures are no subtree of 48");
}

#[test]
fn a_few_pictures_can_be_learned_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 4);
    let settings = [
        "train.images=6400",
        "data.held_out=0.0",
        "network.width=16",
        "train.lr=3e-3",
        "data.classes=false",
        "train.batch=16",
    ];
    let mut losses = Vec::new();
    for event in create(config(&data, &settings), &folder.path().join("run")) {
        if let Event::Step(step) = event.unwrap() {
            losses.push(step.loss);
        }
    }
    let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 40..]));
    assert!(last < 0.2 * first, "{first} -> {last}");
}

#[test]
fn divergence_stops_before_a_good_checkpoint_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let run = folder.path().join("run");
    let mut trainer = create(config(&data, &["train.images=8000", "train.lr=1e30", "train.warmup_images=0"]), &run);
    let saved = trainer.save().unwrap();
    let Event::Saved { path, .. } = saved else { panic!("{saved:?}") };
    let before = std::fs::read(&path).unwrap();
    let error = trainer.find_map(Result::err).expect("a learning rate of 1e30 diverges");
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    let diverged = || std::fs::read_to_string(run.join("metrics.jsonl")).unwrap().matches("diverged").count();
    assert_eq!(diverged(), 1);
    assert!(error.to_string().contains("train.lr="), "{error}");
    assert!(trainer.next().is_none());
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_run_is_never_overwritten_and_its_model_loads() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 30);
    let run = folder.path().join("run");
    finish(create(config(&data, &["train.images=16"]), &run));
    let again = Trainer::create(config(&data, &["train.images=16"]), &run, &Device::flex(), &mut |_| {});
    assert!(matches!(again.err(), Some(TrainError::Exists(_))));
    let model = Model::load(&run, &Device::flex()).unwrap();
    assert_eq!(model.card.classes, ["disc", "square"]);
    assert_eq!(model.card.null_class, Some(2));
    assert_eq!(model.picture_shape(), [1, 8, 8]);
    // Other data in the same place is noticed.
    std::fs::remove_file(data.join("disc/000.png")).unwrap();
    assert!(matches!(resume(&run, &Resume::default()).err(), Some(TrainError::DataChanged { .. })));
}

#[test]
fn every_preset_trains_and_samples() {
    let folder = tempfile::tempdir().unwrap();
    let (data, clip) = (pictures(folder.path(), 30), unclip::clip(folder.path(), 12));
    // A CLIP makes no pictures.
    for (name, preset) in undiffuse::train::presets::ALL.iter().filter(|(name, _)| *name != "clip") {
        // What this kind of network has.
        let known = |setting: &&&str| {
            let option = setting.strip_prefix("network.").and_then(|option| option.split('=').next());
            option.is_none_or(|option| preset.lines().any(|line| line.starts_with(&format!("{option} = "))))
        };
        let mut settings: Vec<String> = TINY.iter().filter(known).map(|s| (*s).to_owned()).collect();
        settings.push(format!("data.path={:?}", data.display().to_string()));
        settings.push("train.images=16".into());
        if *name == "decoder" {
            settings.push(format!("condition.from={:?}", clip.display().to_string()));
        }
        let config = Config::layered(name, None, &settings).unwrap();
        // What makes no pictures learns by a network that somebody names.
        if config.codec.one_way().is_some() {
            continue;
        }
        assert_eq!(config, Config::from_toml(&config.to_toml()).unwrap(), "{name} survives being written");
        let run = folder.path().join(name);
        finish(create(config, &run));
        let model = Model::load(&run, &Device::flex()).unwrap();
        assert!(model.plan().unwrap().rows.len() >= 4, "{name}");
        assert!(run.join("samples").read_dir().unwrap().count() == 1, "{name}");
    }
}

/// Configurations once said of the noise whether the network learns its variance.
#[test]
fn losses_are_read_as_they_were_and_are_written() {
    let layered = |preset: &str, settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        Config::layered(preset, None, &settings).map(|config| config.loss.tag()).map_err(|e| e.to_string())
    };
    for (preset, settings, loss) in [
        ("quick", &[][..], "denoising"),
        ("improved-ddpm", &[], "hybrid"),
        ("quick", &["noise.variance=learned"], "hybrid"),
        ("quick", &["loss.kind=hybrid"], "hybrid"),
        ("improved-ddpm", &["noise.variance=fixed"], "denoising"),
        ("improved-ddpm", &["loss=denoising"], "denoising"),
    ] {
        assert_eq!(layered(preset, settings).as_deref(), Ok(loss), "{preset} {settings:?}");
    }
    assert!(layered("quick", &["noise.variance=odd"]).unwrap_err().contains("noise.variance"));
    assert!(layered("quick", &["loss=hybird"]).unwrap_err().contains("hybrid"));
    for preset in ["quick", "improved-ddpm"] {
        let config = Config::layered(preset, None, &[]).unwrap();
        let mut table: toml::Table = config.to_toml().parse().unwrap();
        let loss = table.remove("loss").unwrap();
        let old = if loss["kind"].as_str() == Some("hybrid") { "learned" } else { "fixed" };
        table["noise"].as_table_mut().unwrap().insert("variance".into(), old.into());
        let old = toml::to_string(&table).unwrap();
        assert_eq!(Config::from_toml(&old).unwrap(), config);
    }
}

/// The optimizer's options were keys of `[train]` once: these say the same, and not the opposite of what `[optimizer]` says.
#[test]
fn optimizers_are_read_as_they_were_and_are_written() {
    let layered = |file: &str, settings: &[&str]| {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file).unwrap();
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        let config = Config::layered("quick", Some(path.path()), &settings);
        config.map(|config| config.optimizer.to_string()).map_err(|e| e.to_string())
    };
    let preset = "adamw:betas=0.9;0.99;";
    for (file, settings, optimizer) in [
        ("", &[][..], preset),
        ("[train]\nweight_decay = 0", &[], "adamw:betas=0.9;0.99;,weight_decay=0"),
        ("[train]\nbetas = [0.5, 0.6]\n[optimizer]\neps = 1e-6", &[], "adamw:betas=0.5;0.6;,eps=0.000001"),
        ("[train]\neps = 1e-6", &["optimizer.eps=1e-8"], preset),
        ("[optimizer]\nkind = \"adamw\"\nweight_decay = 0.1", &[], "adamw:weight_decay=0.1"),
        ("", &["train.eps=1e-6", "optimizer=adamw:weight_decay=0.1"], "adamw:weight_decay=0.1"),
    ] {
        let found = layered(file, settings).map(|text| text.parse::<OptimizerKind>().unwrap());
        assert_eq!(found, Ok(optimizer.parse().unwrap()), "{file} {settings:?}");
    }
    for (file, settings, problem) in [
        ("[train]\neps = 1e-6\n[optimizer]\neps = 1e-6", &[][..], "train.eps is optimizer.eps now, and both"),
        ("optimizer = \"adamw\"\n[train]\nbetas = [0, 0]", &[], "train.betas is optimizer.betas now, and both"),
        ("loss = \"hybrid\"\n[noise]\nvariance = \"fixed\"", &[], "noise.variance is loss now, and both"),
        ("condition = \"class\"\n[data]\nclasses = false", &[], "data.classes is condition now, and both"),
        ("", &["train.betas=[1, 2]"], "betas = [1.0, 2.0] must be in [0, 1)"),
        ("", &["optimizer=adamv"], "did you mean `adamw`"),
        ("", &["optimizer.beta=0.1"], "no option `beta`, did you mean `betas`"),
    ] {
        let said = layered(file, settings).unwrap_err();
        assert!(said.contains(problem), "{file} {settings:?}: {said}");
    }
    let config = Config::layered("quick", None, &["optimizer.weight_decay=0.3".into()]).unwrap();
    let mut table: toml::Table = config.to_toml().parse().unwrap();
    let mut options = table.remove("optimizer").unwrap();
    options.as_table_mut().unwrap().remove("kind");
    table["train"].as_table_mut().unwrap().extend(options.as_table().unwrap().clone());
    assert_eq!(Config::from_toml(&toml::to_string(&table).unwrap()).unwrap(), config);
}

/// The first step of AdamW \[Loshchilov19, Algorithm 2\] in closed form, with the options that `[optimizer]` names: its moments are
/// `(1 − β₁) g` and `(1 − β₂) g²`, and `p = p₀ (1 − lr · decay) − lr g / (|g| + eps)`.
#[test]
fn the_optimizer_steps_by_its_options() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (pictures(folder.path(), 30), folder.path().join("run"));
    let (beta1, beta2, eps, decay) = (0.7, 0.96, 1e-3, 0.5);
    let options = ["optimizer=adamw:betas=0.7;0.96;,eps=0.001,weight_decay=0.5", "train.lr=0.1", "train.images=8"];
    let mut trainer = create(config(&data, &[&options[..], &["train.warmup_images=0"]].concat()), &run);
    let tensors = || checkpoint::load(&checkpoint::all(&run.join("checkpoints")).pop().unwrap()).unwrap().1;
    let before = tensors();
    let step = |event: Result<Event, _>| if let Event::Step(step) = event.unwrap() { Some(step.lr) } else { None };
    let lr = trainer.by_ref().find_map(step).unwrap();
    finish(trainer);
    let after = tensors();
    let mut moved = 0;
    for (name, start) in before.iter().filter_map(|(name, start)| Some((name.strip_prefix("raw.")?, start))) {
        let [p, m, v] = ["raw", "adam.m", "adam.v"].map(|kind| &after[&format!("{kind}.{name}")].values);
        for (k, &p0) in start.values.iter().enumerate() {
            let [p0, p, m, v] = [p0, p[k], m[k], v[k]].map(f64::from);
            let g = m / (1.0 - beta1);
            let (variance, wanted) = ((1.0 - beta2) * g * g, p0 * (1.0 - lr * decay) - lr * g / (g.abs() + eps));
            assert!((v - variance).abs() <= 1e-5 * variance + 1e-30, "{name} {k}: {v} {variance}");
            assert!((p - wanted).abs() < 2e-6, "{name} {k}: {p} {wanted}");
            moved += usize::from((p - p0).abs() > 0.01);
        }
    }
    assert!(lr > 0.01 && moved > 1000, "{lr} {moved}");
}

#[test]
fn every_problem_of_a_config_is_named_at_once() {
    let bad = ["train.lr=-1", "train.bach=3", "network.width=30", "train.images=5", "data.sizes=3"];
    let settings: Vec<String> = bad.iter().map(|s| (*s).to_owned()).collect();
    let text = Config::layered("quick", None, &settings).unwrap_err().to_string();
    for part in ["train.lr", "train.bach", "network.groups", "data.sizes"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert!(Config::layered("quik", None, &[]).unwrap_err().to_string().contains("quick"));
}

/// The improved DDPM's whole recipe: learned variances and importance-sampled times go through checkpoints bit for bit, and the
/// variance learns: its bound is lower than that of a network that never saw it.
#[test]
fn learned_variances_and_importance_sampled_times() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 64);
    let improved = ["loss=hybrid", "noise.timing=importance", "noise.schedule=cosine:steps=20", "train.images=2400"];
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    finish(create(config(&data, &improved), &whole));
    let mut trainer = create(config(&data, &improved), &stopped);
    let steps = trainer.by_ref().filter(|event| matches!(event.as_ref().unwrap(), Event::Step(_)));
    assert_eq!(steps.take(150).count(), 150);
    trainer.save().unwrap();
    drop(trainer);
    finish(Trainer::resume(&stopped, &Resume::default(), &Device::flex(), &mut |_| {}).unwrap());
    assert_eq!(state(&whole), state(&stopped));
    let (counters, _) = checkpoint::load(&checkpoint::all(&whole.join("checkpoints")).pop().unwrap()).unwrap();
    let seen = counters.importance.unwrap().seen;
    let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
    assert!(seen.iter().sum::<u32>() == 2400 && most * 2 > least * 3, "{seen:?}");

    let model = Model::load(&whole, &Device::flex()).unwrap();
    assert_eq!(model.network.config().io().channels_out, 2);
    let (recipe, denoiser) = (&model.recipe, model.reader());
    let options = Options { size: Some(8), ..Options::default() };
    let dataset = Dataset::open(&data, &options).unwrap();
    let mut x0 = Vec::new();
    dataset.batch(&(0..64).collect::<Vec<_>>(), &[false; 64], &mut x0);
    let (codec, cond) = (AnyCodec::default(), (0..64).map(|i| Ask::Class(dataset.label(i).unwrap())).collect());
    let pictures = TestPictures { shape: [1, 8, 8], x0, codec, range: (-1.0, 1.0), seeds: (0..64).collect(), cond };
    let plan = likelihood::plan(&recipe.grid(20).unwrap(), &*recipe.parameterization).unwrap();
    let bound = |variance| {
        let dequantize = Dequantize::Gaussian;
        let settings = BoundSettings { evaluations: 20, batch: 64, dequantize, variance };
        let bound = bound::bound(&denoiser, &plan, &pictures, &settings, &mut |_, _| true).unwrap();
        bound.total().iter().sum::<f64>()
    };
    let learned = bound(StepVariance::Learned);
    let fixed = [StepVariance::Posterior, StepVariance::Forward].map(bound);
    assert!(learned < fixed[0] && learned < fixed[1], "{learned} {fixed:?}");
    let refused = Config::layered("improved-ddpm", None, &["noise.timing=lognormal".into(), "data.path=x".into()]);
    assert!(refused.unwrap_err().to_string().contains("uniform or importance"));
}
