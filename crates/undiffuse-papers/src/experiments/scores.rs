//! Scores of points in the plane: learned by sliced and by denoising score matching, laid beside the exact ones, and
//! followed by Langevin dynamics [Song19; Song19b; Song20].

use std::f64::consts::PI;

use undiffuse_data::figure::{COLORS, Layer, Panel, figure};
use undiffuse_math::noise;
use undiffuse_math::prelude::{NoiseLevel, Solver};
use undiffuse_math::solver::Langevin;

use crate::adam::Adam;
use crate::coverage::Coverage;
use crate::mixture::{Mixture, pairs};
use crate::mlp::{Activation, Mlp, Net, WaveMlp, host, rows};
use crate::score::{Process, exact, geometric, levels, relative_error, sliced_loss, walk};
use crate::{Error, ExperimentEvent, ExperimentOptions, ExperimentReport, Goal, Listener, Row};

/// Points that are shown of a cloud, as in [Song19, Figure 3].
const SHOWN: usize = 1280;
/// Points that are counted.
const POINTS: usize = 4 * SHOWN;
/// Side of the square that the two modes are shown and begun in.
const BOX: f64 = 8.0;
/// Arrows along a side of a score field.
const ARROWS: usize = 17;
/// Pixels along a side of a density.
const PIXELS: usize = 110;

/// What a random number is for; its stream.
#[derive(Clone, Copy)]
enum Use {
    Train = 1,
    Test = 2,
    Begin = 3,
}

impl Use {
    fn stream(self, counter: u64) -> u64 {
        (self as u64) << 48 | counter
    }
}

/// Trains, measures and draws.
///
/// # Errors
/// A figure that cannot be written.
pub fn run(options: &ExperimentOptions, hear: Listener) -> Result<ExperimentReport, Error> {
    let mut report = ExperimentReport::default();
    sliced(options, hear, &mut report)?;
    ladder(options, hear, &mut report)?;
    modes(options, hear, &mut report)?;
    report.note("Error of a score: E|s - s*|^2 / E|s*|^2 over the points named, s* the exact score of the mixture.");
    Ok(report)
}

/// Sliced score matching of the two modes without noise, and where it must fail [Song19, Figure 2].
fn sliced(options: &ExperimentOptions, hear: Listener, report: &mut ExperimentReport) -> Result<(), Error> {
    let mixture = Mixture::two_modes();
    let steps = options.choose(10_000, 50);
    let network = Mlp::new(&[2, 128, 128, 2], Activation::Softplus, options.seed, &options.device);
    let mut adam = Adam::new(network, [0.9, 0.999]);
    for step in 0..steps {
        let x = mixture.sample(128, 0.0, options.seed, Use::Train.stream(step));
        let loss = sliced_loss(adam.module(), &x, options.seed, step);
        adam.descend(loss, 1e-3 * cosine(step, steps));
        tell(hear, 0.0, 0.3, step, steps, "sliced score matching");
    }
    let network = adam.averaged();
    let score = |x: &[f32]| {
        let answer = host(network.forward(rows(x.to_vec(), 2, &options.device)));
        pairs(&answer).collect::<Vec<_>>()
    };
    let data = mixture.sample(20_000, 0.0, options.seed, Use::Test.stream(0));
    let everywhere = uniform(20_000, options.seed, Use::Test.stream(1));
    let [near, far] = [&data, &everywhere].map(|x| relative_error(&score(x), &scores(&mixture, x, 0.0)));
    report.rows.push(Row::new("sliced: error of the score on data", near, "").goal(Goal::at_most(0.05)));
    report.rows.push(Row::new("sliced: error of the score, whole square", far, ""));

    let density = density_in(&mixture, 0.0, BOX, BLUE);
    let tails = nodes(ARROWS, BOX);
    let truth = arrows(&tails, &scores(&mixture, &tails, 0.0), 1.0, BOX);
    let ours = arrows(&tails, &score(&tails), 1.0, BOX);
    let pixels = nodes(PIXELS, BOX);
    let differ = |(a, b): ([f64; 2], &[f64; 2])| (a[0] - b[0]).hypot(a[1] - b[1]) / 5.0;
    let wrong = score(&pixels).into_iter().zip(&scores(&mixture, &pixels, 0.0)).map(differ).collect();
    let wrong = Layer::Raster { columns: PIXELS, values: wrong, color: ORANGE };
    let panels = [
        square("density, exact score", BOX, vec![density.clone(), truth]),
        square("sliced score matching", BOX, vec![density, ours.clone()]),
        square("its error: full orange is 5", BOX, vec![wrong, ours]),
    ];
    let title = "A score is learned where the data are [Song19, Figure 2]";
    report.figure(options, "scores-sliced.png", &figure(title, 3, (560, 580), &panels))
}

/// Denoising score matching of the roll over a ladder of noise, and annealed Langevin dynamics down it.
fn ladder(options: &ExperimentOptions, hear: Listener, report: &mut ExperimentReport) -> Result<(), Error> {
    const LEVELS: [usize; 4] = [4, 7, 9, 12];
    const HALF: f64 = 1.35;
    let roll = Mixture::roll();
    let sigmas = geometric(2.0, 0.02, 15);
    let (process, network) = denoiser(options, &roll, &sigmas, hear, [0.3, 0.35]);
    let begin: Vec<f32> = uniform(POINTS, options.seed, Use::Begin.stream(0)).iter().map(|x| x / 4.0).collect();
    let each = options.choose(100, 2);
    // The clean end is the denoised point [Song20, Algorithm 1].
    let ladder = [levels(&sigmas), vec![NoiseLevel::CLEAN]].concat();
    let plan = Langevin { per_level: each, step: 0.15 }.plan(&ladder)?;
    let mut clouds = vec![Vec::new(); sigmas.len()];
    let seen = |row: usize, x: &[f32]| {
        // The points as a level leaves them.
        if row.is_multiple_of(each) && row > 0 {
            clouds[row / each - 1] = x.to_vec();
        }
    };
    let x = walk(&plan, begin, options.seed, |x, sigma| process.denoised(&network, x, sigma), seen);
    hear(ExperimentEvent { progress: 0.7, text: "annealed Langevin dynamics on the roll".into() });

    let mut panels: [Vec<Panel>; 3] = Default::default();
    for (k, &sigma) in sigmas.iter().enumerate() {
        let points = roll.sample(4000, sigma, options.seed, Use::Test.stream(2 + k as u64));
        let error = relative_error(&process.score(&network, &points, sigma), &scores(&roll, &points, sigma));
        let what = format!("denoising: error of the score at sigma {sigma:.3}");
        report.rows.push(Row::new(what, error, "").goal(Goal::at_most(0.05)));
        if LEVELS.contains(&k) {
            let nodes = nodes(ARROWS, HALF);
            let density = density_in(&roll, sigma, HALF, BLUE);
            let truth = arrows(&nodes, &scores(&roll, &nodes, sigma), sigma, HALF);
            let ours = arrows(&nodes, &process.score(&network, &nodes, sigma), sigma, HALF);
            let cloud = vec![density_in(&roll, sigma, HALF, PALE), dots(&clouds[k], HALF, BLUE)];
            panels[0].push(square(&format!("exact, sigma {sigma:.2}"), HALF, vec![density.clone(), truth]));
            panels[1].push(square(&format!("learned, error {:.1} %", 100.0 * error), HALF, vec![density, ours]));
            panels[2].push(square(&format!("Langevin at sigma {sigma:.2}"), HALF, cloud));
        }
    }
    let truth = Coverage::of_modes(&roll.sample(POINTS, 0.0, options.seed, Use::Test.stream(1)), &roll);
    let ours = Coverage::of_modes(&x, &roll);
    let all = roll.means.len() as f64;
    report.rows.push(Row::new("roll: parts of 120 found, data", truth.found() as f64, ""));
    report.rows.push(
        Row::new("roll: parts found, annealed Langevin", ours.found() as f64, "").goal(Goal::at_least(0.95 * all)),
    );
    report.rows.push(Row::new("roll: within 3 std, data", truth.quality(), ""));
    report.rows.push(Row::new("roll: within 3 std, annealed Langevin", ours.quality(), "").goal(Goal::at_least(0.9)));
    let title = "The score of a roll, exact and learned, and the points that follow it";
    report.figure(options, "scores.png", &figure(title, 4, (480, 500), &panels.concat()))
}

/// Plain and annealed Langevin dynamics on two modes of unequal weight [Song19, Figure 3].
fn modes(options: &ExperimentOptions, hear: Listener, report: &mut ExperimentReport) -> Result<(), Error> {
    // The ladder ends at the data, whose modes have deviation 1: underneath are two points.
    let points = Mixture { std: 0.0, ..Mixture::two_modes() };
    let sigmas = geometric(20.0, 1.0, 10);
    let (process, network) = denoiser(options, &points, &sigmas, hear, [0.7, 0.25]);
    let begin = uniform(POINTS, options.seed, Use::Begin.stream(1));
    let data = Mixture::two_modes().sample(POINTS, 0.0, options.seed, Use::Test.stream(100));
    let truth = |x: &[f32], sigma: f64| exact(&points, x, sigma);
    let learned = |x: &[f32], sigma: f64| process.denoised(&network, x, sigma);
    // Plain Langevin dynamics: the two levels of this ladder are one.
    let plain = Langevin { per_level: options.choose(500, 5), step: 0.1 }.plan(&levels(&[1.0; 2]))?;
    let annealed = Langevin { per_level: options.choose(100, 2), step: 0.1 }.plan(&levels(&sigmas))?;
    let clouds = [
        ("data", "", data),
        ("Langevin, exact score", "plain", walk(&plain, begin.clone(), options.seed, truth, |_, _| {})),
        ("annealed, exact score", "annealed", walk(&annealed, begin.clone(), options.seed, truth, |_, _| {})),
        ("annealed, learned score", "annealed", walk(&annealed, begin, options.seed, learned, |_, _| {})),
    ];
    let mut panels = Vec::new();
    for (name, kind, cloud) in &clouds {
        let small = pairs(cloud).filter(|x| x[0] + x[1] < 0.0).count() as f64 / POINTS as f64;
        let row = Row::new(format!("weight of the small mode: {name}"), small, "");
        let row = row.error((small * (1.0 - small) / POINTS as f64).sqrt());
        // The ladder has a bias of its own: 20,000 points walked by NumPy along the same steps end at 0.214.
        let row = match *kind {
            "annealed" => row.goal(Goal::between(0.165, 0.235)),
            _ => row,
        };
        report.rows.push(row);
        let color = if *kind == "plain" { ORANGE } else { BLUE };
        let layers = vec![density_in(&Mixture::two_modes(), 0.0, BOX, PALE), dots(cloud, BOX, color)];
        panels.push(square(&format!("{name}: {small:.2}"), BOX, layers));
    }
    report.note(
        "Plain Langevin dynamics cannot cross between the modes and keeps the weights that it began with: the paper shows about \
         equal ones (its Figure 3) and gives no number. 5120 points, begun uniform in [-8, 8]^2; plain: 1000 steps of 0.1; annealed: \
         100 steps at each of 10 sigmas from 20 to 1 [the authors' toy_runner.py].",
    );
    hear(ExperimentEvent { progress: 1.0, text: "Langevin dynamics on two modes".into() });
    let title = "The share of the small mode is 1/5 [Song19, Figure 3]";
    report.figure(options, "scores-langevin.png", &figure(title, 4, (480, 500), &panels))
}

/// A network that denoises a mixture at the levels of a ladder; `part` is its share of the run: where it begins, how long.
fn denoiser(
    options: &ExperimentOptions,
    mixture: &Mixture,
    sigmas: &[f64],
    hear: Listener,
    part: [f64; 2],
) -> (Process, WaveMlp) {
    let process = Process::ladder(mixture.deviation(), sigmas.to_vec());
    let steps = options.choose(8000, 50);
    let mut adam = Adam::new(process.network(128, options.seed, &options.device), [0.9, 0.99]);
    for step in 0..steps {
        let x0 = mixture.sample(512, 0.0, options.seed, Use::Train.stream(step));
        let loss = process.loss(adam.module(), &x0, options.seed, step);
        adam.descend(loss, 2e-3 * cosine(step, steps));
        tell(hear, part[0], part[1], step, steps, "denoising score matching");
    }
    (process, adam.averaged())
}

const BLUE: [u8; 3] = COLORS[0];
const ORANGE: [u8; 3] = COLORS[1];
const INK: [u8; 3] = [40, 40, 40];
const PALE: [u8; 3] = [160, 180, 205];

/// Half a cosine from 1 to 0.
fn cosine(step: u64, steps: u64) -> f64 {
    0.5 * (1.0 + (PI * step as f64 / steps as f64).cos())
}

fn tell(hear: Listener, from: f64, part: f64, step: u64, steps: u64, what: &str) {
    if (step + 1).is_multiple_of((steps / 10).max(1)) {
        let progress = from + part * (step + 1) as f64 / steps as f64;
        hear(ExperimentEvent { progress, text: format!("{what}: step {} of {steps}", step + 1) });
    }
}

/// Points evenly random in the square of the two modes.
fn uniform(n: usize, seed: u64, stream: u64) -> Vec<f32> {
    (0..2 * n as u64).map(|i| ((2.0 * noise::uniform(seed, stream, i) - 1.0) * BOX) as f32).collect()
}

fn scores(mixture: &Mixture, x: &[f32], sigma: f64) -> Vec<[f64; 2]> {
    pairs(x).map(|x| mixture.score(x, sigma)).collect()
}

fn square(title: &str, half: f64, layers: Vec<Layer>) -> Panel {
    Panel { bare: true, ..Panel::new(title, layers).square(-half, half) }
}

/// The middles of `n` by `n` cells, rows from the top.
fn nodes(n: usize, half: f64) -> Vec<f32> {
    let at = |i: usize| ((2 * i + 1) as f64 / n as f64 - 1.0) * half;
    (0..n).flat_map(|row| (0..n).flat_map(move |column| [at(column) as f32, -at(row) as f32])).collect()
}

/// The density in a square as a raster, its square root so that thin places are seen.
fn density_in(mixture: &Mixture, sigma: f64, half: f64, color: [u8; 3]) -> Layer {
    let logs: Vec<f64> = pairs(&nodes(PIXELS, half)).map(|x| mixture.log_density(x, sigma)).collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let values = logs.iter().map(|l| 0.75 * (0.5 * (l - top)).exp()).collect();
    Layer::Raster { columns: PIXELS, values, color }
}

/// Scores as arrows around their nodes: long ones are shortened so that no arrow leaves its cell, `sigma · s = 1` has
/// half the length of the longest.
fn arrows(nodes: &[f32], scores: &[[f64; 2]], sigma: f64, half: f64) -> Layer {
    let cell = 2.0 * half / ARROWS as f64;
    let arrow = |(x, s): ([f64; 2], &[f64; 2])| {
        let size = sigma * s[0].hypot(s[1]);
        let d = s.map(|s| 0.5 * cell * sigma * s / (1.0 + size));
        ((x[0] - d[0], x[1] - d[1]), (x[0] + d[0], x[1] + d[1]))
    };
    Layer::Arrows { arrows: pairs(nodes).zip(scores).map(arrow).collect(), color: INK }
}

/// The first points that lie within a square.
fn dots(x: &[f32], half: f64, color: [u8; 3]) -> Layer {
    let inside = pairs(x).take(SHOWN).filter(|x| x.iter().all(|v| v.abs() <= half));
    Layer::Points { name: String::new(), points: inside.map(|x| (x[0], x[1])).collect(), color: Some(color), radius: 2 }
}
