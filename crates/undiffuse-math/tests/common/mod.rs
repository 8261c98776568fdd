//! What the truth tests share: every combination of parts, and data whose denoiser is known exactly.
#![allow(dead_code)]

use undiffuse_math::{
    diffusers::{Clip, Recipe},
    plan::Walk,
    prelude::*,
};

/// Every registered part at its defaults, then the written forms in `more`.
pub fn all<T: Clone + std::str::FromStr<Err: std::fmt::Debug>>(
    entries: &[undiffuse_math::registry::Entry<T>],
    more: &[&str],
) -> Vec<T> {
    let defaults = entries.iter().map(|entry| (entry.default)());
    defaults.chain(more.iter().map(|text| text.parse().unwrap())).collect()
}

pub fn schedules() -> Vec<ScheduleKind> {
    let zero_snr = ["linear:rescale_zero_snr=true", "cosine:rescale_zero_snr=true,steps=50", "flow:shift=3,t_min=0"];
    all(ScheduleKind::ALL, &zero_snr)
}

pub fn solvers() -> Vec<SolverKind> {
    let more = [
        "ddpm:variance=fixed-large",
        "ddim:eta=0.5",
        "ddim:eta=1",
        "euler-ancestral:eta=0.3",
        "dpmpp-2m:correction=heun,lower_order_final=false",
        "dpmpp-2m:euler_at_final=true",
        "dpmpp-2m-sde:correction=heun",
        "dpmpp-2m-sde:eta=0.4",
        "dpmpp-2m-sde:eta=0",
        "heun:churn=30",
        "heun:churn=30,s_max=20,s_min=0.05,s_noise=1.003",
        "restart:repeats=1,s_max=2,s_min=0.2",
        "dpm2-ancestral:eta=0.4",
        "dpm2-ancestral:eta=0",
        "dpmpp-2s-ancestral:eta=0.4",
        "dpmpp-2s-ancestral:eta=0",
        "dpmpp-sde:eta=0.4",
        "dpmpp-sde:one_path=false",
        "dpmpp-sde:eta=0",
        "dpmpp-3m-sde:eta=0.4",
        "dpmpp-3m-sde:eta=0",
        "er-sde:order=2",
        "er-sde:order=1",
        "sa-solver:corrector=0,predictor=3",
        "sa-solver:corrector=3,lower_order_final=false,predictor=3",
        "sa-solver:corrector=1,predictor=1",
        "sa-solver:s_max=1,s_min=0.05,tau=0.7",
        "sa-solver:tau=0",
        "sa-solver:corrector=3,lower_order_final=false,tau=0",
        "sa-solver:corrector=0,predictor=1,tau=0",
    ];
    all(SolverKind::ALL, &more)
}

pub fn spacings() -> Vec<SpacingKind> {
    let more = [
        "linspace:round=false",
        "linspace:endpoint=false",
        "leading:offset=1",
        "leading:endpoint=false",
        "karras:rho=3,round=nearest",
        "exponential:round=down",
        "optimal:exponent=0",
        "optimal:objective=bound",
    ];
    all(SpacingKind::ALL, &more)
}

/// A mixture of normal distributions on the line: weight, mean, standard deviation.
#[derive(Clone)]
pub struct Mixture(pub Vec<(f64, f64, f64)>);

impl Mixture {
    /// `E[x0 | x]` at a level, by Bayes' rule.
    pub fn denoise(&self, x: f64, at: NoiseLevel) -> f64 {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|&(weight, mean, std)| {
                let variance = (at.alpha * std).powi(2) + at.sigma.powi(2);
                let off = x - at.alpha * mean;
                let log_evidence = weight.ln() - 0.5 * (variance.ln() + off * off / variance);
                (log_evidence, mean + at.alpha * std * std / variance * off)
            })
            .collect();
        let top = parts.iter().map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
        let (sum, total) = parts.iter().fold((0.0, 0.0), |(sum, total), (log_evidence, denoised)| {
            let evidence = (log_evidence - top).exp();
            (sum + evidence * denoised, total + evidence)
        });
        sum / total
    }
}

/// Mean and variance of what a plan makes of normal `x` with the given moments at its first level, when the answer to
/// `x` is `answer(level).0 + answer(level).1 · x`. No noise is drawn: means and covariances of the images that rows
/// still read are followed through the coefficients.
pub fn moments(plan: &Plan, start: (f64, f64), answer: impl Fn(NoiseLevel) -> (f64, f64)) -> (f64, f64) {
    let lags = plan.rows.iter().map(|row| row.x.len().max(row.denoised.len())).max().unwrap_or(1);
    let mut mean = vec![start.0];
    let mut covariance = vec![vec![start.1]];
    let mut answers = Vec::new();
    for row in &plan.rows {
        answers.insert(0, answer(row.level));
        let at = |list: &[f64], lag: usize| list.get(lag).copied().unwrap_or(0.0);
        let n = mean.len();
        let weights: Vec<f64> = (0..n).map(|l| at(&row.x, l) + at(&row.denoised, l) * answers[l].1).collect();
        let constant: f64 = (0..n).map(|l| at(&row.denoised, l) * answers[l].0).sum();
        let dot = |a: &[f64]| a.iter().zip(&weights).map(|(a, w)| a * w).sum::<f64>();
        let with_old: Vec<f64> = covariance.iter().map(|line| dot(line)).collect();
        let variance = dot(&with_old) + row.noise.powi(2);
        mean.insert(0, constant + dot(&mean));
        for (line, c) in covariance.iter_mut().zip(&with_old) {
            line.insert(0, *c);
        }
        covariance.insert(0, [&[variance], &with_old[..]].concat());
        mean.truncate(lags);
        answers.truncate(lags);
        covariance.truncate(lags);
        covariance.iter_mut().for_each(|line| line.truncate(lags));
    }
    (mean[0], covariance[0][0])
}

/// Runs a plan on numbers, without noise.
pub fn run(plan: &Plan, x: f64, denoise: impl Fn(f64, NoiseLevel) -> f64) -> f64 {
    let mut walk = Walk::new(plan, x);
    while let Some(row) = walk.row() {
        let denoised = denoise(*walk.x(), row.level);
        walk.step(denoised, Some(0.0), |terms| terms.iter().map(|(c, x)| c * **x).sum());
    }
    walk.into_x()
}

/// The images of a walk, flattened; `per_image` numbers each.
pub struct Images {
    pub x: Vec<f64>,
    pub per_image: usize,
}

/// Clips denoised images as a recipe says.
pub fn clip(clip: Clip, denoised: &mut [f64], per_image: usize) {
    match clip {
        Clip::None => {}
        Clip::Range(range) => denoised.iter_mut().for_each(|d| *d = d.clamp(-range, range)),
        Clip::Threshold { ratio, max } => {
            for image in denoised.chunks_mut(per_image) {
                let mut sizes: Vec<f64> = image.iter().map(|d| d.abs()).collect();
                sizes.sort_by(f64::total_cmp);
                let at = ratio * (sizes.len() - 1) as f64;
                let (low, high) = (sizes[at.floor() as usize], sizes[at.ceil() as usize]);
                let s = (low + at.fract() * (high - low)).max(1.0).min(max);
                image.iter_mut().for_each(|d| *d = d.clamp(-s, s) / s);
            }
        }
    }
}

/// Runs a recipe's plan as its documentation says, with `network(input, told, row)` and the noise of each row;
/// gives back what each row made.
pub fn sample(
    recipe: &Recipe,
    plan: &Plan,
    start: Images,
    mut network: impl FnMut(&[f64], f64, usize) -> Vec<f64>,
    noise: impl Fn(usize) -> Option<Vec<f64>>,
) -> Vec<Vec<f64>> {
    let size = start.x.len();
    let mut walk = Walk::new(plan, start.x);
    let mut made = Vec::new();
    while let Some(row) = walk.row() {
        let i = walk.done();
        let scaling = recipe.parameterization.scaling(row.level);
        let told = undiffuse_math::draw::told(&*recipe.schedule, &scaling, row.level, row.time);
        let x = walk.x().clone();
        let input: Vec<f64> = x.iter().map(|x| scaling.input * x).collect();
        let answer = network(&input, told, i);
        let raw: Vec<f64> = x.iter().zip(&answer).map(|(x, f)| scaling.skip * x + scaling.out * f).collect();
        let mut denoised = raw.clone();
        clip(recipe.clip, &mut denoised, start.per_image);
        if recipe.keep_eps {
            let moved = (0..size).map(|k| x[k] + row.level.alpha * (denoised[k] - raw[k])).collect();
            walk.replace_x(moved);
        }
        let noise = noise(i).unwrap_or_else(|| vec![0.0; size]);
        walk.step(denoised, Some(noise), |terms| {
            (0..size).map(|k| terms.iter().map(|(c, x)| c * x[k]).sum()).collect()
        });
        made.push(walk.x().clone());
    }
    made
}
