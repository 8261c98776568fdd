//! UniPC.

use super::{
    Solver,
    basis::{history, lambda},
    check_order,
    exponential::{Predict, exponential},
    ratio,
    terms::{Tape, Terms},
};
use crate::{level::NoiseLevel, plan::Plan};
use serde::{Deserialize, Serialize};

/// Unified predictor-corrector [Zhao23; diffusers, `UniPCMultistepScheduler`].
///
/// The predictor UniP is a multistep formula in half log-SNR, linear part exact. The corrector UniC redoes each step
/// once the next evaluation is known, at no further cost, and gains an order: order `p` means a method of order `p +
/// 1`, but of 3 at most, which the first step leaves, and of 2 with `lower_order_final`.
///
/// A row is the correction of the step before together with the prediction of the next; the last step is not
/// corrected, as nothing is evaluated after it.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unipc {
    /// Order of the predictor, 1 to 3.
    pub order: usize,
    /// The function `B(h)` of the two formulas that have no exact weights: a second-order predictor and a first-order
    /// corrector.
    pub variant: UnipcVariant,
    /// What the polynomials go through.
    pub predict: Predict,
    /// Whether the last steps use as many evaluations as there are steps left.
    pub lower_order_final: bool,
    /// Whether the corrector is used.
    pub corrector: bool,
}

impl Default for Unipc {
    fn default() -> Self {
        Self { order: 2, variant: UnipcVariant::Bh2, predict: Predict::X0, lower_order_final: true, corrector: true }
    }
}

/// The function `B(h)` \[Zhao23\], `h` being the step in half log-SNR, negative for [`Predict::X0`].
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnipcVariant {
    /// `h`.
    Bh1,
    /// `exp(h) - 1`.
    #[default]
    Bh2,
}

impl Solver for Unipc {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let steps = levels.len().saturating_sub(1);
        let mut tape = Tape::default();
        // The places that the step before was predicted from.
        let mut known = Vec::new();
        for (i, pair) in levels.windows(2).enumerate() {
            let (from, to) = (pair[0], pair[1]);
            let here = tape.evaluate(from);
            let mut sum = tape.euler(here, to);
            if self.corrector && i > 0 {
                // Both predictions are linear in what they start from.
                sum = sum + self.correction(&tape, levels, i, &known) * self.kept(from, to);
            }
            let order = if self.lower_order_final { self.order.min(steps - i) } else { self.order };
            known = history(levels, i, order, lambda);
            tape.step(to, sum + self.prediction(&tape, levels, i, &known));
        }
        tape.plan()
    }

    fn order(&self) -> Option<f64> {
        // What the first and the last steps leave.
        let most = if self.corrector && !self.lower_order_final { 3 } else { 2 };
        Some((self.order + usize::from(self.corrector)).min(most) as f64)
    }

    fn check(&self) -> Result<(), String> {
        check_order(self.order, 3)
    }
}

impl Unipc {
    /// What the predictor adds to the first-order step from `levels[i]`.
    fn prediction(&self, tape: &Tape, levels: &[NoiseLevel], i: usize, known: &[usize]) -> Terms {
        match known {
            [_, before] => {
                let h = lambda(levels[i + 1]) - lambda(levels[i]);
                let share = (lambda(levels[*before]) - lambda(levels[i])) / h;
                self.half(tape, levels[i], levels[i + 1], (*before, i), share)
            }
            [_, _, _, ..] => exponential(tape, levels, i, known, self.predict),
            _ => Terms::default(),
        }
    }

    /// What the evaluation at `levels[i]` adds to the step that led there: the difference of a formula that knows it
    /// and the prediction, which started from the same image.
    fn correction(&self, tape: &Tape, levels: &[NoiseLevel], i: usize, known: &[usize]) -> Terms {
        if levels[i].sigma == 0.0 || lambda(levels[i]) == lambda(levels[i - 1]) {
            return Terms::default();
        }
        let corrected = if known.len() > 1 {
            let with_new: Vec<_> = known.iter().copied().chain([i]).collect();
            exponential(tape, levels, i - 1, &with_new, self.predict)
        } else {
            self.half(tape, levels[i - 1], levels[i], (i, i - 1), 1.0)
        };
        corrected - self.prediction(tape, levels, i - 1, known)
    }

    /// The factor on the image in a first-order step.
    fn kept(&self, from: NoiseLevel, to: NoiseLevel) -> f64 {
        match self.predict {
            Predict::X0 if from.sigma > 0.0 => to.sigma / from.sigma,
            _ => to.alpha / from.alpha,
        }
    }

    /// `B(h) / 2` of the slope between two places, the first one `share` of the step away from the second; nothing
    /// where it would be infinite.
    fn half(&self, tape: &Tape, from: NoiseLevel, to: NoiseLevel, of: (usize, usize), share: f64) -> Terms {
        let (r, h) = (ratio(from, to), lambda(to) - lambda(from));
        let weight = match (self.predict, self.variant) {
            (Predict::X0, UnipcVariant::Bh1) => to.alpha * h,
            (Predict::X0, UnipcVariant::Bh2) => to.alpha * (1.0 - r),
            (Predict::Eps, UnipcVariant::Bh1) => -to.sigma * h,
            // sigma' / r without the division.
            (Predict::Eps, UnipcVariant::Bh2) => to.sigma - to.alpha * from.sigma_edm(),
        };
        let weight = weight / (2.0 * share);
        if weight.is_finite() && weight != 0.0 {
            (self.predict.image(tape, of.0) - self.predict.image(tape, of.1)) * weight
        } else {
            Terms::default()
        }
    }
}
