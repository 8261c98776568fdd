//! Pseudo linear multistep.

use super::{
    Solver,
    terms::{Tape, Terms},
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// DDIM's step with `eps_hat` replaced by an Adams-Bashforth combination of the last four [Liu22, Eqs. 9 and 12].
///
/// The combination takes the steps to be of equal length in time, whatever they are in noise.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plms {
    /// How the first steps are taken.
    pub start: PlmsStart,
    /// What the formula combines.
    pub combine: Combine,
}

/// What a weighted sum over several levels is taken of.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// The noise `eps_hat`.
    #[default]
    Eps,
    /// `v = alpha eps_hat - sigma D`, from which the level of the step gets its noise: what diffusers combines for
    /// networks that answer it.
    V,
}

/// What precedes the multistep formula.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlmsStart {
    /// One pair like Heun's and formulas of lower order, diffusers' `skip_prk_steps = true`: `n` steps cost `n + 1`
    /// evaluations.
    #[default]
    Heun,
    /// Three steps of the pseudo Runge-Kutta method of fourth order [Liu22, Eq. 13], diffusers' `skip_prk_steps =
    /// false`. Each goes over two intervals of the levels, the level between them being its middle, so that the first
    /// six intervals cost twelve evaluations.
    RungeKutta,
}

/// Adams-Bashforth weights of the newest and older `eps_hat`, by how many are known.
const WEIGHTS: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

impl Solver for Plms {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let mut tape = Tape::default();
        // The rows whose eps the formula combines.
        let mut past = Vec::new();
        let begun = self.runge_kutta_steps(levels);
        for levels in levels.windows(3).step_by(2).take(begun) {
            past.push(self.runge_kutta(&mut tape, levels[0], levels[1], levels[2]));
        }
        for pair in levels[2 * begun..].windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let here = tape.evaluate(from);
            past.push(here);
            if past.len() == 1 || from.alpha == 0.0 || from.sigma == 0.0 {
                tape.step(to, tape.euler(here, to));
            } else {
                let newest_first: Vec<_> =
                    past.iter().rev().copied().zip(WEIGHTS[past.len().min(4) - 1].iter().copied()).collect();
                tape.step(to, self.transfer(&tape, (here, from), to, &newest_first));
            }
            // Pure noise has no eps to average with, and at the clean end there is nothing to evaluate.
            if past.len() == 1 && from.alpha > 0.0 && to.sigma > 0.0 {
                let end = tape.evaluate(to);
                tape.step(to, self.transfer(&tape, (here, from), to, &[(end, 0.5), (here, 0.5)]));
            }
        }
        tape.plan()
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        let begun = self.runge_kutta_steps(levels);
        let heun = begun == 0 && levels.windows(2).take(1).any(|pair| pair[0].alpha > 0.0 && pair[1].sigma > 0.0);
        levels.len().saturating_sub(1) + 2 * begun + usize::from(heun)
    }

    fn order(&self) -> Option<f64> {
        Some(2.0)
    }
}

impl Plms {
    /// How many steps over two intervals begin the walk: up to three, until one would end clean. Pure noise has no
    /// `eps` to begin with.
    fn runge_kutta_steps(&self, levels: &[NoiseLevel]) -> usize {
        let most = if self.start == PlmsStart::RungeKutta { 3 } else { 0 };
        let steps = levels.windows(3).step_by(2).take(most);
        steps.take_while(|levels| levels[0].alpha > 0.0 && levels[2].sigma > 0.0).count()
    }

    /// DDIM from the image of a row, at its level, with `eps_hat` from a weighted sum over rows.
    fn transfer(self, tape: &Tape, origin: (usize, NoiseLevel), to: NoiseLevel, weights: &[(usize, f64)]) -> Terms {
        let (origin, from) = origin;
        let signal = to.alpha / from.alpha;
        let sum = |of: &dyn Fn(usize) -> Terms| {
            weights.iter().fold(Terms::default(), |sum, &(k, weight)| sum + of(k) * weight)
        };
        let eps = match self.combine {
            Combine::Eps => sum(&|k| tape.eps(k)),
            Combine::V => (sum(&|k| tape.v(k)) * from.alpha + Terms::x(origin) * from.sigma) * from.scale().powi(-2),
        };
        Terms::x(origin) * signal + eps * (to.sigma - signal * from.sigma)
    }

    /// Four evaluations and a transfer with their average; the first row, whose `eps` belongs to the history, is given
    /// back.
    fn runge_kutta(self, tape: &mut Tape, from: NoiseLevel, middle: NoiseLevel, to: NoiseLevel) -> usize {
        let first = tape.evaluate(from);
        tape.step(middle, tape.euler(first, middle));
        let second = tape.evaluate(middle);
        tape.step(middle, self.transfer(tape, (first, from), middle, &[(second, 1.0)]));
        let third = tape.evaluate(middle);
        tape.step(to, self.transfer(tape, (first, from), to, &[(third, 1.0)]));
        let fourth = tape.evaluate(to);
        let average = [(first, 1.0 / 6.0), (second, 1.0 / 3.0), (third, 1.0 / 3.0), (fourth, 1.0 / 6.0)];
        tape.step(to, self.transfer(tape, (first, from), to, &average));
        first
    }
}
