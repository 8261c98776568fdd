//! What the truth tests share: every combination of parts, and data whose denoiser is known exactly.
#![allow(dead_code)]

pub mod normal;
pub mod orders;
pub mod recipes;
pub mod rows;
pub mod torch;

use undiffuse_math::{plan::Walk, prelude::*};

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
        "heun:along=flow",
        "midpoint:along=flow",
        "dpmpp-3m:correction=heun,lower_order_final=false",
        "dpmpp-singlestep:order=1",
        "dpmpp-singlestep:order=2",
        "dpmpp-singlestep:order=2,correction=heun,lower_order_final=false",
        "dpmpp-singlestep:correction=heun",
        "dpmpp-singlestep:lower_order_final=false",
        "dpmpp-singlestep:correction=heun,lower_order_final=false",
        "unipc:lower_order_final=false",
        "unipc:order=1",
        "unipc:order=1,variant=bh1",
        "unipc:order=3",
        "unipc:order=3,variant=bh1,lower_order_final=false",
        "unipc:predict=eps",
        "unipc:order=3,predict=eps,variant=bh1,lower_order_final=false",
        "unipc:order=3,corrector=false",
        "deis:order=1",
        "deis:order=2,lower_order_final=false",
        "deis:lower_order_final=false",
        "lms:order=1",
        "lms:order=2",
        "lms:order=3",
        "lms:along=flow",
        "plms:start=runge-kutta",
        "ddim-inverse:iterations=3",
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

/// Runs a plan on numbers, without noise.
pub fn run(plan: &Plan, x: f64, denoise: impl Fn(f64, NoiseLevel) -> f64) -> f64 {
    let mut walk = Walk::new(plan, x);
    while let Some(row) = walk.row() {
        let denoised = denoise(*walk.x(), row.level);
        walk.step(denoised, Some(0.0), |terms| terms.iter().map(|(c, x)| c * **x).sum());
    }
    walk.into_x()
}
