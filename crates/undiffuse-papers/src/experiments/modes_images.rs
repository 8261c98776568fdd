//! Mode coverage on pictures: the ten classes of Fashion-MNIST, learned without labels in the same time by this library's
//! diffusion trainer and by a small convolutional GAN, and told apart by a classifier that neither of them knows.

use std::path::{Path, PathBuf};
use std::time::Instant;

use undiffuse::denoise::Cond;
use undiffuse::nn::ops::on_threads;
use undiffuse::nn::params;
use undiffuse::sample::Noise;
use undiffuse::train::{Config, Event, Trainer};
use undiffuse_data::figure::{COLORS, Layer, Panel, figure};
use undiffuse_data::{Dataset, Options};
use undiffuse_math::noise;

use super::modes::{for_seconds, normals};
use crate::adam::Adam;
use crate::cnn::{Critic, Generator, LATENT, SIDE, cross_entropy};
use crate::coverage::Coverage;
use crate::gan::Gan;
use crate::mlp::{Net, host, rows};
use crate::{Error, ExperimentEvent, ExperimentOptions, ExperimentReport, Goal, Listener, Row};

const PIXELS: usize = SIDE * SIDE;
const BATCH: usize = 64;
/// A class is found when the classifier is at least this sure of one sample.
const SURE: f32 = 0.9;
/// Pictures along a side of a sheet of samples.
const SHEET: usize = 10;

/// What a random number is for; its stream.
#[derive(Clone, Copy)]
enum Use {
    Split = 1,
    Class = 2,
    Real = 3,
    Latent = 4,
}

impl Use {
    fn stream(self, counter: u64) -> u64 {
        (self as u64) << 48 | counter
    }
}

/// Pictures of one model, and how they came about.
struct Made {
    pictures: Vec<f32>,
    seconds: f64,
    text: String,
}

/// Trains, measures and draws.
///
/// # Errors
/// No data, a run that diverges, a figure that cannot be written.
pub fn run(options: &ExperimentOptions, hear: Listener) -> Result<ExperimentReport, Error> {
    let path = data_folder()?;
    let data = Dataset::open(&path, &Options { size: Some(SIDE), channels: Some(1), ..Options::default() })?;
    let samples = options.choose(1000, 20);
    let mut report = ExperimentReport::default();

    // A fifth of the pictures is the classifier's test; the models learn from all.
    let order = noise::shuffled(options.seed, Use::Split.stream(0), data.len() as u32);
    let (test, train) = order.split_at(data.len() / 5);
    let classifier = classifier(&data, train, options, hear);
    let held_out = batch(&data, &test[..samples.min(test.len())]);
    let answers = classify(&classifier, &held_out);
    let right =
        answers.iter().zip(test).filter(|((class, _), i)| Some(*class as u32) == data.label(**i as usize)).count();
    let accuracy = right as f64 / answers.len() as f64;
    report.rows.push(Row::new("classifier: accuracy on held-out pictures", accuracy, "").goal(Goal::at_least(0.8)));

    let diffusion = diffusion(&path, samples, options, hear)?;
    let gan = gan(&data, samples, diffusion.seconds, options, hear);

    let classes = data.classes().len();
    let mut panels = Vec::new();
    let mut shares = Vec::new();
    let goals = [Goal::at_least(10.0), Goal::at_most(0.15)];
    for (k, (name, pictures, goals)) in
        [("data", &held_out, None), ("diffusion", &diffusion.pictures, Some(goals)), ("GAN", &gan.pictures, None)]
            .into_iter()
            .enumerate()
    {
        let answers = classify(&classifier, pictures);
        let [all, sure] = [0.0, SURE].map(|least| coverage(&answers, classes, least));
        let rows = [
            ("classes found", sure.found() as f64, "", goals.map(|g| g[0])),
            ("KL of the classes to equal shares", all.reverse_kl(), "nats", goals.map(|g| g[1])),
            ("entropy of the classes", all.entropy(), "nats", None),
            ("share that the classifier is sure of", sure.quality(), "", None),
        ];
        let row = |(what, ours, unit, goal)| Row { goal, ..Row::new(format!("{name}: {what}"), ours, unit) };
        report.rows.extend(rows.map(row));
        let share = |(class, share): (&String, f64)| format!("{class} {:.1}", 100.0 * share);
        let list: Vec<String> = data.classes().iter().zip(all.shares()).map(share).collect();
        report.note(format!("Share of the classes, {name}, in %: {}.", list.join(", ")));
        panels.push(sheet(&format!("{name}: {} of {classes} classes", sure.found()), pictures));
        let points = all.shares().iter().enumerate().map(|(i, s)| (i as f64, *s)).collect();
        let color = Some([[150; 3], COLORS[0], COLORS[1]][k]);
        shares.push(Layer::Points { name: name.into(), points, color, radius: 7 });
    }
    let chart = Panel::new("share of each class (data: equal)", shares).labels("class", "share of samples");
    panels.push(Panel { x: Some(-0.5..9.5), y: Some(0.0..0.3), ..chart });
    report.figure(
        options,
        "modes-images.png",
        &figure("Ten classes, learned without labels in the same time", 2, (604, 612), &panels),
    )?;
    report.note(format!(
        "Same wall time on the same machine, one after the other; how many steps that makes depends on the machine. Diffusion: {}. \
         GAN: {}. {samples} samples each. A class is found when the \
         classifier is at least {SURE} sure of one sample; shares count every sample by its likeliest class.",
        diffusion.text, gan.text
    ));
    Ok(report)
}

/// The Fashion-MNIST that comes with the source: beside the working folder or the source it was built from.
fn data_folder() -> Result<PathBuf, Error> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = [PathBuf::from("."), source].into_iter().map(|p| p.join("data/fashion-mnist")).find(|p| p.is_dir());
    found.ok_or_else(|| {
        Error::Other(
            "this experiment needs the folder data/fashion-mnist of undiffuse's source: run it from there".into(),
        )
    })
}

/// Pictures `[B, 784]` in [−1, 1].
fn batch(data: &Dataset, indices: &[u32]) -> Vec<f32> {
    let indices: Vec<usize> = indices.iter().map(|i| *i as usize).collect();
    let mut pictures = Vec::new();
    data.batch(&indices, &[], &mut pictures);
    pictures
}

/// `BATCH` of the indices, drawn with replacement.
fn draw(indices: &[u32], seed: u64, stream: u64) -> Vec<u32> {
    (0..BATCH as u64).map(|i| indices[noise::below(seed, stream, i, indices.len() as u64) as usize]).collect()
}

fn classifier(data: &Dataset, train: &[u32], options: &ExperimentOptions, hear: Listener) -> Critic {
    let steps = options.choose(2000, 20);
    let network = Critic::new(32, data.classes().len(), options.seed, &options.device);
    let mut adam = Adam::new(network, [0.9, 0.99]);
    for step in 0..steps {
        let indices = draw(train, options.seed, Use::Class.stream(step));
        let labels: Vec<u32> = indices.iter().map(|i| data.label(*i as usize).unwrap_or(0)).collect();
        let pictures = rows(batch(data, &indices), PIXELS, &adam.module().device());
        on_threads(|| {
            let loss = cross_entropy(adam.module().forward(pictures), &labels);
            adam.descend(loss, 2e-3 * (1.0 - step as f64 / steps as f64));
        });
        if step % 200 == 0 {
            hear(ExperimentEvent {
                progress: 0.1 * step as f64 / steps as f64,
                text: format!("classifier: step {step}"),
            });
        }
    }
    adam.averaged()
}

/// The likeliest class of every picture and how sure the classifier is.
fn classify(classifier: &Critic, pictures: &[f32]) -> Vec<(usize, f32)> {
    let one = |logits: &[f32]| {
        let (class, top) = logits.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
        (class, 1.0 / logits.iter().map(|l| (l - top).exp()).sum::<f32>())
    };
    let answer = |part: &[f32]| {
        let logits = classifier.forward(rows(part.to_vec(), PIXELS, &classifier.device()));
        let classes = logits.dims()[1];
        host(logits).chunks_exact(classes).map(one).collect::<Vec<_>>()
    };
    pictures.chunks(256 * PIXELS).flat_map(answer).collect()
}

/// Samples by class, those left out that the classifier is less sure of than `least`.
fn coverage(answers: &[(usize, f32)], classes: usize, least: f32) -> Coverage {
    let mut counts = vec![0; classes];
    answers.iter().filter(|(_, sure)| *sure >= least).for_each(|(class, _)| counts[*class] += 1);
    Coverage { counts, samples: answers.len() }
}

fn diffusion(path: &Path, samples: usize, options: &ExperimentOptions, hear: Listener) -> Result<Made, Error> {
    let other = |e: &dyn std::fmt::Display| Error::Other(format!("diffusion on pictures: {e}"));
    let mut settings = vec![
        format!("data.path={path:?}"),
        format!("train.seed={}", options.seed),
        "data.classes=false".into(),
        "data.held_out=0.0".into(),
        "train.previews=0".into(),
    ];
    settings.extend(match options.quick {
        false => vec!["train.budget=\"180s\"".to_owned()],
        true => ["train.budget=\"\"", "train.images=64", "train.batch=16", "network.width=8", "network.head_dim=8"]
            .map(Into::into)
            .into(),
    });
    let config = Config::layered("quick", None, &settings).map_err(|e| other(&e))?;
    // A run leaves checkpoints; nothing here needs them afterwards.
    let folder = std::env::temp_dir().join(format!("undiffuse-modes-images-{}", std::process::id()));
    let began = Instant::now();
    let mut trainer = Trainer::create(config, &folder, &options.device, &mut |_| {}).map_err(|e| other(&e))?;
    let (mut steps, mut parameters) = (0, 0);
    for event in trainer.by_ref() {
        match event.map_err(|e| other(&e))? {
            Event::Started(started) => parameters = started.parameters,
            Event::Step(step) => {
                steps = step.step;
                if let (Some(until), true) = (step.until, step.step.is_multiple_of(100)) {
                    let share = step.nimg as f64 / until as f64;
                    hear(ExperimentEvent {
                        progress: 0.1 + 0.4 * share,
                        text: format!("diffusion: step {steps}, loss {:.4}", step.loss),
                    });
                }
            }
            _ => {}
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut model = trainer.model().expect("a denoiser is trained");
    if options.quick {
        let few = undiffuse::model::SampleDefaults { steps: 2, ..model.sample_defaults() };
        model = model.with(few);
    }
    drop(trainer);
    let _ = std::fs::remove_dir_all(&folder);

    let plan = model.plan().map_err(|e| other(&e))?;
    let denoiser = model.denoiser(1.0);
    let mut pictures = Vec::new();
    for from in (0..samples as u64).step_by(100) {
        let seeds: Vec<u64> = (from..(from + 100).min(samples as u64)).map(|k| options.seed << 32 | k).collect();
        let n = seeds.len();
        let x =
            model.sample(&*denoiser, &plan, Noise::Seeds(seeds), &Cond::default()).finish().map_err(|e| other(&e))?;
        pictures.extend(host(x.reshape([n, PIXELS])));
        let progress = 0.5 + 0.1 * from as f64 / samples as f64;
        hear(ExperimentEvent { progress, text: format!("diffusion: {} pictures", from as usize + n) });
    }
    let text = format!(
        "preset quick without classes, {steps} steps of {}, {seconds:.0} s, {parameters} parameters, {} steps of {}",
        options.choose(64, 16),
        plan.nfe(),
        model.sample_defaults().solver
    );
    Ok(Made { pictures, seconds, text })
}

fn gan(data: &Dataset, samples: usize, seconds: f64, options: &ExperimentOptions, hear: Listener) -> Made {
    let width = options.choose(32, 8);
    let generator = Generator::new(width, options.seed, &options.device);
    let discriminator = Critic::new(width, 1, options.seed + 1, &options.device);
    let parameters = params::count(&generator) + params::count(&discriminator);
    let mut gan = Gan::new(generator, discriminator, 2e-4);
    let device = gan.generator.module().device();
    let all: Vec<u32> = (0..data.len() as u32).collect();
    let latents = |n: usize, stream: u64| rows(normals(n, LATENT, options.seed, stream), LATENT, &device);
    let steps = for_seconds(seconds, |share, step| {
        let real = rows(batch(data, &draw(&all, options.seed, Use::Real.stream(step))), PIXELS, &device);
        let latents = latents(BATCH, Use::Latent.stream(step));
        on_threads(|| gan.round(real, latents));
        if step.is_multiple_of(100) {
            hear(ExperimentEvent { progress: 0.6 + 0.4 * share, text: format!("GAN: step {step}") });
        }
    });
    let pictures = host(gan.generator.module().forward(latents(samples, Use::Latent.stream(1 << 47))));
    let text = format!(
        "convolutional generator and discriminator with group norm, {steps} steps of {BATCH}, {parameters} parameters, non-saturating \
         loss, Adam 2e-4, beta1 0.5"
    );
    Made { pictures, seconds, text }
}

/// The first pictures side by side, ink on paper.
fn sheet(title: &str, pictures: &[f32]) -> Panel {
    const CELL: usize = SIDE + 1;
    let mut values = vec![0.0; (SHEET * CELL) * (SHEET * CELL)];
    for (k, picture) in pictures.chunks_exact(PIXELS).take(SHEET * SHEET).enumerate() {
        let (left, top) = (k % SHEET * CELL, k / SHEET * CELL);
        for (i, x) in picture.iter().enumerate() {
            values[(top + i / SIDE) * SHEET * CELL + left + i % SIDE] = 0.5 * (f64::from(*x) + 1.0);
        }
    }
    let raster = Layer::Raster { columns: SHEET * CELL, values, color: [20, 20, 40] };
    Panel { bare: true, ..Panel::new(title, vec![raster]) }
}
