//! Pseudo linear multistep.

use super::{Solver, one_step, plan_of};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// DDIM's step with `eps_hat` replaced by an Adams-Bashforth combination of the last four [Liu22, PLMS]; the first
/// step is a Heun-like pair, as in diffusers' `skip_prk_steps = true`, so that `n` steps cost `n + 1` evaluations.
///
/// The combination takes the steps to be of equal length in time, whatever they are in noise.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plms {}

/// Adams-Bashforth weights of the newest and older `eps_hat`, by how many are known.
const WEIGHTS: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

impl Solver for Plms {
    fn plan(&self, levels: &[NoiseLevel]) -> Plan {
        let mut rows: Vec<Row> = Vec::new();
        let mut corrected = 0;
        for (i, pair) in levels.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            if i == 0 {
                rows.push(one_step(from, to, 0.0));
                // Pure noise has no eps to average with, and at the clean end there is nothing to evaluate.
                if from.alpha > 0.0 && to.sigma > 0.0 {
                    corrected = 1;
                    rows.push(transfer(to, (1, from), to, &[(0, to, 0.5), (1, from, 0.5)]));
                }
                continue;
            }
            if from.sigma == 0.0 {
                rows.push(one_step(from, to, 0.0));
                continue;
            }
            // The correction's evaluation is not part of the history: the first eps is one row further back.
            let lag = |back: usize| if back == i { back + corrected } else { back };
            let past: Vec<_> =
                WEIGHTS[i.min(3)].iter().enumerate().map(|(back, w)| (lag(back), levels[i - back], *w)).collect();
            rows.push(transfer(from, (0, from), to, &past));
        }
        plan_of(levels, rows)
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}

/// DDIM from the `x` of lag and level `origin` to `to`, with `eps_hat` a weighted sum over `(lag, level, weight)`.
fn transfer(level: NoiseLevel, origin: (usize, NoiseLevel), to: NoiseLevel, past: &[(usize, NoiseLevel, f64)]) -> Row {
    let lags = 1 + past.iter().map(|(lag, ..)| *lag).chain([origin.0]).max().unwrap_or(0);
    let (mut x, mut denoised) = (vec![0.0; lags], vec![0.0; lags]);
    let signal = to.alpha / origin.1.alpha;
    let step = signal * origin.1.sigma - to.sigma;
    x[origin.0] = signal;
    for &(lag, at, weight) in past {
        x[lag] -= step * weight / at.sigma;
        denoised[lag] += step * weight * at.alpha / at.sigma;
    }
    Row { level, time: None, to, x, denoised, noise: 0.0 }
}
