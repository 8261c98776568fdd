//! What the truth tests share: every combination of parts, and data whose denoiser is known exactly.
#![allow(dead_code)]

pub mod normal;
pub mod orders;
pub mod recipes;
pub mod rows;
pub mod torch;

use std::{fmt::Debug, str::FromStr};
use undiffuse_math::{plan::Walk, prelude::*, registry::Entry};

/// Every registered part at its defaults and with the options that its line has, then the written forms in `more`.
pub fn all<T: FromStr<Err: Debug>>(entries: &[Entry<T>], more: &[&str]) -> Vec<T> {
    let registered = entries.iter().flat_map(|entry| entry.all().unwrap());
    registered.chain(more.iter().map(|text| text.parse().unwrap())).collect()
}

pub fn schedules() -> Vec<ScheduleKind> {
    all(ScheduleKind::ALL, &[])
}

pub fn solvers() -> Vec<SolverKind> {
    all(SolverKind::ALL, &[])
}

pub fn spacings() -> Vec<SpacingKind> {
    all(SpacingKind::ALL, &[])
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
