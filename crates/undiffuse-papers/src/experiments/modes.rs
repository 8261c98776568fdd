//! Mode coverage in the plane: 25 Gaussians on a grid, learned in the same time by a diffusion model and by a generative
//! adversarial network of about the same size [Srivastava17; Lin18, Table 1].

use std::f64::consts::PI;
use std::time::Instant;

use undiffuse_data::figure::{COLORS, Layer, Panel, figure};
use undiffuse_math::noise;
use undiffuse_math::prelude::{Grid, Last};
use undiffuse_math::solver::{Heun, PlanError};
use undiffuse_math::{schedule, spacing::Karras, timing::normal_quantile};

use crate::adam::Adam;
use crate::coverage::Coverage;
use crate::gan::Gan;
use crate::mixture::{Mixture, pairs};
use crate::mlp::{Activation, Mlp, Net, host, rows};
use crate::score::{Process, walk};
use crate::{Error, ExperimentEvent, ExperimentOptions, ExperimentReport, Goal, Listener, Row};

/// Samples that are counted, as in the literature.
const SAMPLES: usize = 2500;
const BATCH: usize = 256;
const WIDTH: usize = 128;
/// Numbers that the generator starts from.
const LATENT: usize = 2;

/// What a random number is for; its stream.
#[derive(Clone, Copy)]
enum Use {
    Data = 1,
    Latent = 2,
    Begin = 3,
}

impl Use {
    fn stream(self, counter: u64) -> u64 {
        (self as u64) << 48 | counter
    }
}

/// One of the two, trained.
struct Trained {
    points: Vec<f32>,
    steps: u64,
    parameters: usize,
}

/// Trains, measures and draws.
///
/// # Errors
/// A figure that cannot be written.
pub fn run(options: &ExperimentOptions, hear: Listener) -> Result<ExperimentReport, Error> {
    let grid = Mixture::grid();
    let seconds = options.choose(60.0, 0.5);
    let diffusion = diffusion(&grid, seconds, options, &mut part(hear, 0.0))?;
    let gan = gan(&grid, seconds, options, &mut part(hear, 0.5));
    let data = grid.sample(SAMPLES, 0.0, options.seed, Use::Data.stream(1 << 47));

    let mut report = ExperimentReport::default();
    let mut panels = Vec::new();
    let mut shares = Vec::new();
    // The paper's numbers are of its own GAN, ten runs on GPUs.
    let goals = [Goal::at_least(25.0), Goal::at_least(0.9), Goal::at_most(0.05)];
    for (name, points, paper, goals) in [
        ("data", &data, None, None),
        ("diffusion", &diffusion.points, None, Some(goals)),
        ("GAN", &gan.points, Some([17.3, 0.948, 0.70]), None),
    ] {
        let coverage = Coverage::of_modes(points, &grid);
        let values = [
            ("modes found", coverage.found() as f64, ""),
            ("share within 3 std", coverage.quality(), ""),
            ("reverse KL", coverage.reverse_kl(), "nats"),
        ];
        for (k, (what, ours, unit)) in values.into_iter().enumerate() {
            let (paper, goal) = (paper.map(|p| p[k]), goals.map(|g| g[k]));
            report.rows.push(Row { paper, goal, ..Row::new(format!("{name}: {what}"), ours, unit) });
        }
        let title = format!("{name}: {} modes, {:.1} % in 3 std", coverage.found(), 100.0 * coverage.quality());
        let color = match name {
            "data" => [120; 3],
            "GAN" => COLORS[1],
            _ => COLORS[0],
        };
        let dots = pairs(points).map(|x| (x[0], x[1])).collect();
        let dots = Layer::Points { name: String::new(), points: dots, color: Some(color), radius: 1 };
        panels.push(Panel { bare: true, ..Panel::new(&title, vec![dots]).square(-5.0, 5.0) });
        let mut sorted = coverage.shares();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let curve = sorted.iter().enumerate().map(|(i, s)| ((i + 1) as f64, *s)).collect();
        shares.push(Layer::Line { name: name.into(), points: curve, color: Some(color) });
        report
            .note(format!("Share of samples a mode, {name}, from the left column up: {}", percent(&coverage.shares())));
    }
    let bars = Panel::new("share of each mode, largest first", shares).labels("mode", "share of samples");
    panels.push(Panel { x: Some(1.0..25.0), ..bars });
    report.figure(options, "modes.png", &figure("25 Gaussians in the same minute", 2, (620, 620), &panels))?;
    report.note(format!(
        "{seconds} s of wall time each on the same machine, one after the other, {BATCH} points a step. Diffusion: {} steps, {} \
         parameters, sampled by 40 steps of Heun. GAN: {} steps, {} parameters, non-saturating loss, Adam 2e-4, beta1 0.5. How many \
         steps that time makes depends on the machine: these numbers are not the same in every run.",
        diffusion.steps, diffusion.parameters, gan.steps, gan.parameters
    ));
    report.note(
        "The denoiser sees points also through sines and cosines, the discriminator does not: through them the GAN kept 1 or 2 modes in runs of 20 s. \
         Paper: Lin18, Table 1, its GAN (four layers of 400, 400 epochs of 100,000 points).",
    );
    Ok(report)
}

/// Reports progress within one half of the run.
fn part(hear: Listener<'_>, from: f64) -> impl FnMut(f64, String) + '_ {
    move |share, text| hear(ExperimentEvent { progress: from + 0.5 * share, text })
}

fn percent(shares: &[f64]) -> String {
    shares.iter().map(|s| format!("{:.1}", 100.0 * s)).collect::<Vec<_>>().join(" ") + " %"
}

/// Calls `step` with the share of the time that is over and the number of the step, until the time is over; returns the
/// number of steps.
pub(super) fn for_seconds(seconds: f64, mut step: impl FnMut(f64, u64)) -> u64 {
    let began = Instant::now();
    let mut done = 0;
    loop {
        let share = began.elapsed().as_secs_f64() / seconds;
        if share >= 1.0 {
            return done;
        }
        step(share, done);
        done += 1;
    }
}

fn diffusion(
    grid: &Mixture,
    seconds: f64,
    options: &ExperimentOptions,
    hear: &mut dyn FnMut(f64, String),
) -> Result<Trained, Error> {
    let seed = options.seed;
    // Between a third of a mode's width and several times the distance of modes; most where modes part.
    let process = Process::new(grid.deviation(), |u| (-0.8 + 1.3 * normal_quantile(u)).exp());
    let mut adam = Adam::new(process.network(WIDTH, seed, &options.device), [0.9, 0.99]);
    let steps = for_seconds(seconds, |share, step| {
        let x0 = grid.sample(BATCH, 0.0, seed, Use::Data.stream(step));
        let loss = process.loss(adam.module(), &x0, seed, step);
        adam.descend(loss, 3e-3 * 0.5 * (1.0 + (PI * share).cos()));
        if step.is_multiple_of(1000) {
            hear(share, format!("diffusion: step {step}"));
        }
    });
    let network = adam.averaged();
    let schedule = schedule::Edm { sigma_min: 0.01, sigma_max: 20.0 };
    let plan =
        Grid::new(&schedule, &Karras::default(), 40, Last::Clean).map_err(PlanError::from)?.plan(&Heun::default())?;
    let mut begin = normals(SAMPLES, 2, seed, Use::Begin.stream(0));
    begin.iter_mut().for_each(|x| *x *= plan.init_noise_sigma as f32);
    let points = walk(&plan, begin, seed, |x, sigma| process.denoised(&network, x, sigma), |_, _| {});
    Ok(Trained { points, steps, parameters: undiffuse::nn::params::count(&network) })
}

fn gan(grid: &Mixture, seconds: f64, options: &ExperimentOptions, hear: &mut dyn FnMut(f64, String)) -> Trained {
    let (seed, device) = (options.seed, &options.device);
    let generator = Mlp::new(&[LATENT, WIDTH, WIDTH, WIDTH, 2], Activation::Relu, seed, device);
    let discriminator = Mlp::new(&[2, WIDTH, WIDTH, WIDTH, 1], Activation::LeakyRelu, seed + 1, device);
    let parameters = undiffuse::nn::params::count(&generator) + undiffuse::nn::params::count(&discriminator);
    let mut gan = Gan::new(generator, discriminator, 2e-4);
    let device = gan.generator.module().device();
    let scale = grid.deviation() as f32;
    let steps = for_seconds(seconds, |share, step| {
        let x0 = grid.sample(BATCH, 0.0, seed, Use::Data.stream(step)).iter().map(|x| x / scale).collect();
        let latents = normals(BATCH, LATENT, seed, Use::Latent.stream(step));
        gan.round(rows(x0, 2, &device), rows(latents, LATENT, &device));
        if step.is_multiple_of(1000) {
            hear(share, format!("GAN: step {step}"));
        }
    });
    let latents = normals(SAMPLES, LATENT, seed, Use::Latent.stream(1 << 47));
    let points = host(gan.generator.module().forward(rows(latents, LATENT, &device)));
    Trained { points: points.iter().map(|x| x * scale).collect(), steps, parameters }
}

/// `n` rows of `width` normals.
pub(super) fn normals(n: usize, width: usize, seed: u64, stream: u64) -> Vec<f32> {
    let mut z = vec![0f32; n * width];
    noise::normal(seed, stream, 0, &mut z);
    z
}
