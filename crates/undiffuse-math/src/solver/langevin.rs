//! Annealed Langevin dynamics.

use super::{Solver, ddim::posterior_std, one_step, plan_of, ratio};
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
    registry::require,
};
use serde::{Deserialize, Serialize};

/// At each level some steps of `x ← x + (a / 2) score + sqrt(a) z`, `a = epsilon sigma² / sigma_L²` [Song19, Algorithm
/// 1]; at the clean end the denoised image, `x + sigma_L² score` [Song20, Algorithm 1].
///
/// With `step = epsilon / sigma_L²` and the score `(alpha D - x) / sigma²` it is the same small blend at every level,
/// `x ← (1 - step / 2) x + (step / 2) alpha D + sqrt(step) sigma z`, and holds for any `alpha`. Between levels `x /
/// alpha` stays; from pure noise, where there is nothing to learn of the image, one step of the posterior leads on.
/// A walk that ends with noise left has its steps at that last level too, as \[Song19\] has it.
#[derive(Copy, Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Langevin {
    /// Steps at each level: 100 on the 10 levels of \[Song19\], 5 on the hundreds of \[Song20\].
    pub per_level: usize,
    /// Size of a step as a share of the level's variance, `epsilon / sigma_L²`: 0.2 in \[Song19\], whose `epsilon` is
    /// 2e-5 at `sigma_L = 0.01`. \[Song20\] writes half of it.
    pub step: f64,
}

impl Default for Langevin {
    fn default() -> Self {
        Self { per_level: 5, step: 0.2 }
    }
}

impl Solver for Langevin {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let mut rows = Vec::new();
        for (i, &level) in levels.iter().enumerate() {
            let next = levels.get(i + 1).copied();
            if let (Some(to), true) = (next, level.alpha == 0.0 || level.sigma == 0.0) {
                rows.push(one_step(level, to, posterior_std(level, to)));
                continue;
            }
            if level.sigma == 0.0 {
                break;
            }
            rows.extend((0..self.per_level).map(|_| self.row(level)));
            match next {
                Some(to) if ratio(level, to) == 0.0 => rows.push(one_step(level, to, 0.0)),
                Some(to) => rows.last_mut().into_iter().for_each(|row| rescale(row, to)),
                None => {}
            }
        }
        plan_of(levels, rows)
    }

    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        let at = |(i, &level): (usize, &NoiseLevel)| match levels.get(i + 1) {
            Some(_) if level.alpha == 0.0 || level.sigma == 0.0 => 1,
            Some(&to) => self.per_level + usize::from(ratio(level, to) == 0.0),
            None if i == 0 || level.sigma == 0.0 => 0,
            None => self.per_level,
        };
        levels.iter().enumerate().map(at).fold(0, usize::saturating_add)
    }

    fn order(&self) -> Option<f64> {
        None
    }

    fn weak_order(&self) -> Option<f64> {
        Some(1.0)
    }

    fn exact_variance(&self) -> bool {
        false
    }

    fn check(&self) -> Result<(), String> {
        require((1..=10_000).contains(&self.per_level), || {
            format!("per_level must lie in 1..10000, is {}", self.per_level)
        })?;
        require(0.0 < self.step && self.step < 2.0, || {
            format!("step must lie in (0, 2): larger ones overshoot the mean; is {}", self.step)
        })
    }
}

impl Langevin {
    fn row(&self, level: NoiseLevel) -> Row {
        let blend = self.step / 2.0;
        let noise = self.step.sqrt() * level.sigma;
        Row { level, time: None, next: level, x: vec![1.0 - blend], denoised: vec![blend * level.alpha], noise }
    }
}

/// The same image at the scale of another level.
fn rescale(row: &mut Row, to: NoiseLevel) {
    let signal = to.alpha / row.next.alpha;
    row.x.iter_mut().chain(&mut row.denoised).chain([&mut row.noise]).for_each(|c| *c *= signal);
    row.next = to;
}
